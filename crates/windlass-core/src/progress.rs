//! Which records are resolved: in any order, while the checkpoint follows the order of the shard.
//!
//! The low watermark is the end of the unbroken run of resolved records. Those that are resolved
//! after it are marked ([`crate::marks`]). Sequence numbers are never compared: the order is the one
//! in which records were tracked.

use std::collections::VecDeque;
use std::ops::AddAssign;

use crate::marks::{MarkedSection, MarksBuilder};
use crate::position::Checkpoint;
use crate::record::Record;

/// Identifies a tracked record; grows in the order of the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
pub(crate) struct Progress {
    /// From the first unresolved record on.
    pending: VecDeque<Pending>,
    /// The ticket of the first pending record, or of the next record.
    first: Ticket,
    /// Bytes of the events of the pending records.
    pending_bytes: usize,
    /// Records up to the low watermark, the skipped ones included.
    resolved_prefix: u64,
    /// Pending records that are resolved.
    n_resolved_pending: u64,
    /// Of the skipped records up to the low watermark, since the start.
    skipped_prefix: SkipCounts,
    low_watermark: Checkpoint,
}

/// Skipped records that a replay counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SkipCounts {
    /// No filter matches them.
    pub(crate) filtered_out: u64,
    /// They cannot be invoked.
    pub(crate) given_up: u64,
}

impl AddAssign for SkipCounts {
    fn add_assign(&mut self, more: Self) {
        self.filtered_out += more.filtered_out;
        self.given_up += more.given_up;
    }
}

/// A tracked record plus the skipped records that follow it; skipped records never reach the
/// function and need no entry of their own.
#[derive(Debug)]
struct Pending {
    last: Record,
    n_records: u64,
    skipped: SkipCounts,
    /// Bytes of the event of the tracked record.
    bytes: usize,
    resolved: bool,
    /// Whether the checkpoint from which the consumer continued marked any of the skipped records.
    was_marked: bool,
}

impl Progress {
    /// Continues at a stored checkpoint.
    pub(crate) fn new(from: Checkpoint) -> Self {
        Self {
            pending: VecDeque::new(),
            first: Ticket(0),
            pending_bytes: 0,
            resolved_prefix: 0,
            n_resolved_pending: 0,
            skipped_prefix: SkipCounts::default(),
            low_watermark: Checkpoint {
                marks: Vec::new(),
                window: None,
                counts: None,
                ..from
            },
        }
    }

    /// Adds the next record of the shard, unresolved.
    pub(crate) fn track(&mut self, record: Record) -> Ticket {
        let ticket = Ticket(self.first.0 + self.pending.len() as u64);
        let bytes = record.event_len();
        self.pending_bytes += bytes;
        self.pending.push_back(Pending {
            last: record,
            n_records: 1,
            skipped: SkipCounts::default(),
            bytes,
            resolved: false,
            was_marked: false,
        });
        ticket
    }

    /// Resolves the next `n_records` of the shard, up to `last`, without tracking them. `was_marked`:
    /// the checkpoint from which the consumer continued marks any of them.
    pub(crate) fn skip(&mut self, n_records: u64, last: Record, was_marked: bool) {
        match self.pending.back_mut() {
            Some(previous) => {
                previous.last = last;
                previous.n_records += n_records;
                previous.was_marked |= was_marked;
            }
            None => {
                self.resolved_prefix += n_records;
                self.low_watermark = Checkpoint::after(&last);
            }
        }
    }

    /// Counts those that were skipped last.
    pub(crate) fn count_skipped(&mut self, skipped: SkipCounts) {
        match self.pending.back_mut() {
            Some(previous) => previous.skipped += skipped,
            None => self.skipped_prefix += skipped,
        }
    }

