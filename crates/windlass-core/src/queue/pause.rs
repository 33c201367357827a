//! A pause after failures: the schedule of [`Backoff`] with the moment it ends.

use rand_chacha::ChaCha8Rng;

use crate::outcome::Fault;
use crate::retry::Backoff;
use crate::time::Timestamp;

/// Failures in a row, and when to try again.
#[derive(Clone, Debug, Default)]
pub(super) struct Pause {
    backoff: Backoff,
    until: Option<Timestamp>,
}

impl Pause {
    /// It has failed at `now`.
    pub(super) fn failed(&mut self, fault: Fault, now: Timestamp, rng: &mut ChaCha8Rng) {
        self.until = Some(now + self.backoff.next(fault, rng));
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether the last try failed.
    pub(super) const fn is_failing(&self) -> bool {
        self.until.is_some()
    }

    /// When to try again, if the last try failed.
    pub(super) const fn until(&self) -> Option<Timestamp> {
        self.until
    }
}
