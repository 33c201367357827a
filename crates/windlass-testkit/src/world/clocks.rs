//! Clocks of the parties of a world: they differ from its time, step and stop.

use std::time::Duration;

use windlass_core::mapping::latest;
use windlass_core::time::Timestamp;

use super::plan::START;
use crate::rng::Rng;

/// A wall clock that is wrong, is corrected once, and stands still for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    /// Milliseconds, as are steps.
    offset: i64,
    /// When it is stepped, and by how much.
    step: (Timestamp, i64),
    /// While it stands still.
    stop: (Timestamp, Timestamp),
}

/// A step back by which records may become older than the moment of creation: by less than the
/// margin of `LATEST` they may not.
const SMALL_STEP: i64 = 900;

impl WallClock {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let hour = 3_600_000;
        let step = rng.pick(&[0, 0, hour, SMALL_STEP, 0]);
        let back = rng.per_mille(500);
        let stop = START + rng.millis(0, 100_000);
        let offset = rng.pick(&[0, 8_000, 8_000, hour]);
        Self {
            offset: if rng.per_mille(500) { -offset } else { offset },
            step: (
                START + rng.millis(0, 50_000),
                if back { -step } else { step },
            ),
            stop: (stop, stop + rng.millis(0, 20_000)),
        }
    }

    /// What it shows at a time of the world.
    pub(super) fn at(&self, now: Timestamp) -> Timestamp {
        let (stepped, step) = self.step;
        let step = if stepped <= now { step } else { 0 };
        let (begin, end) = self.stop;
        let shown = if begin <= now && now < end {
            begin
        } else {
            now
        };
        shown.shifted(self.offset + step)
    }

    /// The latest time that it has shown by then.
    pub(super) fn latest_until(&self, now: Timestamp) -> Timestamp {
        let (stepped, _) = self.step;
        let shown = self.at(now);
        if now < stepped {
            return shown;
        }
        shown.max(self.at(stepped.shifted(-1)))
    }

    /// No time after a step back that is too large to be made good.
    fn after_large_step_back(&self, at: Timestamp) -> Timestamp {
        let (stepped, step) = self.step;
        if SMALL_STEP < -step {
            at.max(stepped)
        } else {
            at
        }
    }
}

/// A mapping that starts at `LATEST`.
#[derive(Debug)]
pub(super) struct Creation {
    /// Of the world: what arrives later must be delivered.
    pub(super) at: Timestamp,
    /// Its starting time, as the daemon measures it.
    pub(super) latest: Timestamp,
}

impl Creation {
    /// The source answers with the time of its own clock, or with none if the daemon's clock is less
    /// than a minute ahead of it.
    pub(super) fn draw(rng: &mut Rng, source: &WallClock, length: Duration) -> Self {
        let daemon = WallClock::draw(rng);
        let length = u64::try_from(length.as_millis()).expect("a world lasts minutes");
        let at = source.after_large_step_back(START + rng.millis(0, length));
        let (of_source, of_daemon) = (source.at(at), daemon.at(at));
        let may_be_silent = of_daemon.since(of_source) < Duration::from_secs(59);
        let answered = (!may_be_silent || rng.per_mille(700)).then(|| of_source.floor_to_second());
        Self {
            at,
            latest: latest(answered, of_daemon),
        }
    }
}
