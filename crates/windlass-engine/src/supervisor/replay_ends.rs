//! What is known of how the replays of this daemon end.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::ids::ShardId;
use windlass_core::lease::{LeaseKey, Unit};
use windlass_core::mapping::MappingId;

/// What is known of how the replays of this daemon end, but not from the store.
#[derive(Default)]
pub(super) struct ReplayEnds {
    /// Shards whose consumer has found the end of the stretch.
    pub(super) with_end: BTreeMap<MappingId, BTreeSet<ShardId>>,
    /// Why a replay cannot go on.
    pub(super) failed: BTreeMap<MappingId, String>,
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
