//! When a failed operation is repeated: the bounds of the backoff, computed a second time.

use std::time::Duration;

use windlass_core::outcome::Fault;
use windlass_core::time::Timestamp;

/// The range of time in which an operation must begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DueRange {
    /// Earlier would be a busy loop.
    pub(crate) earliest: Timestamp,
    /// Later would be a stall.
    pub(crate) latest: Timestamp,
}

impl DueRange {
    /// After the `n`th failure in a row, counted from 1: 500 ms, doubled with each failure, at most
    /// 60 s, with up to 20 % of jitter.
    pub(crate) fn after_failure(n: u32, fault: Fault, now: Timestamp) -> Self {
        let step = match fault {
            Fault::Denied | Fault::Gone => 60_000,
            Fault::Throttled { .. }
            | Fault::Transient
            | Fault::TimedOut
            | Fault::Trimmed
            | Fault::UnknownPosition => (500_u64 << n.saturating_sub(1).min(10)).min(60_000),
        };
        let retry_after = requested(fault);
        let at = |millis: u64| now + Duration::from_millis(millis).max(retry_after);
        Self {
            earliest: at(step * 4 / 5),
            latest: at((step * 6 / 5).min(60_000)),
        }
    }

    pub(crate) const fn exactly(at: Timestamp) -> Self {
        Self {
            earliest: at,
            latest: at,
        }
    }

    pub(crate) fn not_before(self, at: Timestamp) -> Self {
        Self {
            earliest: self.earliest.max(at),
            latest: self.latest.max(at),
        }
    }
}

/// The pause that a fault requests; at most five minutes are honored.
pub(super) fn requested(fault: Fault) -> Duration {
    let Fault::Throttled { retry_after } = fault else {
        return Duration::ZERO;
    };
    retry_after.map_or(Duration::ZERO, |it| it.min(Duration::from_secs(300)))
}
