//! A page of records: the events of one read in one buffer, and where each record is in it.
//!
//! Each event is written once, as the function will see it, with a comma between neighbors. The
//! event that the function receives for neighboring records is therefore one span of the page and
//! is sent without a copy.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::ids::{InnerRecord, KeyHash};
use crate::time::Timestamp;

/// The events of one read. Smaller than 4 GiB.
#[derive(Debug)]
pub struct RecordPage {
    text: Bytes,
    entries: Vec<RecordEntry>,
    /// Indices of the records that came without a time, in ascending order.
    undated: Vec<usize>,
    /// Those that cannot be rendered, by their indices in ascending order, and why.
    unreadable: Vec<(usize, &'static str)>,
    /// Those that are part of an aggregate, by their indices in ascending order.
    inner: Vec<(usize, InnerRecord)>,
    retained: OnceLock<Retained>,
}

/// The bytes of text of those pages that are still in memory, of all that are counted here.
#[derive(Clone, Debug, Default)]
pub struct RetainedBytes(Arc<AtomicUsize>);

/// A page's share of [`RetainedBytes`]; subtracted on drop.
#[derive(Debug)]
struct Retained {
    total: RetainedBytes,
    bytes: usize,
}

/// Builds a page, event by event.
#[derive(Debug, Default)]
pub struct RecordPageBuilder {
    text: Vec<u8>,
    entries: Vec<RecordEntry>,
    /// Sequence numbers that are not part of their event, by the index of the record.
    sequence_numbers: Vec<(usize, String)>,
    undated: Vec<usize>,
    unreadable: Vec<(usize, &'static str)>,
    inner: Vec<(usize, InnerRecord)>,
}

/// A record apart from its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMeta<'a> {
    pub sequence_number: &'a str,
    /// `None` if it is not part of an aggregate.
    pub inner: Option<InnerRecord>,
    /// See [`Record::key`](crate::record::Record::key).
    pub key: KeyHash,
    /// See [`Record::approximate_arrival`](crate::record::Record::approximate_arrival).
    pub approximate_arrival: Timestamp,
}

/// Where a record is on its page.
#[derive(Clone, Debug)]
pub(crate) struct RecordEntry {
    pub(crate) event: Span,
    /// Part of the event, or after all events.
    pub(crate) sequence_number: Span,
    /// Part of the event.
    pub(crate) data: Span,
    pub(crate) key: KeyHash,
    pub(crate) approximate_arrival: Timestamp,
}

/// A range of a page's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl RecordPage {
    /// The number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Counts the page in `total` until it is dropped. A page is counted only once.
    pub(crate) fn count_in(&self, total: &RetainedBytes) {
        self.retained.get_or_init(|| Retained {
            total: total.clone(),
            bytes: total.add(self.text.len()),
        });
    }

    /// Where the page is counted.
    pub(crate) fn counted_in(&self) -> Option<&RetainedBytes> {
        self.retained.get().map(|retained| &retained.total)
    }

    #[inline]
    pub(crate) fn entry(&self, index: usize) -> &RecordEntry {
        &self.entries[index]
    }

    #[inline]
    pub(crate) fn is_undated(&self, index: usize) -> bool {
        !self.undated.is_empty() && self.undated.binary_search(&index).is_ok()
    }

    #[inline]
    pub(crate) fn unreadable(&self, index: usize) -> Option<&'static str> {
        let found = self.unreadable.binary_search_by_key(&index, |it| it.0);
        found.ok().map(|at| self.unreadable[at].1)
    }

    #[inline]
    pub(crate) fn inner(&self, index: usize) -> Option<InnerRecord> {
        if self.inner.is_empty() {
            return None;
        }
        let found = self.inner.binary_search_by_key(&index, |(index, _)| *index);
        found.ok().map(|at| self.inner[at].1)
    }

    #[inline]
    pub(crate) fn text(&self, span: Span) -> &[u8] {
        &self.text[span.start as usize..span.end as usize]
    }

    pub(crate) fn slice(&self, span: Span) -> Bytes {
        self.text.slice(span.start as usize..span.end as usize)
    }
}

