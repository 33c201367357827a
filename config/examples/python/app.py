def handler(event, context):
    for record in event["Records"]:
        print("got", record.get("body") or record["eventSource"])
