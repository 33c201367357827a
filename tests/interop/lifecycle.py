"""The whole life of a mapping of each source by boto3, in the order of calls of Terraform and
CloudFormation, with every answer compared with botocore's model.

Arguments: the daemon's endpoint, and ARNs of a Kinesis stream, a DynamoDB stream and a queue. The
credentials are an access key of the daemon. Leaves no mapping.
"""

import json
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

TIMEOUT_SECONDS = 60

# What a mapping shows beyond what was asked for, by kind of source.
OF_QUEUES = {
    "BatchSize", "EventSourceArn", "EventSourceMappingArn", "FunctionArn", "FunctionResponseTypes",
    "LastModified", "MaximumBatchingWindowInSeconds", "State", "StateTransitionReason", "UUID",
}
OF_STREAMS = OF_QUEUES | {
    "BisectBatchOnFunctionError", "DestinationConfig", "LastProcessingResult",
    "MaximumRecordAgeInSeconds", "MaximumRetryAttempts", "ParallelizationFactor",
    "StartingPosition", "TumblingWindowInSeconds",
}

# Errors that every service may answer with.
COMMON_ERRORS = {"ValidationException", "UnrecognizedClientException", "AccessDeniedException"}

TYPES = {
    "string": str, "integer": int, "long": int, "boolean": bool, "timestamp": (int, float),
    "structure": dict, "map": dict, "list": list,
}


def compare(shape, value, at):
    """Raises unless a value of an answer is one of its shape."""
    assert isinstance(value, TYPES[shape.type_name]), f"{at}: {value!r} is not of type {shape.type_name}"
    if shape.type_name == "structure":
        unknown = value.keys() - shape.members.keys()
        assert not unknown, f"{at} has unknown members: {unknown}"
        missing = set(shape.required_members) - value.keys()
        assert not missing, f"{at} lacks {missing}"
        for name, member in value.items():
            compare(shape.members[name], member, f"{at}.{name}")
    elif shape.type_name == "list":
        for item in value:
            compare(shape.member, item, f"{at}[]")
    elif shape.type_name == "map":
        for item in value.values():
            compare(shape.value, item, f"{at}{{}}")
    elif shape.type_name == "string" and getattr(shape, "enum", None):
        assert value in shape.enum, f"{at}: {value!r} is not one of {shape.enum}"


def check_answer(http_response, parsed, model, **_):
    assert http_response.headers.get("x-amzn-requestid"), http_response.headers
    body = http_response.content
    if http_response.status_code >= 300:
        known = {shape.name for shape in model.error_shapes} | COMMON_ERRORS
        code = parsed["Error"]["Code"]
        assert code in known, f"{model.name}: {code} is not one of {known}"
        assert parsed["Error"]["Message"], parsed
    elif model.output_shape and model.output_shape.members:
        expected = model.http.get("responseCode", 200)
        assert http_response.status_code == expected, http_response.status_code
        compare(model.output_shape, json.loads(body), model.name)
    else:
        assert body == b"", body


class Life:
    """One mapping from its creation to its end."""

    def __init__(self, api, source, more, members):
        self.api = api
        self.members = members
        self.wanted = {"BatchSize": 7, **more}
        self.tags = {"team": "images", "a/b": "c d"}
        created = api.create_event_source_mapping(
            FunctionName="orders", EventSourceArn=source, Tags=self.tags, **self.wanted
        )
        assert created["State"] == "Creating", created
        self.uuid = created["UUID"]
        self.arn = created["EventSourceMappingArn"]
        self.settle("Enabled")

    def settle(self, state):
        """Waits for a state, and compares the mapping and its tags with what was asked for."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while True:
            mapping = self.api.get_event_source_mapping(UUID=self.uuid)
            if mapping["State"] == state:
                break
            assert time.monotonic() < end, f"{mapping} is not {state}"
            time.sleep(0.05)
        mapping.pop("ResponseMetadata")
        assert mapping.keys() == self.members | self.wanted.keys(), mapping.keys()
        for name, value in self.wanted.items():
            assert mapping[name] == value, f"{name}: {mapping[name]}, not {value}"
        assert self.api.list_tags(Resource=self.arn)["Tags"] == self.tags

    def update(self, **members):
        self.api.update_event_source_mapping(UUID=self.uuid, **members)
        enabled = members.pop("Enabled", True)
        self.wanted.update(members)
        return "Enabled" if enabled else "Disabled"

    def tag(self, removed, **tags):
        self.api.tag_resource(Resource=self.arn, Tags=tags)
        self.api.untag_resource(Resource=self.arn, TagKeys=removed)
        self.tags.update(tags)
        for key in removed:
            self.tags.pop(key, None)

    def change(self):
        # Tags after settings, and settings after tags.
        state = self.update(BatchSize=9, MaximumBatchingWindowInSeconds=1)
        self.tag(["a/b", "absent"], team="words", new="")
        self.settle(state)
        self.tag(["new"], team="films")
        self.settle(self.update(BatchSize=8))
        self.settle(self.update(Enabled=False))
        self.settle(self.update(Enabled=True, BatchSize=9))

    def end(self):
        errors = self.api.exceptions
        assert self.api.delete_event_source_mapping(UUID=self.uuid)["State"] == "Deleting"
        end = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                self.api.get_event_source_mapping(UUID=self.uuid)
            except errors.ResourceNotFoundException:
                break
            assert time.monotonic() < end, "the mapping is not deleted in time"
            time.sleep(0.05)
        try:
            self.api.list_tags(Resource=self.arn)
        except errors.ResourceNotFoundException:
            return
        raise AssertionError("the tags outlive their mapping")


def main(endpoint, kinesis, dynamodb, queue):
    config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=20)
    api = boto3.client("lambda", endpoint_url=endpoint, config=config)
    api.meta.events.register("after-call.lambda", check_answer)

    stream = {"StartingPosition": "TRIM_HORIZON", "MaximumRetryAttempts": 3}
    lives = [
        Life(api, kinesis, {**stream, "ParallelizationFactor": 2}, OF_STREAMS),
        Life(api, dynamodb, {**stream, "BisectBatchOnFunctionError": True}, OF_STREAMS),
        Life(api, queue, {"ScalingConfig": {"MaximumConcurrency": 5}}, OF_QUEUES),
    ]
    pages = api.get_paginator("list_event_source_mappings")
    pages = list(pages.paginate(FunctionName="orders", PaginationConfig={"PageSize": 1}))
    listed = [mapping["UUID"] for page in pages for mapping in page["EventSourceMappings"]]
    assert sorted(listed) == sorted(life.uuid for life in lives), listed
    assert len(pages) == 3, len(pages)
    for life in lives:
        life.change()
    for life in lives:
        life.end()
    assert api.list_event_source_mappings()["EventSourceMappings"] == []

    key = boto3.Session().get_credentials().access_key
    forged = {"aws_access_key_id": key, "aws_secret_access_key": "secret-of-nobody"}
    forged = boto3.client("lambda", endpoint_url=endpoint, config=config, **forged)
    try:
        forged.list_event_source_mappings()
    except ClientError as refusal:
        assert refusal.response["Error"]["Code"] == "InvalidSignatureException", refusal.response
    else:
        raise AssertionError("a forged signature is accepted")


if __name__ == "__main__":
    main(*sys.argv[1:])
