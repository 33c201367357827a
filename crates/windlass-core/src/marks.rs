//! Marks: which records after the position of a checkpoint are resolved.
//!
//! The lanes of a shard resolve records in any order. A checkpoint that were only a position would
//! repeat, after a crash, everything after the first record that is not resolved.
//!
//! A section describes the records up to and including its last one, which it names. Sequence
//! numbers are not compared by value: a record is skipped only once the named record has come
//! at the place at which the section expects it. If it does not come there, the records of the
//! section are delivered again. Of a section that is not recognized, its last record still shows where
//! the next section begins.

use std::collections::VecDeque;

use crate::ids::SequenceNumber;
use crate::record::Record;

/// A section ends with the first tracked record at or after this number of records. Larger sections
/// need fewer sequence numbers in the store, and hold more records in memory when they are read.
const SECTION_RECORDS: u64 = 100;

/// Consecutive records: they follow those of the previous section, or the position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedSection {
    /// Numbers of records: resolved, unresolved, resolved, and so on. Only the first may be 0. Empty if it
    /// is not known which records follow the previous section.
    pub runs: Vec<u64>,
    pub last: SequenceNumber,
    /// See [`Record::sub_sequence_number`].
    pub sub_sequence_number: Option<u32>,
}

impl MarkedSection {
    pub fn n_records(&self) -> u64 {
        self.runs
            .iter()
            .fold(0, |sum: u64, run| sum.saturating_add(*run))
    }

    /// Whether a record is the last one.
    fn ends_with(&self, record: &Record) -> bool {
        self.last.as_str() == record.sequence_number()
            && self.sub_sequence_number == record.sub_sequence_number()
    }

    /// Drops its first records; fewer than it has.
    fn drop_front(&mut self, mut n_records: u64) {
        for run in &mut self.runs {
            let n_dropped = n_records.min(*run);
            *run -= n_dropped;
            n_records -= n_dropped;
        }
        while let [0, 0, ..] = self.runs[..] {
            self.runs.drain(..2);
        }
    }

    /// Of each record, whether it is resolved.
    pub fn resolved(&self) -> impl Iterator<Item = bool> {
        let runs = self.runs.iter().enumerate();
        runs.flat_map(|(index, &n_records)| (0..n_records).map(move |_| index % 2 == 0))
    }
}

/// Builds sections from the records after a position.
#[derive(Debug, Default)]
pub(crate) struct MarksBuilder {
    sections: Vec<MarkedSection>,
    runs: Vec<u64>,
    n_records: u64,
}

impl MarksBuilder {
    /// Adds the next `n_records` records.
    pub(crate) fn push(&mut self, resolved: bool, n_records: u64) {
        if n_records == 0 {
            return;
        }
        let is_last_resolved = self.runs.len() % 2 == 1;
        match self.runs.last_mut() {
            Some(run) if is_last_resolved == resolved => *run += n_records,
            Some(_) => self.runs.push(n_records),
            None if resolved => self.runs.push(n_records),
            None => self.runs.extend([0, n_records]),
        }
        self.n_records += n_records;
    }

    /// `record` was the last one that was added: a section may end here, and ends if `is_final`.
    pub(crate) fn may_end(&mut self, record: &Record, is_final: bool) {
        if self.n_records < SECTION_RECORDS && !is_final {
            return;
        }
        self.n_records = 0;
        self.sections.push(MarkedSection {
            runs: std::mem::take(&mut self.runs),
            last: record.sequence_number().into(),
            sub_sequence_number: record.sub_sequence_number(),
        });
    }

    pub(crate) fn finish(self) -> Vec<MarkedSection> {
        self.sections
    }
}

/// Recognizes the marked records when they are read again.
#[derive(Debug)]
pub(crate) struct MarkReader {
    /// Those whose last record was not read yet.
    sections: VecDeque<MarkedSection>,
    /// The records of the first section, until its last one shows that they are its records.
    held: Vec<Record>,
    held_bytes: usize,
}

/// Records that were read, in the order of the shard.
#[derive(Debug, Default)]
pub(crate) struct MarkedRecords {
    pub(crate) records: Vec<Record>,
    /// Of each record, whether the checkpoint marks it as resolved; empty if none is.
    pub(crate) resolved: Vec<bool>,
}

