//! Status of the mappings: what each shard and queue is doing, and what holds it back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use windlass_core::ids::ShardId;
use windlass_core::lease::{Lease, Unit};
use windlass_core::lease_rows::BlockedShard;
use windlass_core::mapping::{MappingId, MappingRow};
use windlass_core::outcome::Fault;
use windlass_core::parks::Parks;
use windlass_core::queue;
use windlass_core::shard;
use windlass_core::time::Timestamp;
use windlass_engine::clock::Clock;
use windlass_engine::ports::{MappingFilter, PortError, UnreadableMapping};
use windlass_engine::requests::{QueueOperation, QueueRequests};
use windlass_engine::status::{
    MappingStatus, UnitStatus, UnitView, describe_blocked, describe_gap, describe_lag,
    describe_parked, last_processing_result, waiting_for,
};

use crate::api::PathName;
use crate::errors::ApiError;
use crate::pagination::MAX_PAGE_SIZE;
use crate::problems::{ConfigProblem, MappingProblems};
use crate::report::{
    CheckpointReport, CountsReport, FunctionReport, FunctionsReport, MappingReport, MappingsReport,
    ParkReport, QueueReport, ShardReport, rfc3339,
};
use crate::state::ServerState;
use crate::v1::{Query, Refusal};

/// In milliseconds: a smaller difference is not shown, since it is not known more exactly.
const MAX_SILENT_DIFFERENCE: u64 = 1_000;

/// `GET /windlass/v1/mappings`: every mapping, without its shards, by UUID; with `max_items` or `marker`
/// a page of them.
pub(crate) async fn list(
    State(state): State<Arc<ServerState>>,
    query: Query,
) -> Result<Response, Refusal> {
    let query = query.with(&["max_items", "marker"])?;
    let size = query.page_size("max_items", MAX_PAGE_SIZE)?;
    let mut after = query.mapping_marker("marker")?;
    if size.is_some() || after.is_some() {
        let size = size.unwrap_or(MAX_PAGE_SIZE);
        let (mappings, next) = page(&state, after.as_ref(), size).await?;
        let next_marker = next.map(|id| id.to_string());
        return Ok(Json(MappingsReport {
            mappings,
            next_marker,
        })
        .into_response());
    }
    let mut all = Vec::new();
    loop {
        let (mappings, next) = page(&state, after.as_ref(), MAX_PAGE_SIZE).await?;
        all.extend(mappings);
        after = next;
        if after.is_none() {
            return Ok(Json(all).into_response());
        }
    }
}

/// The mappings after one of this id, and the id of the last of them if there are more.
async fn page(
    state: &ServerState,
    after: Option<&MappingId>,
    size: usize,
) -> Result<(Vec<MappingReport>, Option<MappingId>), PortError> {
    let store = state.control.store();
    let (every, limit) = (MappingFilter::default(), size + 1);
    let rows = store.mappings_after(after, &every, limit).await?;
    // Of the mappings without a row, those up to the last row belong to this page.
    let until = rows.last().filter(|_| rows.len() == limit);
    let until = until.map(|row| row.id.clone());
    let is_here = |id: &MappingId| {
        after.is_none_or(|after| after < id) && until.as_ref().is_none_or(|until| id <= until)
    };
    let (board, clock) = (state.control.board(), state.control.clock());
    let problems = state.control.problems();
    let mut config_problems = problems.all_config();
    let mut reports = BTreeMap::new();
    for row in rows {
        let mut report = summary(&row, &board.mapping(&row), problems, clock);
        let problem = config_problems.remove(&row.id);
        report.problem = report.problem.or_else(|| problem.map(|it| it.text));
        reports.insert(row.id, report);
    }
    for (id, mapping) in board.unreadable() {
        config_problems.remove(&id);
        if is_here(&id) {
            // The row itself may be readable, and one of the leases not.
            reports.insert(id.clone(), unreadable(&id, mapping));
        }
    }
    for (id, problem) in config_problems.iter().filter(|(id, _)| is_here(id)) {
        reports.insert(id.clone(), not_created(id, problem));
    }
    let next = reports.keys().nth(size - 1).cloned();
    let next = next.filter(|_| size < reports.len());
    let reports = reports.into_values().take(size);
    Ok((reports.collect(), next))
}

