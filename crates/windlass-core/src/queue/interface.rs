//! The inputs and commands of a queue consumer.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::BatchId;
use crate::ids::{MessageId, ReceiptHandle};
use crate::message::Message;
use crate::outcome::{Fault, Outcome};

/// What a queue's owner has configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueAttributes {
    /// How long a received message stays invisible, unless the receive sets another time. A failed
    /// message becomes visible again after it.
    pub visibility_timeout: Duration,
    /// Whether messages that were received too often are moved to a dead-letter queue.
    pub has_redrive_policy: bool,
    /// How long after it was sent a message is deleted; `None` if the queue does not say.
    pub retention: Option<Duration>,
}

/// A new visibility timeout of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibilityChange {
    pub receipt: ReceiptHandle,
    /// From now, in whole seconds: 0 to 12 hours. Zero makes the message visible at once.
    pub timeout: Duration,
}

impl VisibilityChange {
    /// The same change of all messages.
    pub fn all(receipts: Vec<ReceiptHandle>, timeout: Duration) -> Vec<Self> {
        let receipts = receipts.into_iter();
        receipts.map(|receipt| Self { receipt, timeout }).collect()
    }
}

/// Identifies a receive, deletion or visibility change of one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Messages that the function receives in one invocation.
#[derive(Clone, Debug)]
pub struct Batch {
    pub id: BatchId,
    /// Always 1: a batch that the function failed is not repeated.
    pub attempt: u32,
    /// At least one; those of one message group in order.
    pub messages: Arc<[Message]>,
}

/// Result of one entry of a deletion or visibility change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryResult {
    Done,
    /// The receipt handle is outdated or unknown: a retry fails as well.
    Refused,
    /// A retry may succeed.
    Failed(Fault),
}

impl EntryResult {
    /// The result of each of `n_entries` entries. An entry that is missing in the response has
    /// failed.
    pub(super) fn of_each(
        result: &Result<Vec<Self>, Fault>,
        n_entries: usize,
    ) -> impl Iterator<Item = Self> {
        let missing = Self::Failed(result.as_ref().err().copied().unwrap_or(Fault::Transient));
        let results = result.as_deref().unwrap_or_default().iter().copied();
        let results = results.chain(std::iter::repeat(missing));
        results.take(n_entries)
    }

    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Failed(fault) => Some(fault),
            Self::Done | Self::Refused => None,
        }
    }
}

#[derive(Debug)]
pub enum QueueInput {
    /// May be empty.
    Received {
        request: RequestId,
        result: Result<Vec<Message>, Fault>,
    },
    Invoked {
        batch: BatchId,
        outcome: Outcome,
    },
    /// The slot that was requested.
    SlotGranted,
    /// One result per entry, in the order of the request.
    Deleted {
        request: RequestId,
        result: Result<Vec<EntryResult>, Fault>,
    },
    /// One result per entry, in the order of the request.
    VisibilityChanged {
        request: RequestId,
        result: Result<Vec<EntryResult>, Fault>,
    },
    /// The queue's attributes, read again.
    Attributes(QueueAttributes),
    /// Finish what is in flight, start nothing new, and release the rest.
    Drain,
}

#[derive(Debug)]
pub enum QueueCommand {
    Receive {
        request: RequestId,
        /// Messages: 1 to 10.
        limit: u8,
        /// Long polling, until the first message.
        wait: Duration,
        /// Visibility timeout of the messages.
        visibility: Duration,
    },
    /// Wait for the slot of an invocation. At most one request is in flight.
    RequestSlot,
    /// The slot is not needed: cancel the request, or give the slot back if it was granted.
    CancelSlot,
    /// Takes the slot that was granted.
    Invoke(Batch),
    Delete {
        request: RequestId,
        receipts: Vec<ReceiptHandle>,
    },
    /// In this order.
    ChangeVisibility {
        request: RequestId,
        changes: Vec<VisibilityChange>,
    },
    /// Log or count; has no answer.
    Report(Report),
    /// The last command.
    Finish,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A message that alone exceeds the payload limit was left to the queue's redrive policy.
    MessageTooLarge {
        message_id: MessageId,
        /// Length of its event.
        bytes: usize,
    },
    /// A message that cannot be rendered was left to the queue's redrive policy.
    Unreadable {
        message_id: MessageId,
        reason: &'static str,
    },
    /// A receive returned more messages than there is room for; the rest was released.
    Excess { n_messages: usize },
    /// Messages of a receive that no filter matches; they are deleted.
    FilteredOut { n_messages: usize },
    /// Messages were deleted from the queue after success.
    Deleted { n_messages: usize },
    /// Messages could not be deleted; they will be received again.
    NotDeleted { n_messages: usize },
    /// Messages became visible before they were invoked, so another reader may receive them.
    Expired { n_messages: usize },
    /// The function reported items as failed that are not in its batch, so that the whole batch
    /// counts as failed.
    UnknownItems { n_messages: usize },
    /// Messages were released: the function could not be reached for too long.
    Released { n_messages: usize },
}

/// What a queue consumer does at its next timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueTimer {
    /// The next receive.
    Receive,
    /// The batching window ends, or the function would have too little time.
    Window,
    /// The next attempt after the function was not reached.
    Retry,
    /// A failed deletion is repeated.
    Delete,
    /// Visibility timeouts are extended.
    Visibility,
    /// A message that is not in flight becomes visible.
    Expiry,
    /// A batch that waits for its next attempt is released.
    Release,
}
