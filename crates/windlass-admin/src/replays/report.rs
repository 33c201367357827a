//! What a replay is doing, as the API returns it and `windlass replay` shows it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_core::lease::{Lease, Unit};
use windlass_core::position::{Position, ReplayCounts};
use windlass_core::replay::{ReplayRow, ReplayState};
use windlass_engine::ports::PortError;
use windlass_engine::status::MappingStatus;

use crate::control::Control;
use crate::report::{CheckpointReport, rfc3339};
use crate::status::waiting_for_with_remedy;

/// One replay. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayReport {
    pub name: String,
    /// `Running`, `Paused`, `Completed`, `Cancelled` or `Failed`.
    pub state: String,
    /// Why, what holds it, and what may be lost of it.
    pub reason: Option<String>,
    pub event_source_arn: String,
    pub function_arn: String,
    /// The UUID of the mapping whose settings it has, which may not exist any more.
    pub mapping: Option<String>,
    /// Places.
    pub from: Value,
    pub to: Value,
    pub created_at: Option<String>,
    pub ended_at: Option<String>,
    /// Records a second; null: no limit.
    pub rate: Option<u32>,
    /// Records that the function took.
    pub delivered: u64,
    /// Records that no filter matched.
    pub filtered_out: u64,
    /// Records that were given up.
    pub given_up: u64,
    /// Invocations that ended with a function error.
    pub failed_invocations: u64,
    /// 0 to 1, by arrival time.
    pub fraction: f64,
    pub estimated_end: Option<String>,
    pub shards: Vec<ReplayShardReport>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayShardReport {
    pub shard_id: String,
    /// `Completed`, `Waiting` for its parents, or that of the replay.
    pub state: String,
    pub position: CheckpointReport,
    /// The arrival time up to which it is resolved.
    pub reached: Option<String>,
    pub delivered: u64,
}

pub(super) async fn shown(control: &Control, row: &ReplayRow) -> Result<ReplayReport, PortError> {
    let leases = control.store().leases_of(&row.id).await?;
    let status = control.board().mapping(&row.mapping());
    let counts = leases.iter().filter_map(|lease| lease.checkpoint.counts);
    let counts = counts.fold(ReplayCounts::default(), |sum, more| sum + more);
    let fraction = row.fraction(&leases);
    let fraction = match row.state.is_ended() {
        true => fraction,
        false => control.board().raise_fraction(&row.id, fraction),
    };
    let now = control.clock().wall();
    Ok(ReplayReport {
        name: row.name.to_string(),
        state: row.state.as_str().to_owned(),
        reason: reason(control, row, &status),
        event_source_arn: row.source.as_str().to_owned(),
        function_arn: row.function_arn.to_string(),
        mapping: row.mapping.as_ref().map(ToString::to_string),
        from: row.from.to_json(),
        to: row.to.to_json(),
        created_at: rfc3339(row.created),
        ended_at: row.ended.and_then(rfc3339),
        rate: row.rate.map(Into::into),
        delivered: counts.delivered,
        filtered_out: counts.filtered_out,
        given_up: counts.given_up,
        failed_invocations: counts.failed_invocations,
        fraction,
        estimated_end: row.estimated_end(fraction, now).and_then(rfc3339),
        shards: shards(row, &leases, &status),
    })
}

/// What was kept of it, and what holds it now.
fn reason(control: &Control, row: &ReplayRow, status: &MappingStatus) -> Option<String> {
    let now = control.clock().now();
    let mut reasons: Vec<_> = row.reason.iter().cloned().collect();
    if row.state == ReplayState::Running {
        reasons.extend(status.problem.clone());
        let held = status.units.iter().filter_map(|(unit, status)| {
            let waiting = waiting_for_with_remedy(status, now)?;
            Some(match unit {
                Unit::Shard(shard) => format!("shard {shard}: {waiting}"),
                Unit::QueueSlot(_) => waiting,
            })
        });
        reasons.extend(held.take(MAX_HELD));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Shards that a reason names.
const MAX_HELD: usize = 3;

fn shards(row: &ReplayRow, leases: &[Lease], status: &MappingStatus) -> Vec<ReplayShardReport> {
    let mut shards: Vec<_> = leases
        .iter()
        .filter_map(|lease| {
            let Unit::Shard(shard) = &lease.key.unit else {
                return None;
            };
            let checkpoint = &lease.checkpoint;
            let state = if checkpoint.position == Position::ShardEnd {
                ReplayState::Completed
            } else {
                row.state
            };
            Some(ReplayShardReport {
                shard_id: shard.to_string(),
                state: state.as_str().to_owned(),
                position: CheckpointReport::from(&checkpoint.position),
                reached: checkpoint.arrival.and_then(rfc3339),
                delivered: checkpoint.counts.map_or(0, |counts| counts.delivered),
            })
        })
        .collect();
    if row.state == ReplayState::Running {
        let blocked = status.blocked.iter();
        shards.extend(blocked.map(|(shard, blocked)| ReplayShardReport {
            shard_id: shard.to_string(),
            state: "Waiting".to_owned(),
            position: CheckpointReport::from(&blocked.start),
            reached: None,
            delivered: 0,
        }));
    }
    shards.sort_by(|one, other| one.shard_id.cmp(&other.shard_id));
    shards
}
