//! The reference model of a stretch: which of the records that are read belong to it.

use std::time::Duration;

use windlass_core::position::Position;
use windlass_core::record::Record;
use windlass_core::shard::ReadResult;
use windlass_core::stretch::{StretchEnd, StretchSettings, StretchStart};
use windlass_core::time::Timestamp;

use crate::world::Contents;

#[derive(Debug)]
pub(super) struct StretchModel {
    settings: StretchSettings,
    begun: bool,
    /// Nothing that is read from now on belongs to it.
    pub(super) ended: bool,
    /// Whether it was the tip of a shard that may have been closed.
    pub(super) may_have_children: bool,
    /// When the read in flight began, by the clock of the source as it was known then.
    read_began: Option<Timestamp>,
    /// Since when all reads have brought empty pages at the tip.
    empty_since: Option<Timestamp>,
}

impl StretchModel {
    pub(super) fn new(settings: StretchSettings, from: &Position) -> Self {
        Self {
            settings,
            begun: matches!(from, Position::After(_) | Position::Within(..)),
            ended: false,
            may_have_children: false,
            read_began: None,
            empty_since: None,
        }
    }

    pub(super) const fn begin_read(&mut self, source_time: Option<Timestamp>) {
        self.read_began = source_time;
    }

    /// A read has ended; `is_empty` if it has brought an empty page at the tip.
    pub(super) fn end_read(&mut self, is_empty: bool, now: Timestamp) {
        self.empty_since = is_empty.then(|| self.empty_since.unwrap_or(now));
    }

    /// Those of the next records of the shard that belong to the stretch: they follow each other.
    pub(super) fn keep<'r>(&mut self, records: &'r [Record], contents: &Contents) -> &'r [Record] {
        let mut begin = records.len();
        for (at, record) in records.iter().enumerate() {
            self.begun |= self.begins(record, contents);
            if self.begun {
                begin = at;
                break;
            }
        }
        let records = &records[begin..];
        let Some(end) = records.iter().position(|it| self.follows(it, contents)) else {
            self.ended |= records.last().is_some_and(|last| self.is_last(last));
            return if self.ended && records.is_empty() {
                &[]
            } else {
                records
            };
        };
        self.ended = true;
        &records[..end]
    }

    fn begins(&self, record: &Record, contents: &Contents) -> bool {
        match &self.settings.stretch.from {
            StretchStart::TrimHorizon => true,
            StretchStart::Time(from) => {
                is_undated(record, contents) || *from <= record.approximate_arrival()
            }
            StretchStart::At(from) => number(from.as_str()) <= number(record.sequence_number()),
            StretchStart::After(from) => number(from.as_str()) < number(record.sequence_number()),
        }
    }

    fn follows(&self, record: &Record, contents: &Contents) -> bool {
        self.ended
            || match &self.settings.stretch.to {
                StretchEnd::Time(to) => {
                    !is_undated(record, contents) && *to <= record.approximate_arrival()
                }
                StretchEnd::Through(last) => {
                    number(last.as_str()) < number(record.sequence_number())
                }
            }
    }

    /// Whether a record of the stretch is its last one.
    fn is_last(&self, record: &Record) -> bool {
        let StretchEnd::Through(last) = &self.settings.stretch.to else {
            return false;
        };
        let is_whole = record.inner().is_none_or(|inner| inner.is_last);
        is_whole && record.sequence_number() == last.as_str()
    }

    /// The tip of a page has ended it.
    pub(super) fn end_at_tip(&mut self, page: &ReadResult) {
        if self.ended {
            return;
        }
        let next = page.next.as_ref();
        let has_iterator = next.is_some_and(|next| next.iterator.is_some());
        self.may_have_children = page.has_children || !has_iterator;
        self.ended = true;
    }

    pub(super) fn lose_stream(&mut self) {
        self.ended |= self.settings.stretch.is_of_one_shard();
    }

    /// Whether the tip that a read has found ends the stretch. `read_began` is when that began.
    pub(super) fn ends_at_tip(
        &self,
        read_began: Timestamp,
        source_ahead: Option<i64>,
        now: Timestamp,
    ) -> bool {
        let StretchEnd::Time(to) = self.settings.stretch.to else {
            return false;
        };
        let to = to + Duration::from_secs(2);
        let (Some(ahead), Some(then)) = (source_ahead, self.read_began) else {
            return false;
        };
        if self.settings.reports_tip {
            return to <= then && to <= read_began.shifted(ahead);
        }
        let ahead = ahead.min(then.millis_since(read_began));
        self.empty_since.is_some_and(|since| {
            let since = since.max(to.shifted(-ahead));
            since + Duration::from_secs(60) <= now
        })
    }
}

fn is_undated(record: &Record, contents: &Contents) -> bool {
    let index = contents.index_of(record);
    contents.is_undated(index.expect("it is of the source"))
}

fn number(text: &str) -> u128 {
    text.parse().expect("numbers of the world are short")
}
