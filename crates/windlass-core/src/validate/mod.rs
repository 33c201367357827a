//! Says what is wrong with the parameters of a mapping, in AWS's words, and makes a [`Mapping`] of
//! those with which nothing is wrong.
//!
//! AWS checks in an order: the request against its model, then whether the source is one it knows,
//! then whether the function exists, then the parameters against the source. The functions here are
//! those steps; between them the caller asks the world. Each gives every violation it finds: the
//! API answers with the first, `windlass check` shows all.

use std::fmt;
use std::time::Duration;

use crate::arn::{Arn, SourceKind};
use crate::function::FunctionName;
use crate::mapping::{Mapping, MappingRow, QueueSettings, Source, StreamSettings};
use crate::position::Position;
use crate::spec::MappingSpec;
use crate::time::Timestamp;

mod members;
mod model;

pub use members::parse;
pub use model::model;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// AWS's name of the error.
    pub code: Code,
    /// AWS's text where AWS was recorded, else ours in its manner.
    pub message: String,
}

/// AWS's names of the errors that parameters can cause; each is answered with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request is not what the model says.
    Validation,
    /// A value has the wrong type.
    Serialization,
    /// The parameters do not fit the source, or each other.
    InvalidParameterValue,
}

/// The source that a mapping names.
///
/// # Errors
/// It names none, or none that windlass reads.
pub fn source(spec: &MappingSpec) -> Result<(Arn, SourceKind), Violation> {
    let unrecognized = || Violation::invalid("Unrecognized event source.");
    let text = spec.event_source_arn.as_deref().ok_or_else(unrecognized)?;
    let arn = Arn::parse(text).map_err(|_| unrecognized())?;
    if arn.service() == "kinesis" && arn.resource().contains("/consumer/") {
        let message = "Enhanced fan-out consumers are not supported: use the ARN of the stream.";
        return Err(Violation::invalid(message));
    }
    let kind = arn.source_kind().ok_or_else(unrecognized)?;
    Ok((arn, kind))
}

/// What is wrong with the parameters for this source.
pub fn parameters(spec: &MappingSpec, arn: &Arn, kind: SourceKind) -> Vec<Violation> {
    let mut violations = Vec::new();
    match kind {
        SourceKind::Kinesis | SourceKind::DynamoDbStreams => {
            stream_parameters(spec, arn, kind, &mut violations);
        }
        SourceKind::Sqs => queue_parameters(spec, arn, &mut violations),
    }
    let metrics = spec
        .metrics_config
        .as_ref()
        .map(|config| config.metrics.as_slice());
    if metrics.is_some_and(|names| names.iter().any(|name| name != "EventCount")) {
        violations.push(Violation::unsupported("MetricsConfig"));
    }
    violations
}

/// What is wrong with a starting position at the moment of creation.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
pub fn starting_moment(spec: &MappingSpec, now: Timestamp) -> Option<Violation> {
    let seconds = spec.starting_position_timestamp?;
    let future = moment(seconds).is_none_or(|moment| now < moment);
    future.then(|| Violation::invalid("StartingPositionTimestamp must not be in the future."))
}

/// The mapping that a stored row describes.
///
/// # Errors
/// Its parameters are wrong, which can only be if another version has stored them.
pub fn mapping(row: &MappingRow) -> Result<Mapping, Vec<Violation>> {
    let spec = &row.spec;
    let mut violations = model(spec);
    let (arn, kind) = match source(spec) {
        Ok(source) => source,
        Err(violation) => {
            violations.push(violation);
            return Err(violations);
        }
    };
    violations.extend(parameters(spec, &arn, kind));
    if !violations.is_empty() {
        return Err(violations);
    }
    let source = match kind {
        SourceKind::Kinesis => Source::Kinesis {
            stream: arn,
            settings: stream_settings(row, kind),
        },
        SourceKind::DynamoDbStreams => Source::DynamoDbStreams {
            stream: arn,
            settings: stream_settings(row, kind),
        },
        SourceKind::Sqs => {
            let fifo = arn.is_fifo_queue();
            let settings = QueueSettings {
                fifo,
                batch_size: size(spec.batch_size, 10),
                maximum_batching_window: seconds(spec.maximum_batching_window_in_seconds),
            };
            Source::Sqs {
                queue: arn,
                settings,
            }
        }
    };
    Ok(Mapping {
        id: row.id.clone(),
        revision: row.revision,
        source,
        function: row.function_arn.clone(),
        desired: row.desired,
    })
}

/// The function that a mapping names.
///
/// # Errors
/// It names none.
pub fn function(spec: &MappingSpec) -> Result<FunctionName, Violation> {
    let name = spec.function_name.as_deref().and_then(FunctionName::parse);
    name.ok_or_else(|| Violation::invalid("Function does not exist"))
}

