//! Where a shard is read next, and when.
//!
//! A read starts a fixed time after the one before it has started, so that the rate of reads does
//! not depend on how long they take.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::ReadResult;
use super::ShardLimits;
use crate::outcome::Fault;
use crate::position::{Cursor, Position};
use crate::record::Record;
use crate::retry::Backoff;
use crate::time::Timestamp;

/// The reading of one shard.
#[derive(Debug)]
pub(super) struct Reading {
    state: State,
    backoff: Backoff,
    /// What went wrong with the last read.
    fault: Option<Fault>,
    /// How far behind the tip the last page ended.
    behind: Option<Duration>,
}

#[derive(Debug)]
enum State {
    /// The next read may start when `due` has come.
    Paused { from: Cursor, due: Timestamp },
    /// A read is under way.
    UnderWay {
        from: Cursor,
        limit: usize,
        started: Timestamp,
    },
    /// The shard has no more records.
    Ended,
}

/// What came of a read.
#[derive(Debug)]
pub(super) enum Arrival {
    /// Records, perhaps none.
    Records(Vec<Record>),
    /// Nothing; it will be tried again.
    Nothing,
    /// The source no longer has what comes after this place.
    Trimmed {
        /// Where reading should have gone on.
        after: Position,
    },
}

impl Reading {
    pub(super) fn new(from: Position, now: Timestamp) -> Self {
        let state = if from == Position::ShardEnd {
            State::Ended
        } else {
            State::Paused {
                from: Cursor::at(from),
                due: now,
            }
        };
        Self {
            state,
            backoff: Backoff::default(),
            fault: None,
            behind: None,
        }
    }

    /// Begins a read of at most `limit` records if one is due.
    pub(super) fn start(&mut self, limit: usize, now: Timestamp) -> Option<Cursor> {
        let State::Paused { from, due } = &self.state else {
            return None;
        };
        if now < *due {
            return None;
        }
        let from = from.clone();
        self.state = State::UnderWay {
            from: from.clone(),
            limit,
            started: now,
        };
        Some(from)
    }

    /// Says how the read under way has ended.
    pub(super) fn end(
        &mut self,
        result: Result<ReadResult, Fault>,
        limits: &ShardLimits,
        random: &mut ChaCha8Rng,
        now: Timestamp,
    ) -> Arrival {
        let State::UnderWay {
            from,
            limit,
            started,
        } = std::mem::replace(&mut self.state, State::Ended)
        else {
            panic!("a read ends that was not begun");
        };
        let soon = started + limits.catch_up_interval;
        match result {
            Ok(page) => {
                self.backoff.reset();
                self.fault = None;
                self.behind = Some(page.behind);
                let due = if page.behind.is_zero() {
                    started + limits.poll_interval
                } else {
                    soon
                };
                let (records, next) = accept(page, from.after, limit);
                self.state = next.map_or(State::Ended, |from| State::Paused { from, due });
                Arrival::Records(records)
            }
            Err(Fault::Trimmed) if from.after != Position::TrimHorizon => {
                self.state = State::Paused {
                    from: Cursor::at(Position::TrimHorizon),
                    due: soon,
                };
                Arrival::Trimmed { after: from.after }
            }
            Err(fault) => {
                self.fault = Some(fault);
                let due = soon.max(now + self.backoff.next(fault, random));
                // An iterator at the oldest record that has gone stays there for minutes; a new one
                // begins where the oldest record is now.
                let from = match fault {
                    Fault::Trimmed => Cursor::at(from.after),
                    Fault::Throttled { .. } | Fault::Transient | Fault::Denied | Fault::Gone => {
                        from
                    }
                };
                self.state = State::Paused { from, due };
                Arrival::Nothing
            }
        }
    }

    /// When a read is due; `None` while one is under way and after the end of the shard.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        match &self.state {
            State::Paused { due, .. } => Some(*due),
            State::UnderWay { .. } | State::Ended => None,
        }
    }

    /// Whether a read is under way.
    pub(super) const fn is_under_way(&self) -> bool {
        matches!(self.state, State::UnderWay { .. })
    }

    /// Whether everything that the shard will ever have was read.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    pub(super) const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    pub(super) const fn behind(&self) -> Option<Duration> {
        self.behind
    }
}

/// The records of a page and where to go on behind them. A page that has more records than were
/// asked for is cut: the rest is read again, and memory stays bounded whatever the source does.
fn accept(page: ReadResult, after: Position, limit: usize) -> (Vec<Record>, Option<Cursor>) {
    let mut records = page.records;
    let cut = limit < records.len();
    records.truncate(limit);
    let after = match records.last() {
        Some(last) => Position::After(last.sequence_number().into()),
        None => after,
    };
    let next = if cut {
        Some(Cursor::at(after))
    } else {
        page.next.map(|next| Cursor {
            after,
            iterator: next.iterator,
        })
    };
    (records, next)
}
