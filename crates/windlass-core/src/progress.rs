//! Which records are resolved: finished in any order, checkpointed in the order of the shard.
//!
//! The checkpoint is the end of the unbroken run of resolved records; there is no second notion of
//! done. Sequence numbers are never compared: order is the order in which records were admitted.

use std::collections::VecDeque;

use crate::position::Position;
use crate::record::Record;

/// Counts the admitted records of one consumer in the order of the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// The records behind the run's end, and where the run ends.
#[derive(Debug)]
pub(crate) struct Progress {
    /// From the first unresolved record on.
    pending: VecDeque<Pending>,
    /// The ticket of the first of them, or of the next record if there is none.
    first: Ticket,
    /// How many records the run has, those that were passed over included.
    run: u64,
    /// Where the run ends.
    end: Position,
}

/// A record that was admitted, with those behind it that were passed over: the function will not
/// see them, so that they need no place of their own.
#[derive(Debug)]
struct Pending {
    /// The last of the records.
    end: Record,
    /// How many they are.
    n_records: u64,
    resolved: bool,
}

impl Progress {
    /// A run that ends at a stored checkpoint.
    pub(crate) const fn new(from: Position) -> Self {
        Self {
            pending: VecDeque::new(),
            first: Ticket(0),
            run: 0,
            end: from,
        }
    }

    /// Takes in the next record of the shard, unresolved.
    pub(crate) fn admit(&mut self, record: Record) -> Ticket {
        let ticket = Ticket(self.first.0 + self.pending.len() as u64);
        self.pending.push_back(Pending {
            end: record,
            n_records: 1,
            resolved: false,
        });
        ticket
    }

    /// Passes over the next records of the shard: they are resolved without being seen. `last` is
    /// the last of them.
    pub(crate) fn pass_over(&mut self, n_records: u64, last: Record) {
        match self.pending.back_mut() {
            Some(before) => {
                before.end = last;
                before.n_records += n_records;
            }
            None => {
                self.run += n_records;
                self.end = Position::After(last.sequence_number().into());
            }
        }
    }

    /// Marks records as finished with, and moves the run's end if it can be moved.
    pub(crate) fn resolve(&mut self, tickets: impl IntoIterator<Item = Ticket>) {
        for ticket in tickets {
            let index = ticket.0.checked_sub(self.first.0);
            let index = index.and_then(|index| usize::try_from(index).ok());
            let pending = index.and_then(|index| self.pending.get_mut(index));
            let pending = pending.expect("a ticket in use is behind the run's end");
            assert!(!pending.resolved, "a record is resolved once");
            pending.resolved = true;
        }
        let mut last = None;
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.resolved) {
            self.first.0 += 1;
            self.run += pending.n_records;
            last = Some(pending.end);
        }
        if let Some(last) = last {
            self.end = Position::After(last.sequence_number().into());
        }
    }

    /// Whether every admitted record is resolved.
    pub(crate) fn all_resolved(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether the run has not passed a record.
    pub(crate) fn is_behind_run(&self, ticket: Ticket) -> bool {
        self.first <= ticket
    }

    /// How many admitted records are behind the run's end, resolved or not.
    pub(crate) fn behind_run(&self) -> usize {
        self.pending.len()
    }

    /// How many records the run has had since the start; it only grows.
    pub(crate) const fn run(&self) -> u64 {
        self.run
    }

    /// Where the run ends: what a checkpoint may say.
    pub(crate) const fn end(&self) -> &Position {
        &self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyHash;
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
        let mut progress = Progress::new(Position::TrimHorizon);
        let records = records.iter().map(|number| record(number));
        let tickets = records.map(|record| progress.admit(record)).collect();
        (progress, tickets)
    }

    #[test]
    fn the_run_ends_before_the_first_unresolved_record() {
        let (mut progress, tickets) = progress(&["1", "2", "3", "4"]);
        progress.resolve([tickets[1], tickets[3]]);
        assert_eq!(progress.end(), &Position::TrimHorizon);
        assert_eq!(progress.behind_run(), 4);
        progress.resolve([tickets[0]]);
        assert_eq!(progress.end(), &Position::After("2".into()));
        assert_eq!((progress.run(), progress.behind_run()), (2, 2));
        progress.resolve([tickets[2]]);
        assert_eq!(progress.end(), &Position::After("4".into()));
        assert!(progress.all_resolved());
    }

    #[test]
    fn what_is_passed_over_belongs_to_the_record_before_it() {
        let (mut progress, _) = progress(&[]);
        progress.pass_over(2, record("2"));
        assert_eq!(progress.end(), &Position::After("2".into()));
        let first = progress.admit(record("3"));
        progress.pass_over(3, record("6"));
        let second = progress.admit(record("7"));
        progress.pass_over(1, record("8"));
        assert_eq!((progress.run(), progress.behind_run()), (2, 2));
        progress.resolve([second]);
        assert_eq!(progress.end(), &Position::After("2".into()));
        progress.resolve([first]);
        assert_eq!(progress.end(), &Position::After("8".into()));
        assert_eq!((progress.run(), progress.behind_run()), (8, 0));
    }

    #[test]
    #[should_panic(expected = "resolved once")]
    fn a_record_is_resolved_once() {
        let (mut progress, tickets) = progress(&["1", "2"]);
        progress.resolve([tickets[1], tickets[1]]);
    }

    #[test]
    #[should_panic(expected = "behind the run's end")]
    fn what_the_run_has_passed_cannot_be_resolved_again() {
        let (mut progress, tickets) = progress(&["1"]);
        progress.resolve([tickets[0]]);
        progress.resolve([tickets[0]]);
    }
}
