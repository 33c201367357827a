//! The parameters that are refused, and the texts.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::arn::{Arn, ArnScope};
use crate::failure::DestinationArn;
use crate::mapping::{Change, DesiredState, MappingId, Origin, Revision};
use crate::validate::{ErrorCode, Violation, create, mapping, update};

use super::*;

mod pollers;

pub(super) const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
const TABLE: &str =
    "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2024-06-10T19:26:16.525";
pub(super) const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:jobs";
pub(super) const FIFO: &str = "arn:aws:sqs:us-east-1:000000000000:jobs.fifo";
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_732_552_345_678);

pub(super) fn spec(source: &str, more: Value) -> MappingSpec {
    let mut all = json!({"FunctionName": "f", "EventSourceArn": source});
    let more = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    serde_json::from_value(all).unwrap()
}

fn stream(more: Value) -> MappingSpec {
    let mut spec = spec(STREAM, more);
    if spec.starting_position().is_none() {
        spec.set("StartingPosition", "TRIM_HORIZON");
    }
    spec
}

#[track_caller]
fn refused(spec: &MappingSpec, code: ErrorCode, message: &str) {
    let violations = create(spec, NOW).unwrap_err();
    let first = &violations[0];
    assert_eq!((first.code, first.message.as_str()), (code, message));
}

#[track_caller]
fn invalid(spec: &MappingSpec, message: &str) {
    refused(spec, ErrorCode::InvalidParameterValueException, message);
}

#[track_caller]
fn constraint(spec: &MappingSpec, message: &str) {
    let message = format!("1 validation error detected: {message}");
    refused(spec, ErrorCode::ValidationException, &message);
}

fn unsupported(member: &str) -> String {
    format!("Unsupported {member} parameter for given event source mapping type.")
}

pub(super) fn row(spec: MappingSpec) -> MappingRow {
    let source = spec.event_source_arn().unwrap();
    let source = SourceArn::parse(source).unwrap();
    MappingRow {
        id: MappingId::new("11111111-2222-3333-4444-555555555555"),
        revision: Revision(1),
        spec,
        source,
        function_arn: Arn::parse("arn:aws:lambda:us-east-1:000000000000:function:f").unwrap(),
        desired: DesiredState::Enabled,
        change: Change::Created,
        created: NOW,
        last_modified: NOW,
        origin: Origin::Api,
    }
}

#[test]
fn ranges_are_those_of_the_model() {
    let least = "failed to satisfy constraint: Member must have value greater than or equal to";
    let most = "failed to satisfy constraint: Member must have value less than or equal to";
    constraint(
        &stream(json!({"BatchSize": 0})),
        &format!("Value '0' at 'batchSize' {least} 1"),
    );
    constraint(
        &stream(json!({"BatchSize": 10_001})),
        &format!("Value '10001' at 'batchSize' {most} 10000"),
    );
    constraint(
        &stream(json!({"MaximumBatchingWindowInSeconds": 301})),
        &format!("Value '301' at 'maximumBatchingWindowInSeconds' {most} 300"),
    );
    constraint(
        &stream(json!({"ParallelizationFactor": 11})),
        &format!("Value '11' at 'parallelizationFactor' {most} 10"),
    );
    constraint(
        &stream(json!({"MaximumRetryAttempts": -2})),
        &format!("Value '-2' at 'maximumRetryAttempts' {least} -1"),
    );
    constraint(
        &stream(json!({"MaximumRecordAgeInSeconds": 604_801})),
        &format!("Value '604801' at 'maximumRecordAgeInSeconds' {most} 604800"),
    );
    constraint(
        &stream(json!({"TumblingWindowInSeconds": 901})),
        &format!("Value '901' at 'tumblingWindowInSeconds' {most} 900"),
    );
}

