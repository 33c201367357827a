//! A page of records: the events of one read, and where each record is among them.
//!
//! Each event is written once, as the function will see it, and a comma after it. The events of one
//! lane are neighbors: the event that the function receives is therefore a few spans of the page and
//! is sent without a copy.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::ids::{InnerRecord, KeyHash};
use crate::time::Timestamp;

/// The smallest texts of a page with several lanes, in bytes.
const MIN_TEXT_BYTES: usize = 16 * 1024;

/// Texts of each lane of a page that is as large as expected. More of them leave less memory unused,
/// since only the last text of a lane is not full; fewer of them are sent with fewer writes.
const TEXTS_PER_LANE: usize = 8;

/// The events of one read.
#[derive(Debug)]
pub struct RecordPage {
    /// Each has events of one lane and is smaller than 4 GiB.
    texts: Vec<Bytes>,
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
#[derive(Debug)]
pub struct RecordPageBuilder {
    texts: Vec<Vec<u8>>,
    /// The text of each lane that the lane's next event is appended to, by its index.
    open: Vec<Option<u32>>,
    /// The text of the event that was begun last.
    current: u32,
    text_capacity: usize,
    /// Bytes of all texts.
    len: usize,
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
    /// Index of the text that has all of it.
    pub(crate) text: u32,
    pub(crate) event: Span,
    /// Part of the event, or after all events of the text.
    pub(crate) sequence_number: Span,
    /// Part of the event.
    pub(crate) data: Span,
    pub(crate) key: KeyHash,
    pub(crate) approximate_arrival: Timestamp,
}

/// A range of a text.
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
            bytes: total.add(self.texts.iter().map(Bytes::len).sum()),
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

