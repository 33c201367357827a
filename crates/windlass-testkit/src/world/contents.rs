//! What a simulated shard contains: the truth that checkers compare with.

use windlass_core::position::Position;
use windlass_core::record::KeyHash;
use windlass_core::rendering::{Heading, Record};
use windlass_core::time::Timestamp;

use crate::sample_filter;

/// Sequence numbers count down from here, so that whoever orders records by them fails.
const FIRST_NUMBER: u64 = 9_900;

/// The records of one shard, in its order.
#[derive(Debug, Default)]
pub struct Contents {
    records: Vec<Record>,
    /// When each can first be read; never falls.
    readable: Vec<Timestamp>,
    /// When the shard stops taking records, if it ever does.
    pub closes: Option<Timestamp>,
}

impl Contents {
    /// Adds a record of `len` bytes that can be read from `readable` on. `wanted`: a filter, if
    /// there is one, lets it through.
    ///
    /// # Panics
    /// If the shard is full, the record is larger than 4 KiB, or was readable before the one
    /// before it.
    pub fn push(
        &mut self,
        key: u64,
        (len, wanted): (usize, bool),
        arrival: Timestamp,
        readable: Timestamp,
    ) {
        let index = self.records.len() as u64;
        assert!(index < FIRST_NUMBER, "the shard has room");
        assert!(
            self.readable.last().is_none_or(|last| *last <= readable),
            "records become readable in their order"
        );
        let heading = Heading {
            sequence_number: &(FIRST_NUMBER - index).to_string(),
            key: KeyHash(key),
            approximate_arrival: arrival,
        };
        let event = sample_filter::event(len, wanted);
        self.records.push(Record::alone(&heading, &event, 0..0));
        self.readable.push(readable);
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records in their order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many records can be read at a moment.
    pub fn n_readable(&self, now: Timestamp) -> usize {
        self.readable.partition_point(|readable| *readable <= now)
    }

    /// Where the record of this name is; `None` if there is none.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        let number: u64 = name.parse().ok()?;
        let index = usize::try_from(FIRST_NUMBER.checked_sub(number)?).ok()?;
        (index < self.records.len()).then_some(index)
    }

    /// How many records lie before a place; `None` if it names no record. `trimmed` records at the
    /// start are gone.
    pub fn place_of(&self, position: &Position, trimmed: usize) -> Option<usize> {
        match position {
            Position::TrimHorizon => Some(trimmed),
            Position::AtTimestamp(moment) => {
                let first = |record: &Record| *moment <= record.approximate_arrival();
                let found = self.records.iter().position(first);
                Some(found.unwrap_or(self.records.len()).max(trimmed))
            }
            Position::After(name) => Some(self.index_of(name.as_str())? + 1),
            Position::ShardEnd => Some(self.records.len()),
        }
    }
}
