//! Answers to GetRecords that are copied from one rendered before.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::BEFORE_RECORDS;
use crate::kinesis::number::SequenceNumber;

/// What one GetRecords returns at most.
const MOST_RECORDS: usize = 10_000;
const MOST_BYTES: usize = 10 * 1024 * 1024;

/// Partition keys take turns within a page.
const N_KEYS: usize = 1_000;

/// The largest page, to be cut and numbered.
#[derive(Debug)]
pub(super) struct Pages {
    /// Records with a comma behind each, all of the same length.
    records: Vec<u8>,
    n_records: usize,
    /// Bytes of a record with its comma.
    step: usize,
    /// Where in a record its number is.
    number_at: usize,
    /// Milliseconds since 1970.
    created: u64,
}

/// An answer.
pub(super) struct Page {
    pub(super) n_records: u64,
    pub(super) body: Bytes,
}

impl Pages {
    /// Renders a page whose records have data of this size.
    pub(super) fn new(record_bytes: usize) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let created = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        let n_records = (MOST_BYTES / record_bytes.max(1)).clamp(1, MOST_RECORDS);
        let number = SequenceNumber::new(created, 0, 0, created);
        let before_number = "{\"SequenceNumber\":\"";
        let mut records = Vec::new();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for record in 0..n_records {
            let data = base64_simd::STANDARD.encode_to_string(noise(record_bytes, &mut random));
            let text = format!(
                "{before_number}{number}\",\"ApproximateArrivalTimestamp\":{}.{:03},\
                 \"Data\":\"{data}\",\"PartitionKey\":\"key-{:03}\"}},",
                created / 1000,
                created % 1000,
                record % N_KEYS
            );
            records.extend_from_slice(text.as_bytes());
        }
        Self {
            step: records.len() / n_records,
            records,
            n_records,
            number_at: before_number.len(),
            created,
        }
    }

    /// Bytes of one record.
    pub(super) fn record_length(&self) -> usize {
        self.step - 1
    }

    /// The number of the record at this place of a shard.
    pub(super) fn number(&self, shard: u32, place: u64) -> SequenceNumber {
        SequenceNumber::new(self.created, shard, place, self.created)
    }

    /// A page of at most `limit` records, where `left` are there to be read.
    pub(super) fn answer(&self, shard: u32, place: u64, limit: u64, left: u64) -> Page {
        let n_records = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(self.n_records);
        let mut body = Vec::with_capacity(n_records * self.step + 256);
        body.extend_from_slice(BEFORE_RECORDS.as_bytes());
        body.extend_from_slice(&self.records[..n_records * self.step]);
        let records = body[BEFORE_RECORDS.len()..].chunks_exact_mut(self.step);
        for (place, record) in (place..).zip(records) {
            let number = self.number(shard, place);
            let digits = number.as_str().as_bytes();
            record[self.number_at..][..digits.len()].copy_from_slice(digits);
        }
        if n_records != 0 {
            // The comma behind the last record.
            body.pop();
        }
        let next = place + n_records as u64;
        let behind = if n_records as u64 == left { 0 } else { 1000 };
        let rest =
            format!("],\"NextShardIterator\":\"{shard}:{next}\",\"MillisBehindLatest\":{behind}}}");
        body.extend_from_slice(rest.as_bytes());
        Page {
            n_records: n_records as u64,
            body: body.into(),
        }
    }
}

/// Bytes without a pattern; the same in each run.
fn noise(length: usize, random: &mut u64) -> Vec<u8> {
    let next = |_| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        random.to_le_bytes()[0]
    };
    (0..length).map(next).collect()
}
