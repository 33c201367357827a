//! Builds the page of one GetRecords response: its capacity, and where it is truncated.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use windlass_core::ids::KeyHash;
use windlass_core::record::Record;
use windlass_core::record_page::{RecordMeta, RecordPageBuilder};
use windlass_core::shard::UnreadableRecord;
use windlass_core::time::Timestamp;

use super::json_cursor::{JsonCursor, WireError};
use super::text::identifier;

/// Shorter responses are not representative: most of their bytes may be member names.
const MIN_SAMPLE_BYTES: usize = 64 * 1024;

/// Result of GetRecords, of Kinesis or DynamoDB Streams.
#[derive(Debug)]
pub(crate) struct GetRecordsResponse {
    pub(crate) records: Vec<Record>,
    /// `None` at the end of the shard.
    pub(crate) next_iterator: Option<String>,
    /// Whether records were left out, for lack of room or from one on that is unreadable: reading
    /// continues after the last record that is here, not at `next_iterator`.
    pub(crate) is_truncated: bool,
    /// The text of a response with the records that were left out for lack of room, and with the one
    /// that is here in part, if the parser keeps it.
    pub(crate) rest: Option<Bytes>,
    /// The record after the last one, if it is left out because its number cannot be read.
    pub(crate) unreadable: Option<UnreadableRecord>,
    /// Whether the response names child shards, as only that at the end of a shard does. Always
    /// false for DynamoDB Streams.
    pub(crate) has_children: bool,
    /// Distance from the tip of the shard; `None` for DynamoDB Streams, which does not report it.
    pub(crate) behind_latest: Option<Duration>,
}

/// Where the next page begins. Some servers return an empty iterator in place of none.
pub(super) fn next_iterator(cursor: &mut JsonCursor<'_>) -> Result<Option<String>, WireError> {
    let iterator = cursor.optional_text()?;
    Ok(iterator.filter(|iterator| !iterator.is_empty()))
}

/// The shape of a stream's pages: how many lanes they have, and their size as predicted from the
/// previous page, so that a page fits its buffers and is not copied. The prediction is good as long
/// as the records of a stream are alike.
#[derive(Debug)]
pub(crate) struct PageEstimate {
    n_lanes: usize,
    /// Bytes of events per 1,024 bytes of response.
    event_bytes_per_kib: AtomicUsize,
    /// Bytes of response per record.
    record_bytes: AtomicUsize,
}

/// The parts of a [`GetRecordsResponse`] that come from its list.
pub(super) struct PageEnd {
    pub(super) records: Vec<Record>,
    pub(super) is_truncated: bool,
    pub(super) unreadable: Option<UnreadableRecord>,
}

/// What can be read of a record that cannot be rendered.
#[derive(Debug, Default)]
pub(super) struct RejectedRecord<'a> {
    /// The raw text of its sequence number.
    pub(super) number: Option<&'a [u8]>,
    pub(super) key: Option<KeyHash>,
}

/// A page under construction.
#[derive(Debug)]
pub(super) struct PageBuilder<'e> {
    pub(super) records: RecordPageBuilder,
    estimate: &'e PageEstimate,
    /// The page ends with the record that reaches this size; it always has at least one record.
    max_bytes: usize,
    is_truncated: bool,
    unreadable: Option<UnreadableRecord>,
    /// By the clock of the source.
    pub(super) read_at: Timestamp,
}

impl PageEstimate {
    /// For pages of a shard with `n_lanes` lanes, at least 1.
    pub(crate) fn new(n_lanes: usize) -> Self {
        Self {
            n_lanes,
            event_bytes_per_kib: AtomicUsize::new(2 * 1024),
            record_bytes: AtomicUsize::new(1024),
        }
    }

    /// Bytes of the events of a response of `body_len` bytes.
    pub(crate) fn event_bytes(&self, body_len: usize) -> usize {
        let per_kib = self.event_bytes_per_kib.load(Ordering::Relaxed);
        let expected = (body_len / 1024).saturating_mul(per_kib);
        body_len.max(expected.saturating_add(expected / 32))
    }
}

