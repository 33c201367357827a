//! Replays among the mappings that the supervisor runs: their rows, and how they end.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::ids::ShardId;
use windlass_core::lease::{Lease, LeaseKey, Unit};
use windlass_core::lease_rows::LeaseRowPlan;
use windlass_core::mapping::MappingId;
use windlass_core::overrides::Overrides;
use windlass_core::position::ReplayCounts;
use windlass_core::replay::{ReplayRow, ReplayState, is_replay};
use windlass_core::shard::lineage::{ListingHistory, Shard};
use windlass_core::stretch_rows::StretchShards;
use windlass_core::time::Timestamp;

use super::{KnownMapping, Supervisor};
use crate::ports::PortError;

/// A replay of the store.
pub(super) struct KnownReplay {
    pub(super) row: ReplayRow,
    pub(super) shards: StretchShards,
}

/// What is known of how the replays of this daemon end, but not from the store.
#[derive(Default)]
pub(super) struct ReplayEnds {
    /// Shards whose consumer has found the end of the stretch.
    with_end: BTreeMap<MappingId, BTreeSet<ShardId>>,
    /// Why a replay cannot go on.
    failed: BTreeMap<MappingId, String>,
}

impl KnownMapping {
    /// `None` if this version cannot read it.
    pub(super) fn of_replay(row: ReplayRow, leases: Vec<Lease>) -> Option<Self> {
        let shards = row.stretch_shards()?;
        Some(Self {
            row: row.mapping(),
            leases,
            overrides: Overrides::default(),
            replay: Some(KnownReplay { row, shards }),
        })
    }

    /// Whether what runs of it is broken off: it was cancelled, has failed or was deleted.
    pub(super) fn breaks_off(known: Option<&Self>, id: &MappingId) -> bool {
        let replay = known.and_then(|known| known.replay.as_ref());
        match replay.map(|replay| replay.row.state) {
            Some(state) => state.is_ended(),
            None => is_replay(id),
        }
    }
}

impl KnownReplay {
    pub(super) fn plan(&self, listings: Option<&ListingHistory>, rows: &[Lease]) -> LeaseRowPlan {
        let Some(listings) = listings else {
            return LeaseRowPlan::default();
        };
        let mut plan = self.shards.plan(&self.row.id, listings, rows);
        for lease in &mut plan.insert {
            let checkpoint = &mut lease.checkpoint;
            checkpoint.counts = Some(ReplayCounts::default());
            // The records of its parents up to then are resolved.
            checkpoint.arrival = reached_by_parents(&lease.key, listings.shards(), rows);
        }
        plan
    }
}

fn reached_by_parents(key: &LeaseKey, shards: &[Shard], rows: &[Lease]) -> Option<Timestamp> {
    let is_same = |shard: &&Shard| key.unit == Unit::Shard(shard.id.clone());
    let parents = &shards.iter().find(is_same)?.parents;
    let is_parent = |row: &&Lease| match &row.key.unit {
        Unit::Shard(shard) => parents.contains(shard),
        Unit::QueueSlot(_) => false,
    };
    let parents = rows.iter().filter(is_parent);
    parents.filter_map(|row| row.checkpoint.arrival).max()
}

impl ReplayEnds {
    pub(super) fn add_end(&mut self, key: &LeaseKey) {
        if let Unit::Shard(shard) = &key.unit {
            let shards = self.with_end.entry(key.mapping.clone()).or_default();
            shards.insert(shard.clone());
        }
    }

    pub(super) fn set_failed(&mut self, id: &MappingId, reason: String) {
        self.failed.insert(id.clone(), reason);
    }

    pub(super) fn remove(&mut self, id: &MappingId) {
        self.with_end.remove(id);
        self.failed.remove(id);
    }
}

impl Supervisor {
    /// Ends a replay that is complete or cannot go on, and keeps what was lost of it.
    pub(super) async fn finish_replay(
        &self,
        known: &KnownMapping,
        replay: &KnownReplay,
    ) -> Result<(), PortError> {
        let row = &replay.row;
        if row.state != ReplayState::Running {
            return Ok(());
        }
        let mut reason = row.reason.clone();
        for gap in self.context.board.gaps_of(&row.id) {
            match &mut reason {
                Some(reason) if reason.contains(&gap) => {}
                Some(reason) => reason.push_str(&format!("; {gap}")),
                None => reason = Some(gap),
            }
        }
        let (state, reason) = if let Some(failure) = self.replay_ends.failed.get(&row.id) {
            (ReplayState::Failed, Some(failure.clone()))
        } else if self.is_complete(known, replay) {
            (ReplayState::Completed, reason)
        } else {
            (ReplayState::Running, reason)
        };
        if state == row.state && reason == row.reason {
            return Ok(());
        }
        let wall = self.context.clock.wall();
        let next = ReplayRow {
            state,
            reason,
            ended: state.is_ended().then_some(wall),
            ..row.next_revision()
        };
        // After a conflict the row has changed, and the next round looks at it.
        self.store
            .put_replay(&next, Some(row.revision), None)
            .await?;
        if state.is_ended() {
            let (replay, state) = (row.name.as_str(), state.as_str());
            tracing::info!(replay, reason = next.reason, "replay {state}");
        }
        Ok(())
    }

    fn is_complete(&self, known: &KnownMapping, replay: &KnownReplay) -> bool {
        let id = &replay.row.id;
        let Some((history, began)) = self.discovery.last_listing(id) else {
            return false;
        };
        let board = &self.context.board;
        let listed_at = board.source_time(id, self.context.clock.to_wall(began));
        let none = BTreeSet::new();
        let with_end = self.replay_ends.with_end.get(id).unwrap_or(&none);
        let shards = &replay.shards;
        shards.is_complete(history, listed_at, &known.leases, with_end)
    }
}
