//! What a shard consumer shows of its state.

use std::time::Duration;

use super::interface::{Gap, UnreadableRecord};
use super::retried_batch::RetriedBatch;
use crate::failure::DeliveryFault;
use crate::outcome::{Fault, OutcomeKind};
use crate::position::Position;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq)]
pub struct ShardView {
    /// The last one saved.
    pub checkpoint: Position,
    /// Approximate arrival of the last resolved record of the unbroken run, those of former consumers
    /// included; `None` before the first.
    pub reached: Option<Timestamp>,
    /// From the end of the last read to the tip of the shard; see [`ShardView::behind_at`].
    pub behind: Option<Duration>,
    /// Arrival at the stream of the oldest record in memory.
    pub oldest: Option<Timestamp>,
    /// Records in memory, those in flight included.
    pub buffered_records: usize,
    /// Bytes of their events.
    pub buffered_bytes: usize,
    /// Records of the invocations in flight.
    pub in_flight_records: usize,
    /// The mapping's `ParallelizationFactor`.
    pub n_lanes: usize,
    /// Lanes whose batch failed and is repeated after a backoff.
    pub waiting_lanes: usize,
    /// The highest of the batches at the heads of the lanes; 1 if nothing failed.
    pub attempt: u32,
    /// The batches that have failed and are tried again, of each lane one at most.
    pub retried: Vec<RetriedBatch>,
    pub last_outcome: Option<OutcomeKind>,
    /// The fault that delays the shard; of several lanes, that of the one with the most attempts.
    pub waiting: Option<Waiting>,
    /// The last gap, since the consumer started.
    pub gap: Option<Gap>,
    /// The next try after that fault; without a fault, the next timer.
    pub next_at: Option<Timestamp>,
}

/// How far a shard is behind its tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    behind: Option<Duration>,
    oldest: Option<Timestamp>,
}

impl ShardView {
    pub const fn lag(&self) -> Lag {
        Lag {
            behind: self.behind,
            oldest: self.oldest,
        }
    }

    /// [`Lag::at`] this time.
    pub fn behind_at(&self, wall: Timestamp) -> Option<Duration> {
        self.lag().at(wall)
    }
}

impl Lag {
    /// Records are behind until they are resolved. `wall` is the time of the clock by which the source
    /// stamps its records.
    pub fn at(self, wall: Timestamp) -> Option<Duration> {
        let age = self.oldest.map(|oldest| wall.since(oldest));
        self.behind.max(age)
    }
}

/// Why a consumer waits before it tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    FunctionErrors {
        /// The next one.
        attempt: u32,
        /// Attempts after which the batch is given up; `None`: without limit.
        maximum: Option<u32>,
    },
    NotInvoked(Fault),
    /// The final invocation of a tumbling window has not succeeded.
    FinalInvocation {
        /// The next one.
        attempt: u32,
        /// Why the function was not reached; `None`: it has failed.
        cause: Option<Fault>,
    },
    /// What was given up was not accepted.
    Delivery(DeliveryFault),
    /// The source cannot be read.
    Source(Fault),
    /// The next record cannot be read; the records before it were delivered.
    Unreadable(UnreadableRecord),
    /// The store cannot be written.
    Store(Fault),
}
