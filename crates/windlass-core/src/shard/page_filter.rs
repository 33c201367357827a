//! Which records of a page the function receives: those that match the filter, arrived after the
//! mapping's starting position, can be rendered, and fit into an event. One that cannot be invoked still
//! has its turn in its lane if what is given up is delivered. Those that are marked as resolved it received
//! already.
//!
//! The others are skipped. If less than half of a page remains, the remaining records are copied
//! to a page of their own: a record keeps its whole page in memory.

use windlass_filter::{Event, MatchBuffers};

use super::interface::Report;
use super::settings::ShardConsumerSettings;
use crate::marks::MarkedRecords;
use crate::progress::SkipCounts;
use crate::record::Record;
use crate::record_page::RecordPageBuilder;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct FilteredPage {
    /// All records of the page, in the order of the shard.
    pub(super) items: Vec<Item>,
    pub(super) reports: Vec<Report>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Deliver(Record),
    /// Consecutive records that the function does not receive.
    Skip {
        n_records: u64,
        skipped: SkipCounts,
        last: Record,
        /// The latest arrival of any of them.
        newest: Timestamp,
        /// Whether any of them is marked as resolved.
        was_marked: bool,
    },
}

/// Why a record is skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is resolved already.
    Marked,
    BeforeStart,
    FilteredOut,
    TooLarge,
}

pub(super) fn filter_page(page: MarkedRecords, settings: &ShardConsumerSettings) -> FilteredPage {
    let MarkedRecords { records, resolved } = page;
    let mut page = FilteredPage {
        items: Vec::with_capacity(records.len()),
        reports: Vec::new(),
    };
    let mut scratch = MatchBuffers::default();
    let (mut n_filtered_out, mut n_before_start, mut n_outside) = (0, 0, 0);
    let (mut page_bytes, mut delivered_bytes) = (0, 0);
    for (index, record) in records.into_iter().enumerate() {
        let bytes = record.event_len();
        page_bytes += bytes;
        let is_resolved = resolved.get(index) == Some(&true);
        let inner = record.inner().filter(|_| !is_resolved);
        n_outside += usize::from(inner.is_some_and(|inner| inner.is_outside_hash_key_range));
        if is_resolved {
            page.skip(record, Why::Marked);
        } else if is_before_start(&record, settings) {
            n_before_start += 1;
            page.skip(record, Why::BeforeStart);
        } else if !is_match(&record, settings, &mut scratch) {
            n_filtered_out += 1;
            page.skip(record, Why::FilteredOut);
        } else if !settings.can_be_invoked(&record) && !settings.delivers_given_up {
            let sequence_number = record.sequence_number().into();
            page.reports.push(match record.unreadable() {
                Some(reason) => Report::UnreadableDropped {
                    sequence_number,
                    reason,
                },
                None => Report::RecordTooLarge {
                    sequence_number,
                    bytes,
                },
            });
            page.skip(record, Why::TooLarge);
        } else {
            delivered_bytes += bytes;
            page.items.push(Item::Deliver(record));
        }
    }
    if n_filtered_out != 0 {
        let n_records = n_filtered_out;
        page.reports.push(Report::FilteredOut { n_records });
    }
    if n_before_start != 0 {
        let n_records = n_before_start;
        page.reports.push(Report::BeforeStart { n_records });
    }
    if n_outside != 0 {
        let n_records = n_outside;
        page.reports.push(Report::OutsideHashKeyRange { n_records });
    }
    if delivered_bytes < page_bytes / 2 {
        page.items = compact(page.items, delivered_bytes);
    }
    page
}

/// Whether a record arrived before the starting position.
pub(super) fn is_before_start(record: &Record, settings: &ShardConsumerSettings) -> bool {
    let is_too_early = |earliest| !record.is_undated() && record.approximate_arrival() < earliest;
    settings.mapping.skip_before.is_some_and(is_too_early)
}

