//! Rules that depend on the source: which parameters it has, and which values go together.
//!
//! An unsupported parameter is refused by name, even if AWS has it: nothing is accepted and ignored.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html>
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html>
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html>

use serde_json::Value;

use crate::arn::{SourceArn, SourceKind, StreamKind};
use crate::failure::DestinationArn;
use crate::parameters::{self, Member, PARAMETERS, Parameter, Support, Type};
use crate::spec::MappingSpec;
use crate::time::Timestamp;
use crate::validate::violation::Violation;
use crate::validate::{filters, tags, windlass};

/// The largest batch of a FIFO queue, and of a standard queue without a batching window.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html>
const MAX_BATCH_WITHOUT_WINDOW: i64 = 10;

/// The shortest maximum age of a record, in seconds.
const MIN_RECORD_AGE: i64 = 60;

/// Adds to `found`, which holds the violated constraints.
pub(super) fn check(
    spec: &MappingSpec,
    source: Option<&SourceArn>,
    now: Option<Timestamp>,
    found: &mut Vec<Violation>,
) {
    // A malformed ARN violates a constraint. Brokers that are not AWS's have no ARN, and are refused
    // by their own member.
    let is_malformed = found.iter().any(|it| it.member == "EventSourceArn");
    let is_self_managed = spec.get("SelfManagedEventSource").is_some();
    if source.is_none() && !is_malformed && !is_self_managed {
        found.push(unrecognized_source());
    }
    if let Some(source) = source {
        unsupported_parameters(spec, source.kind(), found);
        if let Err(violations) = filters::compile(spec, source.kind()) {
            found.extend(violations);
        }
    }
    unknown_members(spec, found);
    found.extend(spec.tags().and_then(|tags| tags::rule(&tags)));
    match source.map(|source| (source, source.kind())) {
        Some((source, SourceKind::Stream(kind))) => {
            on_failure(spec, found);
            starting_position(spec, kind, source, now, found);
            record_age(spec, source.kind(), found);
            windlass::of_stream(spec, found);
            windows_need_one_lane(spec, source.kind(), found);
        }
        Some((source, SourceKind::Queue)) => {
            queue_batches(spec, source, found);
            pollers(spec, found);
            windlass::of_queue(spec, source.is_fifo_queue(), found);
        }
        None => {}
    }
}

/// The members of Create that Update does not have.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html>
pub(super) fn unchangeable(change: &MappingSpec) -> Vec<Violation> {
    let is_refused = |it: &&Parameter| !it.is_updatable && change.get(it.name).is_some();
    PARAMETERS
        .iter()
        .filter(is_refused)
        .map(|Parameter { name, .. }| {
            let text = format!("{name} is not a parameter of UpdateEventSourceMapping.");
            Violation::rule(name, text)
        })
        .collect()
}

/// A number of seconds since the epoch, to the millisecond.
pub(super) fn from_seconds(seconds: f64) -> Timestamp {
    let millis = (seconds * 1000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates: before 1970 is the epoch, too large is the far future"
    )]
    let millis = millis as u64;
    Timestamp::from_millis(millis)
}

fn unsupported_parameters(spec: &MappingSpec, kind: SourceKind, found: &mut Vec<Violation>) {
    for parameter in &PARAMETERS {
        let Some(value) = spec.get(parameter.name) else {
            continue;
        };
        let is_refused = match parameter.support_for(kind) {
            Support::Yes | Support::Invalid => false,
            Support::No => value.as_object().is_none_or(|members| !members.is_empty()),
        };
        if is_refused {
            found.push(unsupported(parameter.name));
        }
    }
    if spec.metrics().any(|metric| metric != "EventCount") {
        found.push(unsupported("MetricsConfig"));
    }
}

/// Members that AWS does not have for streams and queues, at every level.
fn unknown_members(spec: &MappingSpec, found: &mut Vec<Violation>) {
    for name in spec.members().keys() {
        if parameters::find(name).is_none() {
            found.push(unsupported(name));
        }
    }
    for Parameter {
        name, value_type, ..
    } in &PARAMETERS
    {
        if let Some(value) = spec.get(name) {
            unknown_nested_members(value_type, name, value, found);
        }
    }
}

fn unknown_nested_members(
    value_type: &Type,
    path: &str,
    value: &Value,
    found: &mut Vec<Violation>,
) {
    match (value_type, value) {
        (Type::Nullable(value_type), value) => {
            unknown_nested_members(value_type, path, value, found);
        }
        (Type::Structure { members, .. }, Value::Object(values)) => {
            let is_known = |name: &str| members.iter().any(|member| member.0 == name);
            for name in values.keys().filter(|name| !is_known(name)) {
                found.push(unsupported(&format!("{path}.{name}")));
            }
            for Member(name, value_type) in *members {
                if let Some(value) = values.get(*name) {
                    unknown_nested_members(value_type, &format!("{path}.{name}"), value, found);
                }
            }
        }
        (Type::List { item, .. }, Value::Array(values)) => {
            for value in values {
                unknown_nested_members(item, path, value, found);
            }
        }
        _ => {}
    }
}

