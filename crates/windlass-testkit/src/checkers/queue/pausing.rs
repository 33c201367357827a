//! What is known from outside about a pause after failures: bounds, since its jitter is drawn inside.

use windlass_core::outcome::Fault;
use windlass_core::time::Timestamp;

use crate::checkers::pace::Due;

/// A pause. Several tries may be under way when it begins; those cannot end it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pausing {
    /// How many failures in a row there were, at least and at most: whether one that came near the
    /// end of the pause came within it cannot be known.
    low: u32,
    high: u32,
    due: Option<Due>,
    /// Something has begun since, so that it must be over.
    over: bool,
    /// A try that began before has worked since.
    works: bool,
}

impl Pausing {
    pub(super) fn failed(&mut self, fault: Fault, now: Timestamp) {
        self.works = false;
        if let Some(due) = self.due.filter(|due| !self.over && now < due.latest) {
            let within = match fault {
                Fault::Throttled { retry_after } => {
                    due.not_before(now + retry_after.unwrap_or_default())
                }
                Fault::Transient | Fault::Denied | Fault::Gone | Fault::Trimmed => due,
            };
            if now < due.earliest {
                self.due = Some(within);
                return;
            }
            self.high += 1;
            let after = Due::after_failure(self.low + 1, fault, now);
            let longest = Due::after_failure(self.high, fault, now);
            self.due = Some(Due {
                earliest: within.earliest.min(after.earliest),
                latest: within.latest.max(longest.latest),
            });
            return;
        }
        self.low += 1;
        self.high += 1;
        self.over = false;
        self.due = Some(Due {
            earliest: Due::after_failure(self.low, fault, now).earliest,
            latest: Due::after_failure(self.high, fault, now).latest,
        });
    }

    /// A try has worked that began at `begun`.
    pub(super) fn worked(&mut self, begun: Timestamp) {
        if self.due.is_none_or(|due| due.earliest <= begun) {
            *self = Self::default();
        } else {
            (self.low, self.high) = (0, 0);
            self.works = true;
        }
    }

    /// A try begins.
    pub(super) fn begin(&mut self) {
        self.over = true;
    }

    /// Time passes.
    pub(super) fn lapse(&mut self, now: Timestamp) {
        let over = self.over || self.due.is_none_or(|due| due.latest <= now);
        if self.works && over {
            *self = Self::default();
        }
    }

    /// Whether one try must come before all others.
    pub(super) fn is_failing(&self) -> bool {
        self.due.is_some() && !self.works
    }

    /// Whether there is nothing to wait for, neither a moment nor a try.
    pub(super) fn is_clear(&self) -> bool {
        self.due.is_none()
    }

    /// Whether a try may begin as far as time goes.
    pub(super) fn may_begin(&self, now: Timestamp) -> bool {
        self.over || self.due.is_none_or(|due| due.earliest <= now)
    }

    /// Whether the pause may end at a moment.
    pub(super) fn may_end(&self, at: Timestamp) -> bool {
        self.due
            .is_some_and(|due| due.earliest <= at && at <= due.latest)
    }

    /// When a try must begin at the latest, if there is something to try.
    pub(super) fn latest(&self) -> Timestamp {
        let due = self.due.filter(|_| !self.over);
        due.map_or(Timestamp::EPOCH, |due| due.latest)
    }
}
