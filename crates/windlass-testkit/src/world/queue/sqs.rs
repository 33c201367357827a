//! A queue as SQS serves it: visibility timeouts, receipt handles, receive counts, message groups.

use std::collections::BTreeSet;
use std::time::Duration;

use windlass_core::queue::EntryResult;
use windlass_core::record::{KeyHash, Message, MessageId, ReceiptHandle};
use windlass_core::time::Timestamp;

use super::plan::{Planned, SqsPlan};
use crate::rng::Rng;
use crate::sample_filter;

/// A world has no more duplicates: with answers that take no time, they would come for ever.
const MOST_DUPLICATES: u32 = 100;

/// The queue.
#[derive(Debug)]
pub(super) struct Sqs {
    pub(super) plan: SqsPlan,
    fifo: bool,
    /// What is larger can never be delivered, and is redriven in the end.
    largest: usize,
    messages: Vec<Stored>,
    n_duplicates: u32,
}

#[derive(Debug)]
struct Stored {
    planned: Planned,
    visible_at: Timestamp,
    /// How often it was received; the newest handle has this number.
    receives: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    There,
    Deleted,
    /// In the queue for dead letters.
    Redriven,
}

/// What one receive has given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) index: usize,
    pub(super) message: Message,
    /// It was given before.
    pub(super) again: bool,
    /// It should have been invisible: standard queues may do that.
    pub(super) duplicate: bool,
}

impl Sqs {
    pub(super) fn new(plan: SqsPlan, fifo: bool, largest: usize, messages: &[Planned]) -> Self {
        let stored = |planned: &Planned| Stored {
            planned: *planned,
            visible_at: planned.sent,
            receives: 0,
            state: State::There,
        };
        Self {
            plan,
            fifo,
            largest,
            messages: messages.iter().map(stored).collect(),
            n_duplicates: 0,
        }
    }

    /// One way of a request, there or back.
    pub(super) fn latency(&self, faulty: bool, rng: &mut Rng) -> Duration {
        let (low, high) = self.plan.latency;
        if faulty {
            rng.millis(low, high)
        } else {
            rng.millis(low.min(100), high.min(100))
        }
    }

    /// Gives messages that nobody holds, and makes them invisible.
    pub(super) fn receive(
        &mut self,
        limit: usize,
        visibility: Duration,
        faulty: bool,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Vec<Given> {
        let mut happens = |chance: u64| faulty && rng.per_mille(chance);
        if happens(self.plan.empty) {
            return Vec::new();
        }
        let limit = if happens(self.plan.short) {
            rng.size(1, limit)
        } else {
            limit
        };
        self.redrive(now);
        let chosen = if self.fifo {
            self.next_of_groups(now)
        } else {
            self.any(faulty, now, rng)
        };
        let chosen = chosen.into_iter().take(limit);
        chosen
            .map(|index| self.give(index, now + visibility, now))
            .collect()
    }

    /// When a receive may have an answer, if nothing is done to the queue before.
    pub(super) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let there = self.messages.iter().filter(|it| it.state == State::There);
        there.map(|it| it.visible_at).filter(|at| now < *at).min()
    }

    pub(super) fn delete(
        &mut self,
        receipt: &ReceiptHandle,
        now: Timestamp,
        rng: &mut Rng,
    ) -> EntryResult {
        let (index, number) = parse(receipt);
        let stored = &mut self.messages[index];
        let outdated = number != stored.receives;
        match stored.state {
            State::Deleted => return EntryResult::Done,
            State::Redriven => return EntryResult::Refused,
            State::There => {}
        }
        if self.fifo && (outdated || stored.visible_at <= now) {
            return EntryResult::Refused;
        }
        if outdated && rng.per_mille(700) {
            // A standard queue does not always say that it was of no use.
            return rng.pick(&[EntryResult::Refused, EntryResult::Done]);
        }
        stored.state = State::Deleted;
        EntryResult::Done
    }

