use serde_json::{Value, json};

use super::*;
use crate::mapping::{Change, DesiredState, MappingId, Revision};

const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
const TABLE: &str =
    "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2024-06-10T19:26:16.525";
const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:jobs";

/// The first thing that is wrong, in the order of the API.
fn first(members: Value) -> Option<(Code, String)> {
    let wrong = |violation: &Violation| (violation.code, violation.message.clone());
    let spec = match parse(&members) {
        Ok(spec) => spec,
        Err(violations) => return violations.first().map(wrong),
    };
    if let Some(violation) = model(&spec).first() {
        return Some(wrong(violation));
    }
    match source(&spec) {
        Err(violation) => Some(wrong(&violation)),
        Ok((arn, kind)) => parameters(&spec, &arn, kind).first().map(wrong),
    }
}

#[track_caller]
fn refused(members: Value, code: Code, message: &str) {
    assert_eq!(first(members), Some((code, message.to_owned())));
}

#[test]
fn the_recorded_messages() {
    use Code::{InvalidParameterValue, Validation};

    refused(
        json!({"FunctionName": "f"}),
        InvalidParameterValue,
        "Unrecognized event source.",
    );
    refused(
        json!({"FunctionName": "f", "EventSourceArn": STREAM}),
        InvalidParameterValue,
        "1 validation error detected: Value null at 'startingPosition' failed to satisfy \
         constraint: Member must not be null.",
    );
    refused(
        json!({"FunctionName": "f", "EventSourceArn": STREAM, "StartingPosition": "invalid"}),
        Validation,
        "1 validation error detected: Value 'invalid' at 'startingPosition' failed to satisfy \
         constraint: Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]",
    );
    refused(
        json!({"FunctionName": "f", "EventSourceArn": TABLE, "StartingPosition": "AT_TIMESTAMP",
               "StartingPositionTimestamp": 1}),
        InvalidParameterValue,
        &format!("Unsupported starting position for arn type: {TABLE}"),
    );
    refused(
        json!({"FunctionName": "f", "EventSourceArn": QUEUE, "BatchSize": 11}),
        InvalidParameterValue,
        "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater \
         than 10",
    );
    refused(
        json!({"FunctionName": "f", "EventSourceArn": QUEUE,
               "DestinationConfig": {"OnSuccess": {"Destination": QUEUE}}}),
        InvalidParameterValue,
        "Unsupported DestinationConfig parameter for given event source mapping type.",
    );
}

#[test]
fn nothing_is_accepted_and_ignored() {
    let mapping = |name: &str, value: Value| {
        let mut members = json!({"FunctionName": "f", "EventSourceArn": STREAM,
                                 "StartingPosition": "LATEST"});
        members[name] = value;
        first(members)
    };
    for (name, value) in [
        ("ParallelizationFactor", json!(2)),
        ("MaximumRetryAttempts", json!(3)),
        ("MaximumRecordAgeInSeconds", json!(60)),
        ("BisectBatchOnFunctionError", json!(true)),
        ("TumblingWindowInSeconds", json!(30)),
        ("FunctionResponseTypes", json!(["ReportBatchItemFailures"])),
        (
            "DestinationConfig",
            json!({"OnFailure": {"Destination": QUEUE}}),
        ),
        ("ScalingConfig", json!({"MaximumConcurrency": 2})),
        ("MetricsConfig", json!({"Metrics": ["ErrorCount"]})),
        ("Tags", json!({"a": "b"})),
        ("Invented", json!(1)),
        ("BatchSize", json!("many")),
        ("BatchSize", json!(0)),
    ] {
        assert!(mapping(name, value.clone()).is_some(), "{name} {value}");
    }
    for (name, value) in [
        ("ParallelizationFactor", json!(1)),
        ("MaximumRetryAttempts", json!(-1)),
        ("DestinationConfig", json!({"OnFailure": {}})),
        ("FilterCriteria", json!({"Filters": []})),
        ("MetricsConfig", json!({"Metrics": ["EventCount"]})),
        ("BatchSize", Value::Null),
    ] {
        assert_eq!(mapping(name, value.clone()), None, "{name} {value}");
    }
}

fn row(members: Value) -> MappingRow {
    let spec = parse(&members).unwrap();
    MappingRow {
        id: MappingId::new("00000000-0000-4000-8000-000000000000"),
        revision: Revision(1),
        function_arn: Arn::parse("arn:aws:lambda:us-east-1:000000000000:function:f").unwrap(),
        spec,
        desired: DesiredState::Enabled,
        change: Change::Created,
        created: Timestamp::from_millis(1_700_000_000_123),
        last_modified: Timestamp::from_millis(1_700_000_000_123),
        declared: false,
    }
}

#[test]
fn latest_is_the_moment_of_creation() {
    let of = |arn: &str| {
        let members =
            json!({"FunctionName": "f", "EventSourceArn": arn, "StartingPosition": "LATEST"});
        match mapping(&row(members)).unwrap().source {
            Source::Kinesis { settings, .. } | Source::DynamoDbStreams { settings, .. } => settings,
            Source::Sqs { .. } => panic!("it is a stream"),
        }
    };
    let created = Timestamp::from_millis(1_700_000_000_123);
    assert_eq!(of(STREAM).starting_position, Position::AtTimestamp(created));
    assert_eq!(of(TABLE).starting_position, Position::TrimHorizon);
    assert_eq!(
        of(TABLE).skip_before,
        Some(Timestamp::from_millis(1_700_000_000_000))
    );
    assert_eq!(of(STREAM).batch_size, 100);
}

#[test]
fn a_fifo_queue_is_known_by_its_name() {
    let arn = format!("{QUEUE}.fifo");
    let members = json!({"FunctionName": "f", "EventSourceArn": arn});
    let Source::Sqs { settings, .. } = mapping(&row(members)).unwrap().source else {
        panic!("it is a queue");
    };
    assert!(settings.fifo);
    assert_eq!(settings.batch_size, 10);
    let members = json!({"FunctionName": "f", "EventSourceArn": arn, "BatchSize": 11,
                         "MaximumBatchingWindowInSeconds": 1});
    assert!(first(members).is_some());
}
