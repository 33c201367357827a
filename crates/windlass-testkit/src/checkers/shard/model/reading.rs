//! How the model follows the reads of a consumer.

use std::time::Duration;

use windlass_core::outcome::Fault;
use windlass_core::position::{self, Cursor, Position};
use windlass_core::record::Record;
use windlass_core::shard::{Gap, PageStart, ReadResult, Report, Waiting};
use windlass_core::time::Timestamp;

use super::{Expected, Model};
use crate::checkers::BrokenInvariant;
use crate::checkers::due_range::DueRange;
use crate::world::Contents;

impl Model {
    /// Where the next read must start, but for its iterator.
    pub(in crate::checkers::shard) fn next_read(&self, now: Timestamp) -> Cursor {
        if self.looks_at_the_oldest() {
            return Cursor::at(Position::TrimHorizon);
        }
        let minute = Duration::from_secs(60);
        let is_proven = self.proven.is_some_and(|at| now.since(at) < minute) && self.knows_stream;
        let is_within = matches!(self.position.position, Position::Within(..));
        Cursor {
            inclusive: self.is_after_record() && (!is_proven || is_within),
            ..Cursor::at(self.position.position.clone())
        }
    }

    pub(in crate::checkers::shard) fn looks_at_the_oldest(&self) -> bool {
        self.expects == Expected::Oldest
    }

    fn is_after_record(&self) -> bool {
        self.position.position.sequence_number().is_some()
    }

    pub(in crate::checkers::shard) fn begin_read(
        &mut self,
        from: &Cursor,
        limit: usize,
        now: Timestamp,
    ) {
        let source_time = self.source_ahead.map(|ahead| now.shifted(ahead));
        if let Some(stretch) = &mut self.stretch {
            stretch.begin_read(source_time);
        }
        self.read = Some((from.clone(), limit, now));
    }

    pub(in crate::checkers::shard) fn read(
        &mut self,
        result: &Result<ReadResult, Fault>,
        contents: &Contents,
        now: Timestamp,
    ) -> Result<(), BrokenInvariant> {
        let (from, limit, started) = self.read.take().expect("a read was requested");
        if self.draining {
            return Ok(());
        }
        let soon = started + self.settings.limits.catch_up_interval;
        match result {
            Ok(_) => self.iterator_is_suspect = false,
            Err(Fault::Throttled { .. }) => {}
            Err(_) => {
                self.iterator_is_suspect = true;
                self.knows_stream = false;
            }
        }
        match result {
            Ok(page) => {
                self.read_succeeded(now.since(started));
                self.read_waiting = None;
                if !self.looks_at_the_oldest() {
                    self.behind = Some(page.behind);
                }
                self.read_due = DueRange::exactly(if page.behind.is_zero() {
                    started + self.settings.limits.poll_interval
                } else {
                    soon
                });
                self.read_page(page, &from, limit, started, contents, now)?;
            }
            Err(cause @ (Fault::Trimmed | Fault::UnknownPosition))
                if from.after != Position::TrimHorizon =>
            {
                self.expect_gap(*cause, None, contents, now);
                self.position = position::Checkpoint::at(Position::TrimHorizon);
                self.expects = Expected::Next;
                self.read_due = DueRange::exactly(soon);
                self.ended = self.stretch.as_ref().is_some_and(|it| it.ended);
                self.end_windows(now);
            }
            Err(fault) => {
                if *fault == Fault::TimedOut {
                    self.read_timed_out(limit);
                }
                self.end_read_of_stretch(false, now);
                self.read_failures += 1;
                self.read_waiting = Some(Waiting::Source(*fault));
                self.read_due =
                    DueRange::after_failure(self.read_failures, *fault, now).not_before(soon);
            }
        }
        Ok(())
    }

    /// Delivers the records that are held for a mark that they may have, when it can not come.
    fn release_held(
        &mut self,
        is_unreadable: bool,
        is_last: bool,
        contents: &Contents,
        now: Timestamp,
    ) {
        let limits = &self.settings.limits;
        let n_held = self.marks.held.len();
        let fills_buffer =
            limits.buffer_records <= n_held || limits.buffer_bytes <= self.marks.held_bytes();
        if is_unreadable || (n_held != 0 && (is_last || fills_buffer)) {
            let held = self.marks.release(contents);
            self.deliver(held, contents, now);
        }
    }

