//! The mappings and replays of the store.

use windlass_core::lease::{Lease, LeaseKey, Unit};
use windlass_core::lease_rows::LeaseRowPlan;
use windlass_core::mapping::{MappingId, MappingRow};
use windlass_core::overrides::Overrides;
use windlass_core::position::ReplayCounts;
use windlass_core::replay::{ReplayRow, is_replay};
use windlass_core::shard::lineage::{ListingHistory, Shard};
use windlass_core::stretch_rows::StretchShards;
use windlass_core::time::Timestamp;

/// A mapping or replay of the store, as it was at the last change that was read.
pub(super) struct KnownMapping {
    pub(super) row: MappingRow,
    /// Ordered by key. Checkpoints may be out of date, apart from the ends of shards.
    pub(super) leases: Vec<Lease>,
    /// Of a replay: none.
    pub(super) overrides: Overrides,
    /// `None`: it is a mapping. Otherwise the row is that of [`ReplayRow::mapping`].
    ///
    /// [`ReplayRow::mapping`]: windlass_core::replay::ReplayRow::mapping
    pub(super) replay: Option<KnownReplay>,
}

/// A replay of the store.
pub(super) struct KnownReplay {
    pub(super) row: ReplayRow,
    pub(super) shards: StretchShards,
}

impl KnownMapping {
    pub(super) fn lease(&self, key: &LeaseKey) -> Option<&Lease> {
        let found = self.leases.binary_search_by(|it| it.key.cmp(key));
        found.ok().map(|index| &self.leases[index])
    }

    pub(super) fn is_parked(&self, key: &LeaseKey) -> bool {
        self.overrides.parks.covers(&key.unit)
    }

    pub(super) fn replace(&mut self, lease: Lease) {
        let found = self.leases.binary_search_by(|it| it.key.cmp(&lease.key));
        if let Ok(index) = found {
            self.leases[index] = lease;
        }
    }

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
