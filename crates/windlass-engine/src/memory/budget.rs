//! What the daemon may have in use, shared so that no mapping can take it all.
//!
//! At the limit reading stops; nothing is dropped. But what a function that hangs was given may
//! never come back, so that a limit alone would let one mapping stop all others. Three rules keep
//! room for them:
//!
//! - Beyond its *share*, a small part of the whole, a mapping may hold no more than it leaves free
//!   of the *common* part.
//! - A share it may hold as long as there is room in the common part.
//! - Outside of the common part room is *scarce*: who holds nothing may take a share, so that it
//!   gets on, and who holds something only a small part of what is left.
//!
//! So one mapping that hangs holds half of the common part, a second one a quarter, and so on, and
//! however many hang, each takes little of what is left to the others.
//!
//! Who waits is served when something is given back, and who holds least is served first: with much
//! wanted and little free, it is the largest that stops.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use windlass_core::mapping::MappingId;

/// Who holds something already takes no more of what is scarce than one part in so many.
const SCARCE_PARTS: usize = 16;

/// How a budget of bytes is divided.
const BYTES: Division = Division {
    common: (3, 4),
    share: (1, 16),
    weight: 1,
};

/// How a budget of invocations is divided: they come and go, so that little needs to be kept.
const INVOCATIONS: Division = Division {
    common: (9, 10),
    share: (1, 100),
    weight: 8,
};

/// A number of bytes or of invocations that all mappings share.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Pool>);

/// The budget as one mapping sees it.
#[derive(Clone, Debug)]
pub struct Account {
    budget: Budget,
    mapping: MappingId,
}

/// A part of the budget; it goes back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    account: Account,
    amount: usize,
    scarce: bool,
}

/// How a budget is divided: fractions of the whole, and how many times as much a mapping may hold
/// as it leaves free.
struct Division {
    common: (usize, usize),
    share: (usize, usize),
    weight: usize,
}

#[derive(Debug)]
struct Pool {
    limit: usize,
    common: usize,
    share: usize,
    weight: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// How often somebody has begun to wait.
    n_waits: u64,
    /// The mappings that hold something or wait.
    holders: BTreeMap<MappingId, Holder>,
}

#[derive(Debug, Default)]
struct Holder {
    held: usize,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    /// Of two mappings that hold the same, the one that has waited longer is served first.
    number: u64,
    amount: usize,
    answer: oneshot::Sender<Reservation>,
}

/// What is granted, and to whom.
type Granted = (oneshot::Sender<Reservation>, Reservation);

/// What there is of what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Availability {
    Ample,
    /// Outside of the common part.
    Scarce,
    None,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self::with(bytes, &BYTES)
    }

    /// A budget of so many invocations at a time.
    pub fn of_invocations(limit: usize) -> Self {
        Self::with(limit, &INVOCATIONS)
    }

    fn with(limit: usize, division: &Division) -> Self {
        let limit = limit.max(1);
        let part = |(n, of): (usize, usize)| limit / of * n + limit % of * n / of;
        Self(Arc::new(Pool {
            limit,
            common: part(division.common),
            share: part(division.share).max(1),
            weight: division.weight,
            state: Mutex::default(),
        }))
    }

    /// What one mapping takes is counted as its own, whichever of its consumers takes it.
    pub fn account(&self, mapping: &MappingId) -> Account {
        Account {
            budget: self.clone(),
            mapping: mapping.clone(),
        }
    }

    /// What is taken; more than the whole if something turned out larger than was expected.
    pub fn used(&self) -> usize {
        self.lock().used
    }

    /// The whole budget.
    pub fn total(&self) -> usize {
        self.0.limit
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves those who wait and can be served. Who no longer waits gives back what it is granted,
    /// which takes the lock again: so everything is handed out without it.
    fn serve(&self) {
        let granted = self.grant(&mut self.lock());
        for (answer, reservation) in granted {
            drop(answer.send(reservation));
        }
    }

    fn grant(&self, state: &mut State) -> Vec<Granted> {
        state.drop_cancelled();
        let mut granted = Vec::new();
        let mut refused = BTreeSet::new();
        while let Some((mapping, amount)) = state.next(&refused) {
            let held = state.held(&mapping);
            let room = self.0.availability(state.used, held, amount);
            // Nobody takes more than a share where one that holds less was refused.
            let overtakes = !refused.is_empty() && self.0.share < held + amount;
            if room == Availability::None || overtakes {
                refused.insert(mapping);
                continue;
            }
            let waiter = state.pop_waiter(&mapping, amount);
            let account = self.account(&mapping);
            granted.push((waiter.answer, account.reservation(amount, room)));
        }
        granted
    }
}

impl Account {
    /// WaitGuard until there is room for so much and takes it. Nobody is given more than a share at a
    /// time.
    pub async fn reserve(&self, amount: usize) -> Reservation {
        let granted = self.wait(amount);
        granted
            .await
            .expect("who waits is kept until it is served or has given up")
    }

