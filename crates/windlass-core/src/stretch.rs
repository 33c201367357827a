//! A stretch of a stream: the records that a replay reads once more.
//!
//! Arrival stamps are not quite in order, so a time is a bound in the order of each shard: the stretch
//! begins at the first record stamped with its start or later, and ends before the first one stamped
//! with its end or later. All records between belong to it, whatever their stamps. Where no record
//! ends it, it ends when a read that began after its end finds the tip of the shard.
//!
//! Which shards hold a stretch: [`crate::stretch_rows`]. How a consumer keeps to it:
//! [`StretchSettings`].

use crate::ids::SequenceNumber;
use crate::mapping::StreamSettings;
use crate::position::Position;
use crate::record::Record;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub from: StretchStart,
    /// Not before `from`, and of the same shard.
    pub to: StretchEnd,
}

/// The first record of a stretch, in each shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StretchStart {
    /// The oldest one that the source has.
    TrimHorizon,
    /// The first one that arrived then or later.
    Time(Timestamp),
    /// The one with this number, else the next one. Only of a stretch of one shard.
    At(SequenceNumber),
    /// The next one after this number. Only of a stretch of one shard.
    After(SequenceNumber),
}

/// After the last record of a stretch, in each shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StretchEnd {
    /// Before the first record that arrived then or later; it may be in the future.
    Time(Timestamp),
    /// After the last record with this number or a lower one. Only of a stretch of one shard.
    Through(SequenceNumber),
}

/// What a consumer needs to know to read a stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StretchSettings {
    pub stretch: Stretch,
    /// Whether the source reports how far the end of a page is from the tip, as Kinesis does. Pages of
    /// DynamoDB may be empty although there are more records, so only those of a whole minute show the
    /// tip.
    pub reports_tip: bool,
}

impl StretchStart {
    /// Where its shards are read from.
    pub fn position(&self) -> Position {
        match self {
            Self::TrimHorizon => Position::TrimHorizon,
            Self::Time(time) => Position::AtTimestamp(*time),
            Self::At(number) => Position::At(number.clone()),
            Self::After(number) => Position::After(number.clone()),
        }
    }
}

impl Stretch {
    /// Where each of its shards is read from.
    pub fn position(&self) -> Position {
        self.from.position()
    }

    /// Whether it has a bound that exists in one shard only.
    pub const fn is_of_one_shard(&self) -> bool {
        let is_time = matches!(self.from, StretchStart::TrimHorizon | StretchStart::Time(_))
            && matches!(self.to, StretchEnd::Time(_));
        !is_time
    }

    /// The settings of a mapping with which its stretch is read: where it begins, and no maximum age,
    /// since a replay is made for old records.
    #[must_use]
    pub fn settings(&self, of_mapping: StreamSettings) -> StreamSettings {
        let mut settings = of_mapping;
        settings.starting_position = self.position();
        settings.recreated_position = self.position();
        settings.skip_before = None;
        settings.retries.maximum_record_age = None;
        settings
    }

    /// Whether a record of a shard may be the first one of the stretch. One without a time is never
    /// too early.
    pub(crate) fn begins_with(&self, record: &Record) -> bool {
        let number = || SequenceNumber::from(record.sequence_number());
        match &self.from {
            StretchStart::TrimHorizon => true,
            StretchStart::Time(from) => {
                record.is_undated() || *from <= record.approximate_arrival()
            }
            StretchStart::At(from) => !number().is_lower_than(from),
            StretchStart::After(from) => from.is_lower_than(&number()),
        }
    }

    /// Whether a record follows the stretch. One without a time does not show that.
    pub(crate) fn is_before(&self, record: &Record) -> bool {
        match &self.to {
            StretchEnd::Time(to) => !record.is_undated() && *to <= record.approximate_arrival(),
            StretchEnd::Through(last) => {
                last.is_lower_than(&SequenceNumber::from(record.sequence_number()))
            }
        }
    }

    /// Whether no record after this one, which belongs to the stretch, does.
    pub(crate) fn ends_with(&self, record: &Record) -> bool {
        match &self.to {
            StretchEnd::Time(_) => false,
            StretchEnd::Through(last) => {
                let is_last = last.as_str() == record.sequence_number();
                is_last && record.sub_sequence_number().is_none()
            }
        }
    }
}
