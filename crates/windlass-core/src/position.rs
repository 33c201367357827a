//! Positions in a shard, the checkpoints that store them, and where to read next.

use std::sync::Arc;

use crate::ids::SequenceNumber;
use crate::marks::MarkedSection;
use crate::record::Record;
use crate::time::Timestamp;
use crate::window::WindowCheckpoint;

/// A position in a shard, as a checkpoint stores it.
///
/// There is no `Latest`: a restart before the first checkpoint would skip all records that arrived
/// meanwhile. A mapping's `LATEST` becomes [`Position::AtTimestamp`] when the mapping is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// The oldest record of the source.
    TrimHorizon,
    /// The first record that arrived at or after this time.
    AtTimestamp(Timestamp),
    /// The record with this sequence number: of an aggregate, the first of its records.
    At(SequenceNumber),
    /// The record after the one with this sequence number: of an aggregate, after all of its records.
    After(SequenceNumber),
    /// The record after the one with this index in the aggregate with this sequence number. It is not
    /// the last one of the aggregate.
    Within(SequenceNumber, u32),
    /// Every record of the shard is resolved, and there will be no more.
    ShardEnd,
}

/// How far a unit is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub position: Position,
    /// Approximate arrival of the last resolved record; `None` where it is not known, and for a queue.
    pub arrival: Option<Timestamp>,
    /// Which records after the position are resolved. Of a daemon that does not crash they are in the
    /// buffer, so that its limit bounds them too.
    pub marks: Vec<MarkedSection>,
    /// `None` without tumbling windows, and before their first one has begun.
    pub window: Option<WindowCheckpoint>,
    /// Of a replay: what became of the records that are resolved. `None` of a mapping.
    pub counts: Option<ReplayCounts>,
}

/// Events of one shard of a replay since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// Records that the function took.
    pub delivered: u64,
    /// Records that no filter matched.
    pub filtered_out: u64,
    /// Records that were given up.
    pub given_up: u64,
    /// Invocations that ended with a function error.
    pub failed_invocations: u64,
    /// Approximate arrival of the first record.
    pub first_arrival: Option<Timestamp>,
}

/// Where to read next.
///
/// `iterator` is a hint that saves a call. It expires; reading then restarts at `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The position after the last record that was read.
    pub after: Position,
    /// The source's own token for that position.
    pub iterator: Option<Arc<str>>,
    /// Whether a new iterator should start with the record at `after` itself. If another record comes
    /// first, there is a gap: sources continue after a trimmed record without an error. Always for
    /// [`Position::Within`], since the aggregate has more records.
    pub inclusive: bool,
}

impl Position {
    /// After a record.
    pub fn after(record: &Record) -> Self {
        let number = record.sequence_number().into();
        match record.sub_sequence_number() {
            None => Self::After(number),
            Some(inner) => Self::Within(number, inner),
        }
    }

    /// Of the last record before it.
    pub const fn sequence_number(&self) -> Option<&SequenceNumber> {
        match self {
            Self::After(number) | Self::Within(number, _) => Some(number),
            Self::TrimHorizon | Self::AtTimestamp(_) | Self::At(_) | Self::ShardEnd => None,
        }
    }

    /// Whether a record with its sequence number is before it. All others are told apart by the order
    /// in which they come.
    pub fn is_after(&self, record: &Record) -> bool {
        let is_same = |number: &SequenceNumber| number.as_str() == record.sequence_number();
        match self {
            Self::After(number) => is_same(number),
            Self::Within(number, last) => {
                let inner = record.inner();
                is_same(number) && inner.is_some_and(|inner| inner.index <= *last)
            }
            Self::TrimHorizon | Self::AtTimestamp(_) | Self::At(_) | Self::ShardEnd => false,
        }
    }

