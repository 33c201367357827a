//! Where a shard is read next, and when.
//!
//! A read starts at a fixed interval after the start of the previous one, so the rate of reads does
//! not depend on how long they take.
//!
//! A sequence number proves nothing: a source may continue after trimmed records without an error,
//! and a stream whose numbers began again may have nothing after it for years. So a new iterator of a
//! sequence number starts with the record itself, which proves both; only if nothing comes at all,
//! the oldest record is looked at.

use std::sync::Arc;
use std::time::Duration;

use super::interface::{Gap, PageStart, ReadResult};
use super::settings::ShardLimits;
use crate::ids::SequenceNumber;
use crate::outcome::Fault;
use crate::position::{Checkpoint, Cursor, Position};
use crate::record::Record;
use crate::retry::{Backoff, Jitter};
use crate::time::Timestamp;

/// How long the pages of a shard that has children must be empty until that is taken for its end. A
/// page may be empty although there are more records, but not for so long.
const IDLE_END: Duration = Duration::from_secs(60);

/// How long after a read nothing that follows its page is trimmed. The shortest retention period is
/// a day, so only a reader that is a day late could miss less than a minute.
const PROOF_TTL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct ReadState {
    state: State,
    /// After the last record that was read.
    position: Checkpoint,
    /// When a page last showed that nothing after the position is trimmed.
    proven_at: Option<Timestamp>,
    check: Check,
    /// Whether the stream is known to be the one of the position. Another one may follow when an
    /// iterator no longer works.
    is_same_stream: bool,
    backoff: Backoff,
    /// Of the last read.
    fault: Option<Fault>,
    /// From the end of the last page to the tip of the shard.
    behind: Option<Duration>,
    /// Since when the pages of a shard that has children are empty.
    idle_since: Option<Timestamp>,
}

#[derive(Debug)]
enum State {
    Paused {
        iterator: Option<Arc<str>>,
        due: Timestamp,
    },
    InFlight {
        from: Cursor,
        limit: usize,
        started: Timestamp,
    },
    /// The shard has no more records.
    ShardEnd,
}

/// What the next record shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Nothing: it follows the position.
    None,
    /// Should be the record at the position, which is then dropped. Another one shows a gap.
    OwnRecord,
    /// The oldest record of the shard, read because nothing follows the position. It shows whether
    /// the stream was created again: its number is lower than that of the position, and it arrived
    /// later.
    OldestRecord,
}

/// What a finished read means for the consumer.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// May be empty.
    Records(Vec<Record>),
    /// The read will be repeated.
    Failed,
    /// Records may be missing before these, or before the next ones if these are empty.
    Gap { gap: Gap, records: Vec<Record> },
}

impl ReadState {
    pub(super) fn new(from: Checkpoint, now: Timestamp) -> Self {
        let state = if from.position == Position::ShardEnd {
            State::ShardEnd
        } else {
            State::Paused {
                iterator: None,
                due: now,
            }
        };
        Self {
            state,
            position: from,
            proven_at: None,
            check: Check::None,
            is_same_stream: false,
            backoff: Backoff::default(),
            fault: None,
            behind: None,
            idle_since: None,
        }
    }

    /// Starts a read of up to `limit` records, if one is due. Returns where to read, and how many.
    pub(super) fn start(&mut self, limit: u32, now: Timestamp) -> Option<(Cursor, u32)> {
        let State::Paused { iterator, due } = &mut self.state else {
            return None;
        };
        if now < *due {
            return None;
        }
        let iterator = iterator.take();
        let (from, limit) = match self.check {
            Check::OldestRecord => {
                let horizon = Cursor {
                    iterator,
                    ..Cursor::at(Position::TrimHorizon)
                };
                (horizon, 1)
            }
            Check::None | Check::OwnRecord => {
                let is_recent = self.proven_at.is_some_and(|at| now < at + PROOF_TTL);
                let is_proven = is_recent && self.is_same_stream;
                let after = self.position.position.clone();
                let from = Cursor {
                    inclusive: matches!(after, Position::After(_)) && !is_proven,
                    after,
                    iterator,
                };
                (from, limit)
            }
        };
        self.state = State::InFlight {
            from: from.clone(),
            limit: limit as usize,
            started: now,
        };
        Some((from, limit))
    }

