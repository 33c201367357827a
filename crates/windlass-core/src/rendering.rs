//! A page of records as it is rendered, and the records as places on it.
//!
//! The texts of a page stand in one buffer, each as the function will see it, with a comma between
//! each two: what the function receives of neighbours is one stretch of the page and need not be
//! copied. Where each record stands is written down once, when it is rendered. From then on a
//! [`Record`] is a number on a page, small enough to be moved from queue to queue.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::record::{KeyHash, SequenceNumber};
use crate::time::Timestamp;

/// One record of a stream. It holds the page that it stands on.
#[derive(Clone)]
pub struct Record {
    page: Arc<Rendered>,
    index: u32,
}

/// The records of one page while they are rendered.
#[derive(Debug, Default)]
pub struct Rendering {
    text: Vec<u8>,
    places: Vec<Place>,
    /// The names of records whose events do not hold them, and of which records.
    names: Vec<(usize, String)>,
}

/// A page that is looked after without being held.
#[derive(Clone, Debug, Default)]
pub struct PageWatch(Weak<Rendered>);

#[derive(Debug)]
struct Rendered {
    text: Bytes,
    places: Vec<Place>,
}

/// Where on its page a record stands. The page has less than 4 GiB.
#[derive(Clone, Debug)]
struct Place {
    event: Stretch,
    /// Its name: a part of the event, or behind all of them.
    sequence_number: Stretch,
    data: Stretch,
    key: KeyHash,
    approximate_arrival: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: u32,
    end: u32,
}

/// What is to be known of a record beside its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading<'a> {
    /// Its name within the shard.
    pub sequence_number: &'a str,
    /// See [`Record::key`].
    pub key: KeyHash,
    /// See [`Record::approximate_arrival`].
    pub approximate_arrival: Timestamp,
}

impl Record {
    /// A record on a page of its own, the data as a part of the event.
    pub fn alone(heading: &Heading<'_>, event: &[u8], data: Range<usize>) -> Self {
        let mut rendering = Rendering::default();
        rendering.push(heading, event, data);
        rendering.finish().remove(0)
    }

    /// What is to be known of it beside its event.
    pub fn heading(&self) -> Heading<'_> {
        Heading {
            sequence_number: self.sequence_number(),
            key: self.key(),
            approximate_arrival: self.approximate_arrival(),
        }
    }

    /// Its name within the shard.
    ///
    /// # Panics
    /// If it was rendered as one that is not UTF-8.
    #[inline]
    pub fn sequence_number(&self) -> &str {
        let number = self.stretch(self.place().sequence_number);
        std::str::from_utf8(number).expect("a sequence number is text")
    }

    /// Its name, kept apart from its page.
    pub fn name(&self) -> SequenceNumber {
        SequenceNumber::from(self.sequence_number())
    }

    /// Stands for its partition key (DynamoDB: the key of its item): records of one key have one
    /// hash, and are delivered in order.
    #[inline]
    pub fn key(&self) -> KeyHash {
        self.place().key
    }

    /// When the stream received it; not guaranteed to grow from record to record.
    #[inline]
    pub fn approximate_arrival(&self) -> Timestamp {
        self.place().approximate_arrival
    }

    /// The record as the function sees it: one JSON object.
    #[inline]
    pub fn event(&self) -> &[u8] {
        self.stretch(self.place().event)
    }

    /// The length of its event in bytes.
    #[inline]
    pub fn event_len(&self) -> usize {
        self.place().event.len()
    }

    /// The data of a record of Kinesis as they stand in its event, without their quotes; empty for
    /// records of other sources. Filters look into them.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.stretch(self.place().data)
    }

    /// Where in its event its data stand.
    pub(crate) fn data_range(&self) -> Range<usize> {
        let Place { event, data, .. } = self.place();
        // Without data there is no place to speak of.
        let start = data.start.saturating_sub(event.start) as usize;
        start..start + data.len()
    }

    /// Looks after its page without holding it.
    pub fn watch_page(&self) -> PageWatch {
        PageWatch(Arc::downgrade(&self.page))
    }

    /// Whether a record's event stands right behind this one's, but for a comma.
    #[inline]
    pub(crate) fn is_followed_by(&self, next: &Self) -> bool {
        Arc::ptr_eq(&self.page, &next.page)
            && self.place().event.end + 1 == next.place().event.start
    }

    /// What stands on its page from the start of its event to the end of the last one's, which is on
    /// the same page.
    pub(crate) fn text_up_to(&self, last: &Self) -> Bytes {
        let (start, end) = (self.place().event.start, last.place().event.end);
        self.page.text.slice(start as usize..end as usize)
    }

    fn place(&self) -> &Place {
        &self.page.places[self.index as usize]
    }

    fn stretch(&self, Stretch { start, end }: Stretch) -> &[u8] {
        &self.page.text[start as usize..end as usize]
    }
}

impl Rendering {
    /// Room for so many bytes of events and so many records.
    pub fn with_capacity(bytes: usize, n_records: usize) -> Self {
        Self {
            text: Vec::with_capacity(bytes),
            places: Vec::with_capacity(n_records),
            names: Vec::new(),
        }
    }

