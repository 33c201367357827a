//! Bounds of a backoff as seen from outside: its jitter is drawn inside the consumer.

use windlass_core::outcome::Fault;
use windlass_core::time::Timestamp;

use crate::checkers::due_range::{DueRange, requested};

/// The backoff of one kind of operation. Several operations of a kind may be in flight; those that
/// were when the backoff began cannot end it.
#[derive(Clone, Debug, Default)]
pub(super) struct BackoffBounds {
    /// Bounds of the number of failures in a row: whether a failure near the end of the backoff
    /// came before or after that end cannot be known.
    min_failures: u32,
    max_failures: u32,
    due: Option<DueRange>,
    /// An attempt has begun since, so the backoff must be over.
    over: bool,
    /// An attempt that was in flight when the backoff began has succeeded since.
    recovered: bool,
}

impl BackoffBounds {
    pub(super) fn record_failure(&mut self, fault: Fault, now: Timestamp) {
        self.recovered = false;
        if let Some(due) = self.due.filter(|due| !self.over && now < due.latest) {
            let within = due.not_before(now + requested(fault));
            if now < due.earliest {
                self.due = Some(within);
                return;
            }
            self.max_failures += 1;
            let first = DueRange::after_failure(self.min_failures + 1, fault, now);
            let last = DueRange::after_failure(self.max_failures, fault, now);
            self.due = Some(DueRange {
                earliest: within.earliest.min(first.earliest),
                latest: within.latest.max(last.latest),
            });
            return;
        }
        self.min_failures += 1;
        self.max_failures += 1;
        self.over = false;
        self.due = Some(DueRange {
            earliest: DueRange::after_failure(self.min_failures, fault, now).earliest,
            latest: DueRange::after_failure(self.max_failures, fault, now).latest,
        });
    }

    /// An attempt that began at `begun` has succeeded.
    pub(super) fn record_success(&mut self, begun: Timestamp) {
        if self.due.is_none_or(|due| due.earliest <= begun) {
            *self = Self::default();
        } else {
            (self.min_failures, self.max_failures) = (0, 0);
            self.recovered = true;
        }
    }

    pub(super) fn begin_attempt(&mut self) {
        self.over = true;
    }

    /// Ends the backoff if it is certainly over and no attempt has to confirm that.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let over = self.over || self.due.is_none_or(|due| due.latest <= now);
        if self.recovered && over {
            *self = Self::default();
        }
    }

    /// Whether a single attempt must succeed before others may begin.
    pub(super) fn is_failing(&self) -> bool {
        self.due.is_some() && !self.recovered
    }

    pub(super) fn is_clear(&self) -> bool {
        self.due.is_none()
    }

    /// Whether the backoff allows an attempt.
    pub(super) fn may_begin(&self, now: Timestamp) -> bool {
        self.over || self.due.is_none_or(|due| due.earliest <= now)
    }

    /// Whether the backoff may end at this time.
    pub(super) fn may_end(&self, at: Timestamp) -> bool {
        self.due
            .is_some_and(|due| due.earliest <= at && at <= due.latest)
    }

    /// When an attempt must begin at the latest, if there is something to attempt.
    pub(super) fn latest(&self) -> Timestamp {
        let due = self.due.filter(|_| !self.over);
        due.map_or(Timestamp::EPOCH, |due| due.latest)
    }
}
