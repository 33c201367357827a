//! A message of a queue.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::{KeyHash, MessageId, ReceiptHandle};
use crate::time::Timestamp;

/// The longest time for which a received message can stay invisible.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>
pub const MAX_VISIBILITY_TIMEOUT: Duration = Duration::from_secs(12 * 3_600);

/// A message as one receive returned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub message_id: MessageId,
    pub receipt_handle: ReceiptHandle,
    /// Hash of its message group id; `None` on a standard queue.
    pub group: Option<KeyHash>,
    /// When it was sent, by the clock of the queue; the epoch if the queue does not say.
    pub sent: Timestamp,
    /// How many times it was received, this time included.
    pub n_receives: u32,
    /// The message as the function sees it: one JSON object.
    pub event: Bytes,
    /// The range of its body in `event`, without quotes; filters evaluate it.
    pub body: Range<usize>,
    /// Why it cannot be rendered; it has no event then and is left to its queue.
    pub unreadable: Option<&'static str>,
}
