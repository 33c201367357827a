//! Which limit a consumer waits for, as the status shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::budget::{Account, Availability, Reservation};

/// A limit that consumers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Concurrent invocations of the daemon.
    Invocations,
    /// Concurrent invocations of the function.
    FunctionConcurrency,
    /// Concurrent invocations of the mapping.
    MappingConcurrency,
    /// Bytes of events in memory.
    Memory,
}

/// The waits of one consumer.
#[derive(Clone, Debug, Default)]
pub struct Backpressure(Arc<WaitCounts>);

/// A consumer can wait several times at once: the requests of a queue run concurrently. In the order
/// of [`Backpressure::LIMITS`].
type WaitCounts = [AtomicUsize; 4];

/// Counts as one wait until it is dropped.
#[derive(Debug)]
pub(crate) struct WaitGuard {
    backpressure: Backpressure,
    limit: Limit,
}

impl Backpressure {
    /// Invocations come first: they release memory.
    const LIMITS: [Limit; 4] = [
        Limit::Invocations,
        Limit::FunctionConcurrency,
        Limit::MappingConcurrency,
        Limit::Memory,
    ];

    /// Reserves memory; counts as a wait if it is not available immediately.
    pub(super) async fn reserve(&self, account: &Account, bytes: usize) -> Reservation {
        if let Some(reservation) = account.try_reserve(bytes) {
            return reservation;
        }
        let _guard = self.wait(Limit::Memory);
        account.reserve(bytes).await
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

    /// The limit it waits for.
    pub(crate) fn limit(&self) -> Option<Limit> {
        Self::LIMITS
            .into_iter()
            .find(|limit| 0 < self.count(*limit).load(Ordering::Relaxed))
    }

    pub(crate) fn wait(&self, limit: Limit) -> WaitGuard {
        self.count(limit).fetch_add(1, Ordering::Relaxed);
        WaitGuard {
            backpressure: self.clone(),
            limit,
        }
    }

    fn count(&self, limit: Limit) -> &AtomicUsize {
        &self.0[limit as usize]
    }
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        let count = self.backpressure.count(self.limit);
        count.fetch_sub(1, Ordering::Relaxed);
    }
}
