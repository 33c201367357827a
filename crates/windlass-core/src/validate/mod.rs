//! What may be asked of a mapping: every rule about its parameters, in AWS's words.
//!
//! A [`MappingSpec`] can hold anything that a user may write. [`create`] and [`update`] say
//! everything that is wrong with it at once, in the order in which AWS looks; [`mapping`] makes what
//! the machines run from a stored row. There is no other way to a [`Mapping`], so what runs has
//! always passed the rules of this version, even if a store was written by another.
//!
//! Two layers, as in AWS: *constraints* (lengths, ranges, patterns; `ValidationException`) come
//! first and know nothing of the source; *rules* (`InvalidParameterValueException`) depend on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::arn::{SourceArn, SourceKind, StreamKind};
use crate::function::FunctionName;
use crate::mapping::{
    Mapping, MappingRow, QueueSettings, QueueSource, Source, StreamSettings, StreamSource,
};
use crate::position::Position;
use crate::spec::MappingSpec;
use crate::time::Timestamp;

mod constraints;
mod filters;
mod rules;

/// The batch size of a stream for which none is given.
pub const DEFAULT_STREAM_BATCH_SIZE: i64 = 100;

/// The batch size of a queue for which none is given.
pub const DEFAULT_QUEUE_BATCH_SIZE: i64 = 10;

/// One thing that is wrong with a mapping's parameters.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct Violation {
    /// AWS's name for this kind of error.
    pub code: ErrorCode,
    /// The member it is about, as AWS spells it: `BatchSize`.
    pub member: String,
    /// AWS's text.
    pub message: String,
    /// What AWS keeps to itself: the place within the member, and the reason.
    pub detail: Option<String>,
}

/// The names under which AWS refuses parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorCode {
    /// A constraint of the API's model is not satisfied.
    ValidationException,
    /// The value is none for this source, or this source does not have the parameter.
    InvalidParameterValueException,
}

/// Parameters in which nothing is wrong, as far as can be told without asking anybody.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The parameters as they are stored: those that equal their default are left out, and so is
    /// `Enabled`, which a stored mapping has as its desired state.
    pub spec: MappingSpec,
    /// `Enabled`, if it was given.
    pub enabled: Option<bool>,
    /// The stream or queue.
    pub source: SourceArn,
    /// The function, not yet looked up.
    pub function: FunctionName,
}

/// Checks the parameters of a mapping that is to be created.
///
/// # Errors
/// Everything that is wrong, in the order in which AWS would find it.
pub fn create(spec: &MappingSpec, now: Timestamp) -> Result<Checked, Vec<Violation>> {
    examine(spec, None, Some(now))
}

/// Checks a change of a mapping: `change` holds what is to be different, all else stays as it is
/// in `current`.
///
/// # Errors
/// Everything that is wrong with the change, or with what it would make of the mapping.
pub fn update(current: &MappingRow, change: &MappingSpec) -> Result<Checked, Vec<Violation>> {
    let mut violations = rules::unchangeable(change);
    match examine(&merge(&current.spec, change), Some(&current.source), None) {
        Ok(checked) if violations.is_empty() => return Ok(checked),
        Ok(_) => {}
        Err(more) => violations.extend(more),
    }
    violations.sort_by_key(|violation| violation.code);
    Err(violations)
}

/// What a stored mapping means to the machines.
///
/// # Errors
/// Everything that is wrong with the stored parameters. It cannot happen to what [`create`] and
/// [`update`] have passed, except in a store that another version has written.
pub fn mapping(row: &MappingRow) -> Result<Mapping, Vec<Violation>> {
    let Checked { spec, source, .. } = examine(&row.spec, Some(&row.source), None)?;
    let kind = source.kind();
    let filter = filters::compile(&spec, kind)?.map(Arc::new);
    let source = match kind {
        SourceKind::Stream(kind) => Source::Stream(StreamSource {
            kind,
            settings: stream_settings(&spec, kind, row.created),
            arn: source.arn().clone(),
        }),
        SourceKind::Queue => Source::Queue(QueueSource {
            settings: QueueSettings {
                fifo: source.is_fifo_queue(),
                batch_size: batch_size(&spec, kind),
                maximum_batching_window: window(&spec),
            },
            arn: source.arn().clone(),
        }),
    };
    Ok(Mapping {
        id: row.id.clone(),
        revision: row.revision,
        source,
        function: row.function_arn.clone(),
        filter,
        desired: row.desired,
    })
}

/// Checks what a list of mappings is narrowed by: `MaxItems` too, which is a number in a text.
///
/// # Errors
/// Everything that is wrong with them.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_ListEventSourceMappings.html>
pub fn list(
    event_source_arn: Option<&str>,
    function_name: Option<&str>,
    max_items: Option<&str>,
) -> Result<(), Vec<Violation>> {
    none_of(constraints::of_list(
        event_source_arn,
        function_name,
        max_items,
    ))
}

/// Checks the text that stands for a mapping's `UUID` in a path: it has 36 characters.
///
/// # Errors
/// The text is shorter or longer.
pub fn uuid(text: &str) -> Result<(), Vec<Violation>> {
    none_of(constraints::of_uuid(text))
}

fn none_of(violations: Vec<Violation>) -> Result<(), Vec<Violation>> {
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations)
    }
}

/// The batch size that applies where none is given.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
pub const fn default_batch_size(kind: SourceKind) -> i64 {
    match kind {
        SourceKind::Stream(_) => DEFAULT_STREAM_BATCH_SIZE,
        SourceKind::Queue => DEFAULT_QUEUE_BATCH_SIZE,
    }
}

