//! For how long messages are invisible to others, and how that is extended while they are held.

use std::time::Duration;

use super::held::{Entry, Extended, HeldMessages};
use super::{EntryResult, QueueConsumerSettings};
use crate::outcome::Fault;
use crate::time::Timestamp;

/// With the heartbeat, no message is received for less: a shorter visibility would have to be
/// extended more often than a slow network can.
const SHORTEST_HEARTBEAT: Duration = Duration::from_secs(30);

/// Without the heartbeat, a batch closes so long before its function could outlast its visibility.
const CLOSING_MARGIN: Duration = Duration::from_secs(1);

/// After a failed extension, the next one starts at the earliest so long after; half the
/// visibility is left by then.
const EXTENSION_RETRY: Duration = Duration::from_secs(2);

/// A failed message is left alone for so long at least, however short the queue's own timeout is: a
/// function that fails would be called in a tight loop.
const SHORTEST_RETURN: Duration = Duration::from_secs(1);

/// The visibility of the messages of one consumer.
#[derive(Debug)]
pub(super) struct Visibility {
    timeout: Duration,
    of_queue: Duration,
    function_timeout: Duration,
    heartbeat: bool,
    extend_not_before: Timestamp,
}

impl Visibility {
    pub(super) fn new(settings: &QueueConsumerSettings, now: Timestamp) -> Self {
        let heartbeat = settings.limits.visibility_heartbeat;
        let function_timeout = settings.function_timeout;
        // A function that could outlast every visibility would never be done with a message.
        let least = if heartbeat {
            SHORTEST_HEARTBEAT
        } else {
            function_timeout
        };
        Self {
            timeout: settings.visibility_timeout.max(least),
            of_queue: settings.visibility_timeout,
            function_timeout,
            heartbeat,
            extend_not_before: now,
        }
    }

    /// For how long messages are received and extended.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What messages are set to that are left to the queue, if it is less than they were received
    /// for.
    pub(super) fn shorter(&self) -> Option<Duration> {
        let left = self.of_queue.max(SHORTEST_RETURN);
        (left < self.timeout).then_some(left)
    }

    /// How long before a message becomes visible the function must have it; `None` if visibility
    /// is extended instead.
    pub(super) fn reserve(&self) -> Option<Duration> {
        (!self.heartbeat).then(|| self.function_timeout + CLOSING_MARGIN)
    }

    /// How long a receive may wait: a message that comes at its end must have visibility left, since
    /// that is counted from the start of the receive. Queues wait whole seconds.
    pub(super) fn wait(&self, wanted: Duration) -> Duration {
        if self.heartbeat {
            wanted
        } else {
            wanted.min(Duration::from_secs(self.timeout.as_secs() / 2))
        }
    }

    /// When visibility must be extended next.
    pub(super) fn due(&self, held: &HeldMessages) -> Option<Timestamp> {
        if !self.heartbeat {
            return None;
        }
        let due = held.next_extension(self.timeout)?;
        Some(due.max(self.extend_not_before))
    }

    /// Starts the extensions that are due.
    pub(super) fn start(&self, held: &mut HeldMessages, now: Timestamp) -> Vec<Entry> {
        if self.due(held).is_none_or(|due| now < due) {
            return Vec::new();
        }
        held.start_extension(self.timeout, now)
    }

    /// Extensions have ended that began at `begun`.
    pub(super) fn end(
        &mut self,
        entries: &[Entry],
        begun: Timestamp,
        result: &Result<Vec<EntryResult>, Fault>,
        held: &mut HeldMessages,
        now: Timestamp,
    ) {
        let results = result.as_deref().unwrap_or_default();
        for (index, entry) in entries.iter().enumerate() {
            let how = match results.get(index).unwrap_or(&EntryResult::Failed) {
                EntryResult::Done => Extended::Until(begun + self.timeout),
                EntryResult::Refused => Extended::Refused,
                EntryResult::Failed => {
                    self.extend_not_before = now + EXTENSION_RETRY;
                    Extended::Failed
                }
            };
            held.end_extension(entry, how, now);
        }
    }
}
