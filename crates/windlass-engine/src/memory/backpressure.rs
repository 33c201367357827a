//! Which of the daemon's limits a consumer waits for, as the status shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::budget::{Account, Availability, Reservation};

/// A limit that all consumers of the daemon share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of events in memory.
    Memory,
    /// Concurrent invocations.
    Invocations,
}

/// The waits of one consumer.
#[derive(Clone, Debug, Default)]
pub struct Backpressure(Arc<WaitCounts>);

/// A consumer can wait several times at once: the requests of a queue run concurrently.
#[derive(Debug, Default)]
struct WaitCounts {
    memory: AtomicUsize,
    invocations: AtomicUsize,
}

/// Counts as one wait until it is dropped.
#[derive(Debug)]
struct WaitGuard {
    backpressure: Backpressure,
    limit: Limit,
}

impl Backpressure {
    /// Reserves a part of a limit; counts as a wait if it is not available immediately.
    pub(crate) async fn reserve(
        &self,
        limit: Limit,
        account: &Account,
        amount: usize,
    ) -> Reservation {
        if let Some(reservation) = account.try_reserve(amount) {
            return reservation;
        }
        let _guard = self.wait(limit);
        account.reserve(amount).await
    }

    /// Waits until `bytes` of memory are available, and reserves none.
    pub(super) async fn wait_until_available(
        &self,
        account: &Account,
        bytes: usize,
    ) -> Availability {
        let available = account.availability(bytes);
        if available != Availability::None {
            return available;
        }
        let _guard = self.wait(Limit::Memory);
        if account.reserve(bytes).await.is_scarce() {
            Availability::Scarce
        } else {
            Availability::Ample
        }
    }

    /// The limit it waits for. Invocations come first: they release memory.
    pub(crate) fn limit(&self) -> Option<Limit> {
        [Limit::Invocations, Limit::Memory]
            .into_iter()
            .find(|limit| 0 < self.count(*limit).load(Ordering::Relaxed))
    }

    fn wait(&self, limit: Limit) -> WaitGuard {
        self.count(limit).fetch_add(1, Ordering::Relaxed);
        WaitGuard {
            backpressure: self.clone(),
            limit,
        }
    }

    fn count(&self, limit: Limit) -> &AtomicUsize {
        match limit {
            Limit::Memory => &self.0.memory,
            Limit::Invocations => &self.0.invocations,
        }
    }
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        let count = self.backpressure.count(self.limit);
        count.fetch_sub(1, Ordering::Relaxed);
    }
}