    /// Begins the next event: gives what it must be appended to.
    #[inline]
    pub fn begin(&mut self) -> &mut Vec<u8> {
        if !self.places.is_empty() {
            self.text.push(b',');
        }
        &mut self.text
    }

    /// Ends an event that begins at `start` of the text. Its name, plain ASCII, and its data are
    /// parts of the text too.
    ///
    /// # Panics
    /// If the page becomes larger than 4 GiB.
    #[inline]
    pub fn end(
        &mut self,
        start: usize,
        sequence_number: Range<usize>,
        data: Range<usize>,
        key: KeyHash,
        approximate_arrival: Timestamp,
    ) {
        self.places.push(Place {
            event: Stretch::new(start..self.text.len()),
            sequence_number: Stretch::new(sequence_number),
            data: Stretch::new(data),
            key,
            approximate_arrival,
        });
    }

    /// Copies an event, the data as a part of it.
    pub fn push(&mut self, heading: &Heading<'_>, event: &[u8], data: Range<usize>) {
        let text = self.begin();
        let start = text.len();
        text.extend_from_slice(event);
        let data = start + data.start..start + data.end;
        self.names
            .push((self.places.len(), heading.sequence_number.to_owned()));
        self.end(start, 0..0, data, heading.key, heading.approximate_arrival);
    }

    /// The bytes of its events, commas included.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The records, on a page that is hardly larger than they are.
    ///
    /// # Panics
    /// If the page becomes larger than 4 GiB.
    pub fn finish(mut self) -> Vec<Record> {
        for (index, name) in &self.names {
            let start = self.text.len();
            self.text.extend_from_slice(name.as_bytes());
            self.places[*index].sequence_number = Stretch::new(start..self.text.len());
        }
        let n_records = u32::try_from(self.places.len()).expect("a page has less than 4 GiB");
        if self.places.len() < self.places.capacity() / 2 {
            self.places.shrink_to_fit();
        }
        let page = Arc::new(Rendered {
            text: fitting(self.text),
            places: self.places,
        });
        let record = |index| Record {
            page: Arc::clone(&page),
            index,
        };
        (0..n_records).map(record).collect()
    }
}

impl PageWatch {
    /// Whether any record of the page is still there.
    pub fn is_held(&self) -> bool {
        self.0.strong_count() != 0
    }
}

impl Stretch {
    fn new(range: Range<usize>) -> Self {
        let place = |at| u32::try_from(at).expect("a page has less than 4 GiB");
        Self {
            start: place(range.start),
            end: place(range.end),
        }
    }

    const fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// A page is held until the last of its records is done with, so that it must not hold room that
/// nobody uses. Shrinking in place would leave that to the allocator, which may keep it.
fn fitting(text: Vec<u8>) -> Bytes {
    if text.len() + text.len() / 8 < text.capacity() {
        Bytes::copy_from_slice(&text)
    } else {
        Bytes::from(text)
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.heading() == other.heading()
            && self.event() == other.event()
            && self.data() == other.data()
    }
}

impl Eq for Record {}

/// Its name alone: what it says is not for logs.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Record")
            .field(&self.sequence_number())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heading(sequence_number: &str) -> Heading<'_> {
        Heading {
            sequence_number,
            key: KeyHash(1),
            approximate_arrival: Timestamp::EPOCH,
        }
    }

    #[test]
    fn a_page_is_no_larger_than_its_records() {
        let mut rendering = Rendering::with_capacity(1_000_000, 10);
        let text = rendering.begin();
        text.extend_from_slice(b"{\"n\":17}");
        rendering.end(0, 5..7, 5..7, KeyHash(1), Timestamp::EPOCH);
        let record = rendering.finish().remove(0);
        assert_eq!(
            (record.sequence_number(), record.data()),
            ("17", &b"17"[..])
        );
        let Rendered { text, .. } = Arc::into_inner(record.page).expect("nobody else holds it");
        let text = text.try_into_mut().expect("nobody else holds it");
        assert_eq!(&text[..], b"{\"n\":17}");
        assert!(text.capacity() <= 10);
    }

    #[test]
    fn neighbours_are_one_stretch_of_their_page() {
        let mut rendering = Rendering::default();
        for number in ["1", "2", "3"] {
            rendering.push(&heading(number), number.as_bytes(), 0..1);
        }
        let records = rendering.finish();
        assert!(records[0].is_followed_by(&records[1]));
        assert!(!records[0].is_followed_by(&records[2]));
        assert_eq!(&records[1].text_up_to(&records[2])[..], b"2,3");
        let alone = Record::alone(&heading("2"), b"2", 0..1);
        assert!(!records[0].is_followed_by(&alone));
        assert_eq!(records[1], alone);
        assert_ne!(records[0], alone);
    }

    #[test]
    fn a_page_is_watched_without_being_held() {
        let record = Record::alone(&heading("1"), b"{}", 0..0);
        let watch = record.watch_page();
        let name = record.name();
        assert!(watch.is_held());
        drop(record);
        assert!(!watch.is_held());
        assert_eq!(name.as_str(), "1");
    }
}
