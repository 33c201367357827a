//! One buffer for a whole page, and the places of the records in it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use windlass_core::record::{KeyHash, Record, SequenceNumber};
use windlass_core::time::Timestamp;

/// How many bytes 1,024 bytes of an answer became the last time, whoever it was for. It is nothing
/// but a guess that is right for as long as records are alike: then a page fits as it is, and need
/// not be copied.
static GROWTH: AtomicUsize = AtomicUsize::new(2 * 1024);

/// An answer of fewer bytes says little of others: most of it may be names.
const TELLING: usize = 64 * 1024;

/// The records of a page while it is rendered.
#[derive(Debug)]
pub(super) struct PageBuffer {
    pub(super) text: Vec<u8>,
    /// The length of the answer.
    body: usize,
    places: Vec<Place>,
}

/// Where a record is in the buffer.
#[derive(Debug)]
struct Place {
    event: Range<usize>,
    sequence_number: Range<usize>,
    data: Range<usize>,
    key: KeyHash,
    approximate_arrival: Timestamp,
}

impl PageBuffer {
    /// Room for what a body of this length becomes.
    pub(super) fn for_body(length: usize) -> Self {
        let expected = length / 1024 * GROWTH.load(Ordering::Relaxed);
        Self {
            text: Vec::with_capacity(length.max(expected + expected / 32)),
            body: length,
            places: Vec::new(),
        }
    }

    /// A record was written from `start` to the end; its sequence number and its data are parts of
    /// it.
    pub(super) fn record(
        &mut self,
        start: usize,
        sequence_number: Range<usize>,
        data: Range<usize>,
        key: KeyHash,
        approximate_arrival: Timestamp,
    ) {
        let event = start..self.text.len();
        self.places.push(Place {
            event,
            sequence_number,
            data: data.start - start..data.end - start,
            key,
            approximate_arrival,
        });
    }

    /// The records, as slices of one buffer that is no larger than they are.
    pub(super) fn finish(self) -> Vec<Record> {
        if TELLING <= self.body {
            GROWTH.store(self.text.len() / (self.body / 1024), Ordering::Relaxed);
        }
        let page = fitting(self.text);
        let records = self.places.into_iter().map(|place| {
            let sequence_number = page.slice(place.sequence_number);
            Record {
                sequence_number: SequenceNumber::from_slice(sequence_number)
                    .expect("the whole answer is UTF-8"),
                key: place.key,
                approximate_arrival: place.approximate_arrival,
                event: page.slice(place.event),
                data: place.data,
            }
        });
        records.collect()
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

/// Appends several pieces of text.
pub(super) fn push_all(text: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        text.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_no_larger_than_its_records() {
        let mut page = PageBuffer::for_body(1_000_000);
        page.text.extend_from_slice(b"{\"n\":17}");
        page.record(0, 5..7, 5..7, KeyHash(1), Timestamp::EPOCH);
        let Record {
            sequence_number,
            event,
            ..
        } = page.finish().remove(0);
        assert_eq!(sequence_number.as_str(), "17");
        drop(sequence_number);
        let page = event.try_into_mut().expect("nobody else holds the page");
        assert_eq!(&page[..], b"{\"n\":17}");
        assert!(page.capacity() <= 10);
    }
}
