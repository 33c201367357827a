//! What follows from the model: what the consumer may do, and by when it must.

use std::collections::BTreeSet;
use std::time::Duration;

use windlass_core::ids::{KeyHash, MessageId};
use windlass_core::outcome::Fault;
use windlass_core::time::Timestamp;

use super::event_bytes;
use super::model::{Extension, HeldMessage, Model, State, TrackedBatch};

/// The batch that the buffered messages make.
#[derive(Clone, Debug)]
pub(super) struct NextBatch {
    pub(super) messages: Vec<MessageId>,
    pub(super) full: bool,
}

impl Model {
    /// The visibility timeout with which messages are received and extended.
    pub(super) fn visibility(&self) -> Duration {
        let settings = &self.settings;
        settings
            .attributes
            .visibility_timeout
            .max(if settings.limits.visibility_heartbeat {
                Duration::from_secs(30)
            } else {
                settings.function_timeout
            })
    }

    /// `WaitTimeSeconds` of a receive.
    pub(super) fn wait(&self) -> Duration {
        let settings = &self.settings;
        if settings.limits.visibility_heartbeat {
            return settings.limits.wait_time;
        }
        let half = self.visibility().as_secs() / 2;
        settings.limits.wait_time.min(Duration::from_secs(half))
    }

    /// How many messages may be requested: for the slots that are free and one batch that waits.
    pub(super) fn room(&self) -> usize {
        let waiting = self.batches.values().filter(|it| it.since.is_none());
        let buffered = self.buffered();
        let not_begun = if self.receives_are_whole() {
            let receives = buffered.iter().map(|id| self.held[id].receive);
            let n_receives = receives.collect::<BTreeSet<_>>().len() + self.receives.len();
            (n_receives + waiting.count()) * self.max_batch_messages()
        } else {
            let n_waiting: usize = waiting.map(|it| it.messages.len()).sum();
            buffered.len() + n_waiting + self.n_requested()
        };
        let free_slots = self.free_slots.min(self.invocation_room());
        let places = self.max_batch_messages() * (free_slots + 1);
        places.saturating_sub(not_begun).min(self.buffer_room())
    }

    /// Whether a batch may be invoked as soon as there is a slot.
    pub(super) fn may_invoke(&self, now: Timestamp) -> bool {
        let may_begin = self.probe_is_possible()
            && self.function_backoff.may_begin(now)
            && 0 < self.invocation_room();
        may_begin && self.has_batch_at(now)
    }

    /// Whether a batch must be invoked as soon as there is a slot.
    pub(super) fn must_invoke(&self, now: Timestamp) -> bool {
        let must_begin = self.probe_is_possible()
            && self.function_backoff.latest() <= now
            && 0 < self.invocation_room();
        must_begin && self.has_batch_at(now)
    }

    /// How many more invocations may begin if there are slots for them.
    pub(super) fn invocation_room(&self) -> usize {
        let of_pollers = self
            .settings
            .mapping
            .pollers
            .map(|_| self.target_receives * 10);
        let is_probe = self.function_backoff.is_failing();
        let reduced = self.reduced_concurrency.filter(|_| !is_probe);
        let reduced = reduced.map(|(limit, _)| limit);
        let limit = of_pollers.into_iter().chain(reduced).min();
        limit.map_or(1_000_000, |limit| limit.saturating_sub(self.n_running()))
    }

    /// When one of the provisioned pollers may receive again.
    pub(super) fn pollers_due(&self) -> Timestamp {
        let last = self
            .receives_begun
            .iter()
            .rev()
            .nth(self.target_receives - 1);
        let last = last.filter(|_| self.settings.mapping.pollers.is_some());
        last.map_or(Timestamp::EPOCH, |at| *at + Duration::from_millis(100))
    }

    fn probe_is_possible(&self) -> bool {
        !(self.function_backoff.is_failing() && self.probe.is_some())
    }

    fn has_batch_at(&self, now: Timestamp) -> bool {
        let any_waits = self.batches.values().any(|it| it.since.is_none());
        let next = self.next_batch();
        any_waits || next.is_some_and(|next| self.closes_at(&next) <= now)
    }

    fn n_requested(&self) -> usize {
        self.receives.values().map(|receive| receive.limit).sum()
    }

    /// How many messages the buffer has room for.
    pub(super) fn buffer_room(&self) -> usize {
        let reserved = self.held.len() + self.n_requested();
        self.settings
            .limits
            .buffer_messages
            .saturating_sub(reserved)
    }

    pub(super) fn max_batch_messages(&self) -> usize {
        let settings = &self.settings;
        let batch_size = settings.mapping.batch_size;
        batch_size.min(settings.limits.buffer_messages)
    }

    /// Whether each receive is one batch: messages of a FIFO queue with a redrive policy are not
    /// received to wait for others.
    pub(super) const fn receives_are_whole(&self) -> bool {
        self.settings.mapping.fifo && self.settings.attributes.has_redrive_policy
    }

