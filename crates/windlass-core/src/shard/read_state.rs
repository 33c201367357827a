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

use super::interface::{Gap, PageStart, ReadResult, UnreadableRecord};
use super::read_pace::ReadPace;
use super::settings::ShardLimits;
use super::view::Waiting;
use crate::ids::SequenceNumber;
use crate::outcome::Fault;
use crate::position::{Checkpoint, Cursor, Position};
use crate::record::Record;
use crate::retry::{Backoff, Jitter};
use crate::time::Timestamp;

/// How long the pages of a shard that has children must be empty until that is taken for its end, or
/// for its tip where the source does not report that. A page may be empty although there are more
/// records, but not for so long.
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
    /// When a record last showed that.
    shown_at: Option<Timestamp>,
    backoff: Backoff,
    pace: ReadPace,
    /// What was wrong with the last read.
    waiting: Option<Waiting>,
    /// From the end of the last page to the tip of the shard.
    behind: Option<Duration>,
    /// Since when the pages of a shard that has children are empty.
    idle_since: Option<Timestamp>,
    /// The first and the last of the pages at the tip since the last record.
    empty_pages: Option<(Timestamp, Timestamp)>,
    /// The first of them since a read last failed.
    empty_since: Option<Timestamp>,
    /// See [`ReadState::is_at_stretch_end`].
    is_at_stretch_end: bool,
}

/// Which tip of the shard ends a stretch.
#[derive(Clone, Copy, Debug)]
pub(super) struct TipEnd {
    /// The reads that began then or later.
    pub(super) reads_from: Timestamp,
    /// See [`StretchSettings`](crate::stretch::StretchSettings).
    pub(super) reports_tip: bool,
}

