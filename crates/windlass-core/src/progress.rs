//! Which records are resolved: in any order, while the checkpoint follows the order of the shard.
//!
//! The low watermark is the end of the unbroken run of resolved records. Sequence numbers are never
//! compared: the order is the one in which records were tracked.

use std::collections::VecDeque;

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
    /// Records up to the low watermark, the skipped ones included.
    resolved_prefix: u64,
    low_watermark: Checkpoint,
}

/// A tracked record plus the skipped records that follow it; skipped records never reach the
/// function and need no entry of their own.
#[derive(Debug)]
struct Pending {
    last: Record,
    n_records: u64,
    resolved: bool,
}

impl Progress {
    /// Continues at a stored checkpoint.
    pub(crate) const fn new(from: Checkpoint) -> Self {
        Self {
            pending: VecDeque::new(),
            first: Ticket(0),
            resolved_prefix: 0,
            low_watermark: from,
        }
    }

    /// Adds the next record of the shard, unresolved.
    pub(crate) fn track(&mut self, record: Record) -> Ticket {
        let ticket = Ticket(self.first.0 + self.pending.len() as u64);
        self.pending.push_back(Pending {
            last: record,
            n_records: 1,
            resolved: false,
        });
        ticket
    }

    /// Resolves the next `n_records` of the shard, up to `last`, without tracking them.
    pub(crate) fn skip(&mut self, n_records: u64, last: Record) {
        match self.pending.back_mut() {
            Some(previous) => {
                previous.last = last;
                previous.n_records += n_records;
            }
            None => {
                self.resolved_prefix += n_records;
                self.low_watermark = Checkpoint::after(&last);
            }
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
        }
        let mut last = None;
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.resolved) {
            self.first.0 += 1;
            self.resolved_prefix += pending.n_records;
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

    /// Records up to the low watermark since the start; only grows.
    pub(crate) const fn resolved_prefix(&self) -> u64 {
        self.resolved_prefix
    }

    /// As far as a checkpoint may go.
    pub(crate) const fn low_watermark(&self) -> &Checkpoint {
        &self.low_watermark
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
        assert_eq!((progress.resolved_prefix(), progress.pending_len()), (2, 2));
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
        progress.skip(2, record("2"));
        assert_eq!(
            &progress.low_watermark().position,
            &Position::After("2".into())
        );
        let first = progress.track(record("3"));
        progress.skip(3, record("6"));
        let second = progress.track(record("7"));
        progress.skip(1, record("8"));
        assert_eq!((progress.resolved_prefix(), progress.pending_len()), (2, 2));
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
        assert_eq!((progress.resolved_prefix(), progress.pending_len()), (8, 0));
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