    pub(super) fn change_visibility(
        &mut self,
        receipt: &ReceiptHandle,
        timeout: Duration,
        now: Timestamp,
    ) -> EntryResult {
        let (index, number) = parse(receipt);
        let stored = &mut self.messages[index];
        let outdated = number != stored.receives;
        if outdated || stored.state != State::There || stored.visible_at <= now {
            return EntryResult::Refused;
        }
        stored.visible_at = now + timeout;
        EntryResult::Done
    }

    pub(super) fn is_deleted(&self, index: usize) -> bool {
        self.messages[index].state == State::Deleted
    }

    pub(super) fn is_redriven(&self, index: usize) -> bool {
        self.messages[index].state == State::Redriven
    }

    /// Whether it was received and is neither deleted nor visible again.
    pub(super) fn is_in_flight(&self, index: usize, now: Timestamp) -> bool {
        self.messages[index].is_in_flight(now)
    }

    fn redrive(&mut self, now: Timestamp) {
        for stored in &mut self.messages {
            let hopeless = self.largest < stored.planned.len;
            let enough = self.plan.most_receives <= stored.receives;
            if hopeless && enough && stored.visible_at <= now {
                stored.state = State::Redriven;
            }
        }
    }

    /// In order; nothing of a group of which a message is in flight.
    fn next_of_groups(&self, now: Timestamp) -> Vec<usize> {
        let in_flight = self.messages.iter().filter(|it| it.is_in_flight(now));
        let locked: BTreeSet<_> = in_flight.map(|it| it.planned.group).collect();
        (0..self.messages.len())
            .filter(|index| self.messages[*index].is_visible(now))
            .filter(|index| !locked.contains(&self.messages[*index].planned.group))
            .collect()
    }

    fn any(&self, faulty: bool, now: Timestamp, rng: &mut Rng) -> Vec<usize> {
        let likely = faulty && self.n_duplicates < MOST_DUPLICATES;
        let duplicate = if likely { self.plan.duplicate } else { 0 };
        let mut chosen: Vec<_> = (0..self.messages.len())
            .filter(|index| {
                let stored = &self.messages[*index];
                stored.is_visible(now) || stored.is_in_flight(now) && rng.per_mille(duplicate)
            })
            .collect();
        for place in 0..chosen.len() {
            if rng.per_mille(self.plan.reordered) {
                let other = rng.size(0, chosen.len() - 1);
                chosen.swap(place, other);
            }
        }
        chosen
    }

    fn give(&mut self, index: usize, visible_at: Timestamp, now: Timestamp) -> Given {
        let stored = &mut self.messages[index];
        let duplicate = now < stored.visible_at;
        self.n_duplicates += u32::from(duplicate);
        let again = 0 < stored.receives;
        stored.receives += 1;
        stored.visible_at = visible_at;
        let receipt = format!("{index}-{}", stored.receives);
        let message = Message {
            message_id: MessageId::from(index.to_string().as_str()),
            receipt_handle: ReceiptHandle::from(receipt.as_str()),
            group: self.fifo.then_some(KeyHash(stored.planned.group)),
            sent: stored.planned.sent,
            event: sample_filter::event(stored.planned.len, stored.planned.wanted),
            body: 0..0,
        };
        Given {
            index,
            message,
            again,
            duplicate,
        }
    }
}

impl Stored {
    fn is_visible(&self, now: Timestamp) -> bool {
        self.state == State::There && self.visible_at <= now
    }

    fn is_in_flight(&self, now: Timestamp) -> bool {
        self.state == State::There && 0 < self.receives && now < self.visible_at
    }
}

/// Which message a handle is of.
pub(super) fn index_of(receipt: &ReceiptHandle) -> usize {
    parse(receipt).0
}

fn parse(receipt: &ReceiptHandle) -> (usize, u32) {
    let parts = receipt.as_str().split_once('-');
    let (index, number) = parts.expect("a handle that the queue gave");
    (
        index.parse().expect("the index of a message"),
        number.parse().expect("the number of a receive"),
    )
}
