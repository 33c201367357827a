//! The daemon's clock.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Sleep};
use windlass_core::time::Timestamp;

/// Wall time at start plus monotonic time since: it never jumps, and in tests it follows tokio's
/// paused time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Timestamp,
    started: Instant,
}

/// Waits for a time. Waiting for the same time again costs nothing.
#[derive(Debug)]
pub(crate) struct Timer {
    clock: Clock,
    /// The time it is set to.
    at: Option<Timestamp>,
    sleep: Pin<Box<Sleep>>,
}

impl Clock {
    /// Starts at the system's wall time.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = since_epoch.unwrap_or(Duration::ZERO).as_millis();
        Self::starting_at(Timestamp::from_millis(
            u64::try_from(millis).unwrap_or(u64::MAX),
        ))
    }

    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall,
            started: Instant::now(),
        }
    }

    pub fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.wall.as_millis().saturating_add(elapsed))
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.wall)
    }
}

impl Timer {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            at: None,
            sleep: Box::pin(tokio::time::sleep_until(clock.started)),
        }
    }

    /// Returns at a time; `None` is never.
    pub(crate) async fn sleep_until(&mut self, at: Option<Timestamp>) {
        let Some(time) = at else {
            return std::future::pending().await;
        };
        if self.at != at {
            self.at = at;
            self.sleep.as_mut().reset(self.clock.instant(time));
        }
        self.sleep.as_mut().await;
        self.at = None;
    }
}
