//! Time: milliseconds since the Unix epoch.
//!
//! Record age needs a wall clock, and windows need a clock that never jumps. The engine's clock is
//! both (wall time at start plus monotonic time since then), so the core needs only one type.

use std::ops::Add;
use std::time::Duration;

/// Milliseconds since the Unix epoch. The core receives the time and never reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const EPOCH: Self = Self(0);

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The start of its second, for sources that report time in whole seconds.
    pub const fn floor_to_second(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }
}

/// A duration is rounded up to whole milliseconds, so that a timer never fires early.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        Self(
            self.0
                .saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)),
        )
    }
}
