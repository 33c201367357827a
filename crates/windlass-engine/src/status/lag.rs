//! Whether a shard is catching up.

use std::time::Duration;

use tokio::time::Instant;
use windlass_core::shard::{Lag, ShardView};
use windlass_core::time::Timestamp;

/// Between samples. The lag is compared with that of one to two of them ago.
const INTERVAL: Duration = Duration::from_secs(10);

/// The lag has changed if it differs by more than this part of the time that has passed: reads come in
/// intervals.
const MIN_CHANGE: f64 = 0.05;

/// Earlier lags of one shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LagHistory {
    earlier: Option<Sample>,
    recent: Option<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    at: Instant,
    lag: Lag,
}

/// How the lag of a shard changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trend {
    CatchingUp,
    FallingBehind,
    Steady,
}

impl LagHistory {
    pub(super) fn record(&mut self, view: &ShardView) {
        let at = Instant::now();
        let is_recent = |it: &Sample| at.duration_since(it.at) < INTERVAL;
        if self.recent.as_ref().is_some_and(is_recent) {
            return;
        }
        let lag = view.lag();
        self.earlier = self.recent.replace(Sample { at, lag });
    }

    /// `wall` is wall time by the clock of the source. `None` while nothing is known to compare with.
    pub(super) fn trend(&self, view: &ShardView, wall: Timestamp) -> Option<Trend> {
        let earlier = self.earlier.as_ref()?;
        let elapsed = earlier.at.elapsed();
        let millis = i64::try_from(elapsed.as_millis()).ok()?;
        let before = earlier.lag.at(wall.shifted(-millis))?.as_secs_f64();
        let change = view.behind_at(wall)?.as_secs_f64() - before;
        let tolerance = MIN_CHANGE * elapsed.as_secs_f64();
        Some(if change < -tolerance {
            Trend::CatchingUp
        } else if tolerance < change {
            Trend::FallingBehind
        } else {
            Trend::Steady
        })
    }
}
