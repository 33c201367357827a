//! The records of a simulated shard.

use windlass_core::ids::{InnerRecord, KeyHash};
use windlass_core::position::Position;
use windlass_core::record::Record;
use windlass_core::record_page::RecordMeta;
use windlass_core::time::Timestamp;

use crate::sample_filter;

/// The first sequence number; later ones have more digits, so that code which orders them as text
/// fails.
const FIRST_NUMBER: u64 = 9_950;

/// Of a stream that was created again.
const FIRST_NUMBER_AGAIN: u64 = 1;

/// The records of one shard, in order.
#[derive(Debug, Default)]
pub struct Contents {
    records: Vec<Record>,
    /// Their sequence numbers; those of an aggregate have the same.
    numbers: Vec<u64>,
    /// When each record becomes readable; never decreases.
    readable: Vec<Timestamp>,
    /// The first record of the stream that was created again, and when that was.
    recreated: Option<(usize, Timestamp)>,
    undated: Vec<bool>,
    /// When the shard is closed, if it ever is.
    pub closes: Option<Timestamp>,
}

impl Contents {
    /// Adds a record of `len` bytes that can be read from `readable` on; `matches` if the filter of the
    /// world matches it. The `inner` records of an aggregate follow each other.
    ///
    /// # Panics
    /// If the record is readable before its predecessor.
    pub fn push(
        &mut self,
        key: u64,
        inner: Option<InnerRecord>,
        (len, matches): (usize, bool),
        arrival: Timestamp,
        readable: Timestamp,
    ) {
        assert!(
            self.readable.last().is_none_or(|last| *last <= readable),
            "records become readable in their order"
        );
        let number = self.next_number(inner);
        let meta = RecordMeta {
            sequence_number: &number.to_string(),
            inner,
            key: KeyHash(key),
            approximate_arrival: arrival,
        };
        let event = sample_filter::event(len, matches);
        self.records.push(Record::standalone(&meta, &event, 0..0));
        self.numbers.push(number);
        self.readable.push(readable);
        self.undated.push(false);
    }

    /// Makes the source send the last record without a time. Its arrival is then what the adapter
    /// shows for it.
    ///
    /// # Panics
    /// If there is no record.
    pub fn hide_last_arrival(&mut self) {
        *self.undated.last_mut().expect("there is a record") = true;
    }

    pub fn is_undated(&self, index: usize) -> bool {
        self.undated[index]
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many records can be read at `now`.
    pub fn n_readable(&self, now: Timestamp) -> usize {
        self.readable.partition_point(|readable| *readable <= now)
    }

    /// When a record became readable.
    pub fn readable_from(&self, index: usize) -> Timestamp {
        self.readable[index]
    }

    /// The stream is deleted and created again: later records have numbers that begin again.
    pub fn recreate(&mut self, at: Timestamp) {
        self.recreated = Some((self.records.len(), at));
    }

    /// The first record of the stream that exists at `now`.
    pub fn stream_start(&self, now: Timestamp) -> usize {
        let recreated = self.recreated.filter(|(_, at)| *at <= now);
        recreated.map_or(0, |(first, _)| first)
    }

    /// Whether the stream is deleted and created again.
    pub fn is_recreated(&self) -> bool {
        self.recreated.is_some()
    }

    /// Whether two records belong to the same stream.
    pub fn is_same_stream(&self, one: usize, other: usize) -> bool {
        let is_former = |index| self.recreated.is_some_and(|(first, _)| index < first);
        is_former(one) == is_former(other)
    }

    fn next_number(&self, inner: Option<InnerRecord>) -> u64 {
        let is_first_again = |(first, _): (usize, Timestamp)| first == self.records.len();
        match (self.numbers.last(), inner) {
            (Some(last), Some(inner)) if 0 < inner.index => *last,
            _ if self.recreated.is_some_and(is_first_again) => FIRST_NUMBER_AGAIN,
            (Some(last), _) => last + 1,
            (None, _) => FIRST_NUMBER,
        }
    }

    pub fn index_of(&self, record: &Record) -> Option<usize> {
        let first = self.first_of(record.sequence_number())?;
        let index = first + record.inner().map_or(0, |inner| inner.index as usize);
        (self.records.get(index)?.meta() == record.meta()).then_some(index)
    }

    /// The first record with a sequence number.
    pub fn first_of(&self, sequence_number: &str) -> Option<usize> {
        let number: u64 = sequence_number.parse().ok()?;
        self.numbers.iter().position(|it| *it == number)
    }

    /// The last record with a sequence number, or the one with this index in its aggregate.
    pub fn index_at(&self, sequence_number: &str, inner: Option<u32>) -> Option<usize> {
        let first = self.first_of(sequence_number)?;
        let same = self.numbers.iter().filter(|it| **it == self.numbers[first]);
        let n_same = same.count();
        let offset = inner.map_or(n_same - 1, |inner| inner as usize);
        (offset < n_same).then_some(first + offset)
    }

    /// The first record of the aggregate to which a record belongs, or the record itself.
    pub fn aggregate_start(&self, index: usize) -> usize {
        let record = self.records.get(index);
        let inner = record.and_then(Record::inner);
        index - inner.map_or(0, |inner| inner.index as usize)
    }

    /// The position after a record.
    pub fn position_after(&self, index: usize) -> Position {
        let record = &self.records[index];
        let number = record.sequence_number().into();
        let is_within = self.numbers.get(index + 1) == Some(&self.numbers[index]);
        match record.inner() {
            Some(inner) if is_within => Position::Within(number, inner.index),
            _ => Position::After(number),
        }
    }

    /// The index at which a position starts; `None` if it names an unknown record. The first
    /// `trimmed` records are gone.
    pub fn offset_of(&self, position: &Position, trimmed: usize) -> Option<usize> {
        match position {
            Position::TrimHorizon => Some(trimmed),
            Position::AtTimestamp(time) => {
                let first = |record: &Record| *time <= record.approximate_arrival();
                let found = self.records.iter().position(first);
                Some(found.unwrap_or(self.records.len()).max(trimmed))
            }
            Position::At(number) => self.first_of(number.as_str()),
            Position::After(number) => Some(self.index_at(number.as_str(), None)? + 1),
            Position::Within(number, inner) => {
                Some(self.index_at(number.as_str(), Some(*inner))? + 1)
            }
            Position::ShardEnd => Some(self.records.len()),
        }
    }
}
