//! Receives of a FIFO queue with a redrive policy: each receive is one batch.
//!
//! A message that goes back although the function never saw it has lost one of the receives after
//! which the queue moves it to the dead-letter queue. So no message is received that would wait for
//! an earlier one of its group, and then go back with it.

use std::time::Duration;

use super::inbox::Inbox;
use super::interface::QueueAttributes;
use super::message_filter::{FilteredMessages, Item};
use super::settings::QueueConsumerSettings;
use crate::batch::BatchLimits;
use crate::message::Message;
use crate::time::Timestamp;

/// For how long receives are smaller, once the messages that were in the way may be received again.
const REDUCED_FOR: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct WholeReceives {
    fifo: bool,
    has_redrive_policy: bool,
    batch_size: usize,
    reduced: Option<Reduced>,
}

/// A receive returned messages that could not be in its batch.
#[derive(Clone, Copy, Debug)]
struct Reduced {
    max_messages: usize,
    until: Timestamp,
}

impl WholeReceives {
    pub(super) fn new(settings: &QueueConsumerSettings) -> Self {
        Self {
            fifo: settings.mapping.fifo,
            has_redrive_policy: settings.attributes.has_redrive_policy,
            batch_size: settings.mapping.batch_size,
            reduced: None,
        }
    }

    pub(super) fn set_attributes(&mut self, attributes: QueueAttributes) {
        self.has_redrive_policy = attributes.has_redrive_policy;
    }

    /// Whether each receive is one batch.
    pub(super) const fn apply(&self) -> bool {
        self.fifo && self.has_redrive_policy
    }

    /// How many messages a receive may request.
    pub(super) fn max_messages(&self, now: Timestamp) -> usize {
        if !self.apply() {
            return usize::MAX;
        }
        let reduced = self.reduced.filter(|it| now < it.until);
        reduced.map_or(self.batch_size, |it| it.max_messages)
    }

    /// Leaves only messages that can be in one batch: the others would wait for it, and go back if
    /// it fails. Following receives are smaller.
    pub(super) fn cut_to_one_batch(
        &mut self,
        filtered: &mut FilteredMessages,
        inbox: &Inbox,
        limits: BatchLimits,
        queue_timeout: Duration,
        now: Timestamp,
    ) {
        let is_new = |message: &Message| !inbox.contains(&message.message_id);
        let new = filtered.items.iter().filter_map(|item| match item {
            Item::Deliver(message) => is_new(message).then(|| message.event.len()),
            Item::Delete(_) => None,
        });
        let n_new = new.clone().count();
        let n_fitting = limits.fill(new).n_items;
        if n_fitting < n_new {
            let mut left = n_fitting;
            filtered.items.retain(|item| {
                let Item::Deliver(message) = item else {
                    return true;
                };
                if is_new(message) {
                    if left == 0 {
                        filtered.followers.push(message.receipt_handle.clone());
                        return false;
                    }
                    left -= 1;
                }
                true
            });
            self.reduce(n_fitting, queue_timeout, now);
        }
        if !filtered.undeliverable.is_empty() {
            // It comes again, at the head of its group.
            self.reduce(1, queue_timeout, now);
        }
    }

    /// Only `n_messages` of those that a receive returned could be in one batch. Messages that fail
    /// become visible again after `queue_timeout`.
    pub(super) fn reduce(&mut self, n_messages: usize, queue_timeout: Duration, now: Timestamp) {
        self.reduced = Some(Reduced {
            max_messages: n_messages.max(1),
            until: now + queue_timeout + REDUCED_FOR,
        });
    }

    /// A batch has failed: its messages come again after up to `delay`, with those that did not fit
    /// next to them.
    pub(super) fn batch_failed(&mut self, delay: Duration, now: Timestamp) {
        if let Some(reduced) = self.reduced.as_mut().filter(|it| now < it.until) {
            reduced.until = now + delay + REDUCED_FOR;
        }
    }
}
