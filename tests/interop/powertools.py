"""Processes records of every source with the batch processors of Powertools. The first time that a
record whose number ends in 3 is processed, it fails."""

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
    process_partial_response,
)

failed = set()


def process(source, number):
    if number % 10 == 3 and (source, number) not in failed:
        failed.add((source, number))
        raise ValueError(f"{source} {number} fails once")
    with open("processed.txt", "a") as file:
        file.write(f"{source} {number}\n")


def handler(source, processor, number_of):
    def handle(event, context):
        return process_partial_response(
            event=event,
            record_handler=lambda record: process(source, int(number_of(record))),
            processor=processor,
            context=context,
        )

    return handle


sqs = handler("sqs", BatchProcessor(event_type=EventType.SQS), lambda it: it.body)
fifo = handler("fifo", SqsFifoPartialProcessor(), lambda it: it.body)
kinesis = handler(
    "kinesis",
    BatchProcessor(event_type=EventType.KinesisDataStreams),
    lambda it: it.kinesis.data_as_text(),
)
dynamodb = handler(
    "dynamodb",
    BatchProcessor(event_type=EventType.DynamoDBStreams),
    lambda it: it.dynamodb.new_image["n"],
)
