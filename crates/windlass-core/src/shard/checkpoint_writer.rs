//! When a checkpoint is saved, and when a failed save is repeated.
//!
//! One save is in flight at a time and progress accumulates meanwhile, so a slow store receives
//! fewer writes, not more.

use crate::outcome::Fault;
use crate::position::{Checkpoint, Position};
use crate::retry::{Backoff, Jitter};
use crate::time::Timestamp;

/// A checkpoint that may be saved.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Watermark {
    /// Records that it reports as resolved; orders watermarks.
    pub(super) n_resolved: u64,
    /// Changes of the window since the start; orders watermarks of the same position.
    pub(super) window_version: u64,
    /// Without marks: they are built only for a save.
    pub(super) checkpoint: Checkpoint,
}

#[derive(Debug)]
pub(super) struct CheckpointWriter {
    saved: Watermark,
    state: State,
    backoff: Backoff,
}

#[derive(Debug)]
enum State {
    Idle,
    InFlight(Watermark),
    Waiting { until: Timestamp, fault: Fault },
}

impl CheckpointWriter {
    pub(super) fn new(from: Checkpoint) -> Self {
        let from = Checkpoint {
            marks: Vec::new(),
            ..from
        };
        Self {
            saved: Watermark {
                n_resolved: 0,
                window_version: 0,
                checkpoint: from,
            },
            state: State::Idle,
            backoff: Backoff::default(),
        }
    }

    /// Starts a save, if the watermark is not saved yet and no save or backoff prevents it. Returns
    /// the checkpoint to write, without marks.
    pub(super) fn start(&mut self, watermark: &Watermark, now: Timestamp) -> Option<Checkpoint> {
        let due = match &self.state {
            State::Idle => true,
            State::InFlight(_) => false,
            State::Waiting { until, .. } => *until <= now,
        };
        if !due || !self.differs_from_saved(watermark) {
            return None;
        }
        let forward = self.saved.n_resolved < watermark.n_resolved
            || self.saved.window_version < watermark.window_version
            || self.saved.checkpoint.counts != watermark.checkpoint.counts
            || watermark.checkpoint.position == Position::ShardEnd;
        assert!(forward, "I2: a checkpoint only moves forward");
        self.state = State::InFlight(watermark.clone());
        Some(watermark.checkpoint.clone())
    }

    pub(super) fn succeeded(&mut self) {
        self.saved = self.take_in_flight();
        self.backoff.reset();
    }

    pub(super) fn failed(&mut self, fault: Fault, jitter: &mut Jitter, now: Timestamp) {
        self.take_in_flight();
        self.state = State::Waiting {
            until: now + self.backoff.next(fault, jitter),
            fault,
        };
    }

    pub(super) fn differs_from_saved(&self, watermark: &Watermark) -> bool {
        self.saved != *watermark
    }

    /// When a failed save is repeated.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        match &self.state {
            State::Waiting { until, .. } => Some(*until),
            State::Idle | State::InFlight(_) => None,
        }
    }

    pub(super) const fn is_in_flight(&self) -> bool {
        matches!(self.state, State::InFlight(_))
    }

    /// Why the last save failed.
    pub(super) const fn fault(&self) -> Option<Fault> {
        match &self.state {
            State::Waiting { fault, .. } => Some(*fault),
            State::Idle | State::InFlight(_) => None,
        }
    }

    pub(super) const fn saved(&self) -> &Watermark {
        &self.saved
    }

    fn take_in_flight(&mut self) -> Watermark {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::InFlight(watermark) => watermark,
            State::Idle | State::Waiting { .. } => panic!("no save is in flight"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "no save is in flight")]
    fn a_save_is_answered_once() {
        let mut writer = CheckpointWriter::new(Checkpoint::at(Position::TrimHorizon));
        let watermark = Watermark {
            n_resolved: 1,
            window_version: 0,
            checkpoint: Checkpoint::at(Position::After("1".into())),
        };
        writer.start(&watermark, Timestamp::EPOCH);
        writer.succeeded();
        writer.succeeded();
    }
}
