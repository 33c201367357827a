//! What of a page is for the function: the filter, the start of the mapping, and the size.
//!
//! What is not is passed over. If little of a page is left, what is left moves to a buffer of its
//! own: a record would otherwise hold the page it was cut from, all of it.

use windlass_filter::{Event, MatchBuffers};

use super::{Report, ShardConsumerSettings};
use crate::batch::BatchLimits;
use crate::record::Record;
use crate::record_page::RecordPageBuilder;

/// A page, sifted.
#[derive(Debug, Default)]
pub(super) struct Sifted {
    /// All its records, in the order of the shard.
    pub(super) items: Vec<Item>,
    /// What has to be said of the page.
    pub(super) reports: Vec<Report>,
}

/// What becomes of records.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// One is for the function.
    Wanted(Record),
    /// A run of them is not.
    PassedOver {
        n_records: u64,
        /// The last of them.
        last: Record,
    },
}

/// Sifts the records of a page.
pub(super) fn sift(records: Vec<Record>, settings: &ShardConsumerSettings) -> Sifted {
    let mut sifted = Sifted {
        items: Vec::with_capacity(records.len()),
        reports: Vec::new(),
    };
    let mut scratch = MatchBuffers::default();
    let limits = BatchLimits {
        items: settings.mapping.batch_size,
        payload: settings.limits.payload_limit,
    };
    let (mut n_filtered_out, mut all, mut kept) = (0, 0, 0);
    for record in records {
        let bytes = record.event_len();
        all += bytes;
        if !is_wanted(&record, settings, &mut scratch) {
            n_filtered_out += 1;
            sifted.pass_over(record);
        } else if !limits.fits_alone(bytes) {
            sifted.reports.push(Report::RecordTooLarge {
                sequence_number: record.sequence_number().into(),
                bytes,
            });
            sifted.pass_over(record);
        } else {
            kept += bytes;
            sifted.items.push(Item::Wanted(record));
        }
    }
    if n_filtered_out != 0 {
        let n_records = n_filtered_out;
        sifted.reports.push(Report::FilteredOut { n_records });
    }
    if kept < all / 2 {
        sifted.items = moved_out(sifted.items, kept);
    }
    sifted
}

/// Whether a record is from after the start, and a filter lets it through.
fn is_wanted(
    record: &Record,
    settings: &ShardConsumerSettings,
    scratch: &mut MatchBuffers,
) -> bool {
    let too_early = |earliest| record.approximate_arrival() < earliest;
    if settings.mapping.skip_before.is_some_and(too_early) {
        return false;
    }
    settings.filter.as_ref().is_none_or(|filter| {
        let event = Event {
            json: record.event(),
            data: record.data(),
        };
        filter.matches(event, scratch)
    })
}

impl Item {
    fn record(&self) -> &Record {
        match self {
            Self::Wanted(record) | Self::PassedOver { last: record, .. } => record,
        }
    }
}

impl Sifted {
    fn pass_over(&mut self, record: Record) {
        if let Some(Item::PassedOver { n_records, last }) = self.items.last_mut() {
            *n_records += 1;
            *last = record;
        } else {
            self.items.push(Item::PassedOver {
                n_records: 1,
                last: record,
            });
        }
    }
}

/// Copies what is left of a page, `kept` bytes of events, to a page of its own; of records that are
/// passed over the names.
fn moved_out(items: Vec<Item>, kept: usize) -> Vec<Item> {
    let mut builder = RecordPageBuilder::with_capacity(kept + items.len(), items.len());
    for item in &items {
        let (record, event, data) = match item {
            Item::Wanted(record) => (record, record.event(), record.data_range()),
            Item::PassedOver { last, .. } => (last, &[][..], 0..0),
        };
        builder.push(&record.meta(), event, data);
    }
    let records = Record::of_page(builder.finish());
    if let (Some(old), Some(new)) = (items.first(), records.first())
        && let Some(total) = old.record().page_counted_in()
    {
        new.count_page_in(total);
    }
    let moved = items.iter().zip(records);
    let moved = moved.map(|(item, record)| match *item {
        Item::Wanted(_) => Item::Wanted(record),
        Item::PassedOver { n_records, .. } => Item::PassedOver {
            n_records,
            last: record,
        },
    });
    moved.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyHash;
    use crate::record_page::{RecordMeta, RetainedBytes};
    use crate::time::Timestamp;

    #[test]
    fn records_that_are_moved_out_say_the_same_and_hold_their_page_no_longer() {
        let mut builder = RecordPageBuilder::default();
        for (sequence_number, event) in [("17", "{\"a\":\"x\"}"), ("18", "{}"), ("19", "{}")] {
            let meta = RecordMeta {
                sequence_number,
                key: KeyHash(1),
                approximate_arrival: Timestamp::EPOCH,
            };
            builder.push(&meta, event.as_bytes(), 0..1);
        }
        let mut records = Record::of_page(builder.finish());
        let retained = RetainedBytes::default();
        records[0].count_page_in(&retained);
        let items = vec![
            Item::Wanted(records.remove(0)),
            Item::PassedOver {
                n_records: 2,
                last: records.remove(1),
            },
        ];
        drop(records);
        let moved = moved_out(items, 9);
        assert_eq!(retained.get(), "{\"a\":\"x\"},1719".len());
        let [Item::Wanted(record), Item::PassedOver { n_records, last }] = &moved[..] else {
            panic!("{moved:?}");
        };
        assert_eq!(
            (record.event(), record.data()),
            (&b"{\"a\":\"x\"}"[..], &b"{"[..])
        );
        assert_eq!(record.sequence_number(), "17");
        assert_eq!((*n_records, last.sequence_number()), (2, "19"));
    }
}