    /// The read began at `started`.
    fn read_page(
        &mut self,
        page: &ReadResult,
        from: &Cursor,
        limit: usize,
        started: Timestamp,
        contents: &Contents,
        now: Timestamp,
    ) -> Result<(), BrokenInvariant> {
        // When the next read may start at the earliest.
        let soon = started + self.settings.limits.catch_up_interval;
        self.read_start(page, from, now);
        let mut records = &page.records[..];
        let is_at_tip = page.behind.is_zero();
        let shows_next = is_at_tip || !records.is_empty();
        if self.looks_at_the_oldest() && records.is_empty() && page.unreadable.is_some() {
            self.expects = Expected::Next;
            self.read_failures = 0;
            self.read_due = DueRange::exactly(soon);
            return Ok(());
        }
        if let Some(first) = records.first() {
            let is_recreated = !self.is_of_same_stream(first, contents);
            if self.looks_at_the_oldest() && !is_recreated {
                (self.knows_stream, self.stream_shown) = (true, Some(now));
                self.expects = Expected::Next;
                self.read_failures = 0;
                self.read_due = DueRange::exactly(soon);
                return Ok(());
            }
            records = self.check_first(first, is_recreated, records, contents, now);
        }
        let n_excess = records.len().saturating_sub(limit);
        records = &records[..records.len() - n_excess];
        let unreadable = page.unreadable.as_ref().filter(|_| n_excess == 0);
        self.ended = page.next.is_none() && n_excess == 0 && unreadable.is_none();
        let is_empty = records.is_empty() && is_at_tip && unreadable.is_none();
        self.empty_pages = is_empty.then(|| (self.empty_pages.map_or(now, |pages| pages.0), now));
        self.end_read_of_stretch(is_empty, now);
        if let Some(last) = records.last() {
            let index = contents.index_of(last).expect("it is of the source");
            self.position = position::Checkpoint {
                arrival: Some(last.approximate_arrival()),
                ..position::Checkpoint::at(contents.position_after(index))
            };
        }
        if shows_next && self.expects == Expected::Next {
            self.proven = Some(now);
        }
        let is_in_doubt = is_at_tip
            && self.is_after_record()
            && !self.knows_stream
            && !self.looks_at_the_oldest();
        if is_in_doubt && !self.ended && unreadable.is_none() {
            self.read_due = DueRange::exactly(soon);
            if from.inclusive {
                self.expects = Expected::Oldest;
            }
        }
        let has_records = !records.is_empty();
        let is_last = !has_records && is_at_tip;
        let may_end = is_at_tip && n_excess == 0 && unreadable.is_none() && !is_in_doubt;
        records = self.keep_to_stretch(records, page, may_end, started, contents, now);
        let unreadable = unreadable.filter(|_| !self.ended);
        self.accept(records, contents, now)?;
        let is_last = self.ended || is_last;
        self.release_held(unreadable.is_some(), is_last, contents, now);
        self.end_windows(now);
        if unreadable.is_none() || has_records {
            self.read_failures = 0;
        }
        if let Some(record) = unreadable {
            self.read_failures += 1;
            self.read_waiting = Some(Waiting::Unreadable(*record));
            let (n, fault) = (self.read_failures, Fault::Transient);
            self.read_due = DueRange::after_failure(n, fault, now).not_before(soon);
            let report = Report::Unreadable(*record);
            self.expected_reports.push_back(report);
        }
        Ok(())
    }

    fn end_read_of_stretch(&mut self, is_empty: bool, now: Timestamp) {
        if let Some(stretch) = &mut self.stretch {
            stretch.end_read(is_empty, now);
        }
    }