/// `known` is the source of a mapping that exists; `now` is what the starting position of a new one
/// is compared with.
fn examine(
    spec: &MappingSpec,
    known: Option<&SourceArn>,
    now: Option<Timestamp>,
) -> Result<Checked, Vec<Violation>> {
    let mut violations = constraints::violations(spec);
    let given = spec.event_source_arn.as_deref();
    let source = known.cloned().or_else(|| given.and_then(SourceArn::parse));
    let function = spec.function_name.as_deref().and_then(FunctionName::parse);
    violations.extend(rules::violations(spec, source.as_ref(), now));
    match (source, function) {
        (Some(source), Some(function)) if violations.is_empty() => Ok(Checked {
            spec: without_defaults(spec, source.kind()),
            enabled: spec.enabled,
            source,
            function,
        }),
        _ => {
            assert!(!violations.is_empty(), "what cannot be read is a violation");
            Err(violations)
        }
    }
}

fn merge(current: &MappingSpec, change: &MappingSpec) -> MappingSpec {
    let change = change.clone();
    let mut merged = current.clone();
    fn take<T>(to: &mut Option<T>, from: Option<T>) {
        if from.is_some() {
            *to = from;
        }
    }
    take(&mut merged.function_name, change.function_name);
    take(&mut merged.enabled, change.enabled);
    take(&mut merged.batch_size, change.batch_size);
    take(
        &mut merged.maximum_batching_window_in_seconds,
        change.maximum_batching_window_in_seconds,
    );
    take(
        &mut merged.parallelization_factor,
        change.parallelization_factor,
    );
    take(
        &mut merged.maximum_retry_attempts,
        change.maximum_retry_attempts,
    );
    take(
        &mut merged.maximum_record_age_in_seconds,
        change.maximum_record_age_in_seconds,
    );
    take(
        &mut merged.bisect_batch_on_function_error,
        change.bisect_batch_on_function_error,
    );
    take(
        &mut merged.tumbling_window_in_seconds,
        change.tumbling_window_in_seconds,
    );
    take(
        &mut merged.function_response_types,
        change.function_response_types,
    );
    take(&mut merged.filter_criteria, change.filter_criteria);
    take(&mut merged.destination_config, change.destination_config);
    take(&mut merged.metrics_config, change.metrics_config);
    merged.other.extend(change.other);
    merged
}

fn without_defaults(spec: &MappingSpec, kind: SourceKind) -> MappingSpec {
    fn drop_if<T: PartialEq>(value: &mut Option<T>, default: &T) {
        if value.as_ref() == Some(default) {
            *value = None;
        }
    }
    let mut spec = spec.clone();
    spec.enabled = None;
    drop_if(&mut spec.batch_size, &default_batch_size(kind));
    drop_if(&mut spec.maximum_batching_window_in_seconds, &0);
    drop_if(&mut spec.parallelization_factor, &1);
    drop_if(&mut spec.maximum_retry_attempts, &-1);
    drop_if(&mut spec.maximum_record_age_in_seconds, &-1);
    drop_if(&mut spec.bisect_batch_on_function_error, &false);
    drop_if(&mut spec.tumbling_window_in_seconds, &0);
    drop_if(&mut spec.function_response_types, &Vec::new());
    spec.filter_criteria = spec
        .filter_criteria
        .filter(|criteria| criteria.filters.as_ref().is_some_and(|all| !all.is_empty()));
    spec.destination_config = spec
        .destination_config
        .filter(|config| config.on_failure().is_some());
    spec.metrics_config = spec
        .metrics_config
        .filter(|config| config.metrics.as_ref().is_some_and(|all| !all.is_empty()));
    spec.other.clear();
    spec
}

/// A starting position of `LATEST` is the moment of creation. DynamoDB has no iterator by time:
/// there the stream is read from its start and older records are passed over, and since DynamoDB
/// tells arrival in whole seconds, so is the moment.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
fn stream_settings(spec: &MappingSpec, kind: StreamKind, created: Timestamp) -> StreamSettings {
    let latest = spec.starting_position.as_deref() == Some("LATEST");
    let (starting_position, skip_before) = match spec.starting_position_timestamp {
        Some(seconds) => (Position::AtTimestamp(rules::from_seconds(seconds)), None),
        None if latest && kind == StreamKind::DynamoDbStreams => {
            (Position::TrimHorizon, Some(created.floor_to_second()))
        }
        None if latest => (Position::AtTimestamp(created), None),
        None => (Position::TrimHorizon, None),
    };
    StreamSettings {
        starting_position,
        skip_before,
        batch_size: batch_size(spec, SourceKind::Stream(kind)),
        maximum_batching_window: window(spec),
    }
}

fn batch_size(spec: &MappingSpec, kind: SourceKind) -> usize {
    let size = spec.batch_size.unwrap_or(default_batch_size(kind));
    usize::try_from(size).expect("the range of BatchSize was checked")
}

fn window(spec: &MappingSpec) -> Duration {
    let seconds = spec.maximum_batching_window_in_seconds.unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).expect("the range of the window was checked"))
}

impl Violation {
    /// The member, and everything that is known to be wrong with it: for whoever wrote it.
    pub fn in_words(&self) -> String {
        let Self {
            member, message, ..
        } = self;
        match &self.detail {
            Some(detail) => format!("{member}: {message} {detail}"),
            None => format!("{member}: {message}"),
        }
    }
}

impl ErrorCode {
    /// AWS's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ValidationException => "ValidationException",
            Self::InvalidParameterValueException => "InvalidParameterValueException",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
