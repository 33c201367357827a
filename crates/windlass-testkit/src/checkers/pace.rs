//! When something that failed may be tried again, computed anew.

use std::time::Duration;

use windlass_core::outcome::Fault;
use windlass_core::time::Timestamp;

/// The span of time in which the next try must begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Not earlier: that would be a spin.
    pub(crate) earliest: Timestamp,
    /// Not later: that would be a standstill.
    pub(crate) latest: Timestamp,
}

impl Due {
    /// After the `n`th failure in a row, counted from 1, at `now`: 500 ms doubled each time, at most
    /// 60 s, a fifth more or less.
    pub(crate) fn after_failure(n: u32, fault: Fault, now: Timestamp) -> Self {
        let step = match fault {
            Fault::Denied | Fault::Gone => 60_000,
            Fault::Throttled { .. } | Fault::Transient | Fault::Trimmed => {
                (500_u64 << n.saturating_sub(1).min(10)).min(60_000)
            }
        };
        let asked = match fault {
            Fault::Throttled { retry_after } => retry_after.unwrap_or_default(),
            Fault::Transient | Fault::Denied | Fault::Gone | Fault::Trimmed => Duration::ZERO,
        };
        let at = |millis: u64| now + Duration::from_millis(millis).max(asked);
        Self {
            earliest: at(step * 4 / 5),
            latest: at((step * 6 / 5).min(60_000)),
        }
    }

    /// At once, and only then.
    pub(crate) const fn at(moment: Timestamp) -> Self {
        Self {
            earliest: moment,
            latest: moment,
        }
    }

    /// The same, but not before a moment.
    pub(crate) fn not_before(self, moment: Timestamp) -> Self {
        Self {
            earliest: self.earliest.max(moment),
            latest: self.latest.max(moment),
        }
    }
}