/// `GET /windlass/v1/mappings/{uuid}`: one mapping, with its shards or its queue.
pub(crate) async fn get(
    State(state): State<Arc<ServerState>>,
    PathName(uuid): PathName,
) -> Result<Json<MappingReport>, ApiError> {
    let id = MappingId::new(&uuid.to_ascii_lowercase());
    if let Some(mapping) = state.control.board().unreadable().remove(&id) {
        return Ok(Json(unreadable(&id, mapping)));
    }
    let problems = state.control.problems();
    let problem = problems.config(&id);
    let row = match (state.control.row(&uuid).await, &problem) {
        (Ok(row), _) => row,
        (Err(_), Some(problem)) => return Ok(Json(not_created(&id, problem))),
        (Err(error), None) => return Err(error),
    };
    let status = state.control.board().mapping(&row);
    let leases = state.control.store().leases_of(&id).await?;
    let parks = state.control.store().overrides(&id).await?.parks;
    let clock = state.control.clock();
    let mut report = summary(&row, &status, problems, clock);
    add_units(&mut report, &status, &leases, clock);
    add_parks(&mut report, &parks);
    report.problem = report.problem.or_else(|| problem.map(|it| it.text));
    Ok(Json(report))
}

/// `GET /windlass/v1/functions`: the functions that run in processes of this machine.
pub(crate) async fn functions(State(state): State<Arc<ServerState>>) -> Json<FunctionsReport> {
    let functions = state.control.board().functions().into_iter();
    let functions = functions.map(|(name, counts)| FunctionReport {
        name,
        processes: counts.processes,
        busy: counts.busy,
        starts: counts.starts,
        exits: counts.exits,
        last_start_at: counts.last_start.and_then(rfc3339),
        problem: counts.problem,
    });
    Json(FunctionsReport {
        functions: functions.collect(),
    })
}

/// A mapping of the configuration file that could not be written to the store yet.
fn not_created(id: &MappingId, problem: &ConfigProblem) -> MappingReport {
    without_row(
        id,
        "Creating",
        problem.source.as_str(),
        problem.function_arn.as_str(),
        problem.text.clone(),
    )
}

/// A mapping that another version of the daemon has written.
fn unreadable(id: &MappingId, mapping: UnreadableMapping) -> MappingReport {
    let problem = format!(
        "this version of windlass cannot read the mapping ({}); run the version that wrote it",
        mapping.reason
    );
    let (source_arn, function_arn) = (&mapping.source_arn, &mapping.function_arn);
    without_row(id, "Disabled", source_arn, function_arn, problem)
}

fn without_row(
    id: &MappingId,
    state: &str,
    source_arn: &str,
    function_arn: &str,
    problem: String,
) -> MappingReport {
    MappingReport {
        uuid: id.to_string(),
        event_source_arn: Some(source_arn.to_owned()),
        function_arn: function_arn.to_owned(),
        state: state.to_owned(),
        last_processing_result: "No records processed".to_owned(),
        problem: Some(problem),
        notice: None,
        counts: CountsReport::default(),
        events_per_second: 0.0,
        behind_ms: None,
        clock_difference_ms: None,
        parked: None,
        shards: None,
        queue: None,
    }
}

