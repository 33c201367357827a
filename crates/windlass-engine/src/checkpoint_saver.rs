//! Saves the checkpoints of all shards, together.
//!
//! A store writes many checkpoints for the cost of one. So a checkpoint waits until others come
//! with it, and the number of durable writes grows with time and not with shards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use windlass_core::outcome::{Fault, Swap};

use crate::ports::{CheckpointSave, Store, log_fault};

/// Between writes. After a crash, what was processed in the last interval is repeated.
const SAVE_INTERVAL: Duration = Duration::from_millis(100);

/// Checkpoints of one write.
const MAX_GROUP: usize = 1_024;

#[derive(Clone)]
pub(crate) struct CheckpointSaver(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    /// At most one of each shard that runs.
    pending: Mutex<Vec<Pending>>,
    added: Notify,
}

struct Pending {
    save: CheckpointSave,
    result: oneshot::Sender<Result<Swap, Fault>>,
}

impl CheckpointSaver {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Shared {
            store,
            pending: Mutex::default(),
            added: Notify::new(),
        }))
    }

    /// Returns when the checkpoint is durable. It is written by [`CheckpointSaver::run`], even if
    /// this is cancelled.
    pub(crate) async fn save(&self, save: CheckpointSave) -> Result<Swap, Fault> {
        let (sender, result) = oneshot::channel();
        self.pending().push(Pending {
            save,
            result: sender,
        });
        self.0.added.notify_one();
        result.await.unwrap_or(Err(Fault::Transient))
    }

    /// Writes what is to be saved, for ever.
    pub(crate) async fn run(&self) {
        let mut due = Instant::now();
        loop {
            self.0.added.notified().await;
            tokio::time::sleep_until(due).await;
            due = Instant::now() + SAVE_INTERVAL;
            let mut pending = std::mem::take(&mut *self.pending());
            while !pending.is_empty() {
                let later = pending.split_off(pending.len().min(MAX_GROUP));
                self.write(std::mem::replace(&mut pending, later)).await;
            }
        }
    }

    async fn write(&self, group: Vec<Pending>) {
        let (saves, senders): (Vec<_>, Vec<_>) =
            group.into_iter().map(|it| (it.save, it.result)).unzip();
        let written = self.0.store.save_many(&saves).await;
        let results: Vec<_> = match written {
            Ok(swaps) => swaps.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(log_fault(&error)); senders.len()],
        };
        for (sender, result) in senders.into_iter().zip(results) {
            // The consumer may have been dropped.
            sender.send(result).ok();
        }
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Pending>> {
        let pending = self.0.pending.lock();
        pending.unwrap_or_else(PoisonError::into_inner)
    }
}
