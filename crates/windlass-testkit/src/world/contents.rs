//! The records of a simulated shard.

use windlass_core::ids::KeyHash;
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
    /// world matches it.
    ///
    /// # Panics
    /// If the record is readable before its predecessor.
    pub fn push(
        &mut self,
        key: u64,
        (len, matches): (usize, bool),
        arrival: Timestamp,
        readable: Timestamp,
    ) {
        let index = self.records.len();
        assert!(
            self.readable.last().is_none_or(|last| *last <= readable),
            "records become readable in their order"
        );
        let meta = RecordMeta {
            sequence_number: &self.number_of(index).to_string(),
            key: KeyHash(key),
            approximate_arrival: arrival,
        };
        let event = sample_filter::event(len, matches);
        self.records.push(Record::standalone(&meta, &event, 0..0));
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

    /// Whether two records belong to the same stream.
    pub fn is_same_stream(&self, one: usize, other: usize) -> bool {
        let is_former = |index| self.recreated.is_some_and(|(first, _)| index < first);
        is_former(one) == is_former(other)
    }

    fn number_of(&self, index: usize) -> u64 {
        match self.recreated {
            Some((first, _)) if first <= index => FIRST_NUMBER_AGAIN + (index - first) as u64,
            _ => FIRST_NUMBER + index as u64,
        }
    }

    pub fn index_of(&self, sequence_number: &str) -> Option<usize> {
        let number: u64 = sequence_number.parse().ok()?;
        let (base, first) = match self.recreated {
            Some((first, _)) if number < FIRST_NUMBER => (FIRST_NUMBER_AGAIN, first),
            _ => (FIRST_NUMBER, 0),
        };
        let index = first + usize::try_from(number.checked_sub(base)?).ok()?;
        (index < self.records.len() && self.number_of(index) == number).then_some(index)
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
            Position::After(number) => Some(self.index_of(number.as_str())? + 1),
            Position::ShardEnd => Some(self.records.len()),
        }
    }
}
