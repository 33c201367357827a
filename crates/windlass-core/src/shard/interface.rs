//! The inputs and commands of a shard consumer.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::BatchId;
use crate::failure::{DeliveryFault, FailureRecord};
use crate::ids::SequenceNumber;
use crate::outcome::{Fault, Outcome, Swap};
use crate::position::{Checkpoint, Cursor, Position};
use crate::record::Record;
use crate::time::Timestamp;
use crate::window::{WindowBounds, WindowCall};

/// Records that the function receives in one invocation.
#[derive(Clone, Debug)]
pub struct Batch {
    pub id: BatchId,
    /// From 1; grows only when the function was reached.
    pub attempt: u32,
    /// In the order of the shard; at least one, except of the final invocation of a window.
    pub records: Arc<[Record]>,
    /// `None` without tumbling windows. With one, the function must return a state.
    pub window: Option<WindowCall>,
}

/// The result of one read of a shard.
#[derive(Clone, Debug)]
pub struct ReadResult {
    pub start: PageStart,
    /// In the order of the shard; may be empty although there are more.
    pub records: Vec<Record>,
    /// Where to read next; `None` at the end of the shard.
    pub next: Option<Cursor>,
    /// From the last record to the tip of the shard; zero at the tip.
    pub behind: Duration,
    /// Whether the shard may have ended although the source returns `next`: the stream lists children
    /// of it. Never set for a source that is known to end its shards itself.
    pub has_children: bool,
    /// The record after the last one, if not even its sequence number can be read: nothing after it was
    /// read. One that only cannot be rendered is among the records.
    pub unreadable: Option<UnreadableRecord>,
}

/// A record without a sequence number: no position is after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableRecord {
    /// What is wrong with it; never a part of its contents.
    pub reason: &'static str,
}

/// What a page starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStart {
    /// What follows the previous page: the iterator was used.
    Continued,
    /// What follows the position: a new iterator was used.
    AfterPosition,
    /// The record at the position itself, if the source still has it: a new iterator was used.
    AtPosition,
}

#[derive(Debug)]
pub enum ShardInput {
    Read(Result<ReadResult, Fault>),
    Invoked {
        batch: BatchId,
        outcome: Outcome,
    },
    /// The slot that was requested. Of a replay with a rate, the batch has at most `max_records`, and
    /// later ones until the next grant are made for as many.
    SlotGranted {
        max_records: Option<usize>,
    },
    /// What was given up was accepted, or not.
    Delivered {
        delivery: BatchId,
        result: Result<(), DeliveryFault>,
    },
    /// The time of the clock by which the source stamps its records. Until it is known, no record is
    /// too old.
    SourceTime(Timestamp),
    /// `Conflict`: another daemon holds the lease; nothing more may be written.
    Saved(Result<Swap, Fault>),
    /// Finish what is in flight and start nothing new.
    Drain,
}

#[derive(Debug)]
pub enum ShardCommand {
    /// Read up to `limit` records; `TimedOut` if they do not arrive within `timeout`. At most one
    /// read is in flight.
    Read {
        from: Cursor,
        limit: u32,
        timeout: Duration,
    },
    /// Wait for the slot of an invocation. At most one request is in flight.
    RequestSlot,
    /// The slot is not needed: cancel the request, or give back the slot that was granted.
    CancelSlot,
    /// Takes the slot that was granted.
    Invoke(Batch),
    /// Send records that are given up to the on-failure destination, keep them as a dead letter, or
    /// both. At most one delivery of a lane is in flight.
    Deliver {
        /// The same when it is repeated.
        delivery: BatchId,
        failure: FailureRecord,
    },
    /// Write the checkpoint. At most one save is in flight.
    Save(Checkpoint),
    /// Log or count; has no answer.
    Report(Report),
    /// The last command.
    Finish(Finish),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Records of a page that no filter matches.
    FilteredOut { n_records: usize },
    /// Records of a page that arrived before the mapping's starting position.
    BeforeStart { n_records: usize },
    /// Records of aggregates whose keys belong to other shards
    /// ([`InnerRecord`](crate::ids::InnerRecord)), whether or not a filter matches them.
    OutsideHashKeyRange { n_records: usize },
    /// A record that alone exceeds the payload limit was dropped: it is not delivered.
    RecordTooLarge {
        sequence_number: SequenceNumber,
        /// Length of its event.
        bytes: usize,
    },
    /// A record that cannot be rendered was dropped: it is not delivered.
    UnreadableDropped {
        sequence_number: SequenceNumber,
        reason: &'static str,
    },
    /// Records were given up, and are not delivered.
    Dropped(FailureRecord),
    /// The shard waits at a record, and reads it again from time to time.
    Unreadable(UnreadableRecord),
    /// Records after this position may have left the source before they were read. How many is
    /// unknown. Reading continues at the oldest record.
    Gap(Gap),
    /// The state of a window was dropped without a final invocation: the mapping has no tumbling
    /// windows any more, or the stream is another one.
    WindowStateDropped(WindowBounds),
}

/// A position at which the source could not continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub after: Position,
    /// `Trimmed`, or `UnknownPosition` if the stream is another one.
    pub cause: Fault,
    /// Arrival of the record at `after`, where it is known.
    pub since: Option<Timestamp>,
    /// Arrival of the record with which reading has continued; `None` until it was read.
    pub until: Option<Timestamp>,
}

impl Gap {
    /// The time that may be missing.
    pub fn length(&self) -> Option<Duration> {
        Some(self.until?.since(self.since?))
    }
}

/// What a shard consumer does at its next timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardTimer {
    /// The next read.
    Read,
    /// The batching window ends.
    Window,
    /// The next attempt of a batch.
    Retry,
    /// A record gets too old.
    Expiry,
    /// A failed delivery is repeated.
    Delivery,
    /// A failed save is repeated.
    Save,
}

/// Why a consumer has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Every record of the shard is resolved, and the end of the shard is saved. Its children may hold
    /// records of the stretch.
    ShardEnd,
    /// Every record of the stretch is resolved, and that is saved as the end of the shard. No record
    /// after its end, and none of the shard's children, belongs to the stretch, but for a difference
    /// between the clocks that stamp them.
    StretchEnd,
    /// It was drained: everything that was in flight is resolved and saved.
    Drained,
    /// Another daemon holds the lease.
    LeaseLost,
}