#[test]
fn function_names_and_arns_have_patterns() {
    let nameless: MappingSpec = serde_json::from_value(json!({"EventSourceArn": QUEUE})).unwrap();
    constraint(
        &nameless,
        "Value null at 'functionName' failed to satisfy constraint: Member must not be null",
    );
    for (member, value) in [
        ("FunctionName", json!("a b")),
        ("FunctionName", json!("x".repeat(257))),
        ("FunctionName", json!("")),
        ("EventSourceArn", json!("orders")),
        ("EventSourceArn", json!("arn:aws:sqs:us-east-1:12:jobs")),
        (
            "EventSourceArn",
            json!("arn:aws:sqs:us east:000000000000:jobs"),
        ),
    ] {
        let violations = create(&spec(QUEUE, json!({member: value})), NOW).unwrap_err();
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert_eq!(violations[0].code, ErrorCode::ValidationException);
        assert_eq!(violations[0].member, member);
    }
}

#[test]
fn enums_are_closed() {
    constraint(
        &stream(json!({"StartingPosition": "invalid"})),
        "Value 'invalid' at 'startingPosition' failed to satisfy constraint: Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]",
    );
    constraint(
        &stream(json!({"FunctionResponseTypes": ["x"]})),
        "Value '[x]' at 'functionResponseTypes' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [ReportBatchItemFailures]]",
    );
    constraint(
        &stream(json!({"MetricsConfig": {"Metrics": ["x"]}})),
        "Value '[x]' at 'metricsConfig.metrics' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [EventCount, ErrorCount, KafkaMetrics]]",
    );
}

#[test]
fn other_event_sources_are_unrecognized() {
    let text = "Unrecognized event source.";
    let without: MappingSpec = serde_json::from_value(json!({"FunctionName": "f"})).unwrap();
    invalid(&without, text);
    for arn in [
        "arn:aws:s3:::bucket",
        "arn:aws:kafka:us-east-1:000000000000:cluster/c/1",
        "arn:aws:sqs:::jobs",
    ] {
        invalid(&spec(arn, json!({})), text);
    }
}

#[test]
fn parameters_of_other_sources_are_refused_by_name() {
    for (member, value) in [
        ("ParallelizationFactor", json!(1)),
        ("MaximumRetryAttempts", json!(-1)),
        ("MaximumRecordAgeInSeconds", json!(-1)),
        ("BisectBatchOnFunctionError", json!(false)),
        ("TumblingWindowInSeconds", json!(0)),
        ("DestinationConfig", json!({"OnFailure": {}})),
        (
            "DestinationConfig",
            json!({"OnSuccess": {"Destination": QUEUE}}),
        ),
    ] {
        invalid(&spec(QUEUE, json!({member: value})), &unsupported(member));
    }
    for member in ["StartingPosition", "StartingPositionTimestamp"] {
        let value = if member == "StartingPosition" {
            json!("LATEST")
        } else {
            json!(1)
        };
        invalid(
            &spec(QUEUE, json!({member: value})),
            &format!("{member} is not valid for SQS event sources."),
        );
    }
}

#[test]
fn an_invalid_pattern_is_refused_with_the_text_of_aws() {
    for patterns in [
        json!([{"Pattern": "not json"}]),
        json!([{"Pattern": "null"}]),
        json!([{"Pattern": "{\"data\":\"text\"}"}]),
        json!([{"Pattern": "{\"data\":{\"a\":[]}}"}]),
        json!([{"Pattern": "{\"data\":[\"the whole of it\"]}"}]),
        json!([{}]),
    ] {
        let spec = stream(json!({"FilterCriteria": {"Filters": patterns}}));
        invalid(&spec, "Invalid filter pattern definition.");
    }
    let two = json!([
        {"Pattern": "{\"data\":{\"a\":[1]}}"},
        {"Pattern": "{\"data\":\n{\"a\":[{\"prefix\":1}]}}"},
    ]);
    let violations = create(&stream(json!({"FilterCriteria": {"Filters": two}})), NOW);
    assert_eq!(
        violations.unwrap_err()[0].to_string(),
        "FilterCriteria.Filters[1].Pattern: Invalid filter pattern definition. At line 2, \
         column 17: data.a: `prefix` takes a string."
    );
    let eleven = vec![json!({"Pattern": "{\"data\":{\"a\":[1]}}"}); 11];
    let spec = stream(json!({"FilterCriteria": {"Filters": eleven}}));
    invalid(&spec, "Number of filters must not exceed 10.");
}

