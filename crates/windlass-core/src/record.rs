//! A record of a stream: an index into its page, small enough to move from queue to queue.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{InnerRecord, KeyHash};
use crate::record_page::{
    RecordEntry, RecordMeta, RecordPage, RecordPageBuilder, RetainedBytes, Span,
};
use crate::time::Timestamp;

/// One record of a stream. It keeps its page in memory.
#[derive(Clone)]
pub struct Record {
    page: Arc<RecordPage>,
    index: u32,
}

impl Record {
    /// All records of a page, in its order.
    pub fn of_page(page: RecordPage) -> Vec<Self> {
        let n_records = u32::try_from(page.len()).expect("a page is smaller than 4 GiB");
        let page = Arc::new(page);
        let record = |index| Self {
            page: Arc::clone(&page),
            index,
        };
        (0..n_records).map(record).collect()
    }

    /// A record on a page of its own; `data` is a range of `event`.
    pub fn standalone(meta: &RecordMeta<'_>, event: &[u8], data: Range<usize>) -> Self {
        let mut builder = RecordPageBuilder::default();
        builder.push(meta, event, data);
        Self::of_page(builder.finish()).remove(0)
    }

    pub fn meta(&self) -> RecordMeta<'_> {
        RecordMeta {
            sequence_number: self.sequence_number(),
            inner: self.inner(),
            key: self.key(),
            approximate_arrival: self.approximate_arrival(),
        }
    }

    /// # Panics
    /// If the page was built with a sequence number that is not UTF-8.
    #[inline]
    pub fn sequence_number(&self) -> &str {
        let number = self.text(self.entry().sequence_number);
        std::str::from_utf8(number).expect("a sequence number is UTF-8")
    }

    /// Which record of an aggregate it is, if it is part of one.
    #[inline]
    pub fn inner(&self) -> Option<InnerRecord> {
        self.page.inner(self.index as usize)
    }

    /// Its index in its aggregate, if other records of that follow it. A position after it needs this
    /// in addition to the sequence number.
    #[inline]
    pub fn sub_sequence_number(&self) -> Option<u32> {
        let inner = self.inner().filter(|inner| !inner.is_last);
        inner.map(|inner| inner.index)
    }

    /// Hash of its partition key (DynamoDB: of the item's key). Records with the same key have the
    /// same hash and are delivered in order.
    #[inline]
    pub fn key(&self) -> KeyHash {
        self.entry().key
    }

    /// When the stream received it; not guaranteed to grow from record to record.
    #[inline]
    pub fn approximate_arrival(&self) -> Timestamp {
        self.entry().approximate_arrival
    }

    /// Whether it came without a time: then [`Self::approximate_arrival`] is that of the record before
    /// it or of the read, and says nothing about whether it is older than another time.
    #[inline]
    pub fn is_undated(&self) -> bool {
        self.page.is_undated(self.index as usize)
    }

    /// Why it cannot be rendered, if it cannot: it is given up, and its event is the source's own JSON
    /// of it. Never a part of its contents.
    #[inline]
    pub fn unreadable(&self) -> Option<&'static str> {
        self.page.unreadable(self.index as usize)
    }

    /// The record as the function sees it: one JSON object.
    #[inline]
    pub fn event(&self) -> &[u8] {
        self.text(self.entry().event)
    }

    /// The length of its event in bytes.
    #[inline]
    pub fn event_len(&self) -> usize {
        self.entry().event.len()
    }

    /// The data of a Kinesis record as they appear in its event, without quotes; empty for other
    /// sources. Filters evaluate them.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.text(self.entry().data)
    }

    /// The range of its data within its event.
    pub(crate) fn data_range(&self) -> Range<usize> {
        let RecordEntry { event, data, .. } = self.entry();
        // An empty span has no meaningful start.
        let start = data.start.saturating_sub(event.start) as usize;
        start..start + data.len()
    }

    /// Counts its page in `total` as long as any record of the page is in memory. A page is counted
    /// only once.
    pub fn count_page_in(&self, total: &RetainedBytes) {
        self.page.count_in(total);
    }

    /// Where its page is counted.
    pub(crate) fn page_counted_in(&self) -> Option<&RetainedBytes> {
        self.page.counted_in()
    }

    /// Whether the event of `next` directly follows this one in the same text, after a comma.
    #[inline]
    pub(crate) fn is_followed_by(&self, next: &Self) -> bool {
        let (entry, next_entry) = (self.entry(), next.entry());
        Arc::ptr_eq(&self.page, &next.page)
            && entry.text == next_entry.text
            && entry.event.end + 1 == next_entry.event.start
    }

    /// The text from the start of this event to the end of `last`'s, which must be in the same text.
    pub(crate) fn text_through(&self, last: &Self) -> Bytes {
        let (start, end) = (self.entry().event.start, last.entry().event.end);
        let text = self.page.text(self.entry());
        text.slice(start as usize..end as usize)
    }

    /// [`Self::text_through`] with the comma after it.
    pub(crate) fn text_through_comma(&self, last: &Self) -> Bytes {
        let (start, end) = (self.entry().event.start, last.entry().event.end);
        let text = self.page.text(self.entry());
        text.slice(start as usize..=end as usize)
    }

    fn entry(&self) -> &RecordEntry {
        self.page.entry(self.index as usize)
    }

    fn text(&self, span: Span) -> &[u8] {
        &self.page.text(self.entry())[span.range()]
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.meta() == other.meta() && self.event() == other.event() && self.data() == other.data()
    }
}

impl Eq for Record {}

/// What identifies it in its shard, and nothing else: contents do not belong in logs.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_tuple("Record");
        text.field(&self.sequence_number());
        if let Some(inner) = self.inner() {
            text.field(&inner.index);
        }
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(sequence_number: &str) -> RecordMeta<'_> {
        RecordMeta {
            sequence_number,
            inner: None,
            key: KeyHash(1),
            approximate_arrival: Timestamp::EPOCH,
        }
    }

    #[test]
    fn neighbors_are_one_span_of_their_page() {
        let mut builder = RecordPageBuilder::default();
        for number in ["1", "2", "3"] {
            builder.push(&meta(number), number.as_bytes(), 0..1);
        }
        let records = Record::of_page(builder.finish());
        assert!(records[0].is_followed_by(&records[1]));
        assert!(!records[0].is_followed_by(&records[2]));
        assert_eq!(&records[1].text_through(&records[2])[..], b"2,3");
        let standalone = Record::standalone(&meta("2"), b"2", 0..1);
        assert!(!records[0].is_followed_by(&standalone));
        assert_eq!(records[1], standalone);
        assert_ne!(records[0], standalone);
    }

    #[test]
    fn a_page_is_counted_until_its_last_record_is_dropped_in_any_order() {
        let total = RetainedBytes::default();
        let page = || {
            let mut builder = RecordPageBuilder::default();
            builder.push(&meta("1"), b"{}", 0..0);
            builder.push(&meta("2"), b"{}", 0..0);
            let records = Record::of_page(builder.finish());
            records[0].count_page_in(&total);
            records[1].count_page_in(&total);
            records
        };
        let (mut first, second) = (page(), page());
        let bytes = "{},{},12".len();
        assert_eq!(total.get(), 2 * bytes);
        drop(second);
        assert_eq!(total.get(), bytes);
        drop(first.remove(0));
        assert_eq!(total.get(), bytes);
        drop(first);
        assert_eq!(total.get(), 0);
    }
}
