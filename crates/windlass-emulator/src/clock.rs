//! The time as the services tell it: milliseconds since 1970, on tokio's clock.
//!
//! Visibility timeouts, windows of deduplication and lives of iterators so follow the clock that
//! tests stop and move, and agree with the timers of the same runtime.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A clock, set by the system's when it is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Milliseconds from 1970 to the start.
    epoch: u64,
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        Self {
            epoch: u64::try_from(millis).unwrap_or(u64::MAX),
            start: Instant::now(),
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let millis = self.start.elapsed().as_millis();
        self.epoch
            .saturating_add(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}