    /// Ends the read in flight.
    pub(super) fn end(
        &mut self,
        result: Result<ReadResult, Fault>,
        limits: &ShardLimits,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> ReadEnd {
        let State::InFlight {
            from,
            limit,
            started,
        } = std::mem::replace(&mut self.state, State::ShardEnd)
        else {
            panic!("no read is in flight");
        };
        let earliest = started + limits.catch_up_interval;
        match result {
            Ok(page) => {
                self.backoff.reset();
                self.fault = None;
                if self.check != Check::OldestRecord {
                    self.behind = Some(page.behind);
                }
                let due = if page.behind.is_zero() {
                    started + limits.poll_interval
                } else {
                    earliest
                };
                // The source has rejected the iterator, as after a restart.
                let was_rejected = page.start != PageStart::Continued && from.iterator.is_some();
                let shows_nothing =
                    page.start == PageStart::AfterPosition && page.records.is_empty();
                self.is_same_stream &= !was_rejected && !shows_nothing;
                let was_inclusive = from.inclusive;
                self.end_page(page, limit, was_inclusive, (earliest, due), now)
            }
            Err(cause @ (Fault::Trimmed | Fault::UnknownPosition))
                if from.after != Position::TrimHorizon =>
            {
                self.pause(None, earliest);
                self.check = Check::None;
                let horizon = Checkpoint::at(Position::TrimHorizon);
                let former = std::mem::replace(&mut self.position, horizon);
                let gap = gap(former, cause, None);
                let records = Vec::new();
                ReadEnd::Gap { gap, records }
            }
            Err(fault) => {
                self.fault = Some(fault);
                let due = earliest.max(now + self.backoff.next(fault, jitter));
                // An iterator is a hint: the fault may be its own (expired, unknown after a restart of
                // the server, its record trimmed), and only a new one is certain to work.
                let iterator = match fault {
                    Fault::Throttled { .. } => from.iterator,
                    Fault::Transient
                    | Fault::Denied
                    | Fault::Gone
                    | Fault::Trimmed
                    | Fault::UnknownPosition => {
                        self.is_same_stream = false;
                        None
                    }
                };
                self.pause(iterator, due);
                ReadEnd::Failed
            }
        }
    }

    /// `earliest` is when the next read may start, `due` when it should.
    fn end_page(
        &mut self,
        mut page: ReadResult,
        limit: usize,
        was_inclusive: bool,
        (earliest, due): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> ReadEnd {
        let is_at_tip = page.behind.is_zero();
        let shows_next = is_at_tip || !page.records.is_empty();
        let is_idle = self.is_idle_for_good(&page, now);
        let gap = match self.check_page(&mut page) {
            Checked::Follows => None,
            Checked::Gap(gap) => Some(gap),
            Checked::SameStream => {
                self.pause(None, earliest);
                return ReadEnd::Records(Vec::new());
            }
        };
        // Records in excess of the limit are read again, so memory is bounded whatever the source
        // returns.
        let is_cut = limit < page.records.len();
        let mut records = page.records;
        records.truncate(limit);
        let ends = !is_cut && (page.next.is_none() || is_idle);
        let iterator = page.next.filter(|_| !is_cut);
        let iterator = iterator.and_then(|next| next.iterator);
        if let Some(last) = records.last() {
            self.position = Checkpoint::after(last);
        }
        if self.check == Check::None && shows_next {
            self.proven_at = Some(now);
        }
        if ends {
            self.state = State::ShardEnd;
        } else if is_at_tip && self.is_doubtful() {
            if was_inclusive {
                self.check = Check::OldestRecord;
            }
            self.pause(None, earliest);
        } else {
            self.pause(iterator, due);
        }
        match gap {
            Some(gap) => ReadEnd::Gap { gap, records },
            None => ReadEnd::Records(records),
        }
    }

    /// Removes the record at the position from a page that should start with it.
    fn check_page(&mut self, page: &mut ReadResult) -> Checked {
        match (self.check, page.start) {
            (Check::OldestRecord, _) | (_, PageStart::Continued) => {}
            (_, PageStart::AfterPosition) => self.check = Check::None,
            (_, PageStart::AtPosition) => self.check = Check::OwnRecord,
        }
        let Some(first) = page.records.first() else {
            return Checked::Follows;
        };
        self.is_same_stream = true;
        let check = std::mem::replace(&mut self.check, Check::None);
        let is_recreated = self.is_of_new_stream(first);
        let cause = match check {
            Check::None => return Checked::Follows,
            Check::OwnRecord if self.is_at(first) => {
                page.records.remove(0);
                return Checked::Follows;
            }
            Check::OldestRecord if !is_recreated => return Checked::SameStream,
            Check::OwnRecord if !is_recreated => Fault::Trimmed,
            Check::OwnRecord | Check::OldestRecord => Fault::UnknownPosition,
        };
        Checked::Gap(gap(self.position.clone(), cause, Some(first)))
    }

    fn is_at(&self, record: &Record) -> bool {
        matches!(&self.position.position, Position::After(number)
            if number.as_str() == record.sequence_number())
    }

    /// Whether a record shows that the numbers of the stream began again after the position.
    fn is_of_new_stream(&self, record: &Record) -> bool {
        let (Position::After(number), Some(arrival)) =
            (&self.position.position, self.position.arrival)
        else {
            return false;
        };
        let is_later = arrival < record.approximate_arrival();
        is_later && SequenceNumber::from(record.sequence_number()).is_lower_than(number)
    }

    /// Whether nothing shows that the stream is still the one of the position: it has no record
    /// after it, as one whose numbers began again.
    fn is_doubtful(&self) -> bool {
        let is_after_record = matches!(self.position.position, Position::After(_));
        is_after_record && !self.is_same_stream && self.check != Check::OldestRecord
    }

    fn pause(&mut self, iterator: Option<Arc<str>>, due: Timestamp) {
        self.state = State::Paused { iterator, due };
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
            State::InFlight { .. } | State::ShardEnd => None,
        }
    }

    pub(super) const fn is_in_flight(&self) -> bool {
        matches!(self.state, State::InFlight { .. })
    }

    /// Whether every record of the shard was read.
    pub(super) const fn is_at_shard_end(&self) -> bool {
        matches!(self.state, State::ShardEnd)
    }

    pub(super) const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    pub(super) const fn behind(&self) -> Option<Duration> {
        self.behind
    }
}

/// What the first record of a page shows.
enum Checked {
    /// The records follow the position.
    Follows,
    /// Records may be missing before these.
    Gap(Gap),
    /// The stream is the one of the position, where reading continues; these are old records.
    SameStream,
}

fn gap(former: Checkpoint, cause: Fault, next: Option<&Record>) -> Gap {
    Gap {
        after: former.position,
        cause,
        since: former.arrival,
        until: next.map(Record::approximate_arrival),
    }
}
