//! What a request asks for that starts a replay, or a dry run of one: checked in the words of the
//! request.

use std::num::NonZeroU32;

use serde_json::{Value, json};
use uuid::Uuid;
use windlass_core::arn::{Arn, SourceArn, SourceKind, StreamKind};
use windlass_core::function::FunctionName;
use windlass_core::ids::ShardId;
use windlass_core::mapping::{MappingRow, Revision, until_now};
use windlass_core::outcome::{Fault, Swap};
use windlass_core::place::Place;
use windlass_core::replay::{ReplayName, ReplayRow, ReplayState, replay_id};
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_core::validate::{self, Violation};
use windlass_engine::ports::{FunctionLookup, HistoryLine, PortError, What, chain};

use crate::auth::Caller;
use crate::control::Control;
use crate::history;
use crate::v1::{JsonBody, Members, Refusal, mapping_of_body};

const MEMBERS: [&str; 13] = [
    "name",
    "event_source_arn",
    "function_name",
    "mapping",
    "from",
    "to",
    "shards",
    "rate",
    "batch_size",
    "parallelization_factor",
    "filters",
    "maximum_retry_attempts",
    "dry_run",
];

/// Of a dry run that has none. Nothing shows it.
const NO_NAME: &str = "dry-run";

/// Members that are parameters of a mapping, by the names of those.
const PARAMETERS: [(&str, &str); 6] = [
    ("EventSourceArn", "event_source_arn"),
    ("FunctionName", "function_name"),
    ("BatchSize", "batch_size"),
    ("ParallelizationFactor", "parallelization_factor"),
    ("FilterCriteria", "filters"),
    ("MaximumRetryAttempts", "maximum_retry_attempts"),
];

/// Of a mapping, but not of a replay: it is made for old records, and has a stretch of its own.
const NOT_TAKEN: [&str; 3] = [
    "MaximumRecordAgeInSeconds",
    "StartingPosition",
    "StartingPositionTimestamp",
];

/// What a request asks for, but for its function.
struct Request {
    name: ReplayName,
    is_dry_run: bool,
    mapping: Option<MappingRow>,
    source: SourceArn,
    spec: MappingSpec,
    function: FunctionName,
    /// Whether the request names the function, or its mapping does.
    names_function: bool,
    from: Place,
    to: Place,
    shards: Vec<ShardId>,
    rate: Option<NonZeroU32>,
}

/// A replay that can be started.
pub(super) struct Requested {
    pub(super) row: ReplayRow,
    pub(super) is_dry_run: bool,
}

/// Checks a request.
pub(super) async fn read(control: &Control, body: JsonBody) -> Result<Requested, Refusal> {
    let now = control.clock().wall();
    let request = read_members(control, body, now).await?;
    let function_arn = match &request.mapping {
        Some(mapping) if !request.names_function => mapping.function_arn.clone(),
        Some(_) | None => function_arn(control, &request.function).await?,
    };
    let (stream, answered) = check_source(control, &request).await?;
    let source_now = until_now(answered, now);
    check_shards(control, &request, &stream).await?;
    let is_dry_run = request.is_dry_run;
    let row = ReplayRow {
        id: replay_id(&Uuid::new_v4().to_string()),
        name: request.name,
        revision: Revision(1),
        settings_revision: Revision(1),
        spec: request.spec,
        source: request.source,
        function_arn,
        mapping: request.mapping.map(|mapping| mapping.id),
        from: request.from.fixed(source_now),
        to: request.to.fixed(source_now),
        shards: request.shards,
        rate: request.rate,
        state: ReplayState::Running,
        reason: None,
        created: now,
        ended: None,
        resumed: now,
        resumed_fraction: 0.0,
    };
    Ok(Requested { row, is_dry_run })
}

