//! windlass's own view of its mappings: what each shard and queue is doing, and what holds it back.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use windlass_core::lease::{Lease, Unit};
use windlass_core::mapping::{MappingId, MappingRow};
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::position::Position;
use windlass_core::queue::{self, QueueView};
use windlass_core::shard::{self, ShardView};
use windlass_core::time::Timestamp;
use windlass_engine::status::{
    Counts, MappingStatus, UnitStatus, UnitView, last_result, waiting_for,
};

use crate::api::Uuid;
use crate::errors::ApiError;
use crate::server::Served;

/// `GET /windlass/v1/mappings`: all of them, without their shards.
pub(crate) async fn list(State(served): State<Arc<Served>>) -> Result<Json<Value>, ApiError> {
    let rows = served.control.store().mappings().await?;
    let board = served.control.board();
    let now = served.control.clock().now();
    let all = rows
        .iter()
        .map(|row| Value::Object(brief(row, &board.mapping(row), now)));
    Ok(Json(all.collect()))
}

/// `GET /windlass/v1/mappings/{uuid}`: one, with its shards or its queue.
pub(crate) async fn one(
    State(served): State<Arc<Served>>,
    Uuid(uuid): Uuid,
) -> Result<Json<Value>, ApiError> {
    let row = served.control.row(&uuid).await?;
    let status = served.control.board().mapping(&row);
    let leases = served.control.store().leases().await?;
    let now = served.control.clock().now();
    let mut members = brief(&row, &status, now);
    members.extend(units(&row.id, &status, &leases, now));
    Ok(Json(Value::Object(members)))
}

fn brief(row: &MappingRow, status: &MappingStatus, now: Timestamp) -> Map<String, Value> {
    let members = json!({
        "uuid": row.id.as_str(),
        "event_source_arn": row.spec.event_source_arn,
        "function_arn": row.function_arn.as_str(),
        "state": status.state,
        "last_processing_result": status.last_processing_result,
        "problem": status.problem,
        "counts": counts(&status.counts),
        "behind_ms": behind(status, now).map(millis),
    });
    let Value::Object(members) = members else {
        unreachable!("it was written as an object")
    };
    members
}

fn counts(counts: &Counts) -> Value {
    json!({
        "polled": counts.polled.get(),
        "filtered_out": counts.filtered_out.get(),
        "invoked": counts.invoked.get(),
        "failed_invocations": counts.failed_invocations.get(),
        "dropped": counts.dropped.get(),
        "on_failure_delivered": counts.on_failure_delivered.get(),
        "deleted": counts.deleted.get(),
    })
}

/// How far behind the shard is that is furthest behind.
fn behind(status: &MappingStatus, now: Timestamp) -> Option<Duration> {
    let shards = status.units.values().filter_map(|unit| match &unit.view {
        UnitView::Shard(view) => view.behind_at(now),
        UnitView::Starting { .. } | UnitView::Queue(_) => None,
    });
    shards.max()
}

/// `shards` or `queue`. Every lease has its row, whether its consumer runs here or not.
fn units(
    mapping: &MappingId,
    status: &MappingStatus,
    leases: &[Lease],
    now: Timestamp,
) -> Map<String, Value> {
    let mut members = Map::new();
    let mut shards = Vec::new();
    for lease in leases.iter().filter(|lease| lease.key.mapping == *mapping) {
        let unit = status.units.get(&lease.key.unit);
        match &lease.key.unit {
            Unit::Shard(shard) => {
                let mut row = json!({"shard_id": shard.to_string(), "daemon": owner(lease)});
                extend(&mut row, shard_members(unit, lease, now));
                shards.push(row);
            }
            Unit::QueueSlot(_) => {
                let mut row = json!({"daemon": owner(lease)});
                extend(&mut row, queue_members(unit, now));
                members.insert("queue".to_owned(), row);
            }
        }
    }
    if !members.contains_key("queue") {
        members.insert("shards".to_owned(), Value::Array(shards));
    }
    members
}