    /// Takes so much if there is room for it and nobody waits.
    pub fn try_reserve(&self, amount: usize) -> Option<Reservation> {
        let amount = amount.min(self.budget.0.share);
        let mut state = self.budget.lock();
        if state.has_waiters() {
            return None;
        }
        let room = self
            .budget
            .0
            .availability(state.used, state.held(&self.mapping), amount);
        if room == Availability::None {
            return None;
        }
        state.change(&self.mapping, 0, amount);
        drop(state);
        Some(self.reservation(amount, room))
    }

    /// A reservation of nothing, to be merged with others.
    pub fn nothing(&self) -> Reservation {
        self.reservation(0, Availability::Ample)
    }

    fn wait(&self, amount: usize) -> oneshot::Receiver<Reservation> {
        let (answer, granted) = oneshot::channel();
        let mut state = self.budget.lock();
        state.n_waits += 1;
        let waiter = Waiter {
            number: state.n_waits,
            amount: amount.min(self.budget.0.share),
            answer,
        };
        let holder = state.holders.entry(self.mapping.clone()).or_default();
        holder.waiting.push_back(waiter);
        drop(state);
        self.budget.serve();
        granted
    }

    fn reservation(&self, amount: usize, room: Availability) -> Reservation {
        Reservation {
            account: self.clone(),
            amount,
            scarce: room == Availability::Scarce,
        }
    }
}

impl Reservation {
    /// Whether there was room only in what is kept for mappings that hold little.
    pub const fn is_scarce(&self) -> bool {
        self.scarce
    }

    /// Adds another reservation of the same mapping.
    pub fn merge(&mut self, mut other: Self) {
        self.amount += std::mem::take(&mut other.amount);
    }

    /// What is reserved.
    pub const fn amount(&self) -> usize {
        self.amount
    }

    /// Gives back what goes beyond this amount.
    pub fn shrink_to(&mut self, amount: usize) {
        self.set(self.amount.min(amount));
    }

    /// From here on it is of this amount, even if there is not as much: what is held already is
    /// counted as it is.
    pub fn set(&mut self, amount: usize) {
        let before = std::mem::replace(&mut self.amount, amount);
        if before == amount {
            return;
        }
        let Account { budget, mapping } = &self.account;
        budget.lock().change(mapping, before, amount);
        if amount < before {
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
        let (used, wanted) = (used + amount, held + amount);
        if self.limit < used {
            return Availability::None;
        }
        let left = self.common.saturating_sub(used);
        if wanted <= left * self.weight || (wanted <= self.share && used <= self.common) {
            return Availability::Ample;
        }
        let little = wanted <= (self.limit - used) / SCARCE_PARTS;
        if little || (held == 0 && amount <= self.share) {
            Availability::Scarce
        } else {
            Availability::None
        }
    }
}

impl State {
    fn held(&self, mapping: &MappingId) -> usize {
        self.holders.get(mapping).map_or(0, |holder| holder.held)
    }

    fn has_waiters(&self) -> bool {
        let mut waiting = self.holders.values().flat_map(|holder| &holder.waiting);
        waiting.any(|waiter| !waiter.answer.is_closed())
    }

    fn drop_cancelled(&mut self) {
        self.holders.retain(|_, holder| {
            holder.waiting.retain(|waiter| !waiter.answer.is_closed());
            0 < holder.held || !holder.waiting.is_empty()
        });
    }

    /// Who is served next, and what it wants: of those that were not refused, the one that holds
    /// least.
    fn next(&self, refused: &BTreeSet<MappingId>) -> Option<(MappingId, usize)> {
        let waiting = self.holders.iter().filter_map(|(mapping, holder)| {
            let first = holder.waiting.front()?;
            Some((mapping, (holder.held, first.number), first.amount))
        });
        let (mapping, _, amount) = waiting
            .filter(|(mapping, ..)| !refused.contains(mapping))
            .min_by_key(|(_, order, _)| *order)?;
        Some((mapping.clone(), amount))
    }

    /// Gives the first who waits for a mapping what it wants.
    fn pop_waiter(&mut self, mapping: &MappingId, amount: usize) -> Waiter {
        let holder = self.holders.get_mut(mapping);
        let waiter = holder.and_then(|holder| holder.waiting.pop_front());
        self.change(mapping, 0, amount);
        waiter.expect("who is served next waits")
    }

    /// A part of what a mapping holds becomes larger or smaller.
    fn change(&mut self, mapping: &MappingId, before: usize, after: usize) {
        self.used = self.used - before + after;
        let holder = self.holders.entry(mapping.clone()).or_default();
        holder.held = holder.held - before + after;
        if holder.held == 0 && holder.waiting.is_empty() {
            self.holders.remove(mapping);
        }
    }
}

#[cfg(test)]
mod tests;
