//! One shard: the records of a range of hash keys, in the order of their arrival.
//!
//! Each record is kept as GetRecords shows it, so that reading is copying.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::number::SequenceNumber;

/// Data that one GetRecords returns at most, in bytes before base64.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const LARGEST_PAGE: usize = 10 * 1024 * 1024;

/// A shard. Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) number: u32,
    /// The shards it came from: none, one by a split, two by a merge.
    pub(super) parents: Vec<u32>,
    pub(super) hash_keys: RangeInclusive<u128>,
    pub(super) created: u64,
    pub(super) closed: Option<Closed>,
    records: VecDeque<Stored>,
    /// Records that are gone from the front, which is the place of the first that is left.
    trimmed: u64,
}

/// What is known of a shard that takes no more records.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) at: u64,
    pub(super) children: Vec<u32>,
}

#[derive(Debug)]
struct Stored {
    number: SequenceNumber,
    arrived: u64,
    /// Bytes of data and partition key.
    size: usize,
    json: String,
}

/// A place to read from: the number of records of the shard that lie before it.
pub(super) type Place = u64;

/// What one read found.
#[derive(Debug)]
pub(super) struct Read {
    /// The records as JSON with commas between.
    pub(super) records: Vec<u8>,
    pub(super) next: Place,
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
            trimmed: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// Whether it took records at this time.
    pub(super) fn was_open_at(&self, time: u64) -> bool {
        self.created <= time && self.closed.as_ref().is_none_or(|closed| time < closed.at)
    }

    /// Takes a record whose data is given in base64, and its size before that.
    pub(super) fn put(&mut self, key: &str, data: &str, size: usize, now: u64) -> SequenceNumber {
        let number = SequenceNumber::new(self.created, self.number, self.end() + 1, now);
        let json = format!(
            "{{\"SequenceNumber\":\"{number}\",\"ApproximateArrivalTimestamp\":{}.{:03},\
             \"Data\":\"{data}\",\"PartitionKey\":{}}}",
            now / 1000,
            now % 1000,
            Value::from(key)
        );
        self.records.push_back(Stored {
            number,
            arrived: now,
            size: size + key.len(),
            json,
        });
        number
    }

    /// Forgets what arrived before this time.
    pub(super) fn trim(&mut self, horizon: u64) {
        while self
            .records
            .front()
            .is_some_and(|record| record.arrived < horizon)
        {
            self.records.pop_front();
            self.trimmed += 1;
        }
    }

    /// Reads at most `limit` records from a place on.
    pub(super) fn read(&self, from: Place, limit: usize, now: u64) -> Read {
        let from = from.clamp(self.trimmed, self.end());
        let skipped = usize::try_from(from - self.trimmed).expect("no more than records kept");
        let (mut records, mut size, mut next) = (Vec::new(), 0, from);
        for record in self.records.iter().skip(skipped).take(limit) {
            if next != from {
                if LARGEST_PAGE < size + record.size {
                    break;
                }
                records.push(b',');
            }
            records.extend_from_slice(record.json.as_bytes());
            size += record.size;
            next += 1;
        }
        let unread = usize::try_from(next - self.trimmed).expect("no more than records kept");
        let behind = self.records.get(unread);
        Read {
            records,
            next,
            end_of_shard: behind.is_none() && !self.is_open(),
            millis_behind_latest: behind.map_or(0, |record| now.saturating_sub(record.arrived)),
        }
    }

    /// The place of the oldest record.
    pub(super) fn horizon(&self) -> Place {
        self.trimmed
    }

    /// The place behind the youngest record.
    pub(super) fn end(&self) -> Place {
        self.trimmed + self.records.len() as u64
    }

    /// The place of the first record with this number or a higher one.
    pub(super) fn at_or_above(&self, number: SequenceNumber) -> Place {
        self.trimmed
            + self
                .records
                .partition_point(|record| record.number < number) as u64
    }

    /// The place of the first record with a higher number.
    pub(super) fn above(&self, number: SequenceNumber) -> Place {
        self.trimmed
            + self
                .records
                .partition_point(|record| record.number <= number) as u64
    }

    /// The place of the first record that arrived at this time or later.
    pub(super) fn at_time(&self, time: u64) -> Place {
        let older = self
            .records
            .iter()
            .take_while(|record| record.arrived < time);
        self.trimmed + older.count() as u64
    }

    /// The lowest number that it can give, and, once closed, one that is above all that it gave.
    pub(super) fn number_range(&self) -> (SequenceNumber, Option<SequenceNumber>) {
        let first = SequenceNumber::new(self.created, self.number, 0, self.created);
        let last = self.closed.as_ref().map(|closed| {
            SequenceNumber::new(self.created, self.number, self.end() + 1, closed.at)
        });
        (first, last)
    }

    /// It as ListShards shows it.
    pub(super) fn to_json(&self) -> Value {
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

    /// It as GetRecords shows it at the end of a parent.
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

/// A shard's name.
pub(crate) fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// The number in a shard's name. AWS takes the bare number too.
pub(crate) fn shard_number(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("shardId-").unwrap_or(id);
    let is_number = digits.len() <= 12 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}