    /// The text that has the events of `entry`'s neighbors, too.
    #[inline]
    pub(crate) fn text(&self, entry: &RecordEntry) -> &Bytes {
        &self.texts[entry.text as usize]
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

impl Default for RecordPageBuilder {
    fn default() -> Self {
        Self::with_capacity(0, 0, 1)
    }
}

impl RecordPageBuilder {
    /// For about `bytes` of events and `n_records` records of a shard with `n_lanes` lanes, at least 1.
    pub fn with_capacity(bytes: usize, n_records: usize, n_lanes: usize) -> Self {
        let text_capacity = match n_lanes {
            0 | 1 => bytes,
            n_lanes => (bytes / (n_lanes * TEXTS_PER_LANE)).max(MIN_TEXT_BYTES.min(bytes)),
        };
        Self {
            texts: Vec::new(),
            open: vec![None; n_lanes.max(1)],
            current: 0,
            text_capacity,
            len: 0,
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

    /// Begins the next event, of a record with `key`: returns the text to append it to. It has room for
    /// `expected_len` bytes; a longer event costs a copy of the text.
    #[inline]
    pub fn begin(&mut self, key: KeyHash, expected_len: usize) -> &mut Vec<u8> {
        let lane = key.lane(self.open.len());
        let has_room = |text: &Vec<u8>| expected_len < text.capacity() - text.len();
        let is_only_lane = self.open.len() == 1;
        self.current = match self.open[lane] {
            Some(open) if is_only_lane || has_room(&self.texts[open as usize]) => open,
            Some(_) | None => self.begin_text(lane, expected_len),
        };
        &mut self.texts[self.current as usize]
    }

    /// Begins a text of a lane. Returns its index.
    fn begin_text(&mut self, lane: usize, expected_len: usize) -> u32 {
        let index = u32::try_from(self.texts.len()).expect("there are fewer texts than records");
        let capacity = self.text_capacity.max(expected_len + 1);
        self.texts.push(Vec::with_capacity(capacity));
        self.open[lane] = Some(index);
        index
    }

    /// Ends the event that starts at `start` of its text. `sequence_number` (ASCII) and `data` are
    /// ranges of the text.
    ///
    /// # Panics
    /// If the text exceeds 4 GiB.
    #[inline]
    pub fn end(
        &mut self,
        start: usize,
        sequence_number: Range<usize>,
        data: Range<usize>,
        key: KeyHash,
        approximate_arrival: Timestamp,
    ) {
        let text = &mut self.texts[self.current as usize];
        let event = Span::new(start..text.len());
        text.push(b',');
        self.len += text.len() - start;
        self.entries.push(RecordEntry {
            text: self.current,
            event,
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
        let text = self.begin(meta.key, event.len());
        let start = text.len();
        text.extend_from_slice(event);
        let data = start + data.start..start + data.end;
        self.sequence_numbers
            .push((self.entries.len(), meta.sequence_number.to_owned()));
        self.end(start, 0..0, data, meta.key, meta.approximate_arrival);
    }

    /// Bytes of its events, commas included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The page, with little memory to spare.
    ///
    /// # Panics
    /// If a text exceeds 4 GiB.
    pub fn finish(mut self) -> RecordPage {
        for (index, number) in &self.sequence_numbers {
            let entry = &mut self.entries[*index];
            let text = &mut self.texts[entry.text as usize];
            let start = text.len();
            text.extend_from_slice(number.as_bytes());
            entry.sequence_number = Span::new(start..text.len());
        }
        if self.entries.len() < self.entries.capacity() / 2 {
            self.entries.shrink_to_fit();
        }
        RecordPage {
            texts: self.texts.into_iter().map(fit).collect(),
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
        let offset = |at| u32::try_from(at).expect("a text is smaller than 4 GiB");
        Self {
            start: offset(range.start),
            end: offset(range.end),
        }
    }

    pub(crate) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(crate) const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A text lives until the last record of its page is resolved, so it must not retain unused memory. It is
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
        let mut builder = RecordPageBuilder::with_capacity(1_000_000, 10, 1);
        let text = builder.begin(KeyHash(1), 8);
        text.extend_from_slice(b"{\"n\":17}");
        builder.end(0, 5..7, 5..7, KeyHash(1), Timestamp::EPOCH);
        let mut page = builder.finish();
        let entry = page.entry(0);
        assert_eq!(&page.text(entry)[entry.sequence_number.range()], b"17");
        assert_eq!(&page.text(entry)[entry.data.range()], b"17");
        let text = page.texts.remove(0).try_into_mut();
        let text = text.expect("nothing else refers to it");
        assert_eq!(&text[..], b"{\"n\":17},");
        assert!(text.capacity() <= 11);
    }

    #[test]
    fn the_events_of_a_lane_are_neighbors() {
        const LANES: usize = 10;
        let event = |n: u64| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(1_000));
        let mut builder = RecordPageBuilder::with_capacity(2_000_000, 2_000, LANES);
        for n in 0..2_000 {
            let text = builder.begin(KeyHash(n * n), 1_100);
            let start = text.len();
            text.extend_from_slice(event(n).as_bytes());
            builder.end(start, 0..0, 0..0, KeyHash(n * n), Timestamp::EPOCH);
        }
        let (n_texts, len) = (builder.texts.len(), builder.len());
        assert!(builder.texts.iter().all(|it| it.capacity() == 25_000));
        assert!(n_texts <= LANES * (TEXTS_PER_LANE + 4), "{n_texts}");
        let page = builder.finish();
        assert_eq!(len, (0..2_000).map(|n| event(n).len() + 1).sum::<usize>());
        for n in 0..2_000 {
            let entry = page.entry(usize::try_from(n).unwrap());
            assert_eq!(page.text(entry)[entry.event.range()], *event(n).as_bytes());
        }
        for text in page.texts {
            let numbers = text.split(|byte| *byte == b':');
            let numbers = numbers.filter_map(|part| part.split(|byte| *byte == b',').next());
            let numbers = numbers.filter_map(|it| std::str::from_utf8(it).ok()?.parse().ok());
            let lanes: Vec<u64> = numbers.map(|n: u64| n * n % LANES as u64).collect();
            assert!(lanes.iter().all(|lane| *lane == lanes[0]), "{lanes:?}");
        }
    }
}
