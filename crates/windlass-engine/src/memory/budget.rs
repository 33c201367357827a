//! Bytes of memory, divided so that no mapping can take all of them.
//!
//! At the limit reading stops; nothing is dropped. A function that hangs may never give its part
//! back, so with a limit alone one mapping could stop all others. Three rules prevent that:
//!
//! - Above its guaranteed *share* (1/16), a mapping may hold at most as much as remains free in the
//!   *common* pool (3/4): one stuck mapping takes half of the pool, the next a quarter, and so on.
//! - Up to its share, a mapping may take whatever is free in the common pool.
//! - Outside of the common pool the rest is *scarce*: a mapping that holds nothing may take a
//!   share, so that it makes progress; any other may hold 1/16 of the rest.
//!
//! Waiting mappings are served as soon as a part is released: first those that are [`Urgency::High`],
//! then the one that holds least, so that under pressure the largest mappings stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use windlass_core::mapping::MappingId;

pub(super) use self::waiters::Urgency;
use self::waiters::WaiterNumber;

mod waiters;

/// While the budget is scarce, a mapping may hold this fraction of what is free.
const SCARCE_PARTS: usize = 16;

/// The common pool, as a fraction of the whole.
const COMMON: (usize, usize) = (3, 4);

/// The share of a mapping, as a fraction of the whole.
const SHARE: (usize, usize) = (1, 16);

/// Bytes that all mappings share.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Pool>);

/// The budget from the point of view of one mapping.
#[derive(Clone, Debug)]
pub struct Account {
    budget: Budget,
    mapping: MappingId,
    urgency: Urgency,
}

/// A part of the budget; released on drop.
#[derive(Debug)]
pub struct Reservation {
    account: Account,
    amount: usize,
    scarce: bool,
}

/// A place among the waiters; given up on drop.
#[derive(Debug)]
struct Wait {
    account: Account,
    number: WaiterNumber,
    granted: oneshot::Receiver<Reservation>,
}

#[derive(Debug)]
struct Pool {
    limit: usize,
    common: usize,
    share: usize,
    state: Mutex<State>,
}

type State = waiters::State<oneshot::Sender<Reservation>>;

type Granted = (oneshot::Sender<Reservation>, Reservation);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    Ample,
    /// Outside of the common pool.
    Scarce,
    None,
}

impl Budget {
    pub fn new(bytes: usize) -> Self {
        let limit = bytes.max(1);
        let part = |(n, of): (usize, usize)| limit / of * n + limit % of * n / of;
        Self(Arc::new(Pool {
            limit,
            common: part(COMMON),
            share: part(SHARE).max(1),
            state: Mutex::default(),
        }))
    }

    /// The account that all consumers of a mapping share.
    pub fn account(&self, mapping: &MappingId) -> Account {
        Account {
            budget: self.clone(),
            mapping: mapping.clone(),
            urgency: Urgency::Normal,
        }
    }

    /// Exceeds the total if a page or message was larger than expected.
    pub fn used(&self) -> usize {
        self.lock().used
    }

    pub fn total(&self) -> usize {
        self.0.limit
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves waiters. A waiter that was cancelled meanwhile drops its reservation, which takes the
    /// lock: reservations are sent without holding it.
    fn serve(&self) {
        let mut state = self.lock();
        if !state.has_waiters() {
            return;
        }
        let granted = self.grant(&mut state);
        drop(state);
        for (answer, reservation) in granted {
            drop(answer.send(reservation));
        }
    }

    fn grant(&self, state: &mut State) -> Vec<Granted> {
        let mut granted = Vec::new();
        let mut last_refused = None;
        while let Some(smallest) = state.smallest_amount()
            && state.used + smallest <= self.0.limit
            && let Some(candidate) = state.next(last_refused)
        {
            let (held, amount) = (candidate.held, candidate.amount);
            let available = self.0.availability(state.used, held, amount);
            // A mapping that holds less was refused: only shares are granted after it.
            let overtakes = last_refused.is_some() && self.0.share < held + amount;
            if available == Availability::None || overtakes {
                last_refused = Some(candidate.turn);
                continue;
            }
            let Some(waiter) = state.pop_waiter(&candidate) else {
                break;
            };
            let mut account = self.account(&candidate.mapping);
            account.urgency = waiter.urgency;
            granted.push((waiter.answer, account.reservation(amount, available)));
        }
        granted
    }
}

impl Account {
    pub(super) fn with_urgency(self, urgency: Urgency) -> Self {
        Self { urgency, ..self }
    }

