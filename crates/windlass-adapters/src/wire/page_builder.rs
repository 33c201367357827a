//! Builds the page of one GetRecords response: its capacity, and where it is truncated.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use windlass_core::record::Record;
use windlass_core::record_page::RecordPageBuilder;

/// Shorter responses are not representative: most of their bytes may be member names.
const MIN_SAMPLE_BYTES: usize = 64 * 1024;

/// Result of GetRecords, of Kinesis or DynamoDB Streams.
#[derive(Debug)]
pub(crate) struct GetRecordsResponse {
    pub(crate) records: Vec<Record>,
    /// `None` at the end of the shard.
    pub(crate) next_iterator: Option<String>,
    /// Whether records were left out for lack of room: reading continues after the last record that
    /// is here, not at `next_iterator`.
    pub(crate) is_truncated: bool,
    /// Whether the response names child shards, as only that at the end of a shard does. Always
    /// false for DynamoDB Streams.
    pub(crate) has_children: bool,
    /// Distance from the tip of the shard; `None` for DynamoDB Streams, which does not report it.
    pub(crate) behind_latest: Option<Duration>,
}

/// Predicts the size of a stream's pages from the previous page, so that a page fits its buffer and
/// is not copied. The prediction is good as long as the records of a stream are alike.
#[derive(Debug)]
pub(crate) struct PageEstimate {
    /// Bytes of events per 1,024 bytes of response.
    event_bytes_per_kib: AtomicUsize,
    /// Bytes of response per record.
    record_bytes: AtomicUsize,
}

/// A page under construction.
#[derive(Debug)]
pub(super) struct PageBuilder<'e> {
    pub(super) records: RecordPageBuilder,
    estimate: &'e PageEstimate,
    /// The page ends with the record that reaches this size; it always has at least one record.
    max_bytes: usize,
    is_truncated: bool,
}

impl Default for PageEstimate {
    fn default() -> Self {
        Self {
            event_bytes_per_kib: AtomicUsize::new(2 * 1024),
            record_bytes: AtomicUsize::new(1024),
        }
    }
}

impl PageEstimate {
    /// Bytes of the events of a response of `body_len` bytes.
    pub(crate) fn event_bytes(&self, body_len: usize) -> usize {
        let per_kib = self.event_bytes_per_kib.load(Ordering::Relaxed);
        let expected = (body_len / 1024).saturating_mul(per_kib);
        body_len.max(expected.saturating_add(expected / 32))
    }
}

impl<'e> PageBuilder<'e> {
    /// Allocates a buffer for a response of `body_len` bytes.
    pub(super) fn new(estimate: &'e PageEstimate, body_len: usize, max_bytes: usize) -> Self {
        let n_records = body_len / estimate.record_bytes.load(Ordering::Relaxed).max(1);
        let records = RecordPageBuilder::with_capacity(
            estimate.event_bytes(body_len).min(max_bytes),
            n_records + n_records / 32,
        );
        Self {
            records,
            estimate,
            max_bytes,
            is_truncated: false,
        }
    }

    /// Whether the next record fits. If not, it and all that follow are left out.
    pub(super) fn has_room(&mut self) -> bool {
        self.is_truncated |= !self.records.is_empty() && self.max_bytes <= self.records.len();
        !self.is_truncated
    }

    /// The records of a response of `body_len` bytes, and whether the page was truncated.
    pub(super) fn finish(self, body_len: usize) -> (Vec<Record>, bool) {
        let event_bytes = self.records.len();
        let records = Record::of_page(self.records.finish());
        if MIN_SAMPLE_BYTES <= body_len && !records.is_empty() && !self.is_truncated {
            let PageEstimate {
                event_bytes_per_kib,
                record_bytes,
            } = self.estimate;
            event_bytes_per_kib.store(event_bytes / (body_len / 1024), Ordering::Relaxed);
            record_bytes.store(body_len / records.len(), Ordering::Relaxed);
        }
        (records, self.is_truncated)
    }
}

/// Appends several pieces of text.
pub(super) fn push_all(text: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        text.extend_from_slice(piece);
    }
}