/// Starts a replay.
pub(super) async fn start(
    control: &Control,
    caller: &Caller,
    row: &ReplayRow,
) -> Result<(), Refusal> {
    let mapping = row.mapping.as_ref();
    let line = HistoryLine {
        after: started(row),
        ..history::line(row.created, &caller.name, What::ReplayStart, mapping)
    };
    if control.store().put_replay(row, None, Some(&line)).await? == Swap::Conflict {
        let text = format!(
            "there is a replay '{}' already; choose another name, or delete it",
            row.name
        );
        return Err(Refusal::conflict(text).of_field("name"));
    }
    let (replay, id) = (row.name.as_str(), &row.id);
    tracing::info!(replay, %id, "replay started");
    control.wake();
    Ok(())
}

/// What the history says of a replay that was started.
fn started(row: &ReplayRow) -> Value {
    json!({
        "name": row.name.as_str(),
        "event_source_arn": row.source.as_str(),
        "function_arn": row.function_arn.as_str(),
        "from": row.from.to_json(),
        "to": row.to.to_json(),
        "shards": row.shards.iter().map(ShardId::as_str).collect::<Vec<_>>(),
        "rate": row.rate,
    })
}

async fn read_members(
    control: &Control,
    body: JsonBody,
    now: Timestamp,
) -> Result<Request, Refusal> {
    let mut body = body.with(&MEMBERS)?;
    let is_dry_run = body.flag("dry_run")?;
    let name = match is_dry_run {
        true => body.optional("name")?.unwrap_or_else(|| NO_NAME.to_owned()),
        false => body.required::<String>("name")?,
    };
    let name = ReplayName::parse(&name).ok_or_else(|| {
        let text = format!("'{name}': a name has 1 to 128 letters, digits, '.', '_' and '-'");
        Refusal::invalid("name", text)
    })?;
    let mapping = match body.optional::<String>("mapping")? {
        Some(uuid) => Some(mapping_of_body(control, "mapping", &uuid).await?),
        None => None,
    };
    let function_name = body.optional::<String>("function_name")?;
    let names_function = function_name.is_some();
    let spec = spec(&mut body, mapping.as_ref(), function_name)?;
    let source = spec.event_source_arn().and_then(SourceArn::parse);
    if source.is_some_and(|source| source.kind() == SourceKind::Queue) {
        let member = match mapping {
            Some(_) => "mapping",
            None => "event_source_arn",
        };
        let text = "a queue keeps no records that could be replayed; 'windlass redrive' sends what is in \
                    its dead-letter queue";
        return Err(Refusal::invalid(member, text));
    }
    let checked = validate::create(&spec, now).map_err(|all| refusal_of(&all))?;
    let shards = shards(&mut body)?;
    let rate = rate_of(body.optional("rate")?)?;
    let from = body.place("from")?.unwrap_or(Place::TrimHorizon);
    let to = body.place("to")?.unwrap_or(Place::Now);
    check_stretch(&from, &to, &shards, checked.source.kind(), now)?;
    Ok(Request {
        name,
        is_dry_run,
        mapping,
        source: checked.source,
        spec: checked.spec,
        function: checked.function,
        names_function,
        from,
        to,
        shards,
        rate,
    })
}

/// The parameters of the mapping that runs the replay.
fn spec(
    body: &mut Members,
    mapping: Option<&MappingRow>,
    function_name: Option<String>,
) -> Result<MappingSpec, Refusal> {
    let source = body.optional::<String>("event_source_arn")?;
    let mut spec = match mapping {
        Some(mapping) => mapping.spec.clone(),
        None => {
            for (member, is_given) in [
                ("event_source_arn", source.is_some()),
                ("function_name", function_name.is_some()),
            ] {
                if !is_given {
                    let text = "expected a mapping, or event_source_arn and function_name";
                    return Err(Refusal::invalid(member, text));
                }
            }
            MappingSpec::default()
        }
    };
    for parameter in NOT_TAKEN {
        spec.remove(parameter);
    }
    spec.set("StartingPosition", "TRIM_HORIZON");
    if let Some(source) = source {
        spec.set("EventSourceArn", source);
    }
    if let Some(function) = function_name {
        spec.set("FunctionName", function);
    }
    for (parameter, member) in [
        ("BatchSize", "batch_size"),
        ("ParallelizationFactor", "parallelization_factor"),
        ("MaximumRetryAttempts", "maximum_retry_attempts"),
    ] {
        if let Some(value) = body.optional::<i64>(member)? {
            spec.set(parameter, value);
        }
    }
    if let Some(patterns) = body.optional::<Vec<String>>("filters")? {
        let filters = patterns.iter().map(|pattern| json!({"Pattern": pattern}));
        spec.set(
            "FilterCriteria",
            json!({"Filters": filters.collect::<Vec<_>>()}),
        );
    }
    Ok(spec)
}

