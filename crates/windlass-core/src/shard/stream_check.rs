//! Whether what a read returns is of the stream that the lease row is of.
//!
//! A stream may be deleted and created again under its name, with shards of the same names. Such a
//! shard may have parents that have not been read yet, so its records must not be delivered by the
//! row of the former one. An iterator belongs to one stream, and so does a sequence number; where
//! neither helps, only a listing tells, by the starting sequence number of the shard. So a result in
//! doubt is held until a listing that began later has shown the shard of the row
//! ([`LeaseRowPlan::shown`](crate::lease_rows::LeaseRowPlan::shown)). If it shows another one, the
//! row is replaced and its consumer stops.
//!
//! No reader can know of a stream that is created again between a listing and the read that opens a
//! shard without a sequence number, nor of one whose source continues at an iterator of the former
//! stream.

use std::time::Duration;

use super::interface::PageStart;
use crate::ids::SequenceNumber;
use crate::outcome::Fault;
use crate::position::{Cursor, Position};
use crate::time::Timestamp;

/// For so long a listing may show what was true before it began, such as a stream that was deleted.
pub(crate) const LISTING_LAG: Duration = Duration::from_secs(10);

/// The check of one consumer.
#[derive(Debug)]
pub struct StreamCheck(Option<Doubt>);

#[derive(Clone, Copy, Debug)]
enum Doubt {
    /// Nothing was read yet: any listing is enough.
    NothingRead,
    /// Another stream may have the name since then.
    Since(Timestamp),
}

/// What a page begins with.
#[derive(Clone, Copy, Debug)]
pub struct PageHead<'a> {
    pub start: PageStart,
    /// The sequence number of its first record.
    pub first: Option<&'a str>,
}

impl Default for StreamCheck {
    fn default() -> Self {
        Self(Some(Doubt::NothingRead))
    }
}

impl StreamCheck {
    /// Whether the consumer may learn the result of a read. `shown_at` is when the last listing began
    /// that has shown the shard of its row.
    pub fn accepts(
        &mut self,
        from: &Cursor,
        result: Result<PageHead<'_>, Fault>,
        shown_at: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let number = from.after.sequence_number().map(SequenceNumber::as_str);
        match result {
            Err(Fault::Throttled { .. }) => true,
            Err(Fault::Trimmed | Fault::UnknownPosition) if from.after != Position::TrimHorizon => {
                self.doubt(now);
                self.is_settled(shown_at)
            }
            Err(_) => {
                // The iterator is lost, and nothing else tells which stream it was of.
                if number.is_none() {
                    self.0 = Some(Doubt::Since(now));
                }
                true
            }
            Ok(page) => {
                self.look_at(page, from, number, now);
                page.first.is_none() || self.is_settled(shown_at)
            }
        }
    }

    fn look_at(&mut self, page: PageHead<'_>, from: &Cursor, number: Option<&str>, now: Timestamp) {
        match page.start {
            PageStart::Continued => {}
            PageStart::AtPosition if page.first.is_some() && page.first == number => self.0 = None,
            PageStart::AtPosition => self.doubt(now),
            // The source has rejected the iterator.
            PageStart::AfterPosition if from.iterator.is_some() => self.doubt(now),
            PageStart::AfterPosition => {}
        }
    }

    fn doubt(&mut self, now: Timestamp) {
        if !matches!(self.0, Some(Doubt::Since(_))) {
            self.0 = Some(Doubt::Since(now));
        }
    }

    /// Whether a listing has settled the doubt, if there is one.
    fn is_settled(&mut self, shown_at: Option<Timestamp>) -> bool {
        let is_settled = match self.0 {
            None => true,
            Some(Doubt::NothingRead) => shown_at.is_some(),
            Some(Doubt::Since(doubted_at)) => {
                shown_at.is_some_and(|at| doubted_at + LISTING_LAG <= at)
            }
        };
        if is_settled {
            self.0 = None;
        }
        is_settled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000 * seconds)
    }

    fn after(number: &str) -> Cursor {
        Cursor {
            inclusive: true,
            ..Cursor::at(Position::After(SequenceNumber::from(number)))
        }
    }

    const fn page(start: PageStart, first: &str) -> PageHead<'_> {
        let first = if first.is_empty() { None } else { Some(first) };
        PageHead { start, first }
    }

    #[test]
    fn a_refused_position_waits_for_a_listing_that_began_ten_seconds_later() {
        for fault in [Fault::Trimmed, Fault::UnknownPosition] {
            let mut check = StreamCheck::default();
            let mut accepts = |shown_at, now| check.accepts(&after("7"), Err(fault), shown_at, now);
            assert!(!accepts(Some(at(90)), at(100)));
            assert!(!accepts(Some(at(109)), at(110)));
            assert!(accepts(Some(at(110)), at(150)));
            assert!(!accepts(Some(at(110)), at(151)), "it is refused anew");
        }
    }

    #[test]
    fn the_record_at_the_position_shows_the_stream() {
        let mut check = StreamCheck::default();
        assert!(!check.accepts(&after("7"), Err(Fault::Trimmed), None, at(1)));
        assert!(check.accepts(
            &after("7"),
            Ok(page(PageStart::AtPosition, "7")),
            None,
            at(2)
        ));
        assert!(check.accepts(
            &after("7"),
            Ok(page(PageStart::Continued, "8")),
            None,
            at(3)
        ));
    }

    #[test]
    fn another_record_than_the_one_at_the_position_waits_for_a_listing() {
        let mut check = StreamCheck::default();
        let other = Ok(page(PageStart::AtPosition, "9"));
        assert!(!check.accepts(&after("7"), other, Some(at(1)), at(2)));
        assert!(check.accepts(&after("7"), other, Some(at(12)), at(13)));
    }

    #[test]
    fn a_record_that_follows_an_empty_page_at_the_position_waits_for_a_listing() {
        let mut check = StreamCheck::default();
        assert!(check.accepts(
            &after("7"),
            Ok(page(PageStart::AtPosition, "")),
            None,
            at(1)
        ));
        let next = Ok(page(PageStart::Continued, "9"));
        assert!(!check.accepts(&after("7"), next, Some(at(2)), at(3)));
        assert!(check.accepts(&after("7"), next, Some(at(11)), at(12)));
    }

    #[test]
    fn the_first_records_of_a_shard_wait_for_any_listing() {
        let horizon = Cursor::at(Position::TrimHorizon);
        let first = Ok(page(PageStart::AfterPosition, "1"));
        let mut check = StreamCheck::default();
        assert!(!check.accepts(&horizon, first, None, at(10)));
        assert!(check.accepts(&horizon, first, Some(at(1)), at(10)));
    }

    #[test]
    fn a_shard_without_a_number_waits_for_a_listing_when_its_iterator_is_lost() {
        let horizon = Cursor::at(Position::TrimHorizon);
        let first = Ok(page(PageStart::AfterPosition, "1"));
        let mut check = StreamCheck::default();
        assert!(check.accepts(&horizon, Err(Fault::Transient), Some(at(1)), at(10)));
        assert!(!check.accepts(&horizon, first, Some(at(15)), at(16)));
        assert!(check.accepts(&horizon, first, Some(at(20)), at(21)));
        let held = Cursor {
            iterator: Some(Arc::from("rejected")),
            ..horizon
        };
        assert!(!check.accepts(&held, first, Some(at(20)), at(22)));
    }
}