    /// Returns the records of the stretch. `may_end`: the page has found the tip, by a read that began at
    /// `started`.
    fn keep_to_stretch<'r>(
        &mut self,
        records: &'r [Record],
        page: &ReadResult,
        may_end: bool,
        started: Timestamp,
        contents: &Contents,
        now: Timestamp,
    ) -> &'r [Record] {
        let Some(stretch) = &mut self.stretch else {
            return records;
        };
        let ends = may_end && !self.ended && stretch.ends_at_tip(started, self.source_ahead, now);
        let records = stretch.keep(records, contents);
        if ends {
            stretch.end_at_tip(page);
        }
        self.ended |= stretch.ended;
        records
    }

    fn end_windows(&mut self, now: Timestamp) {
        let two_minutes = Duration::from_secs(120);
        let empty_pages = self.empty_pages;
        let is_idle = empty_pages.is_some_and(|(first, last)| first + two_minutes <= last);
        let source_time = self.source_ahead.map(|ahead| now.shifted(ahead));
        let Some(windows) = &mut self.lanes[0].windows else {
            return;
        };
        windows.shard_ended |= self.ended;
        if let Some(source_time) = source_time.filter(|_| is_idle && !self.ended) {
            windows.idle(source_time);
        }
    }

    /// What the first record of a page shows. Returns the records without those that were read before.
    fn check_first<'r>(
        &mut self,
        first: &Record,
        is_recreated: bool,
        records: &'r [Record],
        contents: &Contents,
        now: Timestamp,
    ) -> &'r [Record] {
        (self.knows_stream, self.stream_shown) = (true, Some(now));
        match std::mem::replace(&mut self.expects, Expected::Next) {
            Expected::AtPosition if self.is_at(first) => self.unread(records, contents),
            Expected::Next if self.is_at(first) && first.inner().is_some() => {
                self.unread(records, contents)
            }
            Expected::Next if self.lacks_first(first) => {
                let until = Some(first.approximate_arrival());
                self.expect_gap(Fault::Trimmed, until, contents, now);
                records
            }
            Expected::Next => records,
            Expected::AtPosition | Expected::Oldest => {
                let cause = if is_recreated {
                    Fault::UnknownPosition
                } else {
                    Fault::Trimmed
                };
                let until = Some(first.approximate_arrival());
                self.expect_gap(cause, until, contents, now);
                records
            }
        }
    }

    /// Whether the record is missing at which reading should begin.
    fn lacks_first(&self, first: &Record) -> bool {
        let number = |text: &str| text.parse::<u128>().expect("it is short");
        let Position::At(at) = &self.position.position else {
            return false;
        };
        number(at.as_str()) < number(first.sequence_number())
    }

    /// What the start of a page shows of the stream, and of its first record.
    fn read_start(&mut self, page: &ReadResult, from: &Cursor, now: Timestamp) {
        if page.start == PageStart::Continued {
            return;
        }
        self.knows_stream &= from.iterator.is_none();
        let minute = Duration::from_secs(60);
        let was_shown = self.stream_shown.is_some_and(|at| now.since(at) < minute);
        let is_within = matches!(self.position.position, Position::Within(..));
        let is_in_doubt = page.start != PageStart::AtPosition || !was_shown || is_within;
        self.knows_stream &= !(page.records.is_empty() && is_in_doubt);
        self.expects = match (self.expects, page.start) {
            (Expected::Oldest, _) => Expected::Oldest,
            (_, PageStart::AtPosition) => Expected::AtPosition,
            _ => Expected::Next,
        };
    }

    /// The records after the position, of a page that starts at it or within its aggregate.
    fn unread<'r>(&self, records: &'r [Record], contents: &Contents) -> &'r [Record] {
        let next = contents.offset_of(&self.position.position, 0);
        let is_read = |record: &&Record| contents.index_of(record) < next;
        &records[records.iter().take_while(is_read).count()..]
    }

    fn is_at(&self, record: &Record) -> bool {
        let number = self.position.position.sequence_number();
        number.is_some_and(|number| number.as_str() == record.sequence_number())
    }

    /// Whether the position and a record belong to the same stream.
    fn is_of_same_stream(&self, record: &Record, contents: &Contents) -> bool {
        let Some(number) = self.position.position.sequence_number() else {
            return true;
        };
        let index = |number: &str| contents.first_of(number).expect("it was read");
        contents.is_same_stream(index(number.as_str()), index(record.sequence_number()))
    }

    fn expect_gap(
        &mut self,
        cause: Fault,
        until: Option<Timestamp>,
        contents: &Contents,
        now: Timestamp,
    ) {
        let held = self.marks.release(contents);
        self.deliver(held, contents, now);
        if cause == Fault::UnknownPosition {
            self.marks.clear();
            if let Some(stretch) = &mut self.stretch {
                stretch.lose_stream();
            }
            let lane = &mut self.lanes[0];
            let is_in_flight = lane.invocation().is_some();
            if let Some(windows) = &mut lane.windows {
                let (dropped, is_due) = windows.drop_state(is_in_flight);
                if is_due {
                    lane.window = Some(now);
                }
                let reports = dropped.map(Report::WindowStateDropped);
                self.expected_reports.extend(reports);
            }
        }
        let position::Checkpoint {
            position, arrival, ..
        } = self.position.clone();
        self.expected_reports.push_back(Report::Gap(Gap {
            after: position,
            cause,
            since: arrival,
            until,
        }));
    }

    fn read_timed_out(&mut self, limit: usize) {
        if limit == 1 {
            self.timeout_secs = (self.timeout_secs * 2).min(600);
        } else {
            self.max_records = u32::try_from(limit / 2).expect("a limit is 32 bits long");
        }
    }

    fn read_succeeded(&mut self, took: Duration) {
        if u128::from(self.timeout_secs * 1_000) < took.as_millis() * 4 {
            return;
        }
        if self.timeout_secs == 40 {
            self.max_records = self.max_records.saturating_mul(2);
        } else {
            self.timeout_secs = (self.timeout_secs / 2).max(40);
        }
    }
}