impl MarkReader {
    pub(crate) fn new(sections: Vec<MarkedSection>) -> Self {
        Self {
            sections: sections.into(),
            held: Vec::new(),
            held_bytes: 0,
        }
    }

    /// Passes the next records of the shard. Returns those that are recognized, and those that
    /// belong to no section, in the order of the shard; it may hold some until the next call.
    pub(crate) fn read(&mut self, records: Vec<Record>) -> MarkedRecords {
        if self.sections.is_empty() {
            return MarkedRecords::unresolved(records);
        }
        let mut recognized = MarkedRecords::default();
        for record in records {
            self.read_record(record, &mut recognized);
        }
        recognized
    }

    /// Returns the records that it holds, without their marks. Those that follow can still be recognized.
    pub(crate) fn release(&mut self) -> MarkedRecords {
        let held = self.take_held();
        if let Some(section) = self.sections.front_mut() {
            section.drop_front(held.len() as u64);
        }
        MarkedRecords::unresolved(held)
    }

    /// The sections describe another stream. Nothing may be held.
    pub(crate) fn drop_sections(&mut self) {
        self.sections.clear();
    }

    /// What the next checkpoint must still mark.
    pub(crate) fn unread(&self) -> impl ExactSizeIterator<Item = &MarkedSection> {
        self.sections.iter()
    }

    pub(crate) fn n_held(&self) -> usize {
        self.held.len()
    }

    /// Bytes of the events of the records that it holds.
    pub(crate) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn read_record(&mut self, record: Record, recognized: &mut MarkedRecords) {
        let mut sections = self.sections.iter();
        let ended = sections.position(|section| section.ends_with(&record));
        self.held_bytes += record.event_len();
        self.held.push(record);
        let n_held = self.held.len() as u64;
        let n_expected = self.sections.front().map_or(0, MarkedSection::n_records);
        match ended {
            Some(0) if n_held == n_expected => {
                let marks = self.sections[0].resolved().collect();
                recognized.append(self.take_held(), marks);
                self.sections.pop_front();
            }
            Some(index) => {
                recognized.append_unresolved(self.take_held());
                self.sections.drain(..=index);
            }
            None if n_held < n_expected => {}
            None => {
                recognized.append_unresolved(self.take_held());
                self.lose_place();
            }
        }
    }

    /// The next records are not those that the first section expects.
    fn lose_place(&mut self) {
        if self.sections.len() == 1 {
            self.sections.clear();
        } else if let Some(section) = self.sections.front_mut() {
            section.runs.clear();
        }
    }

    fn take_held(&mut self) -> Vec<Record> {
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }
}

impl MarkedRecords {
    fn unresolved(records: Vec<Record>) -> Self {
        Self {
            records,
            resolved: Vec::new(),
        }
    }

    /// Takes the records from `index` on.
    pub(crate) fn split_off(&mut self, index: usize) -> Self {
        Self {
            records: self.records.split_off(index),
            resolved: self.resolved.split_off(index.min(self.resolved.len())),
        }
    }

    fn append(&mut self, records: Vec<Record>, resolved: Vec<bool>) {
        self.records.extend(records);
        self.resolved.extend(resolved);
    }

