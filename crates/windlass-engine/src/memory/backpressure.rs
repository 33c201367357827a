//! Which limits of the daemon a consumer waits for, so that the status can say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::{Account, Reservation};

/// A limit of the daemon that all consumers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The bytes that may be held.
    Memory,
    /// The invocations that may run at a time.
    Invocations,
}

/// Which limits of the daemon one consumer waits for.
#[derive(Clone, Debug, Default)]
pub struct Backpressure(Arc<WaitCounts>);

/// How many of its requests wait: those of a queue run side by side.
#[derive(Debug, Default)]
struct WaitCounts {
    memory: AtomicUsize,
    invocations: AtomicUsize,
}

/// A request waits for a limit until this is dropped.
#[derive(Debug)]
struct WaitGuard {
    backpressure: Backpressure,
    limit: Limit,
}

impl Backpressure {
    /// A request of the consumer waits for a limit.
    fn wait(&self, limit: Limit) -> WaitGuard {
        self.count(limit).fetch_add(1, Ordering::Relaxed);
        WaitGuard {
            backpressure: self.clone(),
            limit,
        }
    }

    /// Reserves a part of a limit, and says so while that has to wait.
    pub(crate) async fn reserve(
        &self,
        limit: Limit,
        account: &Account,
        amount: usize,
    ) -> Reservation {
        if let Some(reservation) = account.try_reserve(amount) {
            return reservation;
        }
        let _waits = self.wait(limit);
        account.reserve(amount).await
    }

    /// What it waits for. Invocations come first: they are what makes room in memory.
    pub(crate) fn limit(&self) -> Option<Limit> {
        [Limit::Invocations, Limit::Memory]
            .into_iter()
            .find(|limit| 0 < self.count(*limit).load(Ordering::Relaxed))
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