    /// How many messages a receive requests.
    pub(super) fn receive_limit(&self, now: Timestamp) -> usize {
        let limit = self.room().min(10);
        if self.function_backoff.is_failing() {
            return limit.min(1);
        }
        if !self.receives_are_whole() {
            return limit;
        }
        let reduced = self.reduced.filter(|(_, until)| now < *until);
        let batch_size = self.settings.mapping.batch_size;
        limit.min(reduced.map_or(batch_size, |(n_messages, _)| n_messages))
    }

    /// Whether an unreachable function can be probed with what is held or may arrive.
    pub(super) fn has_probe_messages(&self) -> bool {
        let needs_batch =
            self.batches.is_empty() || self.batches.len() == 1 && 5 <= self.n_unreached;
        let has_messages = !needs_batch || !self.buffered().is_empty() || !self.receives.is_empty();
        self.function_backoff.is_failing() && has_messages
    }

    pub(super) fn n_running(&self) -> usize {
        let running = self.batches.values().filter(|it| it.since.is_some());
        running.count()
    }

    /// Messages that are in no batch yet, in the order of receipt.
    pub(super) fn buffered(&self) -> Vec<MessageId> {
        let held = self.held.iter();
        let mut buffered: Vec<_> = held
            .filter(|(_, message)| message.state == State::Buffered)
            .map(|(id, message)| (message.number, id.clone()))
            .collect();
        buffered.sort();
        buffered.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn groups_of(&self, ids: &[MessageId]) -> BTreeSet<KeyHash> {
        let groups = ids.iter().map(|id| self.held[id].message.group);
        groups.flatten().collect()
    }

    /// The next batch, if any buffered message may be in one.
    pub(super) fn next_batch(&self) -> Option<NextBatch> {
        let in_flight = self.batches.values().flat_map(|it| it.messages.iter());
        let in_flight: Vec<_> = in_flight.cloned().collect();
        let blocked = self.groups_of(&in_flight);
        let mut free = self.buffered();
        free.retain(|id| {
            let group = self.held[id].message.group;
            group.is_none_or(|group| !blocked.contains(&group))
        });
        if self.receives_are_whole()
            && let Some(first) = free.first()
        {
            let receive = self.held[first].receive;
            free.retain(|id| self.held[id].receive == receive);
        }
        let settings = &self.settings;
        let max_messages = self.max_batch_messages();
        let size = |id: &MessageId| self.held[id].message.event.len();
        let mut n_messages = 0;
        while n_messages < free.len().min(max_messages) {
            let sizes = free[..=n_messages].iter().map(size);
            if settings.limits.payload_limit < event_bytes(sizes) {
                break;
            }
            n_messages += 1;
        }
        let bytes = event_bytes(free[..n_messages].iter().map(size));
        let full = n_messages == max_messages
            || n_messages < free.len()
            || bytes == settings.limits.payload_limit;
        free.truncate(n_messages);
        let messages = free;
        (!messages.is_empty()).then_some(NextBatch { messages, full })
    }

    /// When the next batch closes; the epoch if it is full.
    pub(super) fn closes_at(&self, batch: &NextBatch) -> Timestamp {
        let denied = self.change_fault == Some(Fault::Denied);
        let denied = denied && self.settings.limits.visibility_heartbeat;
        let is_probe = self.function_backoff.is_failing();
        if batch.full || denied || is_probe || self.receives_are_whole() {
            return Timestamp::EPOCH;
        }
        let settings = &self.settings;
        let first = &self.held[&batch.messages[0]];
        let window = first.received + settings.mapping.maximum_batching_window;
        if settings.limits.visibility_heartbeat {
            return window;
        }
        let buffered = self.buffered();
        let ends = buffered.iter().map(|id| self.held[id].visible_at);
        let ends = ends.min().expect("a message is buffered").as_millis();
        let reserve = settings.function_timeout + Duration::from_secs(1);
        let reserve = u64::try_from(reserve.as_millis()).expect("at most minutes");
        window.min(Timestamp::from_millis(ends - reserve))
    }

    /// When the visibility of a message must be extended; `None` if it cannot or need not be.
    pub(super) fn extension_due(&self, held: &HeldMessage) -> Option<Timestamp> {
        let possible = held.extension == Extension::Possible;
        if !self.settings.limits.visibility_heartbeat || !possible {
            return None;
        }
        Some(held.extend_at.max(self.extend_from))
    }

    /// When a buffered message is released, since the function cannot be reached.
    pub(super) fn buffered_until(&self, held: &HeldMessage) -> Option<Timestamp> {
        let is_held = held.state == State::Buffered && self.function_backoff.is_failing();
        is_held.then(|| held.received + self.settings.limits.hold_limit)
    }

    /// When a batch that waits for its next attempt is released; `None` while it runs.
    pub(super) fn release_at(&self, batch: &TrackedBatch) -> Option<Timestamp> {
        if batch.since.is_some() {
            return None;
        }
        let held = batch.messages.iter().map(|id| &self.held[id]);
        let ends = held.map(|it| {
            it.visible_at
                .min(it.received + self.settings.limits.hold_limit)
        });
        ends.min()
    }
}
