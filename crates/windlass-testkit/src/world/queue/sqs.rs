//! A simulated SQS queue: visibility timeouts, receipt handles, receive counts, message groups.

use std::collections::BTreeSet;
use std::time::Duration;

use windlass_core::event::ENVELOPE_LEN;
use windlass_core::ids::{KeyHash, MessageId, ReceiptHandle};
use windlass_core::message::Message;
use windlass_core::queue::{EntryResult, QueueConsumerSettings};
use windlass_core::time::Timestamp;

use super::plan::{Planned, SqsPlan};
use crate::rng::Rng;
use crate::sample_filter;

/// Duplicates per world: with zero latency there would be no end of them.
const MAX_DUPLICATES: u32 = 100;

#[derive(Debug)]
pub(super) struct Sqs {
    pub(super) plan: SqsPlan,
    fifo: bool,
    clock_ahead: i64,
    pub(super) has_redrive_policy: bool,
    /// A longer event can never be delivered; the queue redrives its message.
    max_len: usize,
    messages: Vec<Stored>,
    n_duplicates: u32,
}

#[derive(Debug)]
struct Stored {
    planned: Planned,
    visible_at: Timestamp,
    /// The receive count; the newest receipt handle has this number.
    receives: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Available,
    Deleted,
    /// Moved to the dead-letter queue.
    Redriven,
}

/// A message that a receive returned.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) index: usize,
    pub(super) message: Message,
    /// It was delivered before.
    pub(super) again: bool,
    /// It should have been invisible, but standard queues deliver at least once.
    pub(super) duplicate: bool,
}

impl Sqs {
    pub(super) fn new(
        plan: SqsPlan,
        settings: &QueueConsumerSettings,
        messages: &[Planned],
        clock_ahead: i64,
    ) -> Self {
        let stored = |planned: &Planned| Stored {
            planned: *planned,
            visible_at: planned.sent,
            receives: 0,
            state: State::Available,
        };
        Self {
            plan,
            fifo: settings.mapping.fifo,
            clock_ahead,
            has_redrive_policy: settings.attributes.has_redrive_policy,
            max_len: settings.limits.payload_limit - ENVELOPE_LEN,
            messages: messages.iter().map(stored).collect(),
            n_duplicates: 0,
        }
    }

    /// The latency of a request or of its response.
    pub(super) fn latency(&self, faulty: bool, rng: &mut Rng) -> Duration {
        let (low, high) = self.plan.latency;
        if faulty {
            rng.millis(low, high)
        } else {
            rng.millis(low.min(100), high.min(100))
        }
    }

    /// Returns visible messages and makes them invisible.
    pub(super) fn receive(
        &mut self,
        limit: usize,
        visibility: Duration,
        faulty: bool,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Vec<Delivered> {
        let mut happens = |chance: u64| faulty && rng.per_mille(chance);
        if happens(self.plan.empty) {
            return Vec::new();
        }
        let limit = if happens(self.plan.short) {
            rng.size(1, limit)
        } else if happens(self.plan.excess) {
            limit + rng.size(1, 10)
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
            .map(|index| self.deliver(index, now + visibility, now))
            .collect()
    }

    /// When the next message becomes visible by itself.
    pub(super) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let available = self
            .messages
            .iter()
            .filter(|it| it.state == State::Available);
        available
            .map(|it| it.visible_at)
            .filter(|at| now < *at)
            .min()
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
            State::Available => {}
        }
        if self.fifo && (outdated || stored.visible_at <= now) {
            return EntryResult::Refused;
        }
        if outdated && rng.per_mille(700) {
            // A standard queue may report success for an outdated handle.
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
        if outdated || stored.state != State::Available || stored.visible_at <= now {
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

    pub(super) fn is_undeliverable(&self, index: usize) -> bool {
        let planned = &self.messages[index].planned;
        planned.unreadable || self.max_len < planned.len
    }

    pub(super) fn is_in_flight(&self, index: usize, now: Timestamp) -> bool {
        self.messages[index].is_in_flight(now)
    }

    fn redrive(&mut self, now: Timestamp) {
        for index in 0..self.messages.len() {
            let redrives = self.has_redrive_policy || self.is_undeliverable(index);
            let stored = &mut self.messages[index];
            let exhausted = self.plan.max_receives <= stored.receives;
            if redrives && exhausted && stored.is_visible(now) {
                stored.state = State::Redriven;
            }
        }
    }

    /// Visible messages in order, without the groups that have a message in flight.
    fn next_of_groups(&self, now: Timestamp) -> Vec<usize> {
        let in_flight = self.messages.iter().filter(|it| it.is_in_flight(now));
        let locked: BTreeSet<_> = in_flight.map(|it| it.planned.group).collect();
        (0..self.messages.len())
            .filter(|index| self.messages[*index].is_visible(now))
            .filter(|index| !locked.contains(&self.messages[*index].planned.group))
            .collect()
    }

    fn any(&self, faulty: bool, now: Timestamp, rng: &mut Rng) -> Vec<usize> {
        let likely = faulty && self.n_duplicates < MAX_DUPLICATES;
        let duplicate = if likely { self.plan.duplicate } else { 0 };
        let mut chosen: Vec<_> = (0..self.messages.len())
            .filter(|index| {
                let stored = &self.messages[*index];
                stored.is_visible(now) || stored.is_in_flight(now) && rng.per_mille(duplicate)
            })
            .collect();
        for index in 0..chosen.len() {
            if rng.per_mille(self.plan.reordered) {
                let other = rng.size(0, chosen.len() - 1);
                chosen.swap(index, other);
            }
        }
        chosen
    }

    fn deliver(&mut self, index: usize, visible_at: Timestamp, now: Timestamp) -> Delivered {
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
            sent: stored.planned.sent.shifted(self.clock_ahead),
            n_receives: stored.receives,
            event: sample_filter::event(stored.planned.len, stored.planned.matches),
            body: 0..0,
            unreadable: stored.planned.unreadable.then_some("invalid text"),
        };
        Delivered {
            index,
            message,
            again,
            duplicate,
        }
    }
}

impl Stored {
    fn is_visible(&self, now: Timestamp) -> bool {
        self.state == State::Available && self.visible_at <= now
    }

    fn is_in_flight(&self, now: Timestamp) -> bool {
        self.state == State::Available && 0 < self.receives && now < self.visible_at
    }
}

/// The index of the message that a receipt handle belongs to.
pub(super) fn index_of(receipt: &ReceiptHandle) -> usize {
    parse(receipt).0
}

fn parse(receipt: &ReceiptHandle) -> (usize, u32) {
    let parts = receipt.as_str().split_once('-');
    let (index, number) = parts.expect("a handle of this queue");
    (
        index.parse().expect("the index of a message"),
        number.parse().expect("the number of a receive"),
    )
}
