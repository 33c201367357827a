//! Memory of one response, reserved at the latest when the response has begun to arrive.
//!
//! A call that waits for its response holds no memory, however many wait. While memory is short the
//! body stays with its sender: nobody reads it from the connection.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::backpressure::Backpressure;
use super::budget::{Account, Reservation};
use crate::clock::Clock;
use crate::ports::{KeptMemory, ResponseMemory};

/// What a response may hold without a reservation: reads at the tip of a shard and long polls of an
/// empty queue return less, and would only contend for the budget.
const MAX_UNRESERVED: usize = 4 * 1024;

/// Minimum page size, even under memory pressure: a tiny read costs as much as a large one.
pub(super) const MIN_PAGE_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct ResponseGrant {
    account: Account,
    backpressure: Backpressure,
    clock: Clock,
    /// Memory of the largest response of the call.
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    reservation: Reservation,
    waited: Duration,
}

impl ResponseGrant {
    pub(crate) fn new(
        account: Account,
        backpressure: Backpressure,
        clock: Clock,
        max_bytes: usize,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                reservation: account.empty(),
                waited: Duration::ZERO,
            }),
            account,
            backpressure,
            clock,
            max_bytes,
        }
    }

    /// With memory that was reserved before the call: the response does not wait for more.
    pub(super) fn with(self, reservation: Reservation) -> Self {
        self.lock().reservation.merge(reservation);
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is reserved for the response, and how long it waited for that.
    pub(super) fn into_parts(self) -> (Reservation, Duration) {
        let state = self.state.into_inner();
        let State {
            reservation,
            waited,
        } = state.unwrap_or_else(PoisonError::into_inner);
        (reservation, waited)
    }
}

#[async_trait]
impl ResponseMemory for ResponseGrant {
    async fn reserve(&self, event_bytes: Option<usize>) -> usize {
        let reserved = self.lock().reservation.amount();
        if 0 < reserved {
            return reserved.max(MIN_PAGE_BYTES);
        }
        // The buffer grows by doubling, and later the events are copied when they are sent.
        let bytes = event_bytes.map_or(self.max_bytes, |bytes| bytes.saturating_mul(2));
        if bytes <= MAX_UNRESERVED {
            return MIN_PAGE_BYTES;
        }
        let start = self.clock.now();
        let reservation = self.backpressure.reserve(&self.account, bytes).await;
        let mut state = self.lock();
        state.waited += self.clock.now().since(start);
        state.reservation.merge(reservation);
        state.reservation.amount().max(MIN_PAGE_BYTES)
    }

    fn keep(&self, bytes: usize) -> KeptMemory {
        Box::new(self.lock().reservation.split(bytes))
    }
}
