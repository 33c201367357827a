//! Rules that depend on the source: which parameters it has, and which values go together.
//!
//! What is not supported is refused by its name, also if AWS would know it: nothing is accepted
//! and ignored. A parameter that windlass does not support yet may be sent with its default.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html>
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html>
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html>

use std::collections::BTreeMap;

use serde_json::Value;

use crate::arn::{Arn, SourceArn, SourceKind, StreamKind};
use crate::spec::{DestinationConfig, MappingSpec};
use crate::time::Timestamp;
use crate::validate::{ErrorCode, Violation, default_batch_size, filters};

/// The most messages of a FIFO queue in one batch; also the most that need no batching window.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html>
const MAXIMUM_BATCH_WITHOUT_WINDOW: i64 = 10;

pub(super) fn violations(
    spec: &MappingSpec,
    source: Option<&SourceArn>,
    now: Option<Timestamp>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let kind = source.map(SourceArn::kind);
    // A malformed ARN is a violated constraint; an absent or foreign one is a broken rule. Brokers
    // that are not AWS's have no ARN, and are refused by their own member.
    let self_managed = given(spec, "SelfManagedEventSource");
    let given_arn = spec.event_source_arn.as_deref();
    let malformed = given_arn.is_some_and(|text| Arn::parse(text).is_err());
    if kind.is_none() && !malformed && !self_managed {
        found.push(invalid("EventSourceArn", "Unrecognized event source."));
    }
    if let Some(kind) = kind {
        unsupported_parameters(spec, kind, &mut found);
        found.extend(filters::compile(spec, kind).err().into_iter().flatten());
    }
    unknown_members(spec, &mut found);
    if let Some((kind, source)) = kind.zip(source) {
        match kind {
            SourceKind::Stream(kind) => {
                starting_position(spec, kind, source, now, &mut found);
            }
            SourceKind::Queue => queue_batches(spec, source, &mut found),
        }
    }
    found
}

/// The members of Create that Update does not have.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html>
pub(super) fn unchangeable(change: &MappingSpec) -> Vec<Violation> {
    let members = [
        ("EventSourceArn", change.event_source_arn.is_some()),
        ("StartingPosition", change.starting_position.is_some()),
        (
            "StartingPositionTimestamp",
            change.starting_position_timestamp.is_some(),
        ),
    ];
    members
        .into_iter()
        .filter(|&(_, given)| given)
        .map(|(member, _)| {
            let text = format!("{member} is not a parameter of UpdateEventSourceMapping.");
            invalid(member, &text)
        })
        .collect()
}

/// The moment that a number of seconds since the epoch stands for, to the millisecond.
pub(super) fn from_seconds(seconds: f64) -> Timestamp {
    let millis = (seconds * 1000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates: before 1970 is the epoch, and what is too large is the far future"
    )]
    let millis = millis as u64;
    Timestamp::from_millis(millis)
}

fn unsupported_parameters(spec: &MappingSpec, kind: SourceKind, found: &mut Vec<Violation>) {
    let queue = kind == SourceKind::Queue;
    // What a queue does not have is refused with any value, what windlass does not do yet only
    // with another value than its default.
    fn differs<T: PartialEq>(value: Option<&T>, default: &T, queue: bool) -> bool {
        value.is_some_and(|value| queue || value != default)
    }
    let retries = spec.maximum_retry_attempts.as_ref();
    let age = spec.maximum_record_age_in_seconds.as_ref();
    let bisect = spec.bisect_batch_on_function_error.as_ref();
    let factor = spec.parallelization_factor.as_ref();
    let tumbling = spec.tumbling_window_in_seconds.as_ref();
    let responses = spec.function_response_types.as_deref().unwrap_or_default();
    let metrics = spec
        .metrics_config
        .iter()
        .flat_map(|config| config.metrics.iter().flatten());
    let members = [
        ("DestinationConfig", names_destination(spec, queue)),
        ("ParallelizationFactor", differs(factor, &1, queue)),
        ("MaximumRecordAgeInSeconds", differs(age, &-1, queue)),
        ("MaximumRetryAttempts", differs(retries, &-1, queue)),
        ("BisectBatchOnFunctionError", differs(bisect, &false, queue)),
        ("TumblingWindowInSeconds", differs(tumbling, &0, queue)),
        ("FunctionResponseTypes", !responses.is_empty()),
        (
            "MetricsConfig",
            metrics.into_iter().any(|metric| metric != "EventCount"),
        ),
    ];
    for (member, refused) in members {
        if refused {
            found.push(unsupported(member));
        }
    }
}

