//! Shards of lease rows that the listings of their stream lack.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::ids::ShardId;

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
    /// Listings that were started.
    n_started: u64,
    /// The number of the listing with which the lease rows were compared last.
    n_compared: u64,
}

impl KnownListings {
    pub(super) fn start(&self) {
        self.lock().n_started += 1;
    }

    pub(super) fn n_started(&self) -> u64 {
        self.lock().n_started
    }

    /// The number of the listing with which the lease rows were compared last.
    pub(super) fn n_compared(&self) -> u64 {
        self.lock().n_compared
    }

    pub(super) fn set_compared(&self, n_compared: u64, absent: BTreeSet<ShardId>) {
        let mut known = self.lock();
        known.n_compared = n_compared;
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
