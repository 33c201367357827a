//! Streams: their shards, and how shards split and merge.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use md5::{Digest as _, Md5};
use serde_json::Value;

use super::fan_out::Consumer;
use super::sequence_number::SequenceNumber;
use super::shard::{Closed, Shard, shard_id, shard_number};
use crate::protocol::AwsError;

/// Shards of a new stream. A sequence number can hold a hundred times as many.
const MAX_SHARDS: u32 = 10_000;

#[derive(Debug, Default)]
pub(super) struct Streams(BTreeMap<String, Stream>);

/// Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) created: u64,
    pub(super) consumers: Vec<Consumer>,
    shards: Vec<Shard>,
}

/// The result of PutRecord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutResult {
    /// The shard that stores the record.
    pub shard_id: String,
    /// A decimal of 56 digits.
    pub sequence_number: String,
}

impl Streams {
    pub(super) fn create(
        &mut self,
        name: &str,
        n_shards: u32,
        now: u64,
    ) -> Result<String, AwsError> {
        if !(1..=MAX_SHARDS).contains(&n_shards) {
            let message = format!("ShardCount must be between 1 and {MAX_SHARDS}");
            return Err(AwsError::validation(message));
        }
        if self.0.contains_key(name) {
            let message = format!("Stream {name} under account 000000000000 already exists.");
            return Err(AwsError::new("ResourceInUseException", message));
        }
        let stream = Stream::new(name, n_shards, now);
        let arn = stream.arn();
        self.0.insert(name.to_owned(), stream);
        Ok(arn)
    }

    pub(super) fn get(&self, name: &str) -> Result<&Stream, AwsError> {
        self.0.get(name).ok_or_else(|| no_stream(name))
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Result<&mut Stream, AwsError> {
        self.0.get_mut(name).ok_or_else(|| no_stream(name))
    }
}

impl Stream {
    fn new(name: &str, n_shards: u32, now: u64) -> Self {
        let step = u128::MAX / u128::from(n_shards);
        let shards = (0..n_shards).map(|number| {
            let first = step * u128::from(number);
            let last = if number + 1 == n_shards {
                u128::MAX
            } else {
                first + step - 1
            };
            Shard::new(number, Vec::new(), first..=last, now)
        });
        Self {
            name: name.to_owned(),
            created: now,
            consumers: Vec::new(),
            shards: shards.collect(),
        }
    }

    pub(super) fn arn(&self) -> String {
        format!(
            "arn:aws:kinesis:us-east-1:000000000000:stream/{}",
            self.name
        )
    }

    pub(super) fn n_open_shards(&self) -> usize {
        self.shards.iter().filter(|shard| shard.is_open()).count()
    }

    pub(super) fn put(&mut self, key: &str, data: &[u8], now: u64) -> PutResult {
        let hash_key = u128::from_be_bytes(Md5::digest(key).into());
        let mut shards = self.shards.iter_mut();
        let shard = shards
            .find(|shard| shard.is_open() && shard.hash_keys.contains(&hash_key))
            .expect("the open shards cover all hash keys");
        PutResult {
            sequence_number: shard.put(key, data, now).to_string(),
            shard_id: shard_id(shard.number),
        }
    }

    pub(super) fn trim_all(&mut self) {
        self.shards.iter_mut().for_each(Shard::trim_all);
    }

    pub(super) fn shard(&self, id: &str) -> Result<&Shard, AwsError> {
        let shard = shard_number(id).and_then(|number| self.shard_by_number(number));
        shard.ok_or_else(|| {
            let name = &self.name;
            AwsError::not_found(format!("Shard {id} in stream {name} does not exist"))
        })
    }

    pub(super) fn shard_by_number(&self, number: u32) -> Option<&Shard> {
        self.shards.get(number as usize)
    }

    /// The `ChildShards` of a response that ends a shard.
    pub(super) fn children_json(&self, shard: &Shard) -> Value {
        let closed = shard.closed.as_ref();
        let children = closed.map_or(&[][..], |closed| &closed.children[..]);
        let children = children
            .iter()
            .filter_map(|number| self.shard_by_number(*number));
        children.map(Shard::to_child_json).collect()
    }