fn shards(body: &mut Members) -> Result<Vec<ShardId>, Refusal> {
    let shards = body.optional::<Vec<String>>("shards")?.unwrap_or_default();
    let mut ids: Vec<ShardId> = Vec::with_capacity(shards.len());
    for shard in shards {
        let id = ShardId::from(shard.as_str());
        if shard.is_empty() || ids.contains(&id) {
            let text = format!("'{shard}' is empty or given twice");
            return Err(Refusal::invalid("shards", text));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Refuses a stretch that has no records whatever the stream has.
fn check_stretch(
    from: &Place,
    to: &Place,
    shards: &[ShardId],
    kind: SourceKind,
    now: Timestamp,
) -> Result<(), Refusal> {
    to.end(now).map_err(|error| Refusal::place("to", &error))?;
    for (member, place) in [("from", from), ("to", to)] {
        if place.sequence_number().is_some() && shards.len() != 1 {
            let text = format!(
                "'{member}' is a sequence number, which belongs to one shard: expected exactly one, \
                 not {}",
                shards.len()
            );
            return Err(Refusal::invalid("shards", text));
        }
    }
    let time = |place: &Place| match place {
        Place::AtTimestamp(time) => Some(*time),
        Place::Now => Some(now),
        Place::TrimHorizon | Place::AtSequenceNumber(_) | Place::AfterSequenceNumber(_) => None,
    };
    // Of a table, the start is rounded down, and all records of its second belong to the stretch.
    let is_table = kind == SourceKind::Stream(StreamKind::DynamoDbStreams);
    let start = time(from).map(|time| match is_table {
        true => time.floor_to_second(),
        false => time,
    });
    let is_empty = match (start, time(to)) {
        (Some(from), Some(to)) => to <= from,
        _ => match (from, to) {
            (Place::AtSequenceNumber(from), Place::AtSequenceNumber(to)) => to.is_lower_than(from),
            (Place::AfterSequenceNumber(from), Place::AtSequenceNumber(to)) => {
                !from.is_lower_than(to)
            }
            _ => false,
        },
    };
    if is_empty {
        let (from, to) = (from.clone().fixed(now), to.clone().fixed(now));
        let text = format!("the stretch has no records: it ends at {to}, not after {from}");
        return Err(Refusal::invalid("from", text));
    }
    Ok(())
}

/// A rate as a request has it; `None` means without a limit.
pub(super) fn rate_of(rate: Option<u32>) -> Result<Option<NonZeroU32>, Refusal> {
    let Some(rate) = rate else { return Ok(None) };
    let rate = NonZeroU32::new(rate);
    let text = "expected at least 1 record a second, or null for no limit";
    rate.map(Some).ok_or_else(|| Refusal::invalid("rate", text))
}

/// The first violation, in the words of the request.
pub(super) fn refusal_of(violations: &[Violation]) -> Refusal {
    let Some(violation) = violations.first() else {
        return Refusal::malformed("the settings of the replay are not valid");
    };
    let text = violation.constraint_text();
    let text = text.map_or_else(|| violation.message.clone(), ToOwned::to_owned);
    let text = match &violation.detail {
        Some(detail) => format!("{text} {detail}"),
        None => text,
    };
    let known = PARAMETERS.iter().find(|(parameter, _)| {
        let rest = violation.member.strip_prefix(parameter);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    match known {
        Some((_, member)) => Refusal::invalid(*member, text),
        None => Refusal::invalid("mapping", format!("{}: {text}", violation.member)),
    }
}

async fn function_arn(control: &Control, name: &FunctionName) -> Result<Arn, Refusal> {
    match control.lookup().function(name).await? {
        FunctionLookup::Found(arn) => Ok(arn),
        FunctionLookup::Unchecked { arn, reason } => {
            tracing::warn!(function = %arn, reason, "the function could not be checked");
            Ok(arn)
        }
        FunctionLookup::Missing => {
            let text = format!(
                "there is no function '{}': it is neither under 'functions' in the daemon's \
                 configuration nor in AWS Lambda",
                name.name
            );
            Err(Refusal::invalid("function_name", text))
        }
    }
}

/// The stream itself is read, whatever consumer the mapping has.
/// The stream of a request, and when it has answered by its own clock.
async fn check_source(
    control: &Control,
    request: &Request,
) -> Result<(SourceArn, Option<Timestamp>), Refusal> {
    let arn = request.source.arn();
    let stream = arn.stream_of_consumer();
    let stream = stream.and_then(|stream| SourceArn::parse(stream.as_str()));
    let stream = stream.unwrap_or_else(|| request.source.clone());
    match control.lookup().source(&stream).await {
        Ok(answered) => Ok((stream, answered)),
        Err(error) => Err(refusal_of_source(request.mapping.is_some(), &stream, error)),
    }
}

/// Refuses shards that are not of the stream, and numbers that are not of the only shard.
async fn check_shards(
    control: &Control,
    request: &Request,
    stream: &SourceArn,
) -> Result<(), Refusal> {
    if request.shards.is_empty() {
        return Ok(());
    }
    let shards = control.lookup().shards(stream).await;
    let of_mapping = request.mapping.is_some();
    let shards = shards.map_err(|error| refusal_of_source(of_mapping, stream, error))?;
    for id in &request.shards {
        let Some(shard) = shards.iter().find(|shard| shard.id == *id) else {
            let text = format!("the stream {stream} has no shard '{id}'");
            return Err(Refusal::invalid("shards", text));
        };
        for (member, place) in [("from", &request.from), ("to", &request.to)] {
            let Some(number) = place.sequence_number() else {
                continue;
            };
            let is_earlier = shard.starting_sequence_number.as_ref();
            let is_earlier = is_earlier.is_some_and(|start| number.is_lower_than(start));
            let is_later = shards.iter().any(|child| {
                let start = child.starting_sequence_number.as_ref();
                child.parents.contains(id) && start.is_some_and(|it| !number.is_lower_than(it))
            });
            if is_earlier || is_later || !control.lookup().is_of_shard(stream, id, number).await? {
                let field = format!("{member}.sequence_number");
                let text = format!("the sequence number {number} is not of shard '{id}'");
                return Err(Refusal::invalid(field, text));
            }
        }
    }
    Ok(())
}

/// `of_mapping`: the request names the stream by a mapping.
pub(super) fn refusal_of_source(of_mapping: bool, stream: &SourceArn, error: PortError) -> Refusal {
    let member = match of_mapping {
        true => "mapping",
        false => "event_source_arn",
    };
    match error.fault {
        Fault::Gone => Refusal::invalid(member, format!("there is no stream {stream}")),
        Fault::Denied => {
            let text = format!("the stream {stream} cannot be read: {}", chain(&error));
            Refusal::invalid(member, text)
        }
        Fault::Throttled { .. }
        | Fault::Transient
        | Fault::TimedOut
        | Fault::Trimmed
        | Fault::UnknownPosition => error.into(),
    }
}
