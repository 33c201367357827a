//! The visibility timeout of messages, and its extension while they are in the inbox.

use std::time::Duration;

use super::inbox::{Entry, ExtensionResult, Inbox};
use super::interface::EntryResult;
use super::settings::QueueConsumerSettings;
use crate::outcome::Fault;
use crate::time::Timestamp;

/// Minimum visibility timeout with the heartbeat: a shorter one would need extensions at shorter
/// intervals than a slow network allows.
const MIN_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// Without the heartbeat, a batch closes this much earlier than the function's timeout requires.
const CLOSING_MARGIN: Duration = Duration::from_secs(1);

/// Minimum delay after a failed extension; at least 5 s of the visibility timeout remain by then, and
/// usually half of it.
const EXTENSION_RETRY: Duration = Duration::from_secs(2);

/// Minimum delay until a failed message becomes visible again, however short the queue's own timeout
/// or the rest of its retention is: otherwise a function that fails would be invoked in a tight loop.
pub(super) const MIN_FAILED_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Visibility {
    min_timeout: Duration,
    timeout: Duration,
    queue_timeout: Duration,
    function_timeout: Duration,
    heartbeat: bool,
    extend_not_before: Timestamp,
    /// Why the last change of a visibility timeout failed.
    fault: Option<Fault>,
}

impl Visibility {
    pub(super) fn new(settings: &QueueConsumerSettings, now: Timestamp) -> Self {
        let heartbeat = settings.limits.visibility_heartbeat;
        let function_timeout = settings.function_timeout;
        let queue_timeout = settings.attributes.visibility_timeout;
        // Messages of a function that runs longer than their visibility would be invoked again and
        // again.
        let min_timeout = if heartbeat {
            MIN_HEARTBEAT_TIMEOUT
        } else {
            function_timeout
        };
        Self {
            min_timeout,
            timeout: queue_timeout.max(min_timeout),
            queue_timeout,
            function_timeout,
            heartbeat,
            extend_not_before: now,
            fault: None,
        }
    }

    /// The queue's own timeout may have changed. What is in flight keeps the timeout that it was sent
    /// with.
    pub(super) fn set_queue_timeout(&mut self, queue_timeout: Duration) {
        self.queue_timeout = queue_timeout;
        self.timeout = queue_timeout.max(self.min_timeout);
    }

    pub(super) const fn queue_timeout(&self) -> Duration {
        self.queue_timeout
    }

    /// The timeout of receives and extensions.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The timeout of messages that are left to the queue.
    pub(super) fn failed_timeout(&self) -> Duration {
        self.queue_timeout.max(MIN_FAILED_TIMEOUT)
    }

    /// How long before a message becomes visible the function must receive it; `None` if visibility
    /// is extended.
    pub(super) fn reserve(&self) -> Option<Duration> {
        (!self.heartbeat).then(|| self.function_timeout + CLOSING_MARGIN)
    }

    /// Why visibility timeouts cannot be changed. A missing permission is known until a change
    /// succeeds, any other fault until the next try.
    pub(super) fn fault(&self, now: Timestamp) -> Option<Fault> {
        let waits = now < self.extend_not_before;
        self.fault.filter(|fault| waits || *fault == Fault::Denied)
    }

    pub(super) const fn paused_until(&self) -> Timestamp {
        self.extend_not_before
    }

    /// Whether messages that wait become visible, since their timeout cannot be extended.
    pub(super) fn is_denied(&self) -> bool {
        self.heartbeat && self.fault == Some(Fault::Denied)
    }

    /// How long a receive may wait. Visibility counts from the start of the receive, so a message
    /// that arrives at its end must have enough of it left. In whole seconds, as queues wait.
    pub(super) fn wait(&self, wait_time: Duration) -> Duration {
        if self.heartbeat {
            wait_time
        } else {
            wait_time.min(Duration::from_secs(self.timeout.as_secs() / 2))
        }
    }

    /// When the next extension is due.
    pub(super) fn due(&self, inbox: &Inbox) -> Option<Timestamp> {
        if !self.heartbeat {
            return None;
        }
        let due = inbox.next_extension()?;
        Some(due.max(self.extend_not_before))
    }

    /// Starts the extensions that are due.
    pub(super) fn start(&self, inbox: &mut Inbox, now: Timestamp) -> Vec<Entry> {
        if self.due(inbox).is_none_or(|due| now < due) {
            return Vec::new();
        }
        inbox.start_extensions(now)
    }

    /// Ends extensions with which messages become visible at `visible_at`.
    pub(super) fn end(
        &mut self,
        entries: &[Entry],
        visible_at: Timestamp,
        result: &Result<Vec<EntryResult>, Fault>,
        inbox: &mut Inbox,
        now: Timestamp,
    ) {
        self.end_release(entries.len(), result);
        for (entry, result) in entries
            .iter()
            .zip(EntryResult::of_each(result, entries.len()))
        {
            let result = match result {
                EntryResult::Done => ExtensionResult::Until(visible_at),
                EntryResult::Refused => ExtensionResult::Refused,
                EntryResult::Failed(_) => {
                    self.extend_not_before = now + EXTENSION_RETRY;
                    ExtensionResult::Failed { visible_at }
                }
            };
            inbox.end_extension(entry, result, now);
        }
    }

    /// Ends the release of `n_messages`, which have left the inbox.
    pub(super) fn end_release(
        &mut self,
        n_messages: usize,
        result: &Result<Vec<EntryResult>, Fault>,
    ) {
        self.fault = EntryResult::of_each(result, n_messages).find_map(EntryResult::fault);
    }
}