impl RetainedBytes {
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) -> usize {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        bytes
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        self.total.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl RecordPageBuilder {
    /// Reserves memory for `bytes` of events and `n_records` records.
    pub fn with_capacity(bytes: usize, n_records: usize) -> Self {
        Self {
            text: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(n_records),
            sequence_numbers: Vec::new(),
            undated: Vec::new(),
            unreadable: Vec::new(),
            inner: Vec::new(),
        }
    }

    /// The next record comes without a time: it has that of the record before it, or `read`, the
    /// time of the read, if it is the first of its page. Returns the time to render and to pass to
    /// [`Self::end`].
    pub fn undated(&mut self, read: Timestamp) -> Timestamp {
        self.undated.push(self.entries.len());
        let last = self.entries.last();
        last.map_or(read, |last| last.approximate_arrival)
    }

    /// The next record cannot be rendered: its event is the source's own JSON of it.
    pub fn unreadable(&mut self, reason: &'static str) {
        self.unreadable.push((self.entries.len(), reason));
    }

    /// The next record is part of an aggregate.
    pub fn inner(&mut self, inner: InnerRecord) {
        self.inner.push((self.entries.len(), inner));
    }

    /// Starts the next event: returns the buffer to append it to.
    #[inline]
    pub fn begin(&mut self) -> &mut Vec<u8> {
        if !self.entries.is_empty() {
            self.text.push(b',');
        }
        &mut self.text
    }

    /// Ends the event that starts at `start`. `sequence_number` (ASCII) and `data` are ranges of
    /// the buffer.
    ///
    /// # Panics
    /// If the page exceeds 4 GiB.
    #[inline]
    pub fn end(
        &mut self,
        start: usize,
        sequence_number: Range<usize>,
        data: Range<usize>,
        key: KeyHash,
        approximate_arrival: Timestamp,
    ) {
        self.entries.push(RecordEntry {
            event: Span::new(start..self.text.len()),
            sequence_number: Span::new(sequence_number),
            data: Span::new(data),
            key,
            approximate_arrival,
        });
    }

    /// Copies an event; `data` is a range of it.
    pub fn push(&mut self, meta: &RecordMeta<'_>, event: &[u8], data: Range<usize>) {
        if let Some(inner) = meta.inner {
            self.inner(inner);
        }
        let text = self.begin();
        let start = text.len();
        text.extend_from_slice(event);
        let data = start + data.start..start + data.end;
        self.sequence_numbers
            .push((self.entries.len(), meta.sequence_number.to_owned()));
        self.end(start, 0..0, data, meta.key, meta.approximate_arrival);
    }

    /// Bytes of its events, commas included.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The page, with little memory to spare.
    ///
    /// # Panics
    /// If the page exceeds 4 GiB.
    pub fn finish(mut self) -> RecordPage {
        for (index, number) in &self.sequence_numbers {
            let start = self.text.len();
            self.text.extend_from_slice(number.as_bytes());
            self.entries[*index].sequence_number = Span::new(start..self.text.len());
        }
        if self.entries.len() < self.entries.capacity() / 2 {
            self.entries.shrink_to_fit();
        }
        RecordPage {
            text: fit(self.text),
            entries: self.entries,
            undated: self.undated,
            unreadable: self.unreadable,
            inner: self.inner,
            retained: OnceLock::new(),
        }
    }
}

impl Span {
    fn new(range: Range<usize>) -> Self {
        let offset = |at| u32::try_from(at).expect("a page is smaller than 4 GiB");
        Self {
            start: offset(range.start),
            end: offset(range.end),
        }
    }

    pub(crate) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// A page lives until its last record is resolved, so it must not retain unused memory. It is
/// copied, since shrinking in place leaves the decision to the allocator.
fn fit(text: Vec<u8>) -> Bytes {
    if text.len() + text.len() / 8 < text.capacity() {
        Bytes::copy_from_slice(&text)
    } else {
        Bytes::from(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_size_of_its_records() {
        let mut builder = RecordPageBuilder::with_capacity(1_000_000, 10);
        let text = builder.begin();
        text.extend_from_slice(b"{\"n\":17}");
        builder.end(0, 5..7, 5..7, KeyHash(1), Timestamp::EPOCH);
        let page = builder.finish();
        let entry = page.entry(0);
        assert_eq!(page.text(entry.sequence_number), b"17");
        assert_eq!(page.text(entry.data), b"17");
        let text = page.text.try_into_mut().expect("nothing else refers to it");
        assert_eq!(&text[..], b"{\"n\":17}");
        assert!(text.capacity() <= 10);
    }
}
