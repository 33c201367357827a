//! Where a shard is read next, and when.
//!
//! A read starts at a fixed interval after the start of the previous one, so the rate of reads does
//! not depend on how long they take.

use std::time::Duration;

use super::interface::{Gap, ReadResult, ShardCommand, UnreadableRecord};
use super::read_pace::ReadPace;
use super::settings::ShardLimits;
use super::view::Waiting;
use crate::outcome::Fault;
use crate::position::{Cursor, Position};
use crate::record::Record;
use crate::retry::{Backoff, Jitter};
use crate::time::Timestamp;

/// How long the pages of a shard that has children must be empty until that is taken for its end. A
/// page may be empty although there are more records, but not for so long.
const IDLE_END: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct ReadState {
    state: State,
    backoff: Backoff,
    pace: ReadPace,
    /// What was wrong with the last read.
    waiting: Option<Waiting>,
    /// From the end of the last page to the tip of the shard.
    behind: Option<Duration>,
    /// Since when the pages of a shard that has children are empty.
    idle_since: Option<Timestamp>,
}

#[derive(Debug)]
enum State {
    Paused {
        from: Cursor,
        due: Timestamp,
    },
    InFlight(Read),
    /// The shard has no more records.
    ShardEnd,
}

#[derive(Debug)]
struct Read {
    from: Cursor,
    limit: u32,
    started: Timestamp,
}

/// What a finished read means for the consumer.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// May be empty.
    Records(Vec<Record>),
    /// The records up to one that cannot be rendered; may be empty. Reading continues at that one.
    Unreadable(Vec<Record>, UnreadableRecord),
    /// The read will be repeated.
    Failed,
    /// The source cannot continue at this position; reading restarts at the oldest record.
    Gap(Gap),
}

impl ReadState {
    pub(super) fn new(from: Position, now: Timestamp) -> Self {
        let state = if from == Position::ShardEnd {
            State::ShardEnd
        } else {
            State::Paused {
                from: Cursor::at(from),
                due: now,
            }
        };
        Self {
            state,
            backoff: Backoff::default(),
            pace: ReadPace::default(),
            waiting: None,
            behind: None,
            idle_since: None,
        }
    }

    /// Starts a read of up to `max_records` records, if one is due.
    pub(super) fn start(&mut self, max_records: u32, now: Timestamp) -> Option<ShardCommand> {
        let State::Paused { from, due } = &self.state else {
            return None;
        };
        if now < *due {
            return None;
        }
        let from = from.clone();
        let limit = self.pace.limit(max_records);
        self.state = State::InFlight(Read {
            from: from.clone(),
            limit,
            started: now,
        });
        let timeout = self.pace.timeout();
        Some(ShardCommand::Read {
            from,
            limit,
            timeout,
        })
    }

    /// Ends the read in flight.
    pub(super) fn end(
        &mut self,
        result: Result<ReadResult, Fault>,
        limits: &ShardLimits,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> ReadEnd {
        let State::InFlight(read) = std::mem::replace(&mut self.state, State::ShardEnd) else {
            panic!("no read is in flight");
        };
        let earliest = read.started + limits.catch_up_interval;
        let fault = match result {
            Ok(page) => return self.end_page(page, read, limits, jitter, now),
            Err(fault) => fault,
        };
        let Read { from, limit, .. } = read;
        if matches!(fault, Fault::Trimmed | Fault::UnknownPosition)
            && from.after != Position::TrimHorizon
        {
            self.state = State::Paused {
                from: Cursor::at(Position::TrimHorizon),
                due: earliest,
            };
            let (after, cause) = (from.after, fault);
            return ReadEnd::Gap(Gap { after, cause });
        }
        if fault == Fault::TimedOut {
            self.pace.timed_out(limit);
        }
        self.waiting = Some(Waiting::Source(fault));
        let due = earliest.max(now + self.backoff.next(fault, jitter));
        // An iterator is a hint: the fault may be its own (expired, unknown after a restart of the
        // server, its record trimmed), and only a new one is certain to work.
        let from = match fault {
            Fault::Throttled { .. } => from,
            Fault::Transient
            | Fault::TimedOut
            | Fault::Denied
            | Fault::Gone
            | Fault::Trimmed
            | Fault::UnknownPosition => Cursor::at(from.after),
        };
        self.state = State::Paused { from, due };
        ReadEnd::Failed
    }

    fn end_page(
        &mut self,
        page: ReadResult,
        read: Read,
        limits: &ShardLimits,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> ReadEnd {
        let Read {
            from,
            limit,
            started,
        } = read;
        self.pace.succeeded(now.since(started));
        self.behind = Some(page.behind);
        let earliest = started + limits.catch_up_interval;
        let due = if page.behind.is_zero() {
            started + limits.poll_interval
        } else {
            earliest
        };
        let has_ended = self.is_idle_for_good(&page, now);
        let SplitPage {
            records,
            next,
            after,
            unreadable,
        } = split_page(page, from.after, limit as usize);
        if unreadable.is_none() || !records.is_empty() {
            self.backoff.reset();
        }
        if let Some(record) = unreadable {
            let from = Cursor::at(after);
            let delay = self.backoff.next(Fault::Transient, jitter);
            let due = earliest.max(now + delay);
            self.state = State::Paused { from, due };
            self.waiting = Some(Waiting::Unreadable(record.clone()));
            return ReadEnd::Unreadable(records, record);
        }
        self.waiting = None;
        let next = next.filter(|_| !has_ended);
        self.state = next.map_or(State::ShardEnd, |from| State::Paused { from, due });
        ReadEnd::Records(records)
    }

    /// Whether the page confirms the end of a shard whose source continues to return iterators.
    fn is_idle_for_good(&mut self, page: &ReadResult, now: Timestamp) -> bool {
        if !(page.has_children && page.records.is_empty() && page.behind.is_zero()) {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        since + IDLE_END <= now
    }

    /// When a read is due; `None` while one is in flight and after the end of the shard.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        match &self.state {
            State::Paused { due, .. } => Some(*due),
            State::InFlight(_) | State::ShardEnd => None,
        }
    }

    pub(super) const fn is_in_flight(&self) -> bool {
        matches!(self.state, State::InFlight(_))
    }

    /// Whether every record of the shard was read.
    pub(super) const fn is_at_shard_end(&self) -> bool {
        matches!(self.state, State::ShardEnd)
    }

    pub(super) const fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    pub(super) const fn behind(&self) -> Option<Duration> {
        self.behind
    }
}

/// What a page brings.
struct SplitPage {
    records: Vec<Record>,
    next: Option<Cursor>,
    /// The position after the records.
    after: Position,
    unreadable: Option<UnreadableRecord>,
}

/// Splits a page into its records and the cursor after them. Records in excess of the limit are
/// discarded and read again, so memory is bounded whatever the source returns.
fn split_page(page: ReadResult, after: Position, limit: usize) -> SplitPage {
    let mut records = page.records;
    let is_truncated = limit < records.len();
    records.truncate(limit);
    let after = match records.last() {
        Some(last) => Position::After(last.sequence_number().into()),
        None => after,
    };
    let next = if is_truncated {
        Some(Cursor::at(after.clone()))
    } else {
        page.next.map(|next| Cursor {
            after: after.clone(),
            iterator: next.iterator,
        })
    };
    SplitPage {
        records,
        next,
        after,
        unreadable: page.unreadable.filter(|_| !is_truncated),
    }
}
