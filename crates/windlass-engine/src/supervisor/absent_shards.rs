//! Shards of lease rows that the listings of their stream lack, and those that they show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::ids::ShardId;
use windlass_core::lease::Unit;
use windlass_core::lease_rows::LeaseRowPlan;
use windlass_core::time::Timestamp;

/// What the listings of one mapping's stream say, for the readers of its shards.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownListings(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether `known.absent` has any shard. Every read looks at this, and only then at the rest.
    has_absent: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Shards of rows that several listings in a row lack.
    absent: BTreeSet<ShardId>,
    /// Absent shards that were read all the same.
    read: BTreeSet<ShardId>,
    /// Of the shards that have rows. A row that replaces another one gets an entry of its own.
    shown: BTreeMap<ShardId, ShownAt>,
}

/// When the last listing began that has shown the shard of a row.
#[derive(Clone, Debug, Default)]
pub(super) struct ShownAt(Arc<Mutex<Option<Timestamp>>>);

impl ShownAt {
    pub(super) fn get(&self) -> Option<Timestamp> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownListings {
    /// The lease rows were compared with the listing that began at `began`.
    pub(super) fn set_shown(&self, plan: &LeaseRowPlan, began: Timestamp) {
        let mut known = self.lock();
        for (row, _) in &plan.remove {
            if let Unit::Shard(shard) = &row.key.unit {
                known.shown.remove(shard);
            }
        }
        for shard in &plan.shown {
            let shown_at = known.shown.entry(shard.clone()).or_default();
            *shown_at.lock() = Some(began);
        }
    }

    /// For the reader of a row.
    pub(super) fn shown_at(&self, shard: &ShardId) -> ShownAt {
        self.lock().shown.entry(shard.clone()).or_default().clone()
    }

    pub(super) fn set_absent(&self, absent: BTreeSet<ShardId>) {
        let mut known = self.lock();
        self.0
            .has_absent
            .store(!absent.is_empty(), Ordering::Release);
        known.absent = absent;
    }

    /// An absent shard that is read exists: until more listings lack it, its reads may fail.
    pub(super) fn handle_read(&self, shard: &ShardId) {
        if self.0.has_absent.load(Ordering::Acquire) {
            let mut known = self.lock();
            let absent = known.absent.take(shard);
            known.read.extend(absent);
        }
    }

    /// The absent shards that were read since the last call.
    pub(super) fn take_read(&self) -> BTreeSet<ShardId> {
        std::mem::take(&mut self.lock().read)
    }

    pub(super) fn is_absent(&self, shard: &ShardId) -> bool {
        self.lock().absent.contains(shard)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