#[test]
fn tumbling_windows_require_one_lane() {
    let spec = |factor| {
        let members = json!({"TumblingWindowInSeconds": 30, "ParallelizationFactor": factor});
        stream(members)
    };
    assert!(create(&spec(1), NOW).is_ok());
    let text = "TumblingWindowInSeconds requires a ParallelizationFactor of 1.";
    invalid(&spec(2), text);
}

#[test]
fn unsupported_parameters_are_refused_by_name() {
    for (member, value) in [
        ("DestinationConfig", json!({"OnSuccess": {}})),
        (
            "DestinationConfig",
            json!({"OnSuccess": {"Destination": QUEUE}}),
        ),
        ("MetricsConfig", json!({"Metrics": ["ErrorCount"]})),
        ("ScalingConfig", json!({"MaximumConcurrency": 5})),
        (
            "KMSKeyArn",
            json!("arn:aws:kms:us-east-1:000000000000:key/k"),
        ),
        ("Topics", json!(["t"])),
        ("Queues", json!(["q"])),
        ("SelfManagedEventSource", json!({"Endpoints": {}})),
        ("ProvisionedPollerConfig", json!({"MinimumPollers": 2})),
        ("LoggingConfig", json!({"SystemLogLevel": "INFO"})),
        ("Batchsize", json!(5)),
    ] {
        invalid(&stream(json!({member: value})), &unsupported(member));
    }
    invalid(
        &stream(json!({"DestinationConfig": {"OnFailure": {"Arn": "x"}}})),
        &unsupported("DestinationConfig.OnFailure.Arn"),
    );
    let broker: MappingSpec = serde_json::from_value(
        json!({"FunctionName": "f", "SelfManagedEventSource": {"Endpoints": {}}}),
    )
    .unwrap();
    invalid(&broker, &unsupported("SelfManagedEventSource"));
}

