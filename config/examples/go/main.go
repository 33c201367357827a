package main

import (
	"fmt"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func handle(event events.SQSEvent) error {
	for _, record := range event.Records {
		fmt.Println("got", record.Body)
	}
	return nil
}

func main() {
	lambda.Start(handle)
}
