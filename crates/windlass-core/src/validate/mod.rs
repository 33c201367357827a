//! Checks the parameters of mappings, with AWS's error texts.
//!
//! A [`MappingSpec`] can hold anything that a user may write. [`create`] and [`update`] report every
//! violation at once, in AWS's order of checks; [`mapping`] builds a [`Mapping`] from a stored row.
//! Nothing else builds one, so what runs has passed the rules of this version, even if another
//! version wrote the store.
//!
//! Two layers, as in AWS: *constraints* (lengths, ranges, patterns; `ValidationException`) come
//! first and know nothing of the source; *rules* (`InvalidParameterValueException`) depend on it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::arn::{SourceArn, SourceKind, StreamKind};
use crate::failure::DestinationArn;
use crate::function::FunctionName;
use crate::mapping::{
    Mapping, MappingRow, Pollers, QueueSettings, QueueSource, RetrySettings, Source,
    StreamSettings, StreamSource,
};
use crate::parameters::{self, PARAMETERS};
use crate::position::Position;
use crate::spec::MappingSpec;
use crate::tags::Tags;
use crate::time::Timestamp;

mod constraints;
mod filters;
mod rules;
mod tags;
mod violation;
mod windlass;

pub use tags::{TaggedResource, number_of_tags, tag_resource, tagged_resource, untag_resource};
pub use violation::{ErrorCode, Violation};

/// Parameters that passed every check that needs no I/O.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// As stored: without those that equal their default, with both members of
    /// `ProvisionedPollerConfig` if it has one, and without `Enabled`, which becomes the
    /// desired state of the row, and `Tags`, which are not part of it.
    pub spec: MappingSpec,
    /// `None` if it is not given.
    pub enabled: Option<bool>,
    /// `None` if they are not given; never of an update.
    pub tags: Option<Tags>,
    pub source: SourceArn,
    /// Not looked up yet.
    pub function: FunctionName,
}

/// Checks the parameters of a new mapping.
///
/// # Errors
/// Every violation, in AWS's order of checks.
pub fn create(spec: &MappingSpec, now: Timestamp) -> Result<Checked, Vec<Violation>> {
    check(spec, None, Some(now))
}

/// Checks an update: parameters that are not in `change` keep the values of `current`.
///
/// # Errors
/// Every violation, of the change alone and of the mapping after it.
pub fn update(current: &MappingRow, change: &MappingSpec) -> Result<Checked, Vec<Violation>> {
    let mut violations = rules::unchangeable(change);
    match check(&merge(&current.spec, change), Some(&current.source), None) {
        Ok(checked) if violations.is_empty() => return Ok(checked),
        Ok(_) => {}
        Err(more) => violations.extend(more),
    }
    violations.sort_by_key(|violation| violation.code);
    Err(violations)
}