/// Whether a filter matches a record, if it can be read.
fn is_match(record: &Record, settings: &ShardConsumerSettings, scratch: &mut MatchBuffers) -> bool {
    if record.unreadable().is_some() {
        return true;
    }
    settings.filter.as_ref().is_none_or(|filter| {
        let event = Event {
            json: record.event(),
            data: record.data(),
        };
        filter.matches(event, scratch)
    })
}

impl FilteredPage {
    fn skip(&mut self, record: Record, why: Why) {
        let arrival = record.approximate_arrival();
        let is_marked = why == Why::Marked;
        let counts = SkipCounts {
            filtered_out: u64::from(why == Why::FilteredOut),
            given_up: u64::from(why == Why::TooLarge),
        };
        if let Some(Item::Skip {
            n_records,
            skipped,
            last,
            newest,
            was_marked,
        }) = self.items.last_mut()
        {
            *n_records += 1;
            *skipped += counts;
            *newest = arrival.max(*newest);
            *last = record;
            *was_marked |= is_marked;
        } else {
            self.items.push(Item::Skip {
                n_records: 1,
                skipped: counts,
                last: record,
                newest: arrival,
                was_marked: is_marked,
            });
        }
    }
}

impl Item {
    const fn record(&self) -> &Record {
        match self {
            Self::Deliver(record) | Self::Skip { last: record, .. } => record,
        }
    }
}

/// Copies the delivered records (`delivered_bytes` of events) to a new page. Of skipped records only
/// the sequence numbers are copied.
fn compact(items: Vec<Item>, delivered_bytes: usize) -> Vec<Item> {
    let mut builder =
        RecordPageBuilder::with_capacity(delivered_bytes + items.len(), items.len(), 1);
    for item in &items {
        let (record, event, data) = match item {
            Item::Deliver(record) => (record, record.event(), record.data_range()),
            Item::Skip { last, .. } => (last, &[][..], 0..0),
        };
        if let Some(reason) = record.unreadable() {
            builder.unreadable(reason);
        }
        builder.push(&record.meta(), event, data);
    }
    let records = Record::of_page(builder.finish());
    if let (Some(original), Some(copy)) = (items.first(), records.first())
        && let Some(total) = original.record().page_counted_in()
    {
        copy.count_page_in(total);
    }
    let copies = items.iter().zip(records).map(|(item, record)| match *item {
        Item::Deliver(_) => Item::Deliver(record),
        Item::Skip {
            n_records,
            skipped,
            newest,
            was_marked,
            ..
        } => Item::Skip {
            n_records,
            skipped,
            last: record,
            newest,
            was_marked,
        },
    });
    copies.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyHash;
    use crate::record_page::{RecordMeta, RetainedBytes};

    #[test]
    fn compacted_records_are_equal_and_release_their_page() {
        let mut builder = RecordPageBuilder::default();
        for (sequence_number, event) in [("17", "{\"a\":\"x\"}"), ("18", "{}"), ("19", "{}")] {
            let meta = RecordMeta {
                sequence_number,
                inner: None,
                key: KeyHash(1),
                approximate_arrival: Timestamp::EPOCH,
            };
            builder.push(&meta, event.as_bytes(), 0..1);
        }
        let mut records = Record::of_page(builder.finish());
        let retained = RetainedBytes::default();
        records[0].count_page_in(&retained);
        let items = vec![
            Item::Deliver(records.remove(0)),
            Item::Skip {
                n_records: 2,
                skipped: SkipCounts {
                    filtered_out: 2,
                    given_up: 0,
                },
                last: records.remove(1),
                newest: Timestamp::EPOCH,
                was_marked: false,
            },
        ];
        drop(records);
        let compacted = compact(items, 9);
        assert_eq!(retained.get(), "{\"a\":\"x\"},,1719".len());
        let [
            Item::Deliver(record),
            Item::Skip {
                n_records, last, ..
            },
        ] = &compacted[..]
        else {
            panic!("{compacted:?}");
        };
        assert_eq!(
            (record.event(), record.data()),
            (&b"{\"a\":\"x\"}"[..], &b"{"[..])
        );
        assert_eq!(record.sequence_number(), "17");
        assert_eq!((*n_records, last.sequence_number()), (2, "19"));
    }
}
