"""Creates, updates and deletes event source mappings of a running daemon with boto3.

Arguments: the daemon's endpoint, the ARN of a stream, the ARN of a queue. Leaves one enabled mapping
for each of the two; the caller checks that they deliver.
"""

import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

TIMEOUT_SECONDS = 60


def wait_for_state(api, uuid, state):
    end = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < end:
        mapping = api.get_event_source_mapping(UUID=uuid)
        if mapping["State"] == state:
            return mapping
        time.sleep(0.05)
    raise AssertionError(f"{mapping} is not {state} after {TIMEOUT_SECONDS} s")


def expect(error, status, call, **members):
    """Makes a call that must fail with an error that boto3 knows by name."""
    try:
        call(**members)
    except error as refusal:
        code = refusal.response["ResponseMetadata"]["HTTPStatusCode"]
        assert code == status, refusal.response
        assert refusal.response["ResponseMetadata"]["RequestId"], refusal.response
        return refusal.response
    raise AssertionError(f"{members} was accepted")


def main(endpoint, stream, queue):
    config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=20)
    api = boto3.client("lambda", endpoint_url=endpoint, config=config)
    errors = api.exceptions

    of_stream = {"FunctionName": "orders", "EventSourceArn": stream}
    expect(errors.InvalidParameterValueException, 400, api.create_event_source_mapping, **of_stream)
    wrong = expect(
        ClientError,
        400,
        api.create_event_source_mapping,
        **{**of_stream, "StartingPosition": "TRIM_HORIZON", "BatchSize": 10_001},
    )
    assert wrong["Error"]["Code"] == "ValidationException", wrong
    created = api.create_event_source_mapping(
        **of_stream,
        StartingPosition="TRIM_HORIZON",
        BatchSize=20,
        MaximumBatchingWindowInSeconds=1,
        Enabled=False,
        Tags={"team": "images", "a/b": "c d"},
    )
    assert "Tags" not in created, created
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 202, created
    assert created["StartingPosition"] == "TRIM_HORIZON", created
    assert created["MaximumBatchingWindowInSeconds"] == 1, created
    assert created["LastModified"].timestamp() <= time.time() + 1, created
    uuid = created["UUID"]
    wait_for_state(api, uuid, "Disabled")
    conflict = {**of_stream, "StartingPosition": "LATEST"}
    expect(errors.ResourceConflictException, 409, api.create_event_source_mapping, **conflict)

    of_queue = {"FunctionName": "orders", "EventSourceArn": queue}
    other = api.create_event_source_mapping(**of_queue, BatchSize=5)["UUID"]
    wait_for_state(api, other, "Enabled")
    pages = api.get_paginator("list_event_source_mappings")
    pages = pages.paginate(PaginationConfig={"PageSize": 1})
    listed = [mapping["UUID"] for page in pages for mapping in page["EventSourceMappings"]]
    assert sorted(listed) == sorted([uuid, other]), listed
    only = api.list_event_source_mappings(EventSourceArn=queue)["EventSourceMappings"]
    assert [mapping["UUID"] for mapping in only] == [other], only

    arn = created["EventSourceMappingArn"]
    assert api.list_tags(Resource=arn)["Tags"] == {"team": "images", "a/b": "c d"}
    tagged = api.tag_resource(Resource=arn, Tags={"team": "words", "new": ""})
    assert tagged["ResponseMetadata"]["HTTPStatusCode"] == 204, tagged
    api.update_event_source_mapping(UUID=uuid, Enabled=True, BatchSize=7)
    api.untag_resource(Resource=arn, TagKeys=["a/b", "absent"])
    assert api.list_tags(Resource=arn)["Tags"] == {"team": "words", "new": ""}
    other_arn = arn.replace(uuid, "00000000-0000-4000-8000-000000000000")
    expect(errors.ResourceNotFoundException, 404, api.list_tags, Resource=other_arn)
    mapping = wait_for_state(api, uuid, "Enabled")
    assert mapping["BatchSize"] == 7, mapping
    assert mapping["EventSourceArn"] == stream, mapping

    # A third one, to delete.
    again = {**of_queue, "FunctionName": "arn:aws:lambda:us-east-1:000000000000:function:orders:two"}
    third = api.create_event_source_mapping(**again, Enabled=False)["UUID"]
    wait_for_state(api, third, "Disabled")
    assert api.delete_event_source_mapping(UUID=third)["State"] == "Deleting"
    end = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            api.get_event_source_mapping(UUID=third)
        except errors.ResourceNotFoundException:
            break
        assert time.monotonic() < end, "the mapping is not deleted in time"
        time.sleep(0.05)
    unknown = "00000000-0000-4000-8000-000000000000"
    expect(errors.ResourceNotFoundException, 404, api.delete_event_source_mapping, UUID=unknown)


if __name__ == "__main__":
    main(*sys.argv[1:])