    /// Its name in the store: `trim_horizon`, `at_timestamp`, `at`, `after`, `within` or `shard_end`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TrimHorizon => "trim_horizon",
            Self::AtTimestamp(_) => "at_timestamp",
            Self::At(_) => "at",
            Self::After(_) => "after",
            Self::Within(..) => "within",
            Self::ShardEnd => "shard_end",
        }
    }

    /// What is stored with the kind: the sequence number, followed by a colon and the index in the
    /// aggregate if there is one, or milliseconds since the epoch.
    pub fn value(&self) -> Option<String> {
        match self {
            Self::TrimHorizon | Self::ShardEnd => None,
            Self::AtTimestamp(timestamp) => Some(timestamp.as_millis().to_string()),
            Self::At(number) | Self::After(number) => Some(number.as_str().to_owned()),
            Self::Within(number, inner) => Some(format!("{number}:{inner}")),
        }
    }

    /// For people: `sequence number 7`, `the trim horizon`.
    pub fn describe(&self) -> String {
        match self {
            Self::TrimHorizon => "the trim horizon".to_owned(),
            Self::AtTimestamp(time) => format!("the time {} ms", time.as_millis()),
            Self::At(number) => format!("the record with sequence number {number}"),
            Self::After(number) => format!("sequence number {number}"),
            Self::Within(number, inner) => {
                format!("record {inner} of the aggregate with sequence number {number}")
            }
            Self::ShardEnd => "the end of the shard".to_owned(),
        }
    }

    /// The reverse of [`Position::kind`] and [`Position::value`]; `None` if they do not match.
    pub fn from_parts(kind: &str, value: Option<&str>) -> Option<Self> {
        match (kind, value) {
            ("trim_horizon", None) => Some(Self::TrimHorizon),
            ("shard_end", None) => Some(Self::ShardEnd),
            ("at_timestamp", Some(millis)) => Some(Self::AtTimestamp(Timestamp::from_millis(
                millis.parse().ok()?,
            ))),
            ("at", Some(number)) => Some(Self::At(SequenceNumber::from(number))),
            ("after", Some(number)) => Some(Self::After(SequenceNumber::from(number))),
            ("within", Some(value)) => {
                let (number, inner) = value.rsplit_once(':')?;
                Some(Self::Within(number.into(), inner.parse().ok()?))
            }
            _ => None,
        }
    }
}

impl Checkpoint {
    /// A position at which no record was resolved.
    pub const fn at(position: Position) -> Self {
        Self {
            position,
            arrival: None,
            marks: Vec::new(),
            window: None,
            counts: None,
        }
    }

    /// After a record.
    pub fn after(record: &Record) -> Self {
        Self {
            position: Position::after(record),
            arrival: Some(record.approximate_arrival()),
            marks: Vec::new(),
            window: None,
            counts: None,
        }
    }
}

impl std::ops::Add for ReplayCounts {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            delivered: self.delivered + more.delivered,
            filtered_out: self.filtered_out + more.filtered_out,
            given_up: self.given_up + more.given_up,
            failed_invocations: self.failed_invocations + more.failed_invocations,
            first_arrival: self.first_arrival.or(more.first_arrival),
        }
    }
}

impl Cursor {
    /// A cursor without an iterator.
    pub const fn at(after: Position) -> Self {
        Self {
            after,
            iterator: None,
            inclusive: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_position_reads_back() {
        let all = [
            Position::TrimHorizon,
            Position::AtTimestamp(Timestamp::from_millis(1_732_552_345_678)),
            Position::At(SequenceNumber::from("4959")),
            Position::After(SequenceNumber::from(
                "49590338271490256608559692538361571095",
            )),
            Position::Within(SequenceNumber::from("4959"), 17),
            Position::ShardEnd,
        ];
        for position in all {
            let value = position.value();
            let back = Position::from_parts(position.kind(), value.as_deref());
            assert_eq!(back, Some(position));
        }
        assert_eq!(Position::from_parts("after", None), None);
        assert_eq!(Position::from_parts("within", Some("4959")), None);
        assert_eq!(Position::from_parts("latest", None), None);
    }
}
