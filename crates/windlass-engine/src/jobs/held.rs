//! The messages that a job has received and not given back: they stay invisible while it runs. If
//! the daemon is killed, they come back by their visibility timeout.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windlass_core::ids::{MessageId, ReceiptHandle};
use windlass_core::message::Message;
use windlass_core::queue::{EntryResult, VisibilityChange};

use crate::ports::{PortError, QueueReader, log_fault};

/// How long messages stay invisible without being extended.
pub(super) const VISIBILITY: Duration = Duration::from_mins(2);

/// Attempts to delete a message.
const DELETE_ATTEMPTS: u32 = 3;

/// After a deletion that has failed.
const DELETE_DELAY: Duration = Duration::from_millis(500);

/// Of what was sent.
pub(super) const NOT_DELETED: &str = "it cannot be deleted: a later redrive sends it again";

pub(super) struct HeldMessages {
    queue: Arc<dyn QueueReader>,
    receipts: Mutex<BTreeMap<MessageId, ReceiptHandle>>,
}

impl HeldMessages {
    pub(super) fn new(queue: Arc<dyn QueueReader>) -> Self {
        Self {
            queue,
            receipts: Mutex::default(),
        }
    }

    /// A message that was received again has another receipt handle.
    pub(super) fn add(&self, message: &Message) {
        let id = message.message_id.detached();
        self.lock().insert(id, message.receipt_handle.detached());
    }

    /// Extends the visibility timeout of all of them, as long as it is polled.
    pub(super) async fn keep_invisible(&self) -> Infallible {
        loop {
            tokio::time::sleep(VISIBILITY / 2).await;
            let receipts: Vec<_> = self.lock().values().cloned().collect();
            self.change(receipts, VISIBILITY).await;
        }
    }

    /// Makes a message visible at once.
    pub(super) async fn give_back(&self, id: &MessageId) {
        let receipt = self.lock().remove(id);
        self.change(receipt.into_iter().collect(), Duration::ZERO)
            .await;
    }

    pub(super) async fn give_back_all(&self) {
        let receipts = std::mem::take(&mut *self.lock());
        self.change(receipts.into_values().collect(), Duration::ZERO)
            .await;
    }

    /// Deletes a message; `false` if it is still there.
    pub(super) async fn delete(&self, id: &MessageId) -> bool {
        let receipt = self.lock().remove(id);
        let Some(receipt) = receipt else {
            return false;
        };
        for attempt in 1..=DELETE_ATTEMPTS {
            let results = log(self.queue.delete(std::slice::from_ref(&receipt)).await);
            match results.first() {
                Some(EntryResult::Done) => return true,
                Some(EntryResult::Refused) => return false,
                Some(EntryResult::Failed(_)) | None if attempt < DELETE_ATTEMPTS => {
                    tokio::time::sleep(DELETE_DELAY).await;
                }
                Some(EntryResult::Failed(_)) | None => {}
            }
        }
        false
    }

    async fn change(&self, receipts: Vec<ReceiptHandle>, timeout: Duration) {
        if !receipts.is_empty() {
            // Those that cannot be changed come back by their visibility timeout.
            let changes = VisibilityChange::all(receipts, timeout);
            log(self.queue.change_visibility(&changes).await);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MessageId, ReceiptHandle>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(results: Result<Vec<EntryResult>, PortError>) -> Vec<EntryResult> {
    results.unwrap_or_else(|error| {
        log_fault(&error);
        Vec::new()
    })
}
