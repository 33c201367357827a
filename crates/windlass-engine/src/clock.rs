//! The daemon's clock.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Sleep};
use windlass_core::time::Timestamp;

/// Wall time at start plus monotonic time since: it never jumps, and tokio's paused time moves it
/// in tests.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Timestamp,
    started: Instant,
}

/// WaitGuard for moments, most often for the same one again and again.
#[derive(Debug)]
pub(crate) struct Timer {
    clock: Clock,
    /// For which it is set.
    moment: Option<Timestamp>,
    sleep: Pin<Box<Sleep>>,
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

    fn instant(&self, moment: Timestamp) -> Instant {
        self.started + moment.since(self.wall)
    }
}

impl Timer {
    /// A timer that is not set.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            moment: None,
            sleep: Box::pin(tokio::time::sleep_until(clock.started)),
        }
    }

    /// Returns at a moment; `None` is never. To ask for the moment that was asked for before costs
    /// nothing.
    pub(crate) async fn sleep_until(&mut self, moment: Option<Timestamp>) {
        let Some(at) = moment else {
            return std::future::pending().await;
        };
        if self.moment != moment {
            self.moment = moment;
            self.sleep.as_mut().reset(self.clock.instant(at));
        }
        self.sleep.as_mut().await;
        self.moment = None;
    }
}