fn shard_members(unit: Option<&UnitStatus>, lease: &Lease, now: Timestamp) -> Value {
    let running = match unit.map(|unit| &unit.view) {
        Some(UnitView::Shard(view)) => Some(view),
        _ => None,
    };
    let number = |of: fn(&ShardView) -> usize| running.map_or(0, of);
    json!({
        "checkpoint": checkpoint(running.map_or(&lease.checkpoint, |view| &view.checkpoint)),
        "behind_ms": running.and_then(|view| view.behind_at(now)).map(millis),
        "buffered_records": number(|view| view.buffered_records),
        "in_flight_records": number(|view| view.in_flight_records),
        "attempt": running.map_or(1, |view| view.attempt),
        "last_result": result(running.and_then(|view| view.last_outcome.as_ref())),
        "waiting_for": unit.and_then(|unit| held_back(unit, now)),
        "next_at": running.and_then(|view| view.next_at).and_then(rfc3339),
    })
}

fn queue_members(unit: Option<&UnitStatus>, now: Timestamp) -> Value {
    let running = match unit.map(|unit| &unit.view) {
        Some(UnitView::Queue(view)) => Some(view),
        _ => None,
    };
    let number = |of: fn(&QueueView) -> usize| running.map_or(0, of);
    json!({
        "received": running.map_or(0, |view| view.received),
        "held_messages": number(|view| view.buffered_messages),
        "in_flight_messages": number(|view| view.in_flight_messages),
        "concurrency": number(|view| view.concurrency),
        "last_result": result(running.and_then(|view| view.last_outcome.as_ref())),
        "waiting_for": unit.and_then(|unit| held_back(unit, now)),
        "next_at": running.and_then(|view| view.next_at).and_then(rfc3339),
    })
}

/// What holds a consumer back, and where to look if a person must do something about it.
fn held_back(unit: &UnitStatus, now: Timestamp) -> Option<String> {
    let words = waiting_for(unit, now)?;
    let fault = match &unit.view {
        UnitView::Starting { fault } => *fault,
        UnitView::Shard(view) => match view.waiting {
            Some(
                shard::Waiting::NotInvoked(fault)
                | shard::Waiting::Source(fault)
                | shard::Waiting::Store(fault),
            ) => Some(fault),
            Some(shard::Waiting::FunctionErrors { .. }) | None => None,
        },
        UnitView::Queue(view) => match view.waiting {
            Some(queue::Waiting::NotInvoked(fault) | queue::Waiting::Source(fault)) => Some(fault),
            None => None,
        },
    };
    Some(match fault {
        Some(Fault::Denied) => format!(
            "{words}; allow it to the daemon's credentials (the daemon's log has the refusal in full)"
        ),
        Some(Fault::Transient) => format!("{words}; the daemon's log has the cause"),
        Some(Fault::Throttled { .. } | Fault::Gone | Fault::Trimmed) | None => words,
    })
}

fn result(outcome: Option<&Outcome>) -> &'static str {
    last_result(outcome)
}

fn checkpoint(position: &Position) -> Value {
    match position {
        Position::TrimHorizon | Position::ShardEnd => json!({"type": position.kind()}),
        Position::AtTimestamp(at) => json!({"type": position.kind(), "timestamp": rfc3339(*at)}),
        Position::After(number) => {
            json!({"type": position.kind(), "sequence_number": number.as_str()})
        }
    }
}

fn owner(lease: &Lease) -> Option<String> {
    lease.owner.as_ref().map(ToString::to_string)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A moment in text, to the millisecond; `None` beyond the year 9999.
fn rfc3339(moment: Timestamp) -> Option<String> {
    let millis = i64::try_from(moment.as_millis()).ok()?;
    let moment = jiff::Timestamp::from_millisecond(millis).ok()?;
    Some(format!("{moment:.3}"))
}

fn extend(row: &mut Value, more: Value) {
    if let (Value::Object(row), Value::Object(more)) = (row, more) {
        row.extend(more);
    }
}
