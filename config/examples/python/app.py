def handler(event, context):
    for record in event["Records"]:
        print("got", record["body"])
