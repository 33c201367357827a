//! The time of the services and the ledger, on tokio's clock.
//!
//! Visibility timeouts and ages of iterators follow the clock that tests pause and advance, and
//! agree with the timers of the same runtime.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A clock that is set by the system's once, at its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// From 1970 to the start.
    epoch: Duration,
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            epoch: since_1970.unwrap_or_default(),
            start: Instant::now(),
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }

    /// Microseconds since 1970.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.now().as_micros()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> Duration {
        self.epoch + self.start.elapsed()
    }
}
