//! A pause after failures: [`Backoff`] with the time at which it ends.

use crate::outcome::Fault;
use crate::retry::{Backoff, Jitter, requested_pause};
use crate::time::Timestamp;

/// Consecutive failures of one kind of call, and when to call again. Calls overlap, so a success
/// counts by the start of its call: a call that started before the end of the pause cannot end it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pause {
    backoff: Backoff,
    until: Option<Timestamp>,
    /// A call that started before the end of the pause has succeeded since the last failure.
    has_succeeded: bool,
}

impl Pause {
    /// A call has failed. Of failures during a pause only the first counts, but each requested
    /// pause is honored.
    pub(super) fn failed(&mut self, fault: Fault, now: Timestamp, jitter: &mut Jitter) {
        self.has_succeeded = false;
        let Some(until) = self.until.filter(|until| now < *until) else {
            self.until = Some(now + self.backoff.next(fault, jitter));
            return;
        };
        let requested = now + requested_pause(fault);
        self.until = Some(until.max(requested));
    }

    /// A call that started at `started` has succeeded.
    pub(super) fn succeeded(&mut self, started: Timestamp) {
        if self.until.is_none_or(|until| until <= started) {
            *self = Self::default();
        } else {
            self.backoff.reset();
            self.has_succeeded = true;
        }
    }

    /// Ends the pause if its time has passed and no probe is needed.
    pub(super) fn end_if_elapsed(&mut self, now: Timestamp) {
        if self.has_succeeded && self.until.is_none_or(|until| until <= now) {
            *self = Self::default();
        }
    }

    /// Whether every call failed since the last success, so that a probe must precede other calls.
    pub(super) const fn is_failing(&self) -> bool {
        self.until.is_some() && !self.has_succeeded
    }

    pub(super) const fn until(&self) -> Option<Timestamp> {
        self.until
    }
}
