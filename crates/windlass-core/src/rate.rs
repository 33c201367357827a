//! The rate of a replay: how many records it sends in a second, over all of its shards.
//!
//! A batch of `n` records is paid for after `n / rate` seconds, and the next one goes then: batches go
//! evenly, and after a pause there is no more at once than one of them. No batch has more records than
//! a second pays for. Retries are paid for like first attempts.
//!
//! The units of a replay take turns. One that has a batch requests its turn; with the turn it requests
//! its invocation slot, so that no slot is held while a batch waits to be paid for; and with both its
//! consumer gets [`SlotGranted`] with [`RateTurns::max_records`]. The turn ends when the batch is sent
//! ([`RateTurns::sent`]), or when the consumer does not need it ([`RateTurns::cancel`]).
//!
//! ```text
//!          request          poll_turn                      sent: the next turn is when it is paid for
//!  consumer ──────▶ waits ─────────────▶ has the turn ────▶
//!                     │   paid, in order      │
//!                     └────────cancel─────────┘
//! ```
//!
//! [`SlotGranted`]: crate::shard::ShardInput::SlotGranted

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::time::Timestamp;

/// Records a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub NonZeroU32);

/// Identifies a request for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TurnId(pub u64);

/// Gives the units of one replay their turns. There is one turn at a time, also without a rate, so that
/// a rate that is set holds from then on.
///
/// After each call, and at [`RateTurns::poll_timeout`], ask [`RateTurns::poll_turn`].
#[derive(Debug)]
pub struct RateTurns {
    /// `None`: no limit.
    rate: Option<Rate>,
    /// In the order of the requests.
    waiting: VecDeque<TurnId>,
    current: Option<TurnId>,
    /// When the last batch is paid for, as monotonic time. A millisecond may pay for several batches.
    paid: Duration,
    last_id: u64,
}

impl RateTurns {
    pub const fn new(rate: Option<Rate>) -> Self {
        Self {
            rate,
            waiting: VecDeque::new(),
            current: None,
            paid: Duration::ZERO,
            last_id: 0,
        }
    }

    pub const fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Changes the rate. What was sent is paid for at the rate at which it went, and at once without
    /// one.
    pub const fn set_rate(&mut self, rate: Option<Rate>) {
        self.rate = rate;
        if rate.is_none() {
            self.paid = Duration::ZERO;
        }
    }

    /// The records that a batch may have that is sent now.
    pub fn max_records(&self) -> Option<usize> {
        let Rate(rate) = self.rate?;
        Some(usize::try_from(rate.get()).unwrap_or(usize::MAX))
    }

    pub fn request(&mut self) -> TurnId {
        self.last_id += 1;
        let id = TurnId(self.last_id);
        self.waiting.push_back(id);
        id
    }

    /// Gives the turn to the next request, if the batch before is sent and paid for.
    pub fn poll_turn(&mut self, now: Timestamp) -> Option<TurnId> {
        if self.current.is_some() || now < self.paid_at() {
            return None;
        }
        self.current = self.waiting.pop_front();
        self.current
    }

    /// The request that has the turn.
    pub const fn current(&self) -> Option<TurnId> {
        self.current
    }

    /// When to ask for the next turn if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let waits = self.current.is_none() && !self.waiting.is_empty();
        waits.then(|| self.paid_at())
    }

    /// The batch of the turn was sent, with `n_records`: 0 for the final invocation of a window.
    ///
    /// # Panics
    /// If the request does not have the turn.
    pub fn sent(&mut self, id: TurnId, n_records: usize, now: Timestamp) {
        assert_eq!(self.current, Some(id), "a batch is sent in its turn");
        self.current = None;
        if let Some(Rate(rate)) = self.rate {
            let now = Duration::from_millis(now.as_millis());
            self.paid = self.paid.max(now) + price(n_records, rate);
        }
    }

    /// The request is not needed, whether it waits or has the turn; nothing if it has ended.
    pub fn cancel(&mut self, id: TurnId) {
        if self.current == Some(id) {
            self.current = None;
        }
        self.waiting.retain(|waiting| *waiting != id);
    }

    fn paid_at(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.paid.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The time that pays for a batch.
fn price(n_records: usize, rate: NonZeroU32) -> Duration {
    let nanos = (n_records as u128 * 1_000_000_000).div_ceil(u128::from(rate.get()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