    fn append_unresolved(&mut self, records: Vec<Record>) {
        let resolved = vec![false; records.len()];
        self.append(records, resolved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyHash;
    use crate::record_page::RecordMeta;
    use crate::time::Timestamp;

    fn record(number: u64) -> Record {
        let meta = RecordMeta {
            sequence_number: &number.to_string(),
            inner: None,
            key: KeyHash(1),
            approximate_arrival: Timestamp::EPOCH,
        };
        Record::standalone(&meta, b"{}", 0..0)
    }

    fn section(runs: &[u64], last: u64) -> MarkedSection {
        MarkedSection {
            runs: runs.to_vec(),
            last: last.to_string().as_str().into(),
            sub_sequence_number: None,
        }
    }

    /// Two sections: 2 and 4 of 1 to 4, and 5 and 6 of 5 to 7, are resolved.
    fn reader() -> MarkReader {
        MarkReader::new(vec![section(&[0, 1, 1, 1, 1], 4), section(&[2, 1], 7)])
    }

    /// `5` for a record that must be delivered, `5*` for a resolved one.
    #[track_caller]
    fn check(marked: &MarkedRecords, expected: &str) {
        let text = marked.records.iter().enumerate().map(|(index, record)| {
            let is_resolved = marked.resolved.get(index) == Some(&true);
            let mark = if is_resolved { "*" } else { "" };
            format!("{}{mark}", record.sequence_number())
        });
        assert_eq!(text.collect::<Vec<_>>().join(" "), expected);
    }

    fn read(reader: &mut MarkReader, numbers: impl IntoIterator<Item = u64>) -> MarkedRecords {
        reader.read(numbers.into_iter().map(record).collect())
    }

    #[test]
    fn a_section_is_recognized_when_its_last_record_comes() {
        let mut reader = reader();
        check(&read(&mut reader, 1..=3), "");
        assert_eq!((reader.n_held(), reader.held_bytes()), (3, 6));
        check(&read(&mut reader, 4..=5), "1 2* 3 4*");
        assert_eq!(reader.unread().len(), 1);
        check(&read(&mut reader, 6..=9), "5* 6* 7 8 9");
        assert_eq!((reader.n_held(), reader.unread().len()), (0, 0));
    }

    #[test]
    fn a_section_that_has_lost_records_is_delivered_again() {
        check(&read(&mut reader(), 2..=8), "2 3 4 5* 6* 7 8");
        check(&read(&mut reader(), [1, 2, 4, 5, 6, 7]), "1 2 4 5* 6* 7");
        check(&read(&mut reader(), 6..=9), "6 7 8 9");
    }

    #[test]
    fn a_section_that_has_more_records_is_delivered_again() {
        let numbers = [1, 2, 30, 3, 4, 5, 6, 7];
        check(&read(&mut reader(), numbers), "1 2 30 3 4 5* 6* 7");
    }

    #[test]
    fn a_section_whose_last_record_does_not_come_is_delivered_again() {
        let mut reader = reader();
        check(&read(&mut reader, 11..=13), "");
        check(&read(&mut reader, 14..=16), "11 12 13 14 15 16");
        check(&read(&mut reader, 17..=18), "17 18");
    }

    #[test]
    fn released_records_are_delivered_again_and_those_that_follow_are_recognized() {
        for (n_released, expected) in [(1, "2* 3 4*"), (2, "3 4*"), (3, "4*")] {
            let mut reader = reader();
            check(&read(&mut reader, 1..=n_released), "");
            assert_eq!(reader.release().records.len() as u64, n_released);
            let unread: Vec<_> = reader.unread().cloned().collect();
            let rest = n_released + 1..=4;
            check(&read(&mut reader, rest.clone()), expected);
            check(&read(&mut MarkReader::new(unread), rest), expected);
        }
    }

    #[test]
    fn only_the_end_of_a_section_that_was_not_recognized_is_kept() {
        let mut reader = reader();
        check(&read(&mut reader, 11..=14), "11 12 13 14");
        let unread: Vec<_> = reader.unread().cloned().collect();
        assert_eq!(unread, [section(&[], 4), section(&[2, 1], 7)]);
        let mut next = MarkReader::new(unread);
        check(&read(&mut next, [31, 32, 33, 4, 5, 6]), "31 32 33 4");
        check(&read(&mut next, 8..=9), "5 6 8 9");
        assert_eq!(next.unread().len(), 0);
    }

    #[test]
    fn sections_that_are_built_read_back() {
        let mut builder = MarksBuilder::default();
        for number in 1..=250 {
            builder.push(number % 3 == 0, 1);
            builder.push(true, u64::from(number == 7));
            builder.may_end(&record(number), number == 250);
        }
        let sections = builder.finish();
        let lengths: Vec<_> = sections.iter().map(MarkedSection::n_records).collect();
        assert_eq!(lengths, [100, 100, 51]);
        let resolved: usize = sections
            .iter()
            .map(|section| section.resolved().filter(|it| *it).count())
            .sum();
        assert_eq!(resolved, 250 / 3 + 1);
        assert!(sections.iter().all(|section| {
            let mut later = section.runs.iter().skip(1);
            later.all(|run| 0 < *run)
        }));
    }
}
