//! What is saved of a shard's progress, and when it may be tried again.
//!
//! One save is under way at a time: while it is, progress gathers, so that a slow store is asked
//! less often and not more.

use rand_chacha::ChaCha8Rng;

use crate::outcome::Fault;
use crate::position::Position;
use crate::retry::Backoff;
use crate::time::Timestamp;

/// A place that may be saved, and how many records lie before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    /// The length of the unbroken run of resolved records; it orders marks.
    pub(super) run: u64,
    /// Its end.
    pub(super) position: Position,
}

/// The checkpoint of one shard.
#[derive(Debug)]
pub(super) struct Saving {
    saved: Mark,
    state: State,
    backoff: Backoff,
}

#[derive(Debug)]
enum State {
    Idle,
    UnderWay(Mark),
    Waiting { until: Timestamp, fault: Fault },
}

impl Saving {
    pub(super) fn new(from: Position) -> Self {
        Self {
            saved: Mark {
                run: 0,
                position: from,
            },
            state: State::Idle,
            backoff: Backoff::default(),
        }
    }

    /// Begins to save a mark if it is news and nothing speaks against it. Gives what to write.
    pub(super) fn start(&mut self, mark: &Mark, now: Timestamp) -> Option<Position> {
        let due = match &self.state {
            State::Idle => true,
            State::UnderWay(_) => false,
            State::Waiting { until, .. } => *until <= now,
        };
        if !due || !self.is_news(mark) {
            return None;
        }
        let forward = self.saved.run < mark.run || mark.position == Position::ShardEnd;
        assert!(forward, "a checkpoint only moves forward");
        self.state = State::UnderWay(mark.clone());
        Some(mark.position.clone())
    }

    /// Says that the save under way is done.
    pub(super) fn done(&mut self) {
        self.saved = self.take();
        self.backoff.reset();
    }

    /// Says that the save under way has failed.
    pub(super) fn failed(&mut self, fault: Fault, random: &mut ChaCha8Rng, now: Timestamp) {
        self.take();
        self.state = State::Waiting {
            until: now + self.backoff.next(fault, random),
            fault,
        };
    }

    /// Whether a mark is not what is saved.
    pub(super) fn is_news(&self, mark: &Mark) -> bool {
        self.saved != *mark
    }

    /// When a failed save is tried again.
    pub(super) const fn timeout(&self) -> Option<Timestamp> {
        match &self.state {
            State::Waiting { until, .. } => Some(*until),
            State::Idle | State::UnderWay(_) => None,
        }
    }

    pub(super) const fn is_under_way(&self) -> bool {
        matches!(self.state, State::UnderWay(_))
    }

    pub(super) const fn fault(&self) -> Option<Fault> {
        match &self.state {
            State::Waiting { fault, .. } => Some(*fault),
            State::Idle | State::UnderWay(_) => None,
        }
    }

    pub(super) const fn saved(&self) -> &Mark {
        &self.saved
    }

    fn take(&mut self) -> Mark {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::UnderWay(mark) => mark,
            State::Idle | State::Waiting { .. } => panic!("a save ends that was not begun"),
        }
    }
}