/// The destinations of streams. AWS accepts FIFO queues and topics, and fails to deliver to them.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>
fn on_failure(spec: &MappingSpec, found: &mut Vec<Violation>) {
    let config = spec.get("DestinationConfig");
    if config.is_some_and(|config| config.get("OnSuccess").is_some()) {
        found.push(unsupported("DestinationConfig"));
    }
    let member = "DestinationConfig.OnFailure.Destination";
    let is_malformed = found.iter().any(|it| it.member == member);
    let text = spec.on_failure().filter(|_| !is_malformed);
    if let Some(text) = text.filter(|text| DestinationArn::parse(text).is_none()) {
        let message = format!("The destination ARN {text} is invalid.");
        let expected = "Destinations of streams are standard SQS queues, standard SNS topics and \
                        S3 buckets.";
        found.push(Violation {
            detail: Some(expected.to_owned()),
            ..Violation::rule(member, message)
        });
    }
}

/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
fn starting_position(
    spec: &MappingSpec,
    kind: StreamKind,
    source: &SourceArn,
    now: Option<Timestamp>,
    found: &mut Vec<Violation>,
) {
    let Some(position) = spec.starting_position() else {
        found.push(Violation::rule(
            "StartingPosition",
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.",
        ));
        return;
    };
    let member = "StartingPositionTimestamp";
    let at_timestamp = position == "AT_TIMESTAMP";
    if at_timestamp && kind == StreamKind::DynamoDbStreams {
        let text = format!("Unsupported starting position for arn type: {source}");
        found.push(Violation::rule("StartingPosition", text));
        return;
    }
    match spec.starting_position_timestamp() {
        None if at_timestamp => found.push(Violation::rule(member, "Need to specify a timestamp")),
        Some(seconds) if now.is_some_and(|now| now < from_seconds(seconds)) => {
            found.push(Violation::rule(
                member,
                format!("{member} must not be in the future."),
            ));
        }
        Some(_) if !at_timestamp => {
            let text = format!("{member} is valid only with a StartingPosition of AT_TIMESTAMP.");
            found.push(Violation::rule(member, text));
        }
        None | Some(_) => {}
    }
}

/// A state belongs to a shard, so its records are processed one batch after the other. AWS says
/// nothing of the two together.
fn windows_need_one_lane(spec: &MappingSpec, kind: SourceKind, found: &mut Vec<Violation>) {
    let has_windows = 0 < spec.tumbling_window_in_seconds(kind);
    if has_windows && 1 < spec.parallelization_factor(kind) {
        let member = "TumblingWindowInSeconds";
        let text = format!("{member} requires a ParallelizationFactor of 1.");
        found.push(Violation::rule(member, text));
    }
}

/// The constraint of the model has no gap between -1 and the shortest age.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
fn record_age(spec: &MappingSpec, kind: SourceKind, found: &mut Vec<Violation>) {
    let member = "MaximumRecordAgeInSeconds";
    let seconds = spec.maximum_record_age_in_seconds(kind);
    if (0..MIN_RECORD_AGE).contains(&seconds) {
        let text = format!("{member} must be -1 or at least {MIN_RECORD_AGE}.");
        found.push(Violation::rule(member, text));
    }
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>
fn queue_batches(spec: &MappingSpec, source: &SourceArn, found: &mut Vec<Violation>) {
    for parameter in &PARAMETERS {
        let (name, support) = (parameter.name, parameter.support_for(source.kind()));
        if support == Support::Invalid && spec.get(name).is_some() {
            let text = format!("{name} is not valid for SQS event sources.");
            found.push(Violation::rule(name, text));
        }
    }
    let size = spec.batch_size(source.kind());
    let window = spec.maximum_batching_window_in_seconds(source.kind());
    if source.is_fifo_queue() {
        if 0 < window {
            found.push(Violation::rule(
                "MaximumBatchingWindowInSeconds",
                "Batching window is not supported for FIFO queues",
            ));
        }
        if MAX_BATCH_WITHOUT_WINDOW < size {
            found.push(Violation::rule(
                "BatchSize",
                "Maximum batch size must be less than or equal to 10 for FIFO queues",
            ));
        }
    } else if MAX_BATCH_WITHOUT_WINDOW < size && window == 0 {
        found.push(Violation::rule(
            "MaximumBatchingWindowInSeconds",
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        ));
    }
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
fn pollers(spec: &MappingSpec, found: &mut Vec<Violation>) {
    let Some((minimum, maximum)) = spec.provisioned_pollers() else {
        return;
    };
    let member = "ProvisionedPollerConfig";
    if maximum < minimum {
        found.push(Violation::rule(
            member,
            "MinimumPollers must be less than or equal to MaximumPollers.",
        ));
    }
    if spec.maximum_concurrency().is_some() {
        found.push(Violation::rule(
            member,
            "ProvisionedPollerConfig and ScalingConfig.MaximumConcurrency cannot be set together.",
        ));
    }
}

pub(super) fn unrecognized_source() -> Violation {
    Violation::rule("EventSourceArn", "Unrecognized event source.")
}

fn unsupported(member: &str) -> Violation {
    let text = format!("Unsupported {member} parameter for given event source mapping type.");
    Violation::rule(member, text)
}