    /// What a reservation of `amount`, or of a share if that is less, would find now.
    pub(super) fn availability(&self, amount: usize) -> Availability {
        let amount = amount.min(self.budget.0.share);
        let state = self.budget.lock();
        if state.has_waiters() {
            return Availability::None;
        }
        let held = state.held(&self.mapping);
        self.budget.0.availability(state.used, held, amount)
    }

    /// The largest amount of one reservation.
    pub(super) fn share(&self) -> usize {
        self.budget.0.share
    }

    /// Waits for `amount`, or for a share if that is less.
    pub async fn reserve(&self, amount: usize) -> Reservation {
        let mut wait = self.wait(amount);
        let granted = &mut wait.granted;
        granted
            .await
            .expect("a waiter is removed only when it is served or cancelled")
    }

    /// Takes `amount`, or a share if that is less. Returns `None` if it is not available or others
    /// wait.
    pub fn try_reserve(&self, amount: usize) -> Option<Reservation> {
        let amount = amount.min(self.budget.0.share);
        let mut state = self.budget.lock();
        if state.has_waiters() {
            return None;
        }
        let held = state.held(&self.mapping);
        let available = self.budget.0.availability(state.used, held, amount);
        if available == Availability::None {
            return None;
        }
        state.change(&self.mapping, 0, amount);
        drop(state);
        Some(self.reservation(amount, available))
    }

    /// An empty reservation, to merge others into.
    pub fn empty(&self) -> Reservation {
        self.reservation(0, Availability::Ample)
    }

    fn wait(&self, amount: usize) -> Wait {
        let (answer, granted) = oneshot::channel();
        let amount = amount.min(self.budget.0.share);
        let mut state = self.budget.lock();
        let number = state.enqueue(&self.mapping, self.urgency, amount, answer);
        drop(state);
        self.budget.serve();
        Wait {
            account: self.clone(),
            number,
            granted,
        }
    }

    fn reservation(&self, amount: usize, available: Availability) -> Reservation {
        Reservation {
            account: self.clone(),
            amount,
            scarce: available == Availability::Scarce,
        }
    }
}

impl Reservation {
    /// Whether it was taken from outside of the common pool.
    pub const fn is_scarce(&self) -> bool {
        self.scarce
    }

    /// Adds another reservation of the same mapping.
    pub fn merge(&mut self, mut other: Self) {
        self.amount += std::mem::take(&mut other.amount);
    }

    /// Takes `amount` out of it, and the rest of that from the budget, even if there is not enough:
    /// memory that is in use must be counted.
    #[must_use]
    pub fn split(&mut self, amount: usize) -> Self {
        let taken = self.amount.min(amount);
        self.amount -= taken;
        let mut part = Self {
            account: self.account.clone(),
            amount: taken,
            scarce: self.scarce,
        };
        part.set(amount);
        part
    }

    pub const fn amount(&self) -> usize {
        self.amount
    }

    /// Releases what exceeds `amount`.
    pub fn shrink_to(&mut self, amount: usize) {
        self.set(self.amount.min(amount));
    }

    /// Changes the amount, even if there is not enough: memory that is in use must be counted.
    pub fn set(&mut self, amount: usize) {
        let before = std::mem::replace(&mut self.amount, amount);
        if before == amount {
            return;
        }
        let Account {
            budget, mapping, ..
        } = &self.account;
        budget.lock().change(mapping, before, amount);
        if amount < before {
            budget.serve();
        }
    }
}

impl Drop for Wait {
    /// What a cancelled waiter leaves may be enough for others.
    fn drop(&mut self) {
        let Account {
            budget, mapping, ..
        } = &self.account;
        let is_cancelled = budget.lock().cancel(mapping, self.number);
        if is_cancelled {
            budget.serve();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Pool {
    fn availability(&self, used: usize, held: usize, amount: usize) -> Availability {
        let (used, held_then) = (used + amount, held + amount);
        if self.limit < used {
            return Availability::None;
        }
        let left = self.common.saturating_sub(used);
        if held_then <= left || (held_then <= self.share && used <= self.common) {
            return Availability::Ample;
        }
        let is_little = held_then <= (self.limit - used) / SCARCE_PARTS;
        if is_little || (held == 0 && amount <= self.share) {
            Availability::Scarce
        } else {
            Availability::None
        }
    }
}

#[cfg(test)]
mod tests;
