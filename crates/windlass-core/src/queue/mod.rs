//! The machine of one slot of one mapping on a queue: [`QueueConsumer`].
//!
//! ```text
//!            received          batch made           success
//!  (queue) ──────────▶ gathered ─────────▶ in batch ───────▶ deleting ──▶ (gone)
//!     ▲                   │                  │  ▲
//!     │      drain        │    function error│  └─ not reached: again, after a pause
//!     └───────────────────┴──────────────────┘
//! ```
//!
//! A message is *held* from its receipt until it is deleted or left to the queue. Each part is a
//! state machine of its own file; the consumer brings them together.
//!
//! | | What always holds |
//! |---|---|
//! | Q1 | A message is deleted only after success, or because no filter lets it through. |
//! | Q2 | A message that the function failed is left to become visible again; it is never retried from memory, since its receive count and the queue's redrive policy are the retry policy. One whose function was *not reached* is held and tried again. |
//! | Q3 | Nothing is invoked after its visibility has ended: visibility is extended while messages are held, and without that a batch closes in time for the function to finish. |
//! | Q4 | FIFO: at most one batch in flight for each message group, and after a failure nothing later of the group goes ahead of what failed. |
//! | Q5 | No more than `maximum_concurrency` invocations at a time. |
//! | Q6 | Receives scale up while they come back full and down while they come back empty, and ask for no more than there is room for. |
//! | Q7 | After `Drain` nothing new is received or invoked; what is held goes back at once. |
//! | Q8 | While the function cannot be reached, one batch at a time is tried, and nothing more is received than that takes. |
//! | Q9 | It is never stuck: something is under way, or a timer is set, or it has ended. |
//! | Q10 | It never spins: a timer names only a time at which something will happen, and nothing that failed is repeated before its backoff. |

mod consumer;
mod deleting;
mod gathered;
mod held;
mod invoking;
mod pause;
mod receiving;
mod visibility;

pub use consumer::QueueConsumer;

use std::sync::Arc;
use std::time::Duration;

use windlass_filter::Criteria;

use crate::batch::BatchId;
use crate::ids::ReceiptHandle;
use crate::mapping::QueueSettings;
use crate::message::Message;
use crate::outcome::{Fault, Outcome};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq)]
pub struct QueueConsumerSettings {
    pub mapping: QueueSettings,
    /// Messages that no filter matches are deleted without an invocation; `None` matches all.
    pub filter: Option<Arc<Criteria>>,
    /// The queue's own: a failed message becomes visible again after it.
    pub visibility_timeout: Duration,
    pub function_timeout: Duration,
    pub limits: QueueLimits,
}

/// The daemon's limits for one slot of a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueLimits {
    /// Whether the visibility timeout of messages in memory is extended.
    pub visibility_heartbeat: bool,
    /// Long polling of one receive: 0 to 20 seconds.
    pub wait_time: Duration,
    /// Invocations in flight.
    pub maximum_concurrency: usize,
    /// Messages in memory; a full buffer stops receiving.
    pub buffer_messages: usize,
    /// Bytes of one event, envelope included.
    pub payload_limit: usize,
    /// Time in memory while the function cannot be reached; then messages are released.
    pub hold_limit: Duration,
}

/// Counts the receives, deletions and visibility changes of one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Messages that are handed to the function in one invocation.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// From 1; it grows only when the function was reached.
    pub attempt: u32,
    /// At least one; of one group in order.
    pub messages: Arc<[Message]>,
}

/// What became of one entry of a deletion or visibility change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryResult {
    /// It was done.
    Done,
    /// The handle is outdated or unknown: trying again is of no use.
    Refused,
    /// It failed and may be tried again.
    Failed,
}

/// What happened.
#[derive(Debug)]
pub enum QueueInput {
    /// A receive has ended; no messages is a normal answer.
    Received {
        /// Which.
        request: RequestId,
        /// How.
        result: Result<Vec<Message>, Fault>,
    },
    /// An invocation has ended.
    Invoked {
        /// Which batch.
        batch: BatchId,
        /// How.
        outcome: Outcome,
    },
    /// A deletion has ended: one result an entry, in the order asked for.
    Deleted {
        /// Which.
        request: RequestId,
        /// How.
        result: Result<Vec<EntryResult>, Fault>,
    },
    /// A visibility change has ended: one result an entry, in the order asked for.
    VisibilityChanged {
        /// Which.
        request: RequestId,
        /// How.
        result: Result<Vec<EntryResult>, Fault>,
    },
    /// Finish what is in flight, start nothing new, return what is held.
    Drain,
}

/// What to do next.
#[derive(Debug)]
pub enum QueueCommand {
    /// Receive messages.
    Receive {
        /// Its number.
        request: RequestId,
        /// At most so many: 1 to 10.
        limit: u8,
        /// How long to wait for the first.
        wait: Duration,
        /// How long they stay invisible to others.
        visibility: Duration,
    },
    /// Invoke the function.
    Invoke(Batch),
    /// Delete messages.
    Delete {
        /// Its number.
        request: RequestId,
        /// Which.
        receipts: Vec<ReceiptHandle>,
    },
    /// Make messages visible again after a time; zero is at once.
    ChangeVisibility {
        /// Its number.
        request: RequestId,
        /// Which.
        receipts: Vec<ReceiptHandle>,
        /// From now.
        timeout: Duration,
    },
    /// Say, and count, that something happened that needs no answer.
    Report(Report),
    /// The consumer has ended; nothing more will come.
    Finish,
}

/// What a person should hear about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A message alone exceeds the payload limit; it is left to the queue's redrive policy.
    MessageTooLarge {
        /// Which.
        message_id: crate::ids::MessageId,
        /// Its rendered size in bytes.
        bytes: usize,
    },
    /// Messages of a receive are passed over, since no filter lets them through: they are deleted.
    FilteredOut {
        /// How many.
        n_messages: usize,
    },
    /// Messages were deleted from the queue after success.
    Deleted {
        /// How many.
        n_messages: usize,
    },
    /// Messages could not be deleted; they will come again.
    NotDeleted {
        /// How many.
        n_messages: usize,
    },
    /// Messages were let go before the function could have them: their visibility has ended, so
    /// that another reader may get them. They come again.
    Expired {
        /// How many.
        n_messages: usize,
    },
    /// Messages were returned to the queue: the function could not be reached for too long.
    Released {
        /// How many.
        n_messages: usize,
    },
}

/// What a person may want to know about a consumer.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    /// Messages received since the consumer started.
    pub received: u64,
    /// Messages in memory, those in flight included.
    pub buffered_messages: usize,
    /// Bytes of their events.
    pub buffered_bytes: usize,
    /// Messages of invocations that are under way.
    pub in_flight_messages: usize,
    /// Invocations that are under way.
    pub concurrency: usize,
    /// How the last invocation ended.
    pub last_outcome: Option<Outcome>,
    /// What holds the queue back, if anything does.
    pub waiting: Option<Waiting>,
    /// When what holds it back is tried again; if nothing does, when the consumer will do something
    /// by itself.
    pub next_at: Option<Timestamp>,
}

/// What holds a consumer back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The function cannot be reached.
    NotInvoked(Fault),
    /// The queue cannot be read.
    Source(Fault),
}
