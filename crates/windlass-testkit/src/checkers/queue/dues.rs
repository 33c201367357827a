//! What follows from the books: what may happen, and when it must at the latest.

use std::collections::BTreeSet;
use std::time::Duration;

use windlass_core::ids::{KeyHash, MessageId};
use windlass_core::time::Timestamp;

use super::books::{Books, Extension, Flight, Hold, State};
use super::event_bytes;

/// The batch that can be made of what has gathered.
#[derive(Clone, Debug)]
pub(super) struct Fill {
    pub(super) messages: Vec<MessageId>,
    pub(super) full: bool,
}

impl Books {
    /// For how long messages are received and extended.
    pub(super) fn visibility(&self) -> Duration {
        let settings = &self.settings;
        settings
            .visibility_timeout
            .max(if settings.limits.visibility_heartbeat {
                Duration::from_secs(30)
            } else {
                settings.function_timeout
            })
    }

    /// How long a receive waits.
    pub(super) fn wait(&self) -> Duration {
        let settings = &self.settings;
        if settings.limits.visibility_heartbeat {
            return settings.limits.wait_time;
        }
        let half = self.visibility().as_secs() / 2;
        settings.limits.wait_time.min(Duration::from_secs(half))
    }

    pub(super) fn room(&self) -> usize {
        let asked_for: usize = self.receives.values().map(|receive| receive.limit).sum();
        let taken = self.held.len() + asked_for;
        self.settings.limits.buffer_messages.saturating_sub(taken)
    }

    /// Whether there is enough to see with whether the function can be reached.
    pub(super) fn holds_enough(&self) -> bool {
        let something = !self.flights.is_empty() || !self.gathered().is_empty();
        self.unreached.is_failing() && something
    }

    pub(super) fn n_running(&self) -> usize {
        let running = self.flights.values().filter(|it| it.since.is_some());
        running.count()
    }

    /// What waits for a batch, in the order of receipt.
    pub(super) fn gathered(&self) -> Vec<MessageId> {
        let gathered = self.held.iter();
        let mut gathered: Vec<_> = gathered
            .filter(|(_, hold)| hold.state == State::Gathered)
            .map(|(id, hold)| (hold.number, id.clone()))
            .collect();
        gathered.sort();
        gathered.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn groups_of(&self, ids: &[MessageId]) -> BTreeSet<KeyHash> {
        let groups = ids.iter().map(|id| self.held[id].message.group);
        groups.flatten().collect()
    }

    /// What of those that wait makes one batch; `None` if there is none.
    pub(super) fn fill(&self) -> Option<Fill> {
        let in_flight = self.flights.values().flat_map(|it| it.messages.iter());
        let in_flight: Vec<_> = in_flight.cloned().collect();
        let blocked = self.groups_of(&in_flight);
        let mut free = self.gathered();
        free.retain(|id| {
            let group = self.held[id].message.group;
            group.is_none_or(|group| !blocked.contains(&group))
        });
        let settings = &self.settings;
        let most = settings
            .mapping
            .batch_size
            .min(settings.limits.buffer_messages);
        let size = |id: &MessageId| self.held[id].message.event.len();
        let mut n_messages = 0;
        while n_messages < free.len().min(most) {
            let sizes = free[..=n_messages].iter().map(size);
            if settings.limits.payload_limit < event_bytes(sizes) {
                break;
            }
            n_messages += 1;
        }
        let bytes = event_bytes(free[..n_messages].iter().map(size));
        let full =
            n_messages == most || n_messages < free.len() || bytes == settings.limits.payload_limit;
        free.truncate(n_messages);
        let messages = free;
        (!messages.is_empty()).then_some(Fill { messages, full })
    }

    /// When the next batch must close; long ago if it is full.
    pub(super) fn closes_at(&self, fill: &Fill) -> Timestamp {
        if fill.full {
            return Timestamp::EPOCH;
        }
        let settings = &self.settings;
        let first = &self.held[&fill.messages[0]];
        let window = first.received + settings.mapping.maximum_batching_window;
        if settings.limits.visibility_heartbeat {
            return window;
        }
        let gathered = self.gathered();
        let ends = gathered.iter().map(|id| self.held[id].visible_at);
        let ends = ends.min().expect("something has gathered").as_millis();
        let reserve = settings.function_timeout + Duration::from_secs(1);
        let reserve = u64::try_from(reserve.as_millis()).expect("minutes at the most");
        window.min(Timestamp::from_millis(ends - reserve))
    }

    /// When the visibility of a message must be extended, unless it cannot or need not be.
    pub(super) fn extension_due(&self, hold: &Hold) -> Option<Timestamp> {
        let possible = hold.extension == Extension::Possible;
        if !self.settings.limits.visibility_heartbeat || !possible {
            return None;
        }
        let half = u64::try_from(self.visibility().as_millis() / 2).expect("hours at the most");
        let due = Timestamp::from_millis(hold.visible_at.as_millis() - half);
        Some(due.max(self.extend_from))
    }

    /// When a batch that waits goes back; `None` if it runs.
    pub(super) fn over_at(&self, flight: &Flight) -> Option<Timestamp> {
        if flight.since.is_some() {
            return None;
        }
        let holds = flight.messages.iter().map(|id| &self.held[id]);
        let ends = holds.map(|it| {
            it.visible_at
                .min(it.received + self.settings.limits.hold_limit)
        });
        ends.min()
    }
}