fn summary(
    row: &MappingRow,
    status: &MappingStatus,
    problems: &MappingProblems,
    clock: Clock,
) -> MappingReport {
    let counts = &status.counts;
    let unchecked = problems.unchecked(&row.id, counts.invoked.get());
    let notices: Vec<String> = status.notice.clone().into_iter().chain(unchecked).collect();
    MappingReport {
        uuid: row.id.as_str().to_owned(),
        event_source_arn: Some(row.source.as_str().to_owned()),
        function_arn: row.function_arn.as_str().to_owned(),
        state: status.state.to_owned(),
        last_processing_result: status.last_processing_result.clone().into_owned(),
        problem: status.problem.clone(),
        notice: (!notices.is_empty()).then(|| notices.join("; ")),
        counts: CountsReport {
            polled: counts.polled.get(),
            filtered_out: counts.filtered_out.get(),
            invoked: counts.invoked.get(),
            failed_invocations: counts.failed_invocations.get(),
            dropped: counts.dropped.get(),
            on_failure_delivered: counts.on_failure_delivered.get(),
            dead_letters: counts.dead_letters.get(),
            skipped: counts.skipped.get(),
            deleted: counts.deleted.get(),
            late_receives: counts.late_receives.get(),
            ignored_retry_after: counts.ignored_retry_after.get(),
            outside_hash_key_range: counts.outside_hash_key_range.get(),
        },
        events_per_second: counts.polled.per_second(),
        behind_ms: max_behind(status, source_time(status, clock)).map(millis),
        clock_difference_ms: status
            .clock_difference
            .filter(|millis| MAX_SILENT_DIFFERENCE < millis.unsigned_abs()),
        parked: None,
        shards: None,
        queue: None,
    }
}

/// Wall time by the clock of the mapping's source, as far as it is known.
fn source_time(status: &MappingStatus, clock: Clock) -> Timestamp {
    clock.wall().shifted(status.clock_difference.unwrap_or(0))
}

fn max_behind(status: &MappingStatus, wall: Timestamp) -> Option<Duration> {
    let shards = status.units.values().filter_map(|unit| match &unit.view {
        UnitView::Shard(view) => view.behind_at(wall),
        UnitView::Starting { .. } | UnitView::Queue(_) => None,
    });
    shards.max()
}

/// Adds every lease of the mapping, whether or not its consumer runs on this daemon.
fn add_units(report: &mut MappingReport, status: &MappingStatus, leases: &[Lease], clock: Clock) {
    let mut shards = Vec::new();
    for lease in leases {
        let unit = status.units.get(&lease.key.unit);
        match &lease.key.unit {
            Unit::Shard(shard) => {
                let source_time = source_time(status, clock);
                shards.push(shard_report(shard, lease, unit, clock, source_time));
            }
            Unit::QueueSlot(_) => {
                let requests = &status.counts.requests;
                report.queue = Some(queue_report(lease, unit, requests, clock));
            }
        }
    }
    if report.queue.is_none() {
        let blocked = status.blocked.iter();
        let blocked = blocked.filter(|(shard, _)| {
            let has_row = |lease: &Lease| lease.key.unit == Unit::Shard((*shard).clone());
            !leases.iter().any(has_row)
        });
        shards.extend(blocked.map(|(shard, blocked)| blocked_report(shard, blocked)));
        report.shards = Some(shards);
    }
}

/// A shard that has ended is not waiting for anything, parked or not.
fn add_parks(report: &mut MappingReport, parks: &Parks) {
    report.parked = parks.whole.as_ref().map(ParkReport::from);
    for shard in report.shards.iter_mut().flatten() {
        let park = parks.of(&ShardId::from(shard.shard_id.as_str()));
        if let Some(park) = park.filter(|_| shard.checkpoint != CheckpointReport::ShardEnd) {
            shard.parked = Some(ParkReport::from(park));
            shard.waiting_for = Some(describe_parked(park));
        }
    }
}

/// A shard that has no lease yet.
fn blocked_report(shard: &ShardId, blocked: &BlockedShard) -> ShardReport {
    ShardReport {
        shard_id: shard.to_string(),
        daemon: None,
        checkpoint: CheckpointReport::from(&blocked.start),
        behind_ms: None,
        buffered_records: 0,
        in_flight_records: 0,
        attempt: 1,
        last_result: last_processing_result(None).to_owned(),
        waiting_for: Some(describe_blocked(blocked)),
        next_at: None,
        gap: None,
        parked: None,
    }
}