fn on_failure(arn: &str) -> MappingSpec {
    stream(json!({"DestinationConfig": {"OnFailure": {"Destination": arn}}}))
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>
#[test]
fn the_destination_of_a_stream_is_a_queue_a_topic_or_a_bucket() {
    for arn in [
        QUEUE,
        "arn:aws:sns:us-east-1:000000000000:failed",
        "arn:aws:s3:::failed",
    ] {
        let checked = create(&on_failure(arn), NOW).unwrap();
        assert_eq!(checked.spec, on_failure(arn));
        let Source::Stream(source) = mapping(&row(checked.spec)).unwrap().source else {
            panic!("not Kinesis");
        };
        assert_eq!(source.settings.on_failure, DestinationArn::parse(arn));
    }
    for arn in [
        FIFO,
        "arn:aws:sns:us-east-1:000000000000:failed.fifo",
        "arn:aws:lambda:us-east-1:000000000000:function:f",
        "kafka://failed",
    ] {
        let text = format!("The destination ARN {arn} is invalid.");
        invalid(&on_failure(arn), &text);
    }
    let malformed = create(&on_failure("failed"), NOW).unwrap_err();
    let start = "1 validation error detected: Value 'failed' at \
                 'destinationConfig.onFailure.destination' failed to satisfy constraint: Member \
                 must satisfy regular expression pattern: $|kafka://";
    assert_eq!(malformed.len(), 1);
    assert!(malformed[0].message.starts_with(start), "{malformed:?}");
    let long = create(&on_failure(&format!("{QUEUE}{}", "q".repeat(350))), NOW).unwrap_err();
    let end = "Member must have length less than or equal to 350";
    assert!(long[0].message.ends_with(end), "{long:?}");
}

#[test]
fn an_empty_destination_removes_it() {
    let stored = row(create(&on_failure(QUEUE), NOW).unwrap().spec);
    for none in [
        json!({}),
        json!({"OnFailure": {}}),
        json!({"OnFailure": {"Destination": ""}}),
    ] {
        let change = serde_json::from_value(json!({"DestinationConfig": none})).unwrap();
        let updated = update(&stored, &change).unwrap();
        assert_eq!(updated.spec, stream(json!({})));
    }
}

#[test]
fn retries_of_a_stream_have_limits() {
    let settings = |members| {
        let row = row(create(&stream(members), NOW).unwrap().spec);
        match mapping(&row).unwrap().source {
            Source::Stream(source) => source.settings.retries,
            Source::Queue(_) => panic!("a queue"),
        }
    };
    assert_eq!(settings(json!({})), RetrySettings::default());
    let limits = json!({
        "MaximumRetryAttempts": 0,
        "MaximumRecordAgeInSeconds": 60,
        "BisectBatchOnFunctionError": true,
    });
    let expected = RetrySettings {
        age_from: None,
        maximum_attempts: Some(0),
        maximum_record_age: Some(Duration::from_secs(60)),
        bisect_batch: true,
        strict_order: false,
    };
    assert_eq!(settings(limits), expected);
    for seconds in [0, 1, 59] {
        let text = "MaximumRecordAgeInSeconds must be -1 or at least 60.";
        let spec = stream(json!({"MaximumRecordAgeInSeconds": seconds}));
        invalid(&spec, text);
    }
}

#[test]
fn functions_of_queues_and_streams_may_report_item_failures() {
    let types = json!({"FunctionResponseTypes": ["ReportBatchItemFailures"]});
    for given in [spec(QUEUE, types.clone()), stream(types)] {
        let checked = create(&given, NOW).unwrap();
        assert!(mapping(&row(checked.spec)).unwrap().reports_item_failures);
    }
    let checked = create(&spec(QUEUE, json!({"FunctionResponseTypes": []})), NOW).unwrap();
    assert!(!mapping(&row(checked.spec)).unwrap().reports_item_failures);
}

/// <https://docs.aws.amazon.com/lambda/latest/api/API_ScalingConfig.html>
#[test]
fn the_concurrency_of_a_queue_can_be_limited() {
    let limited = |value| {
        spec(
            QUEUE,
            json!({"ScalingConfig": {"MaximumConcurrency": value}}),
        )
    };
    let limit_of = |spec| match mapping(&row(spec)).unwrap().source {
        Source::Queue(queue) => queue.maximum_concurrency,
        Source::Stream(_) => unreachable!("it is a queue"),
    };
    let checked = create(&limited(2), NOW).unwrap();
    assert_eq!(limit_of(checked.spec.clone()), Some(2));
    let current = row(checked.spec);
    let change = |value| serde_json::from_value(json!({"ScalingConfig": value})).unwrap();
    let raised = update(&current, &change(json!({"MaximumConcurrency": 1_000}))).unwrap();
    assert_eq!(limit_of(raised.spec), Some(1_000));
    let removed = update(&current, &change(json!({}))).unwrap();
    assert_eq!(removed.spec.get("ScalingConfig"), None);
    assert_eq!(limit_of(removed.spec), None);
    constraint(
        &limited(1),
        "Value '1' at 'scalingConfig.maximumConcurrency' failed to satisfy constraint: Member must have value greater than or equal to 2",
    );
    constraint(
        &limited(1_001),
        "Value '1001' at 'scalingConfig.maximumConcurrency' failed to satisfy constraint: Member must have value less than or equal to 1000",
    );
}

#[test]
fn defaults_are_accepted_and_not_stored() {
    let given = stream(json!({
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 0,
        "ParallelizationFactor": 1,
        "MaximumRetryAttempts": -1,
        "MaximumRecordAgeInSeconds": -1,
        "BisectBatchOnFunctionError": false,
        "TumblingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        "DestinationConfig": {"OnFailure": {}},
        "FilterCriteria": {"Filters": []},
        "MetricsConfig": {"Metrics": []},
        "ProvisionedPollerConfig": {},
        "Enabled": false,
        "KMSKeyArn": null,
    }));
    let checked = create(&given, NOW).unwrap();
    assert_eq!(checked.spec, stream(json!({})));
    assert_eq!(checked.enabled, Some(false));
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>
#[test]
fn a_queue_needs_a_window_for_more_than_ten_messages() {
    let text = "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10";
    invalid(&spec(QUEUE, json!({"BatchSize": 11})), text);
    let both = json!({"BatchSize": 11, "MaximumBatchingWindowInSeconds": 1});
    let current = row(create(&spec(QUEUE, both.clone()), NOW).unwrap().spec);
    let change: MappingSpec =
        serde_json::from_value(json!({"MaximumBatchingWindowInSeconds": 0})).unwrap();
    assert_eq!(update(&current, &change).unwrap_err()[0].message, text);

    invalid(
        &spec(FIFO, both),
        "Batching window is not supported for FIFO queues",
    );
    invalid(
        &spec(FIFO, json!({"BatchSize": 11})),
        "Maximum batch size must be less than or equal to 10 for FIFO queues",
    );
    assert!(create(&spec(FIFO, json!({"BatchSize": 10})), NOW).is_ok());
}

#[test]
fn a_stream_needs_a_starting_position() {
    invalid(
        &spec(STREAM, json!({})),
        "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.",
    );
    invalid(
        &spec(
            TABLE,
            json!({"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1}),
        ),
        &format!("Unsupported starting position for arn type: {TABLE}"),
    );
    invalid(
        &stream(json!({"StartingPosition": "AT_TIMESTAMP"})),
        "Need to specify a timestamp",
    );
    let later = json!({
        "StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1_732_552_345.679,
    });
    invalid(
        &stream(later),
        "StartingPositionTimestamp must not be in the future.",
    );
    invalid(
        &stream(json!({"StartingPosition": "LATEST", "StartingPositionTimestamp": 1})),
        "StartingPositionTimestamp is valid only with a StartingPosition of AT_TIMESTAMP.",
    );
}

#[test]
fn every_violation_is_reported_constraints_first() {
    let wrong = spec(
        QUEUE,
        json!({"BatchSize": 0, "Topics": ["t"], "StartingPosition": "LATEST"}),
    );
    let found: Vec<(ErrorCode, String)> = create(&wrong, NOW)
        .unwrap_err()
        .into_iter()
        .map(|Violation { code, member, .. }| (code, member))
        .collect();
    let invalid = ErrorCode::InvalidParameterValueException;
    assert_eq!(
        found,
        [
            (ErrorCode::ValidationException, "BatchSize".to_owned()),
            (invalid, "Topics".to_owned()),
            (invalid, "StartingPosition".to_owned()),
        ]
    );
}

#[test]
fn an_update_keeps_other_parameters() {
    let current = row(create(&stream(json!({"BatchSize": 7})), NOW).unwrap().spec);
    let change = serde_json::from_value(json!({"MaximumBatchingWindowInSeconds": 5})).unwrap();
    let changed = update(&current, &change).unwrap();
    let expected = json!({"BatchSize": 7, "MaximumBatchingWindowInSeconds": 5});
    assert_eq!(changed.spec, stream(expected));
    assert_eq!(changed.enabled, None);

    for member in ["EventSourceArn", "StartingPosition"] {
        let change = serde_json::from_value(json!({member: "LATEST"})).unwrap();
        let violations = update(&current, &change).unwrap_err();
        let text = format!("{member} is not a parameter of UpdateEventSourceMapping.");
        assert_eq!(violations[0].message, text);
    }
}

#[test]
fn latest_means_the_time_of_creation() {
    let latest = json!({"StartingPosition": "LATEST"});
    let Source::Stream(StreamSource { settings, .. }) =
        mapping(&row(stream(latest.clone()))).unwrap().source
    else {
        panic!("not Kinesis");
    };
    assert_eq!(settings.starting_position, Position::AtTimestamp(NOW));
    assert_eq!(settings.skip_before, None);

    let Source::Stream(StreamSource { settings, .. }) =
        mapping(&row(spec(TABLE, latest))).unwrap().source
    else {
        panic!("not DynamoDB");
    };
    assert_eq!(settings.starting_position, Position::TrimHorizon);
    assert_eq!(settings.skip_before, Some(NOW.floor_to_second()));
}

#[test]
fn a_stored_row_becomes_a_mapping() {
    let at =
        json!({"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1_541_139_109.123});
    let Source::Stream(StreamSource {
        settings,
        arn: stream,
        ..
    }) = mapping(&row(stream(at))).unwrap().source
    else {
        panic!("not Kinesis");
    };
    let moment = Timestamp::from_millis(1_541_139_109_123);
    assert_eq!(settings.starting_position, Position::AtTimestamp(moment));
    assert_eq!(settings.batch_size, 100);
    assert_eq!(stream.as_str(), STREAM);

    let batches = json!({"BatchSize": 50, "MaximumBatchingWindowInSeconds": 3});
    let Source::Queue(QueueSource { settings, .. }) =
        mapping(&row(spec(QUEUE, batches))).unwrap().source
    else {
        panic!("not SQS");
    };
    assert_eq!(
        settings,
        QueueSettings {
            fifo: false,
            batch_size: 50,
            maximum_batching_window: Duration::from_secs(3),
            strict_order: false,
            pollers: None,
        }
    );
    let Source::Queue(QueueSource { settings, .. }) =
        mapping(&row(spec(FIFO, json!({})))).unwrap().source
    else {
        panic!("not SQS");
    };
    assert!(settings.fifo);
    assert_eq!(settings.batch_size, 10);
    assert!(mapping(&row(spec(QUEUE, json!({"BatchSize": 0})))).is_err());
}

#[test]
fn the_query_of_a_list_has_constraints() {
    let function = list(Some(QUEUE), Some("f:live"), Some("10000")).unwrap();
    assert_eq!(function, FunctionName::parse("f:live"));
    let violations = list(Some("x"), Some("a b"), Some("0")).unwrap_err();
    let members: Vec<&str> = violations.iter().map(|it| it.member.as_str()).collect();
    assert_eq!(members, ["EventSourceArn", "FunctionName", "MaxItems"]);
    assert!(list(None, None, Some("ten")).is_err());

    assert_eq!(uuid("11111111-2222-3333-4444-555555555555"), Ok(()));
    assert_eq!(
        uuid("11").unwrap_err()[0].message,
        "1 validation error detected: Value '11' at 'uUID' failed to satisfy constraint: Member must have length greater than or equal to 36"
    );
}

fn any_spec() -> impl Strategy<Value = MappingSpec> {
    let source = prop::sample::select(vec![STREAM, TABLE, QUEUE, FIFO, "arn:aws:s3:::b", "x"]);
    let position = prop::option::of(prop::sample::select(vec![
        "TRIM_HORIZON",
        "LATEST",
        "AT_TIMESTAMP",
        "x",
    ]));
    let numbers = (
        prop::option::of(-2..10_002_i64),
        prop::option::of(-1..302_i64),
        prop::option::of(0..3_i64),
        prop::option::of(-2..2_i64),
        prop::option::of(-2..100_i64),
    );
    let millis = prop::option::of(0..2_000_000_000_000_u64);
    let others = prop::collection::btree_map("[A-Z][a-z]{1,8}", Just(json!({"a": [1]})), 0..2);
    (
        source,
        position,
        millis,
        numbers,
        any::<Option<bool>>(),
        others,
    )
        .prop_map(|(source, position, millis, numbers, enabled, others)| {
            let mut spec = spec(source, json!(others));
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let seconds = millis.map(|millis| millis as f64 / 1000.0);
            let members = [
                ("StartingPosition", position.map(Value::from)),
                ("StartingPositionTimestamp", seconds.map(Value::from)),
                ("BatchSize", numbers.0.map(Value::from)),
                ("MaximumBatchingWindowInSeconds", numbers.1.map(Value::from)),
                ("ParallelizationFactor", numbers.2.map(Value::from)),
                ("MaximumRetryAttempts", numbers.3.map(Value::from)),
                ("MaximumRecordAgeInSeconds", numbers.4.map(Value::from)),
                ("Enabled", enabled.map(Value::from)),
            ];
            for (name, value) in members {
                if let Some(value) = value {
                    spec.set(name, value);
                }
            }
            spec
        })
}

proptest! {
    #[test]
    fn a_spec_reads_back_from_its_json(spec in any_spec()) {
        let text = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(serde_json::from_str::<MappingSpec>(&text).unwrap(), spec);
    }

    /// Dropping the defaults changes nothing: the stored parameters pass, and mean the same.
    #[test]
    fn stored_parameters_pass_again(spec in any_spec()) {
        if let Ok(checked) = create(&spec, NOW) {
            let again = create(&checked.spec, NOW).unwrap();
            prop_assert_eq!(&again.spec, &checked.spec);
            let stored = mapping(&row(checked.spec)).unwrap();
            prop_assert_eq!(stored, mapping(&row(spec)).unwrap());
        }
    }
}

#[test]
fn lengths_are_in_characters_and_patterns_are_always_checked() {
    // 200 characters of 2 bytes, and as an ARN 6,000 of them.
    let name = "é".repeat(200);
    let arn = format!("arn:aws:sqs:{}:000000000000:jobs", "é".repeat(5_900));
    for (spec, member) in [
        (stream(json!({"FunctionName": name})), "functionName"),
        (spec(&arn, json!({})), "eventSourceArn"),
    ] {
        let violations = create(&spec, NOW).unwrap_err();
        let text = &violations[0].message;
        let says = format!("at '{member}' failed to satisfy constraint: Member must satisfy");
        assert!(text.contains(&says), "{text}");
    }
    // As the filter of a list, where it would list everything.
    assert_eq!(list(None, Some(&name), None).unwrap_err().len(), 1);
    assert_eq!(list(Some(&arn), None, None).unwrap_err().len(), 1);
}

/// Texts of 0 to 12,000 bytes: of anything, and of what is nearly valid.
fn any_text() -> impl Strategy<Value = String> {
    let valid = || {
        prop::sample::select(vec![
            "",
            "f",
            "arn:",
            "000000000000:function:f:",
            "arn:aws:lambda:us-east-1:000000000000:function:",
            STREAM,
            TABLE,
            FIFO,
            "AT_TIMESTAMP",
            "{\"a\": [",
        ])
    };
    let part = prop_oneof![
        any::<String>(),
        prop::sample::select(vec!["a", "é", "\u{1f980}", " ", ":", "/", "\0", "9"])
            .prop_flat_map(|unit| (0..=12_000 / unit.len()).prop_map(|n| unit.repeat(n))),
    ];
    (valid(), part, valid()).prop_map(|(start, middle, end)| {
        let mut text = [start, &middle, end].concat();
        text.truncate(text.floor_char_boundary(12_000));
        text
    })
}

proptest! {
    /// Every text that a caller or a file can send is accepted or violates something.
    #[test]
    fn texts_never_panic(text in any_text(), source in prop::sample::select(vec![STREAM, TABLE, QUEUE, FIFO])) {
        let stored = row(spec(source, json!({"StartingPosition": "TRIM_HORIZON"})));
        for (name, value) in [
            ("FunctionName", json!(text)),
            ("EventSourceArn", json!(text)),
            ("StartingPosition", json!(text)),
            ("FunctionResponseTypes", json!([text])),
            ("DestinationConfig", json!({"OnFailure": {"Destination": text}})),
            ("DestinationConfig", json!({"OnSuccess": {"Destination": text}})),
            ("DestinationConfig", json!({&text: text})),
            ("FilterCriteria", json!({"Filters": [{"Pattern": text}]})),
            ("MetricsConfig", json!({"Metrics": [text]})),
            (&text, json!(text)),
        ] {
            let spec = spec(source, json!({"StartingPosition": "TRIM_HORIZON", name: value}));
            let home = ArnScope {
                partition: "aws".to_owned(),
                region: "us-east-1".to_owned(),
                account_id: "000000000000".to_owned(),
            };
            match create(&spec, NOW) {
                Ok(checked) => {
                    let arn = checked.function.resolve(&home);
                    prop_assert!(FunctionName::parse(arn.as_str()).is_some());
                }
                Err(violations) => prop_assert!(!violations.is_empty()),
            }
            let change = serde_json::from_value(json!({name: value})).unwrap();
            prop_assert!(!update(&stored, &change).is_err_and(|it| it.is_empty()));
            let row = MappingRow { spec, ..stored.clone() };
            prop_assert!(!mapping(&row).is_err_and(|it| it.is_empty()));
        }
        let listed = list(Some(&text), Some(&text), Some(&text));
        prop_assert!(!listed.is_err_and(|it| it.is_empty()));
        // A name that passes is a filter.
        if let Ok(function) = list(None, Some(&text), None) {
            prop_assert!(function.is_some());
        }
        prop_assert!(!uuid(&text).is_err_and(|it| it.is_empty()));
    }
}
