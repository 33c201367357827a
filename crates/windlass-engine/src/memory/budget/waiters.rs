//! What each mapping holds and waits for, in the order in which waiters are served.
//!
//! All operations take time in proportion to the logarithm of the number of mappings: when memory is
//! short, thousands of mappings wait, and each release looks for the next ones.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use tokio::sync::oneshot;
use windlass_core::mapping::MappingId;

use super::{Reservation, Urgency};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) used: usize,
    n_waits: u64,
    /// Mappings that hold a part or wait for one.
    holders: BTreeMap<MappingId, Holder>,
    /// The first waiter of each mapping that waits.
    firsts: BTreeMap<Turn, MappingId>,
    /// How many of the first waiters wait for each amount.
    amounts: BTreeMap<usize, usize>,
}

/// Place in the order in which mappings are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    urgency: Urgency,
    held: usize,
    /// Order of arrival: breaks ties between mappings that hold the same amount.
    number: WaiterNumber,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaiterNumber(u64);

#[derive(Debug, Default)]
struct Holder {
    held: usize,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
pub(super) struct Waiter {
    number: WaiterNumber,
    pub(super) urgency: Urgency,
    amount: usize,
    pub(super) answer: oneshot::Sender<Reservation>,
}

/// A mapping that waits, and what its first waiter requests.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) turn: Turn,
    pub(super) mapping: MappingId,
    pub(super) held: usize,
    pub(super) amount: usize,
}

impl State {
    pub(super) fn held(&self, mapping: &MappingId) -> usize {
        self.holders.get(mapping).map_or(0, |holder| holder.held)
    }

    pub(super) fn has_waiters(&self) -> bool {
        !self.firsts.is_empty()
    }

    /// The smallest amount that the first waiter of a mapping requests.
    pub(super) fn smallest_amount(&self) -> Option<usize> {
        self.amounts.keys().next().copied()
    }

    /// The next mapping to serve after `turn`: the most urgent one, and of those the one that holds
    /// least.
    pub(super) fn next(&self, turn: Option<Turn>) -> Option<Candidate> {
        let after = turn.map_or(Bound::Unbounded, Bound::Excluded);
        let (turn, mapping) = self.firsts.range((after, Bound::Unbounded)).next()?;
        let holder = self.holders.get(mapping)?;
        Some(Candidate {
            turn: *turn,
            mapping: mapping.clone(),
            held: holder.held,
            amount: holder.waiting.front()?.amount,
        })
    }

    pub(super) fn enqueue(
        &mut self,
        mapping: &MappingId,
        urgency: Urgency,
        amount: usize,
        answer: oneshot::Sender<Reservation>,
    ) -> WaiterNumber {
        self.n_waits += 1;
        let number = WaiterNumber(self.n_waits);
        let waiter = Waiter {
            number,
            urgency,
            amount,
            answer,
        };
        self.update(mapping, |holder| holder.waiting.push_back(waiter));
        number
    }

    /// Removes a waiter. Returns false if it was served.
    pub(super) fn cancel(&mut self, mapping: &MappingId, number: WaiterNumber) -> bool {
        self.update(mapping, |holder| {
            let before = holder.waiting.len();
            holder.waiting.retain(|waiter| waiter.number != number);
            holder.waiting.len() < before
        })
    }

    /// Removes a mapping's first waiter and books the amount that it waits for.
    pub(super) fn pop_waiter(&mut self, candidate: &Candidate) -> Option<Waiter> {
        let amount = candidate.amount;
        let waiter = self.update(&candidate.mapping, |holder| {
            let waiter = holder.waiting.pop_front()?;
            holder.held += amount;
            Some(waiter)
        })?;
        self.used += amount;
        Some(waiter)
    }

    pub(super) fn change(&mut self, mapping: &MappingId, before: usize, after: usize) {
        self.used = self.used - before + after;
        self.update(mapping, |holder| {
            holder.held = holder.held - before + after;
        });
    }

    /// Changes a holder, and its place in the order with it.
    fn update<T>(&mut self, mapping: &MappingId, change: impl FnOnce(&mut Holder) -> T) -> T {
        let holder = self.holders.entry(mapping.clone()).or_default();
        let before = holder.first();
        let result = change(holder);
        let after = holder.first();
        if holder.held == 0 && after.is_none() {
            self.holders.remove(mapping);
        }
        if before == after {
            return result;
        }
        if let Some((turn, amount)) = before {
            self.firsts.remove(&turn);
            let n_waiting = self.amounts.entry(amount).or_default();
            *n_waiting -= 1;
            if *n_waiting == 0 {
                self.amounts.remove(&amount);
            }
        }
        if let Some((turn, amount)) = after {
            self.firsts.insert(turn, mapping.clone());
            *self.amounts.entry(amount).or_default() += 1;
        }
        result
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.firsts.is_empty() && self.amounts.is_empty()
    }
}

impl Holder {
    fn first(&self) -> Option<(Turn, usize)> {
        let waiter = self.waiting.front()?;
        let turn = Turn {
            urgency: waiter.urgency,
            held: self.held,
            number: waiter.number,
        };
        Some((turn, waiter.amount))
    }
}