impl<'e> PageBuilder<'e> {
    /// Allocates a buffer for a response of `body_len` bytes.
    pub(super) fn new(
        estimate: &'e PageEstimate,
        body_len: usize,
        max_bytes: usize,
        read_at: Timestamp,
    ) -> Self {
        let n_records = body_len / estimate.record_bytes.load(Ordering::Relaxed).max(1);
        let records = RecordPageBuilder::with_capacity(
            estimate.event_bytes(body_len).min(max_bytes),
            n_records + n_records / 32,
            estimate.n_lanes,
        );
        Self {
            records,
            estimate,
            max_bytes,
            is_truncated: false,
            unreadable: None,
            read_at,
        }
    }

    /// Whether the next record fits. If not, it and all that follow are left out.
    pub(super) fn has_room(&mut self) -> bool {
        self.is_truncated |= !self.records.is_empty() && self.max_bytes <= self.records.len();
        !self.is_truncated
    }

    /// Whether records were left out for lack of room, and none is unreadable.
    pub(super) const fn is_cut(&self) -> bool {
        self.is_truncated && self.unreadable.is_none()
    }

    /// Adds the record at the cursor, which could not be rendered, as it is, and skips it. If its number
    /// cannot be read, the page ends before it. `read` finds what it can.
    ///
    /// # Errors
    /// The record is incomplete, or it has no end.
    #[cold]
    pub(super) fn reject(
        &mut self,
        cursor: &mut JsonCursor<'_>,
        error: WireError,
        read: impl for<'a> FnOnce(&mut JsonCursor<'a>) -> RejectedRecord<'a>,
    ) -> Result<(), WireError> {
        if error.is_incomplete() {
            return Err(error);
        }
        let (start, mut lenient) = (*cursor, cursor.lenient());
        cursor.skip_element()?;
        let RejectedRecord { number, key } = read(&mut lenient);
        let number = number.and_then(identifier);
        let text = number.as_deref().map(std::str::from_utf8);
        let Some(Ok(sequence_number)) = text else {
            self.end_before(&error);
            return Ok(());
        };
        let approximate_arrival = self.records.undated(self.read_at);
        self.records.unreadable(error.reason());
        let meta = RecordMeta {
            sequence_number,
            inner: None,
            key: key.unwrap_or_else(|| KeyHash::of(sequence_number.as_bytes())),
            approximate_arrival,
        };
        self.records
            .push(&meta, cursor.text_since(&start).trim_ascii(), 0..0);
        Ok(())
    }

    /// Ends the page before a record whose number cannot be read, unless it has ended already.
    pub(super) fn end_before(&mut self, error: &WireError) {
        if !self.is_truncated {
            self.is_truncated = true;
            self.unreadable = Some(UnreadableRecord {
                reason: error.reason(),
            });
        }
    }

    /// The page of a response of `body_len` bytes.
    pub(super) fn finish(self, body_len: usize) -> PageEnd {
        let event_bytes = self.records.len();
        let records = Record::of_page(self.records.finish());
        let PageEstimate {
            event_bytes_per_kib,
            record_bytes,
            ..
        } = self.estimate;
        if MIN_SAMPLE_BYTES <= body_len && !records.is_empty() {
            let per_kib = event_bytes / (body_len / 1024);
            if self.is_truncated {
                // The whole has more: the next page gets memory for it.
                event_bytes_per_kib.fetch_max(per_kib, Ordering::Relaxed);
            } else {
                event_bytes_per_kib.store(per_kib, Ordering::Relaxed);
                record_bytes.store(body_len / records.len(), Ordering::Relaxed);
            }
        }
        PageEnd {
            records,
            is_truncated: self.is_truncated,
            unreadable: self.unreadable,
        }
    }
}

/// Appends several pieces of text.
pub(super) fn push_all(text: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        text.extend_from_slice(piece);
    }
}