    /// All shards, closed ones included, from this number on.
    pub(super) fn shards_from(&self, number: u32) -> &[Shard] {
        self.shards.get(number as usize..).unwrap_or_default()
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SplitShard.html>
    pub(super) fn split(&mut self, id: &str, now: u64) -> Result<(), AwsError> {
        let parent = self.open_shard(id)?;
        let (number, first, last) = (
            parent.number,
            *parent.hash_keys.start(),
            *parent.hash_keys.end(),
        );
        if first == last {
            let message = format!("Shard {id} in stream {} has one hash key", self.name);
            return Err(AwsError::invalid_argument(message));
        }
        let middle = first + (last - first).div_ceil(2);
        let low = self.add_child(vec![number], first..=middle - 1, now);
        let high = self.add_child(vec![number], middle..=last, now);
        self.close(number, vec![low, high], now);
        Ok(())
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_MergeShards.html>
    pub(super) fn merge(&mut self, id: &str, adjacent: &str, now: u64) -> Result<(), AwsError> {
        let (first, second) = (self.open_shard(id)?, self.open_shard(adjacent)?);
        let (number, other) = (first.number, second.number);
        let (a, b) = (&first.hash_keys, &second.hash_keys);
        let are_adjacent = a.end().checked_add(1) == Some(*b.start())
            || b.end().checked_add(1) == Some(*a.start());
        if !are_adjacent {
            return Err(AwsError::invalid_argument(format!(
                "Shards {id} and {adjacent} in stream {} are not an adjacent pair of shards \
                 eligible for merging",
                self.name
            )));
        }
        let hash_keys = *a.start().min(b.start())..=*a.end().max(b.end());
        let child = self.add_child(vec![number, other], hash_keys, now);
        self.close(number, vec![child], now);
        self.close(other, vec![child], now);
        Ok(())
    }

    /// Parses a sequence number that must come from this shard.
    pub(super) fn parse_number(
        &self,
        shard: &Shard,
        text: &str,
    ) -> Result<SequenceNumber, AwsError> {
        let number = SequenceNumber::parse(text).ok_or_else(|| {
            AwsError::invalid_argument(format!(
                "StartingSequenceNumber {text} is not a sequence number"
            ))
        })?;
        let (first, last) = shard.number_range();
        if number.shard() != shard.number
            || number < first
            || last.is_some_and(|last| last < number)
        {
            return Err(AwsError::invalid_argument(format!(
                "StartingSequenceNumber {text} used in GetShardIterator on shard {} in stream {} \
                 is invalid because it did not come from this shard",
                shard_id(shard.number),
                self.name
            )));
        }
        Ok(number)
    }

    fn open_shard(&self, id: &str) -> Result<&Shard, AwsError> {
        let shard = self.shard(id)?;
        if !shard.is_open() {
            let message = format!("Shard {id} in stream {} is already closed", self.name);
            return Err(AwsError::new("ResourceInUseException", message));
        }
        Ok(shard)
    }

    fn add_child(&mut self, parents: Vec<u32>, hash_keys: RangeInclusive<u128>, now: u64) -> u32 {
        let number = u32::try_from(self.shards.len()).expect("sequence numbers have six digits");
        // Later than all parents even if the clock has not moved, so that sequence numbers grow.
        let earliest = parents
            .iter()
            .map(|parent| self.shards[*parent as usize].created + 1)
            .max();
        let created = now.max(earliest.unwrap_or(now));
        self.shards
            .push(Shard::new(number, parents, hash_keys, created));
        number
    }

    fn close(&mut self, number: u32, children: Vec<u32>, now: u64) {
        self.shards[number as usize].closed = Some(Closed { at: now, children });
    }
}

fn no_stream(name: &str) -> AwsError {
    AwsError::not_found(format!(
        "Stream {name} under account 000000000000 not found."
    ))
}