    /// Marks records as resolved, and moves the low watermark.
    pub(crate) fn resolve(&mut self, tickets: impl IntoIterator<Item = Ticket>) {
        for ticket in tickets {
            let index = ticket.0.checked_sub(self.first.0);
            let index = index.and_then(|index| usize::try_from(index).ok());
            let pending = index.and_then(|index| self.pending.get_mut(index));
            let pending = pending.expect("a record after the low watermark");
            assert!(!pending.resolved, "a record is resolved once");
            pending.resolved = true;
            self.n_resolved_pending += 1;
        }
        let mut last = None;
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.resolved) {
            self.first.0 += 1;
            self.n_resolved_pending -= 1;
            self.pending_bytes -= pending.bytes;
            self.resolved_prefix += pending.n_records;
            self.skipped_prefix += pending.skipped;
            last = Some(pending.last);
        }
        if let Some(last) = last {
            self.low_watermark = Checkpoint::after(&last);
        }
    }

    pub(crate) fn all_resolved(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether a record is after the low watermark, resolved or not.
    pub(crate) fn is_pending(&self, ticket: Ticket) -> bool {
        self.first <= ticket
    }

    /// Tracked records after the low watermark, resolved or not.
    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Bytes of their events. A resolved record counts until the watermark passes it, since the
    /// records around it keep its page in memory.
    pub(crate) const fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Records that were resolved since the start and that a checkpoint has to tell; only grows.
    /// Those that were skipped after a pending record count with it.
    pub(crate) const fn n_resolved(&self) -> u64 {
        self.resolved_prefix + self.n_resolved_pending
    }

    /// As far as a checkpoint may go; without marks.
    pub(crate) const fn low_watermark(&self) -> &Checkpoint {
        &self.low_watermark
    }

    /// Marks the records after the low watermark. `unread` are the sections of the last checkpoint
    /// that follow the last record.
    pub(crate) fn marks<'a>(
        &self,
        unread: impl ExactSizeIterator<Item = &'a MarkedSection>,
    ) -> Vec<MarkedSection> {
        let n_marked = self.n_marked(unread.len());
        let mut marks = MarksBuilder::default();
        for (index, pending) in self.pending.iter().take(n_marked).enumerate() {
            marks.push(pending.resolved, 1);
            marks.push(true, pending.n_records - 1);
            marks.may_end(&pending.last, index + 1 == n_marked);
        }
        let mut marks = marks.finish();
        marks.extend(unread.cloned());
        marks
    }

    /// Of the skipped records up to the low watermark, since the start.
    pub(crate) const fn skipped(&self) -> SkipCounts {
        self.skipped_prefix
    }

    /// Those after the low watermark that [`Progress::marks`] marks as resolved. `n_unread`: the
    /// sections of the last checkpoint that follow the last record.
    pub(crate) fn skipped_after(&self, n_unread: usize) -> SkipCounts {
        let mut skipped = SkipCounts::default();
        for pending in self.pending.iter().take(self.n_marked(n_unread)) {
            skipped += pending.skipped;
        }
        skipped
    }

    /// The pending records up to the last one that is worth a mark.
    fn n_marked(&self, n_unread: usize) -> usize {
        if n_unread != 0 {
            return self.pending.len();
        }
        let is_worth_marking = |pending: &Pending| pending.resolved || pending.was_marked;
        let last = self.pending.iter().rposition(is_worth_marking);
        last.map_or(0, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyHash;
    use crate::position::Position;
    use crate::record_page::RecordMeta;
    use crate::time::Timestamp;

    fn record(sequence_number: &str) -> Record {
        let meta = RecordMeta {
            sequence_number,
            inner: None,
            key: KeyHash(1),
            approximate_arrival: Timestamp::EPOCH,
        };
        Record::standalone(&meta, b"{}", 0..0)
    }

    fn progress(records: &[&str]) -> (Progress, Vec<Ticket>) {
        let mut progress = Progress::new(Checkpoint::at(Position::TrimHorizon));
        let records = records.iter().map(|number| record(number));
        let tickets = records.map(|record| progress.track(record)).collect();
        (progress, tickets)
    }

    #[test]
    fn the_low_watermark_stops_at_the_first_unresolved_record() {
        let (mut progress, tickets) = progress(&["1", "2", "3", "4"]);
        progress.resolve([tickets[1], tickets[3]]);
        assert_eq!(&progress.low_watermark().position, &Position::TrimHorizon);
        assert_eq!(progress.pending_len(), 4);
        progress.resolve([tickets[0]]);
        assert_eq!(
            &progress.low_watermark().position,
            &Position::After("2".into())
        );
        assert_eq!((progress.n_resolved(), progress.pending_len()), (3, 2));
        progress.resolve([tickets[2]]);
        assert_eq!(
            &progress.low_watermark().position,
            &Position::After("4".into())
        );
        assert!(progress.all_resolved());
    }

    #[test]
    fn skipped_records_are_resolved_with_the_previous_tracked_record() {
        let (mut progress, _) = progress(&[]);
        progress.skip(2, record("2"), false);
        assert_eq!(
            &progress.low_watermark().position,
            &Position::After("2".into())
        );
        let first = progress.track(record("3"));
        progress.skip(3, record("6"), false);
        let second = progress.track(record("7"));
        progress.skip(1, record("8"), false);
        assert_eq!((progress.n_resolved(), progress.pending_len()), (2, 2));
        progress.resolve([second]);
        assert_eq!(
            &progress.low_watermark().position,
            &Position::After("2".into())
        );
        progress.resolve([first]);
        assert_eq!(
            &progress.low_watermark().position,
            &Position::After("8".into())
        );
        assert_eq!((progress.n_resolved(), progress.pending_len()), (8, 0));
    }

    /// `u` and `r` for each record after the low watermark, and the last record of each section.
    fn marks_text(progress: &Progress, unread: &[MarkedSection]) -> String {
        let sections = progress.marks(unread.iter());
        let section = |section: &MarkedSection| {
            let marks = section.resolved().map(|it| if it { 'r' } else { 'u' });
            format!("{} {}", marks.collect::<String>(), section.last)
        };
        let sections: Vec<_> = sections.iter().map(section).collect();
        sections.join(", ")
    }

    #[test]
    fn records_after_the_low_watermark_are_marked() {
        let (mut progress, tickets) = progress(&["1", "2", "3", "4"]);
        assert_eq!(
            (marks_text(&progress, &[]), progress.n_resolved()),
            (String::new(), 0)
        );
        progress.skip(2, record("6"), false);
        progress.resolve([tickets[1]]);
        assert_eq!(marks_text(&progress, &[]), "ur 2");
        assert_eq!((progress.n_resolved(), progress.pending_bytes()), (1, 8));
        progress.resolve([tickets[3]]);
        assert_eq!(marks_text(&progress, &[]), "ururrr 6");
        progress.resolve([tickets[0]]);
        assert_eq!(marks_text(&progress, &[]), "urrr 6");
        assert_eq!((progress.n_resolved(), progress.pending_bytes()), (3, 4));
    }

    #[test]
    fn marks_of_the_last_checkpoint_are_kept() {
        let (mut progress, tickets) = progress(&["1"]);
        progress.skip(1, record("2"), true);
        let third = progress.track(record("3"));
        assert_eq!(marks_text(&progress, &[]), "ur 2");
        let unread = [MarkedSection {
            runs: vec![0, 1, 2],
            last: "6".into(),
            sub_sequence_number: None,
        }];
        assert_eq!(marks_text(&progress, &unread), "uru 3, urr 6");
        progress.resolve([tickets[0], third]);
        assert_eq!(marks_text(&progress, &unread), "urr 6");
    }

    #[test]
    fn skipped_records_count_once_a_checkpoint_tells_that_they_are_resolved() {
        let (mut progress, tickets) = progress(&["1", "2"]);
        let skipped = SkipCounts {
            filtered_out: 1,
            given_up: 2,
        };
        progress.skip(3, record("5"), false);
        progress.count_skipped(skipped);
        // After a crash they are read again, since nothing marks them.
        assert_eq!(progress.skipped(), SkipCounts::default());
        assert_eq!(progress.skipped_after(0), SkipCounts::default());
        progress.resolve([tickets[1]]);
        assert_eq!(progress.skipped_after(0), skipped);
        progress.resolve([tickets[0]]);
        assert_eq!(progress.skipped(), skipped);
        assert_eq!(progress.skipped_after(0), SkipCounts::default());
    }

    #[test]
    #[should_panic(expected = "resolved once")]
    fn a_record_is_resolved_once() {
        let (mut progress, tickets) = progress(&["1", "2"]);
        progress.resolve([tickets[1], tickets[1]]);
    }

    #[test]
    #[should_panic(expected = "after the low watermark")]
    fn a_record_up_to_the_low_watermark_cannot_be_resolved_again() {
        let (mut progress, tickets) = progress(&["1"]);
        progress.resolve([tickets[0]]);
        progress.resolve([tickets[0]]);
    }
}
