//! Requests to a queue, by operation: what the queue's owner pays for.

use std::time::Duration;

use crate::count::Count;

/// Rates are averages over a minute: an idle queue receives three requests in it.
const PERIOD: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueOperation {
    ReceiveMessage,
    DeleteMessageBatch,
    ChangeMessageVisibilityBatch,
    GetQueueAttributes,
}

/// Counts the requests to one queue, repeated attempts included.
#[derive(Debug)]
pub struct QueueRequests([Count; QueueOperation::ALL.len()]);

impl QueueOperation {
    pub const ALL: [Self; 4] = [
        Self::ReceiveMessage,
        Self::DeleteMessageBatch,
        Self::ChangeMessageVisibilityBatch,
        Self::GetQueueAttributes,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::ReceiveMessage => "ReceiveMessage",
            Self::DeleteMessageBatch => "DeleteMessageBatch",
            Self::ChangeMessageVisibilityBatch => "ChangeMessageVisibilityBatch",
            Self::GetQueueAttributes => "GetQueueAttributes",
        }
    }
}

impl Default for QueueRequests {
    fn default() -> Self {
        Self(QueueOperation::ALL.map(|_| Count::with_period(PERIOD)))
    }
}

impl QueueRequests {
    pub fn add(&self, operation: QueueOperation) {
        self.0[operation as usize].add(1);
    }

    pub fn get(&self, operation: QueueOperation) -> u64 {
        self.0[operation as usize].get()
    }

    /// Average of the last minute.
    pub fn per_minute(&self, operation: QueueOperation) -> f64 {
        self.0[operation as usize].per_second() * 60.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_that_of_the_last_minute() {
        let requests = QueueRequests::default();
        for _ in 0..6 {
            requests.add(QueueOperation::ReceiveMessage);
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        assert_eq!(requests.per_minute(QueueOperation::ReceiveMessage), 3.0);
        assert_eq!(requests.get(QueueOperation::ReceiveMessage), 6);
        assert_eq!(requests.get(QueueOperation::DeleteMessageBatch), 0);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(requests.per_minute(QueueOperation::ReceiveMessage), 0.0);
    }
}
