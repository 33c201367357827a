//! Places in a shard: what is stored as a checkpoint, and where to read next.

use std::sync::Arc;

use crate::ids::SequenceNumber;
use crate::time::Timestamp;

/// A place in a shard, and the form in which a checkpoint is kept.
///
/// There is no `Latest`: were it stored, a restart before the first checkpoint would skip all that
/// arrived meanwhile. A mapping's `LATEST` becomes [`Position::AtTimestamp`] when it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// The oldest record the source still has.
    TrimHorizon,
    /// The first record that arrived at or after this moment.
    AtTimestamp(Timestamp),
    /// The record behind the one with this sequence number.
    After(SequenceNumber),
    /// Every record of the shard is resolved, and no more will come.
    ShardEnd,
}

/// Where to read next.
///
/// `iterator` is a hint that saves a call: it expires, and then reading starts again at `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The place behind the last record that was read.
    pub after: Position,
    /// The source's own token for that place, if it has given one.
    pub iterator: Option<Arc<str>>,
}

impl Position {
    /// The name under which it is stored and shown: `trim_horizon`, `at_timestamp`, `after` or
    /// `shard_end`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TrimHorizon => "trim_horizon",
            Self::AtTimestamp(_) => "at_timestamp",
            Self::After(_) => "after",
            Self::ShardEnd => "shard_end",
        }
    }

    /// What is stored beside the kind: the sequence number, or milliseconds since the epoch.
    pub fn value(&self) -> Option<String> {
        match self {
            Self::TrimHorizon | Self::ShardEnd => None,
            Self::AtTimestamp(timestamp) => Some(timestamp.as_millis().to_string()),
            Self::After(sequence_number) => Some(sequence_number.as_str().to_owned()),
        }
    }

    /// The reverse of [`Position::kind`] and [`Position::value`]; `None` if they do not fit.
    pub fn from_parts(kind: &str, value: Option<&str>) -> Option<Self> {
        match (kind, value) {
            ("trim_horizon", None) => Some(Self::TrimHorizon),
            ("shard_end", None) => Some(Self::ShardEnd),
            ("at_timestamp", Some(millis)) => Some(Self::AtTimestamp(Timestamp::from_millis(
                millis.parse().ok()?,
            ))),
            ("after", Some(number)) => Some(Self::After(SequenceNumber::from(number))),
            _ => None,
        }
    }
}

impl Cursor {
    /// A cursor that knows no iterator.
    pub const fn at(after: Position) -> Self {
        Self {
            after,
            iterator: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_stored_form_reads_back() {
        let all = [
            Position::TrimHorizon,
            Position::AtTimestamp(Timestamp::from_millis(1_732_552_345_678)),
            Position::After(SequenceNumber::from(
                "49590338271490256608559692538361571095",
            )),
            Position::ShardEnd,
        ];
        for position in all {
            let value = position.value();
            let back = Position::from_parts(position.kind(), value.as_deref());
            assert_eq!(back, Some(position));
        }
        assert_eq!(Position::from_parts("after", None), None);
        assert_eq!(Position::from_parts("latest", None), None);
    }
}
