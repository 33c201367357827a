//! Pages of GetRecords and events of SubscribeToShard, copied from a page that was rendered at the
//! start.

use bytes::Bytes;

use crate::clock::Clock;
use crate::kinesis::sequence_number::SequenceNumber;

/// The start of a page; the records follow, with commas between them.
pub const PAGE_PREFIX: &str = "{\"Records\":[";

const MAX_RECORDS: usize = 10_000;
const MAX_BYTES: usize = 10 * 1024 * 1024;

/// Partition keys in a page.
const N_KEYS: usize = 1_000;

/// The largest page; each page is its beginning, with other sequence numbers.
#[derive(Debug)]
pub(super) struct PageTemplate {
    /// Records of equal length, each followed by a comma.
    records: Vec<u8>,
    n_records: usize,
    /// Bytes of a record and its comma.
    step: usize,
    /// Where the sequence number is in a record.
    number_offset: usize,
    /// Milliseconds since 1970.
    created: u64,
}

pub(super) struct Page {
    pub(super) n_records: u64,
    pub(super) body: Bytes,
}

impl PageTemplate {
    pub(super) fn new(record_bytes: usize) -> Self {
        let created = Clock::start().now_ms();
        let n_records = (MAX_BYTES / record_bytes.max(1)).clamp(1, MAX_RECORDS);
        let number = SequenceNumber::new(created, 0, 0, created);
        let prefix = "{\"SequenceNumber\":\"";
        let mut records = Vec::new();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for record in 0..n_records {
            let data = base64_simd::STANDARD.encode_to_string(noise(record_bytes, &mut random));
            let text = format!(
                "{prefix}{number}\",\"ApproximateArrivalTimestamp\":{}.{:03},\
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
            number_offset: prefix.len(),
            created,
        }
    }

    /// Bytes of one record.
    pub(super) fn record_length(&self) -> usize {
        self.step - 1
    }

    pub(super) fn sequence_number(&self, shard: u32, index: u64) -> SequenceNumber {
        SequenceNumber::new(self.created, shard, index, self.created)
    }

    /// A page of up to `limit` records that starts at an index, after which the shard has
    /// `available` records.
    pub(super) fn page(&self, shard: u32, index: u64, limit: u64, available: u64) -> Page {
        self.records(shard, index, limit, available, |next| {
            format!("\"NextShardIterator\":\"{shard}:{next}\"")
        })
    }

    /// The payload of an event. It continues at its last record.
    pub(super) fn event(&self, shard: u32, index: u64, limit: u64, available: u64) -> Page {
        self.records(shard, index, limit, available, |next| {
            let last = self.sequence_number(shard, next.saturating_sub(1));
            format!("\"ContinuationSequenceNumber\":\"{last}\"")
        })
    }

    /// `continuation` is the member that says where the next page begins.
    fn records(
        &self,
        shard: u32,
        index: u64,
        limit: u64,
        available: u64,
        continuation: impl FnOnce(u64) -> String,
    ) -> Page {
        let n_records = usize::try_from(limit.min(available))
            .unwrap_or(usize::MAX)
            .min(self.n_records);
        let mut body = Vec::with_capacity(n_records * self.step + 256);
        body.extend_from_slice(PAGE_PREFIX.as_bytes());
        body.extend_from_slice(&self.records[..n_records * self.step]);
        let records = body[PAGE_PREFIX.len()..].chunks_exact_mut(self.step);
        for (index, record) in (index..).zip(records) {
            let number = self.sequence_number(shard, index);
            let digits = number.as_str().as_bytes();
            record[self.number_offset..][..digits.len()].copy_from_slice(digits);
        }
        if n_records != 0 {
            // The comma after the last record.
            body.pop();
        }
        let n_records = n_records as u64;
        let continuation = continuation(index + n_records);
        let millis_behind = if n_records == available { 0 } else { 1000 };
        let suffix = format!("],{continuation},\"MillisBehindLatest\":{millis_behind}}}");
        body.extend_from_slice(suffix.as_bytes());
        Page {
            n_records,
            body: body.into(),
        }
    }
}

/// Incompressible bytes, the same in each run.
pub(super) fn noise(length: usize, random: &mut u64) -> Vec<u8> {
    let next = |_| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        random.to_le_bytes()[0]
    };
    (0..length).map(next).collect()
}
