//! What a queue consumer shows of its state.

use crate::outcome::{Fault, OutcomeKind};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    /// Messages since the consumer started.
    pub received: u64,
    /// Messages in the inbox, those in flight included.
    pub buffered_messages: usize,
    /// Bytes of their events.
    pub buffered_bytes: usize,
    /// Messages that wait for an invocation.
    pub waiting_messages: usize,
    /// Messages of the invocations in flight.
    pub in_flight_messages: usize,
    /// Invocations in flight.
    pub concurrency: usize,
    /// How many may be in flight since some have failed; `None`: as many as there are slots.
    pub reduced_concurrency: Option<usize>,
    /// Receives that may be in flight.
    pub pollers: usize,
    pub last_outcome: Option<OutcomeKind>,
    /// The fault that delays the queue.
    pub waiting: Option<Waiting>,
    /// The next try after that fault; without a fault, the next timer.
    pub next_at: Option<Timestamp>,
}

/// Why a consumer waits before it tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    NotInvoked(Fault),
    /// The queue cannot be read.
    Source(Fault),
    /// Messages that are finished cannot be deleted.
    Deleting(Fault),
    /// The visibility timeout of messages cannot be changed.
    Extending(Fault),
}
