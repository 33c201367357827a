"""Sends one record or message through each running server.

Shows, before any interop test runs, whether the servers work.
Run by `cargo xtask test-servers check`; reads the file named by WINDLASS_TEST_SERVERS_JSON.
"""

import json
import os
import subprocess
import sys
import time

import boto3
from botocore.config import Config

TIMEOUT_SECONDS = 30


def client(service, endpoint):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 2}, connect_timeout=5, read_timeout=20),
    )


def wait_for(what, ask):
    """Polls until the answer is not empty: servers change states and deliver asynchronously."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"still waiting for {what} after {TIMEOUT_SECONDS} s")


def kinesis(endpoint):
    api = client("kinesis", endpoint)
    api.create_stream(StreamName="check", ShardCount=2)

    def active():
        summary = api.describe_stream_summary(StreamName="check")
        return summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"

    wait_for("an active stream", active)
    put = api.put_record(StreamName="check", PartitionKey="key", Data=b"one")
    iterator = api.get_shard_iterator(
        StreamName="check", ShardId=put["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    records = wait_for("the record", lambda: api.get_records(ShardIterator=iterator)["Records"])
    assert [record["Data"] for record in records] == [b"one"], records
    api.delete_stream(StreamName="check")


def dynamodb_streams(endpoint):
    tables, streams = client("dynamodb", endpoint), client("dynamodbstreams", endpoint)
    table = tables.create_table(
        TableName="check",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]
    tables.put_item(TableName="check", Item={"id": {"S": "one"}})
    arn = table["LatestStreamArn"]
    shards = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    iterator = streams.get_shard_iterator(
        StreamArn=arn, ShardId=shards[0]["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    records = wait_for("the record", lambda: streams.get_records(ShardIterator=iterator)["Records"])
    assert [record["eventName"] for record in records] == ["INSERT"], records
    tables.delete_table(TableName="check")


def sqs(endpoint):
    api = client("sqs", endpoint)
    for name, more in [("check", {}), ("check.fifo", {"MessageGroupId": "group"})]:
        fifo = name.endswith(".fifo")
        attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if fifo else {}
        url = api.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        api.send_message(QueueUrl=url, MessageBody="one", **more)
        received = wait_for(
            "the message",
            lambda: api.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages"),
        )
        assert [message["Body"] for message in received] == ["one"], received
        api.delete_message(QueueUrl=url, ReceiptHandle=received[0]["ReceiptHandle"])
        api.delete_queue(QueueUrl=url)


CHECKS = {
    "kinesis_mock": [kinesis],
    "ferrokinesis": [kinesis],
    "ministack": [kinesis, dynamodb_streams, sqs],
    "elasticmq": [sqs],
    "fauxqs": [sqs],
}


def main():
    with open(os.environ["WINDLASS_TEST_SERVERS_JSON"], encoding="utf-8") as file:
        running = json.load(file)
    failed = 0
    for name in running["pids"]:
        for check in CHECKS[name]:
            start = time.monotonic()
            try:
                check(running[name])
                result = "ok"
            except Exception as error:  # any error; the other servers are still checked
                result, failed = f"failed: {type(error).__name__}: {error}", failed + 1
            print(f"{name:<14}{check.__name__:<18}{time.monotonic() - start:6.2f} s  {result}")
    version = subprocess.run(
        [running["aws"], "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    print(version.stdout.strip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
