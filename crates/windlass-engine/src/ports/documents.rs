//! Where a redrive finds documents, apart from queues, and where it sends messages.

use async_trait::async_trait;
use bytes::Bytes;
use windlass_core::arn::Arn;
use windlass_core::redrive::OutgoingMessage;

use super::PortError;

/// A bucket whose objects are documents.
#[async_trait]
pub trait DocumentBucket: Send + Sync {
    /// The next keys with a prefix, in their order, after one; none at the end.
    async fn keys(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, PortError>;

    async fn get(&self, key: &str) -> Result<Bytes, PortError>;

    async fn delete(&self, key: &str) -> Result<(), PortError>;
}

/// Sends messages to a queue.
#[async_trait]
pub trait QueueSender: Send + Sync {
    /// The dead-letter queue of its redrive policy.
    async fn dead_letter_queue(&self) -> Result<Option<Arn>, PortError>;

    /// `new_id`: with a deduplication id of its own in place of the message's, on a FIFO queue.
    async fn send(&self, message: &OutgoingMessage, new_id: bool) -> Result<(), PortError>;

    /// How many milliseconds the clock of the queue is ahead of the daemon's wall time; negative if it
    /// is behind, `None` while that is unknown. Messages are stamped by that clock.
    fn clock_difference(&self) -> Option<i64> {
        None
    }
}