fn stream_parameters(
    spec: &MappingSpec,
    arn: &Arn,
    kind: SourceKind,
    violations: &mut Vec<Violation>,
) {
    match (spec.starting_position.as_deref(), kind) {
        (None, _) => violations.push(Violation::invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy \
             constraint: Member must not be null.",
        )),
        (Some("AT_TIMESTAMP"), SourceKind::DynamoDbStreams) => violations.push(Violation::invalid(
            &format!("Unsupported starting position for arn type: {arn}"),
        )),
        (Some("AT_TIMESTAMP"), _) if spec.starting_position_timestamp.is_none() => {
            violations.push(Violation::invalid(
                "StartingPositionTimestamp is required when StartingPosition is AT_TIMESTAMP.",
            ));
        }
        (Some(position), _) => {
            if position != "AT_TIMESTAMP" && spec.starting_position_timestamp.is_some() {
                violations.push(Violation::invalid(
                    "StartingPositionTimestamp is only valid when StartingPosition is \
                     AT_TIMESTAMP.",
                ));
            }
        }
    }
    let unsupported = [
        (
            "ParallelizationFactor",
            spec.parallelization_factor.is_some_and(|it| it != 1),
        ),
        (
            "MaximumRetryAttempts",
            spec.maximum_retry_attempts.is_some_and(|it| it != -1),
        ),
        (
            "MaximumRecordAgeInSeconds",
            spec.maximum_record_age_in_seconds
                .is_some_and(|it| it != -1),
        ),
        (
            "BisectBatchOnFunctionError",
            spec.bisect_batch_on_function_error == Some(true),
        ),
        (
            "TumblingWindowInSeconds",
            spec.tumbling_window_in_seconds.is_some_and(|it| it != 0),
        ),
        (
            "FunctionResponseTypes",
            spec.function_response_types
                .as_ref()
                .is_some_and(|it| !it.is_empty()),
        ),
    ];
    let found = unsupported.into_iter().filter(|(_, is)| *is);
    violations.extend(found.map(|(name, _)| Violation::unsupported(name)));
}

fn queue_parameters(spec: &MappingSpec, arn: &Arn, violations: &mut Vec<Violation>) {
    let of_streams = [
        ("StartingPosition", spec.starting_position.is_some()),
        (
            "StartingPositionTimestamp",
            spec.starting_position_timestamp.is_some(),
        ),
        (
            "ParallelizationFactor",
            spec.parallelization_factor.is_some(),
        ),
        (
            "MaximumRetryAttempts",
            spec.maximum_retry_attempts.is_some(),
        ),
        (
            "MaximumRecordAgeInSeconds",
            spec.maximum_record_age_in_seconds.is_some(),
        ),
        (
            "BisectBatchOnFunctionError",
            spec.bisect_batch_on_function_error.is_some(),
        ),
        (
            "TumblingWindowInSeconds",
            spec.tumbling_window_in_seconds.is_some(),
        ),
        (
            "FunctionResponseTypes",
            spec.function_response_types
                .as_ref()
                .is_some_and(|it| !it.is_empty()),
        ),
    ];
    let found = of_streams.into_iter().filter(|(_, is)| *is);
    violations.extend(found.map(|(name, _)| Violation::unsupported(name)));
    let window = spec.maximum_batching_window_in_seconds.unwrap_or(0);
    let size = spec.batch_size.unwrap_or(10);
    if arn.is_fifo_queue() {
        if 10 < size {
            violations.push(Violation::invalid(
                "Maximum batch size for a FIFO queue is 10.",
            ));
        }
        if 0 < window {
            violations.push(Violation::invalid(
                "Maximum batch window in seconds is not supported for a FIFO queue.",
            ));
        }
    } else if 10 < size && window == 0 {
        violations.push(Violation::invalid(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is \
             greater than 10",
        ));
    }
}

/// `LATEST` means: arrived after the mapping was created. Kinesis can be read from a moment; for
/// DynamoDB Streams, which tell time in whole seconds, older records are passed over.
fn stream_settings(row: &MappingRow, kind: SourceKind) -> StreamSettings {
    let spec = &row.spec;
    let (starting_position, skip_before) = match (spec.starting_position.as_deref(), kind) {
        (Some("LATEST"), SourceKind::DynamoDbStreams) => {
            (Position::TrimHorizon, Some(row.created.floor_to_second()))
        }
        (Some("LATEST"), _) => (Position::AtTimestamp(row.created), None),
        (Some("AT_TIMESTAMP"), _) => {
            let moment = spec.starting_position_timestamp.and_then(moment);
            (
                moment.map_or(Position::TrimHorizon, Position::AtTimestamp),
                None,
            )
        }
        _ => (Position::TrimHorizon, None),
    };
    StreamSettings {
        starting_position,
        skip_before,
        batch_size: size(spec.batch_size, 100),
        maximum_batching_window: seconds(spec.maximum_batching_window_in_seconds),
    }
}

fn size(given: Option<i64>, default: usize) -> usize {
    given
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(default)
}

fn seconds(given: Option<i64>) -> Duration {
    Duration::from_secs(
        given
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or(0),
    )
}

/// A moment given in seconds since the epoch, to the millisecond; `None` if it is before it or
/// further than a clock goes.
fn moment(seconds: f64) -> Option<Timestamp> {
    let since_epoch = Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(since_epoch.as_millis())
        .ok()
        .map(Timestamp::from_millis)
}

impl Violation {
    fn invalid(message: &str) -> Self {
        Self {
            code: Code::InvalidParameterValue,
            message: message.to_owned(),
        }
    }

    /// A member that is not for this source, or that windlass does not support for it.
    fn unsupported(member: &str) -> Self {
        Self::invalid(&format!(
            "Unsupported {member} parameter for given event source mapping type."
        ))
    }
}

impl Code {
    /// AWS's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "ValidationException",
            Self::Serialization => "SerializationException",
            Self::InvalidParameterValue => "InvalidParameterValueException",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests;
