//! A pause after failures: the schedule of [`Backoff`] with the moment it ends.

use rand_chacha::ChaCha8Rng;

use crate::outcome::Fault;
use crate::retry::Backoff;
use crate::time::Timestamp;

/// Failures in a row, and when to try again. Several tries may be under way at a time, so that what
/// a try says depends on when it began: one that began before the pause cannot end it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pause {
    backoff: Backoff,
    until: Option<Timestamp>,
    /// A try that began before the pause has worked since it began.
    works: bool,
}

impl Pause {
    /// It has failed at `now`. Of several that fail together only the first counts; but whoever asks
    /// to be left alone is.
    pub(super) fn failed(&mut self, fault: Fault, now: Timestamp, rng: &mut ChaCha8Rng) {
        self.works = false;
        let Some(until) = self.until.filter(|until| now < *until) else {
            self.until = Some(now + self.backoff.next(fault, rng));
            return;
        };
        if let Fault::Throttled { retry_after } = fault {
            let asked = now + retry_after.unwrap_or_default();
            self.until = Some(until.max(asked));
        }
    }

    /// A try has worked that began at `begun`.
    pub(super) fn worked(&mut self, begun: Timestamp) {
        if self.until.is_none_or(|until| until <= begun) {
            *self = Self::default();
        } else {
            self.backoff.reset();
            self.works = true;
        }
    }

    /// Ends the pause if it is over and nothing needs to be tried first.
    pub(super) fn lapse(&mut self, now: Timestamp) {
        if self.works && self.until.is_none_or(|until| until <= now) {
            *self = Self::default();
        }
    }

    /// Whether everything that has been tried failed, so that one try comes before all others.
    pub(super) const fn is_failing(&self) -> bool {
        self.until.is_some() && !self.works
    }

    /// When to try again, unless there is nothing to wait for.
    pub(super) const fn until(&self) -> Option<Timestamp> {
        self.until
    }
}
