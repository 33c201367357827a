//! The machine of one shard of one mapping.
//!
//! ```text
//!              read              batch, invoke            resolve             save
//!   source ──▶ reading ──records──▶ lane ──records──▶ progress ──run's end──▶ saving ──▶ store
//! ```
//!
//! A record moves only to the right. *Resolved* is the one word for finished with: processed, passed
//! over as too old, or given up as too large. The checkpoint is the end of the unbroken run of
//! resolved records. Each part is a state machine of its own file; the consumer brings them together
//! and is the one place that issues commands.
//!
//! | | What always holds, asserted also in release builds |
//! |---|---|
//! | I1 | A checkpoint never passes an unresolved record. |
//! | I2 | Checkpoints only move forward while one daemon holds the lease. |
//! | I3 | At most one invocation is in flight per lane. |
//! | I4 | A record is not invoked before every earlier record of its lane is resolved or is in the same batch. |
//! | I5 | A batch holds at least one record, at most the batch size, and at most the payload limit. |
//! | I6 | Records in memory never exceed the buffer's count, and its bytes by no more than one page; a full buffer stops reading. |
//! | I7 | After a drain nothing new is begun. |
//! | I8 | Nothing is begun or written after the lease is lost. |
//! | I9 | It is never stuck: something is under way, or a timer is set, or it has ended. |
//! | I10 | It never spins: a timer names only a time at which something will happen, and nothing that failed is repeated before its backoff. |

mod consumer;
mod lane;
pub mod lineage;
mod reading;
mod saving;
mod sifting;

pub use consumer::ShardConsumer;

use windlass_filter::Criteria;

use crate::batch::BatchId;
use crate::ids::SequenceNumber;
use crate::mapping::StreamSettings;
use crate::outcome::{Fault, Outcome, Swap};
use crate::position::{Cursor, Position};
use crate::record::Record;
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct ShardConsumerSettings {
    pub mapping: StreamSettings,
    /// Records that no filter matches are resolved without an invocation; `None` matches all.
    pub filter: Option<Arc<Criteria>>,
    pub limits: ShardLimits,
}

/// The daemon's limits for one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardLimits {
    /// From the start of one read to the start of the next at the tip of the shard.
    pub poll_interval: Duration,
    /// The same while the shard is behind its tip.
    pub catch_up_interval: Duration,
    /// Records of one read.
    pub read_limit: u32,
    /// Records in memory; a full buffer stops reading.
    pub buffer_records: usize,
    /// Bytes of their events; a full buffer stops reading.
    pub buffer_bytes: usize,
    /// Bytes of one event, envelope included.
    pub payload_limit: usize,
}

/// Records that are handed to the function in one invocation.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// From 1; it grows only when the function was reached.
    pub attempt: u32,
    /// At least one, in the order of the shard.
    pub records: Arc<[Record]>,
}

/// The result of one read of a shard.
#[derive(Clone, Debug)]
pub struct ReadResult {
    /// In the order of the shard; may be empty although there are more.
    pub records: Vec<Record>,
    /// Where to read next; `None` at the end of the shard.
    pub next: Option<Cursor>,
    /// How far the last record is behind the tip of the shard; zero at the tip.
    pub behind: Duration,
}

/// What happened.
#[derive(Debug)]
pub enum ShardInput {
    /// A read has ended.
    Read(Result<ReadResult, Fault>),
    /// An invocation has ended.
    Invoked {
        /// Which batch.
        batch: BatchId,
        /// How.
        outcome: Outcome,
    },
    /// A save has ended. `Conflict`: the lease has moved on; nothing more may be written.
    Saved(Result<Swap, Fault>),
    /// Finish what is in flight, start nothing new.
    Drain,
}

/// What to do next.
#[derive(Debug)]
pub enum ShardCommand {
    /// Read a page. One read is under way at a time.
    Read {
        /// From where.
        from: Cursor,
        /// At most so many records.
        limit: u32,
    },
    /// Invoke the function.
    Invoke(Batch),
    /// Write the checkpoint. One save is under way at a time.
    Save(Position),
    /// Say, or count, that something was passed over or given up. There is no answer to this.
    Report(Report),
    /// The consumer has ended; nothing more will come.
    Finish(Finish),
}

/// What was passed over or given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Records of a page were passed over: no filter lets them through, or they arrived before
    /// the mapping begins.
    FilteredOut {
        /// How many.
        n_records: usize,
    },
    /// A record alone exceeds the payload limit and can never be delivered.
    RecordTooLarge {
        /// Which.
        sequence_number: SequenceNumber,
        /// Its rendered size in bytes.
        bytes: usize,
    },
    /// The source no longer has what comes after the checkpoint; reading goes on at its oldest
    /// record. How much is missing cannot be known.
    Trimmed {
        /// Where reading should have gone on.
        after: Position,
    },
}

/// Why a consumer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Every record of the shard is resolved, and that is saved.
    ShardEnd,
    /// It was asked to drain, and what it had begun is done and saved.
    Drained,
    /// Somebody else holds the lease.
    LeaseLost,
}

/// What a person may want to know about a consumer.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardView {
    /// The last checkpoint that was saved.
    pub checkpoint: Position,
    /// How far behind the tip of the shard the last read was; see [`ShardView::behind_at`].
    pub behind: Option<Duration>,
    /// When the oldest record that was read and is not resolved arrived at the stream.
    pub oldest: Option<Timestamp>,
    /// Records read and not yet resolved, those in flight included.
    pub buffered_records: usize,
    /// Their rendered size in bytes.
    pub buffered_bytes: usize,
    /// Records of invocations that are under way.
    pub in_flight_records: usize,
    /// The attempt of the batch at the head; 1 when nothing has failed.
    pub attempt: u32,
    /// How the last invocation ended.
    pub last_outcome: Option<Outcome>,
    /// What holds the shard back, if anything does.
    pub waiting: Option<Waiting>,
    /// When what holds it back is tried again; if nothing does, when the consumer will do something
    /// by itself.
    pub next_at: Option<Timestamp>,
}

impl ShardView {
    /// How far behind the shard is: what was read is behind until it is resolved.
    pub fn behind_at(&self, now: Timestamp) -> Option<Duration> {
        let waits = self.oldest.map(|oldest| now.since(oldest));
        self.behind.max(waits)
    }
}

/// What holds a consumer back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The function answers with errors.
    FunctionErrors {
        /// The attempt that comes next.
        attempt: u32,
    },
    /// The function cannot be reached.
    NotInvoked(Fault),
    /// The source cannot be read.
    Source(Fault),
    /// The store cannot be written.
    Store(Fault),
}