fn shard_report(
    shard: &ShardId,
    lease: &Lease,
    unit: Option<&UnitStatus>,
    clock: Clock,
    source_time: Timestamp,
) -> ShardReport {
    let running = match unit.map(|unit| &unit.view) {
        Some(UnitView::Shard(view)) => Some(view),
        _ => None,
    };
    let outcome = running.and_then(|view| view.last_outcome);
    let checkpoint = running.map_or(&lease.checkpoint.position, |view| &view.checkpoint);
    ShardReport {
        shard_id: shard.to_string(),
        daemon: owner(lease),
        checkpoint: CheckpointReport::from(checkpoint),
        behind_ms: running
            .and_then(|view| view.behind_at(source_time))
            .map(millis),
        buffered_records: running.map_or(0, |view| view.buffered_records),
        in_flight_records: running.map_or(0, |view| view.in_flight_records),
        attempt: running.map_or(1, |view| view.attempt),
        last_result: last_processing_result(outcome).to_owned(),
        waiting_for: unit.and_then(|unit| {
            let waiting = waiting_for_with_remedy(unit, clock.now());
            waiting.or_else(|| describe_lag(unit, source_time))
        }),
        next_at: running
            .and_then(|view| view.next_at)
            .and_then(|at| rfc3339(clock.to_wall(at))),
        gap: running.and_then(|view| view.gap.as_ref().map(describe_gap)),
        parked: None,
    }
}

fn queue_report(
    lease: &Lease,
    unit: Option<&UnitStatus>,
    requests: &QueueRequests,
    clock: Clock,
) -> QueueReport {
    let running = match unit.map(|unit| &unit.view) {
        Some(UnitView::Queue(view)) => Some(view),
        _ => None,
    };
    let outcome = running.and_then(|view| view.last_outcome);
    QueueReport {
        daemon: owner(lease),
        received: running.map_or(0, |view| view.received),
        held_messages: running.map_or(0, |view| view.buffered_messages),
        in_flight_messages: running.map_or(0, |view| view.in_flight_messages),
        concurrency: running.map_or(0, |view| view.concurrency),
        reduced_concurrency: running.and_then(|view| view.reduced_concurrency),
        pollers: running.map_or(0, |view| view.pollers),
        requests_per_minute: QueueOperation::ALL
            .map(|operation| {
                let tenths = (requests.per_minute(operation) * 10.0).round();
                (operation.name().to_owned(), tenths / 10.0)
            })
            .into(),
        last_result: last_processing_result(outcome).to_owned(),
        waiting_for: unit.and_then(|unit| waiting_for_with_remedy(unit, clock.now())),
        next_at: running
            .and_then(|view| view.next_at)
            .and_then(|at| rfc3339(clock.to_wall(at))),
    }
}

/// What holds a consumer back, and where an operator finds more. Of calls to the source, the words
/// have the cause.
pub(crate) fn waiting_for_with_remedy(unit: &UnitStatus, now: Timestamp) -> Option<String> {
    let words = waiting_for(unit, now)?;
    let fault = match &unit.view {
        UnitView::Shard(view) => match view.waiting {
            Some(shard::Waiting::NotInvoked(fault) | shard::Waiting::Store(fault)) => Some(fault),
            Some(shard::Waiting::FinalInvocation { cause, .. }) => cause,
            Some(
                shard::Waiting::FunctionErrors { .. }
                | shard::Waiting::Delivery(_)
                | shard::Waiting::Source(_)
                | shard::Waiting::Unreadable(_),
            )
            | None => None,
        },
        UnitView::Queue(view) => match view.waiting {
            Some(queue::Waiting::NotInvoked(fault)) => Some(fault),
            Some(
                queue::Waiting::Source(_)
                | queue::Waiting::Deleting(_)
                | queue::Waiting::Extending(_),
            )
            | None => None,
        },
        UnitView::Starting { .. } => None,
    };
    Some(match fault {
        Some(Fault::Denied) => format!(
            "{words}; allow it to the daemon's credentials (the daemon's log has the refusal in full)"
        ),
        Some(Fault::Transient | Fault::TimedOut) => {
            format!("{words}; the daemon's log has the cause")
        }
        Some(Fault::Throttled { .. } | Fault::Gone | Fault::Trimmed | Fault::UnknownPosition)
        | None => words,
    })
}

fn owner(lease: &Lease) -> Option<String> {
    lease.owner.as_ref().map(ToString::to_string)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
