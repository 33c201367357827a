//! A shard: the records of a range of hash keys, in order of arrival.
//!
//! Records are stored as the JSON of GetRecords, so a read only copies.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::sequence_number::SequenceNumber;

/// Bytes of data and partition keys in one GetRecords, before base64.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const MAX_PAGE_BYTES: usize = 10 * 1024 * 1024;

/// Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) number: u32,
    /// None, one after a split, two after a merge.
    pub(super) parents: Vec<u32>,
    pub(super) hash_keys: RangeInclusive<u128>,
    pub(super) created: u64,
    pub(super) closed: Option<Closed>,
    records: VecDeque<StoredRecord>,
    /// Records that were trimmed, which is also the offset of the oldest one left.
    n_trimmed: u64,
}

#[derive(Debug)]
pub(super) struct Closed {
    pub(super) at: u64,
    pub(super) children: Vec<u32>,
}

#[derive(Debug)]
struct StoredRecord {
    number: SequenceNumber,
    arrived: u64,
    /// Bytes of data and partition key.
    size: usize,
    json: String,
}

#[derive(Debug)]
pub(super) struct Page {
    /// The records as JSON, with commas between them.
    pub(super) records: Vec<u8>,
    pub(super) next_offset: u64,
    pub(super) end_of_shard: bool,
    pub(super) millis_behind_latest: u64,
}

impl Shard {
    pub(super) fn new(
        number: u32,
        parents: Vec<u32>,
        hash_keys: RangeInclusive<u128>,
        created: u64,
    ) -> Self {
        Self {
            number,
            parents,
            hash_keys,
            created,
            closed: None,
            records: VecDeque::new(),
            n_trimmed: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    pub(super) fn put(&mut self, key: &str, data: &[u8], now: u64) -> SequenceNumber {
        let index = self.end_offset() + 1;
        let number = SequenceNumber::new(self.created, self.number, index, now);
        let json = format!(
            "{{\"SequenceNumber\":\"{number}\",\"ApproximateArrivalTimestamp\":{}.{:03},\
             \"Data\":\"{}\",\"PartitionKey\":{}}}",
            now / 1000,
            now % 1000,
            base64_simd::STANDARD.encode_to_string(data),
            Value::from(key)
        );
        self.records.push_back(StoredRecord {
            number,
            arrived: now,
            size: data.len() + key.len(),
            json,
        });
        number
    }

    pub(super) fn trim_all(&mut self) {
        self.n_trimmed = self.end_offset();
        self.records.clear();
    }

    /// Reads up to `limit` records. An offset that was trimmed becomes that of the oldest record.
    pub(super) fn read(&self, offset: u64, limit: usize, now: u64) -> Page {
        let first = offset.clamp(self.n_trimmed, self.end_offset());
        let (mut records, mut size, mut next_offset) = (Vec::new(), 0, first);
        for record in self.records.range(self.index_of(first)..).take(limit) {
            if next_offset != first {
                if MAX_PAGE_BYTES < size + record.size {
                    break;
                }
                records.push(b',');
            }
            records.extend_from_slice(record.json.as_bytes());
            size += record.size;
            next_offset += 1;
        }
        let next = self.records.get(self.index_of(next_offset));
        Page {
            records,
            next_offset,
            end_of_shard: next.is_none() && !self.is_open(),
            millis_behind_latest: next.map_or(0, |record| now.saturating_sub(record.arrived)),
        }
    }

    pub(super) fn trim_horizon(&self) -> u64 {
        self.n_trimmed
    }

    /// The offset after the newest record.
    pub(super) fn end_offset(&self) -> u64 {
        self.n_trimmed + self.records.len() as u64
    }

    pub(super) fn offset_at(&self, number: SequenceNumber) -> u64 {
        self.offset_after(|record| record.number < number)
    }

    pub(super) fn offset_after_number(&self, number: SequenceNumber) -> u64 {
        self.offset_after(|record| record.number <= number)
    }

    pub(super) fn offset_at_time(&self, time: u64) -> u64 {
        self.offset_after(|record| record.arrived < time)
    }

    /// The lowest number of the shard, and, once it is closed, one above all that were assigned.
    pub(super) fn number_range(&self) -> (SequenceNumber, Option<SequenceNumber>) {
        let first = SequenceNumber::new(self.created, self.number, 0, self.created);
        let last = self.closed.as_ref().map(|closed| {
            SequenceNumber::new(self.created, self.number, self.end_offset() + 1, closed.at)
        });
        (first, last)
    }

    /// A number that no record at or after this offset has, and all before it have at most.
    pub(super) fn number_before(&self, offset: u64) -> SequenceNumber {
        let index = offset.checked_sub(self.n_trimmed + 1);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let last = index.and_then(|index| self.records.get(index));
        last.map_or_else(
            || SequenceNumber::new(self.created, self.number, offset, self.created),
            |record| record.number,
        )
    }

    /// The offset after the oldest records, for which the predicate holds.
    fn offset_after(&self, is_older: impl FnMut(&StoredRecord) -> bool) -> u64 {
        self.n_trimmed + self.records.partition_point(is_older) as u64
    }

    fn index_of(&self, offset: u64) -> usize {
        usize::try_from(offset - self.n_trimmed).expect("the offset is at most that of the end")
    }

    /// The shard in ListShards.
    pub(super) fn to_listed_json(&self) -> Value {
        let (first, last) = self.number_range();
        let mut numbers = json!({"StartingSequenceNumber": first.as_str()});
        if let Some(last) = last {
            numbers["EndingSequenceNumber"] = last.as_str().into();
        }
        let mut shard = json!({
            "ShardId": shard_id(self.number),
            "HashKeyRange": self.range_json(),
            "SequenceNumberRange": numbers,
        });
        if let Some(parent) = self.parents.first() {
            shard["ParentShardId"] = shard_id(*parent).into();
        }
        if let Some(parent) = self.parents.get(1) {
            shard["AdjacentParentShardId"] = shard_id(*parent).into();
        }
        shard
    }

    /// The shard in `ChildShards` of the last GetRecords of a parent.
    pub(super) fn to_child_json(&self) -> Value {
        let parents: Vec<String> = self.parents.iter().copied().map(shard_id).collect();
        json!({
            "ShardId": shard_id(self.number),
            "ParentShards": parents,
            "HashKeyRange": self.range_json(),
        })
    }

    fn range_json(&self) -> Value {
        json!({
            "StartingHashKey": self.hash_keys.start().to_string(),
            "EndingHashKey": self.hash_keys.end().to_string(),
        })
    }
}

pub(crate) fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// The number in a shard id. AWS also accepts the number alone.
pub(crate) fn shard_number(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("shardId-").unwrap_or(id);
    let is_number = digits.len() <= 12 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}
