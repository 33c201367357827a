//! What may be asked of a mapping: every rule about its parameters, in AWS's words.
//!
//! A [`MappingSpec`] can hold anything that a user may write. [`create`] and [`update`] say
//! everything that is wrong with it at once, in the order in which AWS looks; [`mapping`] makes what
//! the machines run from a stored row. There is no other way to a [`Mapping`], so what runs has
//! always passed the rules of this version, even if a store was written by another.
//!
//! Two layers, as in AWS: *constraints* (lengths, ranges, patterns; `ValidationException`) come
//! first and know nothing of the source; *rules* (`InvalidParameterValueException`) depend on it.

use std::sync::Arc;
use std::time::Duration;

use crate::arn::{SourceArn, SourceKind, StreamKind};
use crate::function::FunctionName;
use crate::mapping::{
    Mapping, MappingRow, QueueSettings, QueueSource, Source, StreamSettings, StreamSource,
};
use crate::parameters::{self, PARAMETERS};
use crate::position::Position;
use crate::spec::MappingSpec;
use crate::time::Timestamp;

mod constraints;
mod filters;
mod rules;
mod violation;

pub use violation::{ErrorCode, Violation};

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
                maximum_batching_window: batching_window(&spec, kind),
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
    none(constraints::list_query(
        event_source_arn,
        function_name,
        max_items,
    ))
}

/// Checks the `UUID` of a path: it has 36 characters.
///
/// # Errors
/// The text is shorter or longer.
pub fn uuid(text: &str) -> Result<(), Vec<Violation>> {
    none(constraints::uuid(text))
}

fn none(violations: Vec<Violation>) -> Result<(), Vec<Violation>> {
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations)
    }
}

/// `known` is the source of a mapping that exists; `now` is what the starting position of a new one
/// is compared with.
fn examine(
    spec: &MappingSpec,
    known: Option<&SourceArn>,
    now: Option<Timestamp>,
) -> Result<Checked, Vec<Violation>> {
    let mut violations = constraints::spec(spec);
    let source = match known {
        Some(source) => Some(source.clone()),
        None => spec.event_source_arn().and_then(SourceArn::parse),
    };
    rules::check(spec, source.as_ref(), now, &mut violations);
    let function = spec.function_name().and_then(FunctionName::parse);
    match (source, function) {
        (Some(source), Some(function)) if violations.is_empty() => Ok(Checked {
            spec: without_defaults(spec, source.kind()),
            enabled: spec.enabled(),
            source,
            function,
        }),
        _ => {
            assert!(!violations.is_empty(), "what cannot be read is a violation");
            Err(violations)
        }
    }
}

/// Members that cannot change keep their values.
fn merge(current: &MappingSpec, change: &MappingSpec) -> MappingSpec {
    let mut merged = current.clone();
    for (name, value) in change.members() {
        if parameters::find(name).is_none_or(|parameter| parameter.is_updatable) {
            merged.set(name, value.clone());
        }
    }
    merged
}

fn without_defaults(spec: &MappingSpec, kind: SourceKind) -> MappingSpec {
    let mut stored = spec.clone();
    stored.remove("Enabled");
    for parameter in &PARAMETERS {
        let value = spec.get(parameter.name);
        if value.is_some_and(|value| parameter.is_default(value, kind)) {
            stored.remove(parameter.name);
        }
    }
    stored
}

/// A starting position of `LATEST` is the moment of creation. DynamoDB has no iterator by time:
/// there the stream is read from its start and older records are passed over, and since DynamoDB
/// tells arrival in whole seconds, so is the moment.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
fn stream_settings(spec: &MappingSpec, kind: StreamKind, created: Timestamp) -> StreamSettings {
    let latest = spec.starting_position() == Some("LATEST");
    let (starting_position, skip_before) = match spec.starting_position_timestamp() {
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
        maximum_batching_window: batching_window(spec, SourceKind::Stream(kind)),
    }
}

fn batch_size(spec: &MappingSpec, kind: SourceKind) -> usize {
    usize::try_from(spec.batch_size(kind)).expect("the range of BatchSize was checked")
}

fn batching_window(spec: &MappingSpec, kind: SourceKind) -> Duration {
    let seconds = u64::try_from(spec.maximum_batching_window_in_seconds(kind));
    Duration::from_secs(seconds.expect("the range of the window was checked"))
}

#[cfg(test)]
mod tests;
