//! Counts of events and leases.

use std::sync::Arc;

use windlass_core::lease::{Lease, LeaseKey, WorkerId};
use windlass_core::position::Position;

use crate::count::Count;
use crate::requests::QueueRequests;

/// Events of one mapping since the daemon started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Read from the source.
    pub polled: Count,
    /// No filter matched.
    pub filtered_out: Count,
    /// Records of aggregates whose keys belong to other shards.
    pub outside_hash_key_range: Count,
    /// Sent to the function, retries included.
    pub invoked: Count,
    /// Invocations that ended with a function error.
    pub failed_invocations: Count,
    /// Events of those invocations.
    pub failed_events: Count,
    /// Given up without an on-failure destination, whether or not they are kept.
    pub dropped: Count,
    /// Given up and kept.
    pub dead_letters: Count,
    /// Positions at which a stream could not continue, so that records may be lost.
    pub trimmed_gaps: Count,
    /// Shards of a former stream with the same name, whose checkpoints were dropped.
    pub recreated_shards: Count,
    /// Shards that left their stream before they were resolved.
    pub lost_shards: Count,
    /// Delivered to the on-failure destination.
    pub on_failure_delivered: Count,
    /// Skipped by an operator, or since they arrived before the starting position.
    pub skipped: Count,
    /// Deleted from the queue after success.
    pub deleted: Count,
    /// Receives whose messages waited for memory beyond half of their visibility timeout.
    pub late_receives: Count,
    /// Failed items whose `retryAfterSeconds` was ignored.
    pub ignored_retry_after: Count,
    /// To the queue.
    pub requests: Arc<QueueRequests>,
}

/// Leases by who processes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    /// A consumer of this daemon.
    pub running: usize,
    /// Nobody: the consumer has failed and is restarted after a delay.
    pub waiting: usize,
    /// Another daemon.
    pub elsewhere: usize,
    /// The shard is resolved to its end.
    pub ended: usize,
}

impl LeaseCounts {
    /// Counts leases of mappings that can run; `worker` is this daemon.
    pub(crate) fn of<'a>(
        leases: impl Iterator<Item = &'a Lease>,
        runs: impl Fn(&LeaseKey) -> bool,
        worker: &WorkerId,
    ) -> Self {
        let mut counts = Self::default();
        for lease in leases {
            let elsewhere = lease.owner.as_ref().is_some_and(|owner| owner != worker);
            let count = if lease.checkpoint.position == Position::ShardEnd {
                &mut counts.ended
            } else if runs(&lease.key) {
                &mut counts.running
            } else if elsewhere {
                &mut counts.elsewhere
            } else {
                &mut counts.waiting
            };
            *count += 1;
        }
        counts
    }

    /// Counts some leases anew.
    pub(crate) fn replace(&mut self, former: &Self, current: &Self) {
        let replace = |count: &mut usize, former, current| *count = *count - former + current;
        replace(&mut self.running, former.running, current.running);
        replace(&mut self.waiting, former.waiting, current.waiting);
        replace(&mut self.elsewhere, former.elsewhere, current.elsewhere);
        replace(&mut self.ended, former.ended, current.ended);
    }
}