#[derive(Debug)]
enum State {
    Paused {
        iterator: Option<Arc<str>>,
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
    Page {
        /// Records may be missing before these, or before the next ones if there are none.
        gap: Option<Gap>,
        /// May be empty.
        records: Vec<Record>,
        /// The record after these, if its number cannot be read. Reading continues there.
        unreadable: Option<UnreadableRecord>,
    },
    /// The read will be repeated.
    Failed,
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
            shown_at: None,
            backoff: Backoff::default(),
            pace: ReadPace::default(),
            waiting: None,
            behind: None,
            idle_since: None,
            empty_pages: None,
            empty_since: None,
            is_at_stretch_end: false,
        }
    }

    /// Starts a read of up to `max_records` records, if one is due. Returns where it begins, its limit and
    /// its timeout.
    pub(super) fn start(
        &mut self,
        max_records: u32,
        now: Timestamp,
    ) -> Option<(Cursor, u32, Duration)> {
        let State::Paused { iterator, due } = &mut self.state else {
            return None;
        };
        if now < *due {
            return None;
        }
        let iterator = iterator.take();
        let (from, limit) = match self.check {
            Check::OldestRecord => (Cursor::at(Position::TrimHorizon), 1),
            Check::None | Check::OwnRecord => (self.next_read(now), self.pace.limit(max_records)),
        };
        let from = Cursor { iterator, ..from };
        self.state = State::InFlight(Read {
            from: from.clone(),
            limit,
            started: now,
        });
        Some((from, limit, self.pace.timeout()))
    }

    /// The position, and whether it needs a proof.
    fn next_read(&self, now: Timestamp) -> Cursor {
        let is_recent = self.proven_at.is_some_and(|at| now < at + PROOF_TTL);
        let is_proven = is_recent && self.is_same_stream;
        let after = self.position.position.clone();
        let has_record = after.sequence_number().is_some();
        Cursor {
            inclusive: has_record && (!is_proven || self.is_within_aggregate()),
            ..Cursor::at(after)
        }
    }

    /// Ends the read in flight.
    pub(super) fn end(
        &mut self,
        result: Result<ReadResult, Fault>,
        limits: &ShardLimits,
        tip_end: Option<TipEnd>,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> ReadEnd {
        let State::InFlight(read) = std::mem::replace(&mut self.state, State::ShardEnd) else {
            panic!("no read is in flight");
        };
        let earliest = read.started + limits.catch_up_interval;
        let fault = match result {
            Ok(page) => return self.end_page(page, read, limits, tip_end, jitter, now),
            Err(fault) => fault,
        };
        let Read { from, limit, .. } = read;
        if matches!(fault, Fault::Trimmed | Fault::UnknownPosition)
            && from.after != Position::TrimHorizon
        {
            self.pause(None, earliest);
            self.check = Check::None;
            let horizon = Checkpoint::at(Position::TrimHorizon);
            let former = std::mem::replace(&mut self.position, horizon);
            return ReadEnd::Page {
                gap: Some(gap(former, fault, None)),
                records: Vec::new(),
                unreadable: None,
            };
        }
        self.empty_since = None;
        if fault == Fault::TimedOut {
            self.pace.timed_out(limit);
        }
        self.waiting = Some(Waiting::Source(fault));
        let due = earliest.max(now + self.backoff.next(fault, jitter));
        // An iterator is a hint: the fault may be its own (expired, unknown after a restart of the
        // server, its record trimmed), and only a new one is certain to work.
        let iterator = match fault {
            Fault::Throttled { .. } => from.iterator,
            Fault::Transient
            | Fault::TimedOut
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

    fn end_page(
        &mut self,
        mut page: ReadResult,
        read: Read,
        limits: &ShardLimits,
        tip_end: Option<TipEnd>,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> ReadEnd {
        self.pace.succeeded(now.since(read.started));
        let earliest = read.started + limits.catch_up_interval;
        let is_at_tip = page.behind.is_zero();
        if self.check != Check::OldestRecord {
            self.behind = Some(page.behind);
        }
        let shows_next = is_at_tip || !page.records.is_empty();
        let is_idle = self.is_idle_for_good(&page, now);
        let gap = match self.check_page(&mut page, &read.from, now) {
            Checked::Follows => None,
            Checked::Gap(gap) => Some(gap),
            Checked::SameStream => {
                self.backoff.reset();
                self.waiting = None;
                self.pause(None, earliest);
                return ReadEnd::Page {
                    gap: None,
                    records: Vec::new(),
                    unreadable: None,
                };
            }
        };
        // Records in excess of the limit are read again, so memory is bounded whatever the source
        // returns.
        let limit = read.limit as usize;
        let is_cut = limit < page.records.len();
        let mut records = page.records;
        records.truncate(limit);
        if let Some(last) = records.last() {
            self.position = Checkpoint::after(last);
        }
        let unreadable = page.unreadable.filter(|_| !is_cut);
        self.count_empty(is_at_tip && records.is_empty() && unreadable.is_none(), now);
        if unreadable.is_none() || !records.is_empty() {
            self.backoff.reset();
        }
        self.waiting = unreadable.map(Waiting::Unreadable);
        if self.check == Check::None && shows_next {
            self.proven_at = Some(now);
        }
        if unreadable.is_some() {
            let delay = self.backoff.next(Fault::Transient, jitter);
            self.pause(None, earliest.max(now + delay));
        } else if !is_cut && (page.next.is_none() || is_idle) {
            self.state = State::ShardEnd;
        } else if is_at_tip && self.is_doubtful() {
            if read.from.inclusive {
                self.check = Check::OldestRecord;
            }
            self.pause(None, earliest);
        } else if !is_cut && is_at_tip && tip_end.is_some_and(|it| self.is_ended_by(it, &read, now))
        {
            let has_iterator = page.next.is_some_and(|next| next.iterator.is_some());
            self.end_stretch(has_iterator && !page.has_children);
        } else {
            let next = page.next.filter(|_| !is_cut);
            let due = if is_at_tip {
                read.started + limits.poll_interval
            } else {
                earliest
            };
            self.pause(next.and_then(|next| next.iterator), due);
        }
        ReadEnd::Page {
            gap,
            records,
            unreadable,
        }
    }

    fn count_empty(&mut self, is_empty: bool, now: Timestamp) {
        let first = |since: Option<Timestamp>| is_empty.then(|| since.unwrap_or(now));
        self.empty_pages = first(self.empty_pages.map(|pages| pages.0)).map(|since| (since, now));
        self.empty_since = first(self.empty_since);
    }

    /// Removes the records up to the position from a page that should start with the one at it.
    fn check_page(&mut self, page: &mut ReadResult, from: &Cursor, now: Timestamp) -> Checked {
        // The source has rejected the iterator, as after a restart.
        let was_rejected = page.start != PageStart::Continued && from.iterator.is_some();
        // What has shown the stream some time ago may have been another one.
        let is_shown = self.shown_at.is_some_and(|at| now < at + PROOF_TTL);
        let shows_nothing = page.records.is_empty()
            && match page.start {
                PageStart::Continued => false,
                PageStart::AfterPosition => true,
                PageStart::AtPosition => !is_shown || self.is_within_aggregate(),
            };
        self.is_same_stream &= !was_rejected && !shows_nothing;
        match (self.check, page.start) {
            (Check::OldestRecord, _) | (_, PageStart::Continued) => {}
            (_, PageStart::AfterPosition) => self.check = Check::None,
            (_, PageStart::AtPosition) => self.check = Check::OwnRecord,
        }
        let Some(first) = page.records.first() else {
            // Whose record it is cannot be known yet: it is looked at again after the position.
            if self.check == Check::OldestRecord && page.unreadable.is_some() {
                self.check = Check::None;
                return Checked::SameStream;
            }
            return Checked::Follows;
        };
        self.is_same_stream = true;
        self.shown_at = Some(now);
        let check = std::mem::replace(&mut self.check, Check::None);
        let is_missing = self.is_before(first);
        let is_recreated = self.is_of_new_stream(first);
        let cause = match check {
            Check::None if is_missing => Fault::Trimmed,
            Check::None => {
                self.remove_read(&mut page.records, |record| record.inner().is_some());
                return Checked::Follows;
            }
            Check::OwnRecord if self.is_at(first) => {
                self.remove_read(&mut page.records, |_| true);
                return Checked::Follows;
            }
            Check::OldestRecord if !is_recreated => return Checked::SameStream,
            Check::OwnRecord if !is_recreated => Fault::Trimmed,
            Check::OwnRecord | Check::OldestRecord => Fault::UnknownPosition,
        };
        Checked::Gap(gap(self.position.clone(), cause, Some(first)))
    }

    /// Removes those records at the start that were read before: the one at the position, and those
    /// before it in its aggregate, which may come in several pages.
    fn remove_read(&self, records: &mut Vec<Record>, may_come_again: impl Fn(&Record) -> bool) {
        let position = &self.position.position;
        let is_read = |record: &&Record| may_come_again(record) && position.is_after(record);
        let n_read = records.iter().take_while(is_read).count();
        records.drain(..n_read);
    }

    /// Whether a record that could be read already follows the position.
    const fn is_within_aggregate(&self) -> bool {
        matches!(self.position.position, Position::Within(..))
    }

    fn is_at(&self, record: &Record) -> bool {
        let number = self.position.position.sequence_number();
        number.is_some_and(|number| number.as_str() == record.sequence_number())
    }

    /// Whether a record is after the one at which reading should begin.
    fn is_before(&self, record: &Record) -> bool {
        let number = || SequenceNumber::from(record.sequence_number());
        matches!(&self.position.position, Position::At(at) if at.is_lower_than(&number()))
    }

    /// Whether a record shows that the numbers of the stream began again after the position.
    fn is_of_new_stream(&self, record: &Record) -> bool {
        let number = self.position.position.sequence_number();
        let (Some(number), Some(arrival)) = (number, self.position.arrival) else {
            return false;
        };
        let is_later = arrival < record.approximate_arrival();
        is_later && SequenceNumber::from(record.sequence_number()).is_lower_than(number)
    }

    /// Whether nothing shows that the stream is still the one of the position: it has no record
    /// after it, as one whose numbers began again.
    fn is_doubtful(&self) -> bool {
        let is_after_record = self.position.position.sequence_number().is_some();
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

    /// Whether the tip that a read has found ends the stretch.
    fn is_ended_by(&self, tip: TipEnd, read: &Read, now: Timestamp) -> bool {
        if tip.reports_tip {
            return tip.reads_from <= read.started;
        }
        let since = self.empty_since;
        since.is_some_and(|since| since.max(tip.reads_from) + IDLE_END <= now)
    }

    /// Nothing more of the shard belongs to the stretch: it is not read further. `was_open`: the shard
    /// was not closed before the end of the stretch.
    pub(super) fn end_stretch(&mut self, was_open: bool) {
        self.state = State::ShardEnd;
        self.waiting = None;
        self.is_at_stretch_end = was_open;
    }

    /// Whether the stretch has ended before the shard, so that none of its children holds a record of
    /// it.
    pub(super) const fn is_at_stretch_end(&self) -> bool {
        self.is_at_stretch_end
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

    /// Whether every record of the shard, or of its stretch, was read.
    pub(super) const fn is_at_shard_end(&self) -> bool {
        matches!(self.state, State::ShardEnd)
    }

    pub(super) const fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    /// How long the tip of the shard has brought no record.
    pub(super) fn idle(&self) -> Duration {
        self.empty_pages
            .map_or(Duration::ZERO, |(first, last)| last.since(first))
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