/// Builds the mapping that consumers run from its stored row.
///
/// # Errors
/// Every violation in the stored parameters. [`create`] and [`update`] let none pass; a store that
/// another version wrote may have some.
pub fn mapping(row: &MappingRow) -> Result<Mapping, Vec<Violation>> {
    let Checked { spec, source, .. } = check(&row.spec, Some(&row.source), None)?;
    let kind = source.kind();
    let filter = filters::compile(&spec, kind)?.map(Arc::new);
    let source = match kind {
        SourceKind::Stream(kind) => {
            let (settings, arn) = (stream_settings(&spec, kind, row.created), source.arn());
            let stream = arn.stream_of_consumer();
            Source::Stream(StreamSource {
                kind,
                settings,
                consumer: stream.is_some().then(|| arn.clone()),
                takes_aggregates_apart: stream.is_some(),
                arn: stream.unwrap_or_else(|| arn.clone()),
            })
        }
        SourceKind::Queue => Source::Queue(QueueSource {
            maximum_concurrency: maximum_concurrency(&spec),
            retry_backoff: windlass::message_backoff(&spec),
            settings: QueueSettings {
                fifo: source.is_fifo_queue(),
                batch_size: batch_size(&spec, kind),
                maximum_batching_window: batching_window(&spec, kind),
                strict_order: spec.strict_order(),
                pollers: pollers(&spec),
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
        reports_item_failures: spec.reports_item_failures(),
        desired: row.desired,
    })
}

/// Checks the query of ListEventSourceMappings, where `MaxItems` is a number as text, and returns
/// the function to list.
///
/// # Errors
/// Every violation.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_ListEventSourceMappings.html>
pub fn list(
    event_source_arn: Option<&str>,
    function_name: Option<&str>,
    max_items: Option<&str>,
) -> Result<Option<FunctionName>, Vec<Violation>> {
    let mut found = constraints::list_query(event_source_arn, function_name, max_items);
    let function = function_name.map(|text| function(text, &mut found));
    if found.is_empty() {
        Ok(function.flatten())
    } else {
        Err(found)
    }
}

/// Checks the `UUID` of a path: it has 36 characters.
///
/// # Errors
/// The text is shorter or longer.
pub fn uuid(text: &str) -> Result<(), Vec<Violation>> {
    constraints::uuid(text).map_or(Ok(()), |violation| Err(vec![violation]))
}

/// `source` is that of an existing mapping. `now` is the limit for the starting position of a new
/// one.
fn check(
    spec: &MappingSpec,
    source: Option<&SourceArn>,
    now: Option<Timestamp>,
) -> Result<Checked, Vec<Violation>> {
    let mut violations = constraints::spec(spec);
    let source = match source {
        Some(source) => Some(source.clone()),
        None => spec.event_source_arn().and_then(SourceArn::parse),
    };
    rules::check(spec, source.as_ref(), now, &mut violations);
    let function = function(spec.function_name().unwrap_or_default(), &mut violations);
    match (source, function) {
        (Some(source), Some(function)) if violations.is_empty() => Ok(Checked {
            spec: stored(spec, source.kind()),
            enabled: spec.enabled(),
            tags: spec.tags(),
            source,
            function,
        }),
        (source, _) => {
            if source.is_none() && violations.is_empty() {
                violations.push(rules::unrecognized_source());
            }
            Err(violations)
        }
    }
}

/// Parses a function's name. If that fails, there is at least one violation afterwards.
fn function(text: &str, violations: &mut Vec<Violation>) -> Option<FunctionName> {
    let name = FunctionName::parse(text);
    if name.is_none() && violations.is_empty() {
        violations.push(constraints::malformed_function_name("FunctionName", text));
    }
    name
}

/// Parameters that an update cannot change keep their values.
fn merge(current: &MappingSpec, change: &MappingSpec) -> MappingSpec {
    let mut merged = current.clone();
    for (name, value) in change.members() {
        if parameters::find(name).is_none_or(|parameter| parameter.is_updatable) {
            merged.set(name, value.clone());
        }
    }
    merged
}

fn stored(spec: &MappingSpec, kind: SourceKind) -> MappingSpec {
    let mut stored = spec.clone();
    stored.remove("Enabled");
    stored.remove("Tags");
    for parameter in &PARAMETERS {
        let value = spec.get(parameter.name);
        if value.is_some_and(|value| parameter.is_default(value, kind)) {
            stored.remove(parameter.name);
        }
    }
    if let Some((minimum, maximum)) = spec.provisioned_pollers() {
        let config = json!({"MinimumPollers": minimum, "MaximumPollers": maximum});
        stored.set("ProvisionedPollerConfig", config);
    }
    stored
}

/// A starting position of `LATEST` means the time of creation by the clock of the source, see
/// [`crate::mapping::latest`]. DynamoDB has no iterator by time, so its stream is read from the trim
/// horizon and older records are skipped. It reports arrival in whole seconds, so the time is
/// rounded down to them.
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
    let recreated_position = match spec.starting_position_timestamp() {
        Some(_) => starting_position.clone(),
        None => Position::TrimHorizon,
    };
    let kind = SourceKind::Stream(kind);
    StreamSettings {
        starting_position,
        recreated_position,
        skip_before,
        batch_size: batch_size(spec, kind),
        maximum_batching_window: batching_window(spec, kind),
        parallelization_factor: usize::try_from(spec.parallelization_factor(kind))
            .expect("constraints limit ParallelizationFactor to 1 to 10"),
        tumbling_window: tumbling_window(spec, kind),
        on_failure: spec.on_failure().and_then(DestinationArn::parse),
        retries: retry_settings(spec, kind),
    }
}

fn tumbling_window(spec: &MappingSpec, kind: SourceKind) -> Option<Duration> {
    let seconds = u64::try_from(spec.tumbling_window_in_seconds(kind));
    let seconds = seconds.expect("constraints limit the window to 0 to 900");
    (0 < seconds).then(|| Duration::from_secs(seconds))
}

/// A limit of -1 means no limit.
fn retry_settings(spec: &MappingSpec, kind: SourceKind) -> RetrySettings {
    let seconds = u64::try_from(spec.maximum_record_age_in_seconds(kind));
    RetrySettings {
        age_from: None,
        maximum_attempts: u32::try_from(spec.maximum_retry_attempts(kind)).ok(),
        maximum_record_age: seconds.ok().map(Duration::from_secs),
        bisect_batch: spec.bisect_batch_on_function_error(),
        strict_order: spec.strict_order(),
    }
}

fn batch_size(spec: &MappingSpec, kind: SourceKind) -> usize {
    usize::try_from(spec.batch_size(kind)).expect("constraints limit BatchSize to 1 to 10,000")
}

fn maximum_concurrency(spec: &MappingSpec) -> Option<usize> {
    let limit = usize::try_from(spec.maximum_concurrency()?);
    Some(limit.expect("constraints limit MaximumConcurrency to 2 to 1,000"))
}

fn pollers(spec: &MappingSpec) -> Option<Pollers> {
    let (minimum, maximum) = spec.provisioned_pollers()?;
    let number =
        |pollers| usize::try_from(pollers).expect("constraints limit pollers to 2 to 10,000");
    Some(Pollers {
        minimum: number(minimum),
        maximum: number(maximum),
    })
}

fn batching_window(spec: &MappingSpec, kind: SourceKind) -> Duration {
    let seconds = u64::try_from(spec.maximum_batching_window_in_seconds(kind));
    Duration::from_secs(seconds.expect("constraints limit the window to 0 to 300"))
}

#[cfg(test)]
mod tests;
