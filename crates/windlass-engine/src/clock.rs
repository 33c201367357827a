//! The daemon's clock.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use windlass_core::time::Timestamp;

/// Wall time at start plus monotonic time since: it never jumps, and tokio's paused time moves it
/// in tests.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Timestamp,
    started: Instant,
}

impl Clock {
    /// A clock that starts at the machine's wall time.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = since_epoch.unwrap_or(Duration::ZERO).as_millis();
        Self::starting_at(Timestamp::from_millis(
            u64::try_from(millis).unwrap_or(u64::MAX),
        ))
    }

    /// A clock that starts at a moment of one's choice.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall,
            started: Instant::now(),
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.wall.as_millis().saturating_add(elapsed))
    }

    /// Returns at a moment; `None` is never.
    pub async fn sleep_until(&self, moment: Option<Timestamp>) {
        let Some(moment) = moment else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(self.started + moment.since(self.wall)).await;
    }
}
