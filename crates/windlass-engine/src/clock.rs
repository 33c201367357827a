//! The daemon's clocks: monotonic time for timers, and wall time.

use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Sleep};
use windlass_core::time::Timestamp;

/// Two clocks that must not be mixed.
///
/// [`Clock::now`] never jumps, and all timers run on it: it begins at [`Timestamp::EPOCH`] when the
/// clock is made, so it cannot be taken for a date. [`Clock::wall`] is compared with times of the
/// outside world and shown to people: it is read anew each time, since it may be corrected by hours
/// in either direction while the daemon runs.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    wall: Wall,
}

/// A source of wall time.
#[derive(Clone, Copy, Debug)]
enum Wall {
    System,
    /// Follows tokio's time, which tests pause, and is stepped by them.
    Simulated {
        start: Timestamp,
        /// Sum of the steps, in milliseconds.
        stepped: &'static AtomicI64,
    },
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
    /// With the wall time of the system.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            wall: Wall::System,
        }
    }

    /// With a simulated wall time, for tests. Each clock leaks a few bytes.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            started: Instant::now(),
            wall: Wall::Simulated {
                start: wall,
                stepped: Box::leak(Box::default()),
            },
        }
    }

    /// Moves a simulated wall time, of all copies of this clock.
    pub fn step_wall(&self, millis: i64) {
        if let Wall::Simulated { stepped, .. } = self.wall {
            stepped.fetch_add(millis, Ordering::Relaxed);
        }
    }

    /// Monotonic time since the clock was started.
    pub fn now(&self) -> Timestamp {
        Timestamp::EPOCH + whole_millis(self.started.elapsed())
    }

    /// Wall time. It may be earlier than it was.
    pub fn wall(&self) -> Timestamp {
        match self.wall {
            Wall::System => {
                let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                Timestamp::EPOCH + whole_millis(since_epoch.unwrap_or(Duration::ZERO))
            }
            Wall::Simulated { start, stepped } => {
                let wall = start + whole_millis(self.started.elapsed());
                wall.shifted(stepped.load(Ordering::Relaxed))
            }
        }
    }

    /// The wall time at which a monotonic time is or was due, for people to read.
    pub fn to_wall(&self, at: Timestamp) -> Timestamp {
        self.wall().shifted(at.millis_since(self.now()))
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(Timestamp::EPOCH)
    }
}

/// Without the fraction of a millisecond: a clock shows no time that is still to come.
const fn whole_millis(duration: Duration) -> Duration {
    Duration::new(duration.as_secs(), duration.subsec_millis() * 1_000_000)
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_wall_time_moves_no_timer() {
        let clock = Clock::starting_at(NOON);
        let due = clock.now() + Duration::from_secs(5);
        for step in [-3_600_000, 7_200_000] {
            let wall = clock.wall();
            clock.step_wall(step);
            assert_eq!(clock.wall(), wall.shifted(step));
            assert_eq!(clock.now() + Duration::from_secs(5), due);
            assert_eq!(clock.to_wall(due), clock.wall() + Duration::from_secs(5));
        }
        let begun = Instant::now();
        Timer::new(clock).sleep_until(Some(due)).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        assert_eq!(clock.wall(), NOON.shifted(3_605_000));
    }
}