/// Members that the typed ones leave over, at every level.
fn unknown_members(spec: &MappingSpec, found: &mut Vec<Violation>) {
    let mut refuse = |path: &str, members: &BTreeMap<String, Value>| {
        for (member, value) in members {
            if !value.is_null() {
                found.push(unsupported(&format!("{path}{member}")));
            }
        }
    };
    refuse("", &spec.other);
    if let Some(config) = &spec.destination_config {
        refuse("DestinationConfig.", &config.other);
        for (path, destination) in [
            ("DestinationConfig.OnSuccess.", &config.on_success),
            ("DestinationConfig.OnFailure.", &config.on_failure),
        ] {
            if let Some(destination) = destination {
                refuse(path, &destination.other);
            }
        }
    }
    if let Some(criteria) = &spec.filter_criteria {
        refuse("FilterCriteria.", &criteria.other);
        for filter in criteria.filters.iter().flatten() {
            refuse("FilterCriteria.Filters.", &filter.other);
        }
    }
    if let Some(config) = &spec.metrics_config {
        refuse("MetricsConfig.", &config.other);
    }
}

fn names_destination(spec: &MappingSpec, queue: bool) -> bool {
    let refused = |config: &DestinationConfig| {
        config.on_success.is_some()
            || config.on_failure().is_some()
            || (queue && config.on_failure.is_some())
    };
    spec.destination_config.as_ref().is_some_and(refused)
}

/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
fn starting_position(
    spec: &MappingSpec,
    kind: StreamKind,
    source: &SourceArn,
    now: Option<Timestamp>,
    found: &mut Vec<Violation>,
) {
    let Some(position) = spec.starting_position.as_deref() else {
        found.push(invalid(
            "StartingPosition",
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.",
        ));
        return;
    };
    let member = "StartingPositionTimestamp";
    let at_timestamp = position == "AT_TIMESTAMP";
    if at_timestamp && kind == StreamKind::DynamoDbStreams {
        let text = format!("Unsupported starting position for arn type: {source}");
        found.push(invalid("StartingPosition", &text));
        return;
    }
    match spec.starting_position_timestamp {
        None if at_timestamp => found.push(invalid(member, "Need to specify a timestamp")),
        Some(seconds) if !seconds.is_finite() => {
            found.push(invalid(
                member,
                &format!("{member} is not a point in time."),
            ));
        }
        Some(seconds) if now.is_some_and(|now| now < from_seconds(seconds)) => {
            found.push(invalid(
                member,
                &format!("{member} must not be in the future."),
            ));
        }
        Some(_) if !at_timestamp => {
            let text = format!("{member} is valid only with a StartingPosition of AT_TIMESTAMP.");
            found.push(invalid(member, &text));
        }
        None | Some(_) => {}
    }
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>
fn queue_batches(spec: &MappingSpec, source: &SourceArn, found: &mut Vec<Violation>) {
    for (member, is_given) in [
        ("StartingPosition", spec.starting_position.is_some()),
        (
            "StartingPositionTimestamp",
            spec.starting_position_timestamp.is_some(),
        ),
    ] {
        if is_given {
            let text = format!("{member} is not valid for SQS event sources.");
            found.push(invalid(member, &text));
        }
    }
    let size = spec
        .batch_size
        .unwrap_or(default_batch_size(SourceKind::Queue));
    let window = spec.maximum_batching_window_in_seconds.unwrap_or(0);
    if source.is_fifo_queue() {
        if 0 < window {
            found.push(invalid(
                "MaximumBatchingWindowInSeconds",
                "Batching window is not supported for FIFO queues",
            ));
        }
        if MAXIMUM_BATCH_WITHOUT_WINDOW < size {
            found.push(invalid(
                "BatchSize",
                "Maximum batch size must be less than or equal to 10 for FIFO queues",
            ));
        }
    } else if MAXIMUM_BATCH_WITHOUT_WINDOW < size && window == 0 {
        found.push(invalid(
            "MaximumBatchingWindowInSeconds",
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        ));
    }
}

fn given(spec: &MappingSpec, member: &str) -> bool {
    spec.other.get(member).is_some_and(|value| !value.is_null())
}

fn unsupported(member: &str) -> Violation {
    let text = format!("Unsupported {member} parameter for given event source mapping type.");
    invalid(member, &text)
}

pub(super) fn invalid(member: &str, message: &str) -> Violation {
    Violation {
        code: ErrorCode::InvalidParameterValueException,
        member: member.to_owned(),
        message: message.to_owned(),
        detail: None,
    }
}
