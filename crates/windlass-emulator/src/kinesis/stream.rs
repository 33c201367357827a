//! A stream: its shards, and how they split and merge.

use std::ops::RangeInclusive;

use super::number::SequenceNumber;
use super::refusal::Refusal;
use super::shard::{Closed, Shard, shard_id, shard_number};
use crate::md5;

/// How long records are kept: AWS's default.
///
/// <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
pub(super) const RETENTION_HOURS: u64 = 24;

/// More than any account has; sequence numbers have room for a hundred times as many.
pub(super) const MOST_SHARDS: u32 = 10_000;

/// The place of a record, as a put answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The shard that took it.
    pub shard_id: String,
    /// Its number there: a decimal of 56 digits.
    pub sequence_number: String,
}

/// Which shards ListShards shows. Times are milliseconds since 1970.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ShardFilter.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShardFilter {
    All,
    AfterShard(u32),
    AtTrimHorizon,
    FromTrimHorizon,
    AtLatest,
    AtTimestamp(u64),
    FromTimestamp(u64),
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) created: u64,
    pub(super) on_demand: bool,
    shards: Vec<Shard>,
}

impl Stream {
    /// A stream whose shards share the hash keys evenly.
    pub(super) fn new(name: &str, n_shards: u32, on_demand: bool, now: u64) -> Self {
        let step = u128::MAX / u128::from(n_shards);
        let shards = (0..n_shards).map(|number| {
            let first = step * u128::from(number);
            let last = if number + 1 == n_shards {
                u128::MAX
            } else {
                step * u128::from(number + 1) - 1
            };
            Shard::new(number, Vec::new(), first..=last, now)
        });
        Self {
            name: name.to_owned(),
            created: now,
            on_demand,
            shards: shards.collect(),
        }
    }

    /// Its ARN, in the one account and region that there is.
    pub(super) fn arn(&self) -> String {
        arn_of(&self.name)
    }

    pub(super) fn n_open(&self) -> usize {
        self.shards.iter().filter(|shard| shard.is_open()).count()
    }

    /// Takes a record whose data is given in base64, with its size before that.
    pub(super) fn put(
        &mut self,
        key: &str,
        explicit_hash_key: Option<u128>,
        data: &str,
        size: usize,
        now: u64,
    ) -> Placed {
        let hash_key = explicit_hash_key.unwrap_or_else(|| hash_key_of(key));
        let horizon = now.saturating_sub(RETENTION_HOURS * 3_600_000);
        let mut shards = self.shards.iter_mut();
        let shard = shards
            .find(|shard| shard.is_open() && shard.hash_keys.contains(&hash_key))
            .expect("open shards cover all hash keys");
        shard.trim(horizon);
        let number = shard.put(key, data, size, now);
        Placed {
            shard_id: shard_id(shard.number),
            sequence_number: number.to_string(),
        }
    }

    /// Forgets what arrived before this time.
    pub(super) fn trim(&mut self, horizon: u64) {
        for shard in &mut self.shards {
            shard.trim(horizon);
        }
    }

    /// A shard by its name.
    pub(super) fn shard(&self, id: &str) -> Result<&Shard, Refusal> {
        let shard = shard_number(id).and_then(|number| self.shards.get(number as usize));
        shard.ok_or_else(|| {
            let name = &self.name;
            Refusal::not_found(format!("Shard {id} in stream {name} does not exist"))
        })
    }

    /// A shard that a list of children or an iterator names.
    pub(super) fn shard_by_number(&self, number: u32) -> Option<&Shard> {
        self.shards.get(number as usize)
    }

    /// The shards that a filter lets through and that come after another.
    pub(super) fn list(&self, filter: ShardFilter, after: Option<u32>) -> Vec<&Shard> {
        let shards = self.shards.iter();
        let shards = shards.filter(|shard| after.is_none_or(|after| after < shard.number));
        shards.filter(|shard| passes(shard, filter)).collect()
    }

    /// Closes a shard; two others take its hash keys below, and from, `at` on.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SplitShard.html>
    pub(super) fn split(&mut self, id: &str, at: u128, now: u64) -> Result<(), Refusal> {
        let parent = self.open_shard(id)?;
        let (number, hash_keys) = (parent.number, parent.hash_keys.clone());
        if at <= *hash_keys.start() || *hash_keys.end() < at {
            return Err(Refusal::invalid(format!(
                "NewStartingHashKey {at} used in SplitShard() on shard {id} in stream {} is both \
                 out of the shard's range {} to {} or its first key",
                self.name,
                hash_keys.start(),
                hash_keys.end()
            )));
        }
        let low = self.open(vec![number], *hash_keys.start()..=at - 1, now)?;
        let high = self.open(vec![number], at..=*hash_keys.end(), now)?;
        self.close(number, vec![low, high], now);
        Ok(())
    }

    /// Closes two shards that lie beside each other; one other takes the hash keys of both.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_MergeShards.html>
    pub(super) fn merge(&mut self, id: &str, adjacent: &str, now: u64) -> Result<(), Refusal> {
        let (first, second) = (self.open_shard(id)?, self.open_shard(adjacent)?);
        let (number, other) = (first.number, second.number);
        let (a, b) = (&first.hash_keys, &second.hash_keys);
        let are_adjacent = a.end().checked_add(1) == Some(*b.start())
            || b.end().checked_add(1) == Some(*a.start());
        if !are_adjacent {
            return Err(Refusal::invalid(format!(
                "Shards {id} and {adjacent} in stream {} are not an adjacent pair of shards \
                 eligible for merging",
                self.name
            )));
        }
        let hash_keys = *a.start().min(b.start())..=*a.end().max(b.end());
        let child = self.open(vec![number, other], hash_keys, now)?;
        self.close(number, vec![child], now);
        self.close(other, vec![child], now);
        Ok(())
    }

    fn open_shard(&self, id: &str) -> Result<&Shard, Refusal> {
        let shard = self.shard(id)?;
        if !shard.is_open() {
            return Err(Refusal {
                code: "ResourceInUseException",
                message: format!("Shard {id} in stream {} is closed already", self.name),
            });
        }
        Ok(shard)
    }

    fn open(
        &mut self,
        parents: Vec<u32>,
        hash_keys: RangeInclusive<u128>,
        now: u64,
    ) -> Result<u32, Refusal> {
        let number = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        if MOST_SHARDS * 10 <= number {
            return Err(too_many_shards());
        }
        // Later than all parents, though the clock may stand still, so that numbers grow.
        let parents_created = parents
            .iter()
            .map(|parent| self.shards[*parent as usize].created);
        let created = parents_created
            .max()
            .map_or(now, |parent| now.max(parent + 1));
        self.shards
            .push(Shard::new(number, parents, hash_keys, created));
        Ok(number)
    }

    fn close(&mut self, number: u32, children: Vec<u32>, now: u64) {
        self.shards[number as usize].closed = Some(Closed { at: now, children });
    }
}

impl Stream {
    /// Refuses a number that another shard gave.
    pub(super) fn expect_number_of(
        &self,
        shard: &Shard,
        text: &str,
    ) -> Result<SequenceNumber, Refusal> {
        let number = SequenceNumber::parse(text).ok_or_else(|| {
            Refusal::invalid(format!(
                "StartingSequenceNumber {text} is not a sequence number"
            ))
        })?;
        let (first, last) = shard.number_range();
        if number.shard() != shard.number
            || number < first
            || last.is_some_and(|last| last < number)
        {
            return Err(Refusal::invalid(format!(
                "StartingSequenceNumber {text} used in GetShardIterator on shard {} in stream {} \
                 is invalid because it did not come from this shard",
                shard_id(shard.number),
                self.name
            )));
        }
        Ok(number)
    }
}

/// The refusal of a stream that grows beyond what is sensible.
pub(super) fn too_many_shards() -> Refusal {
    Refusal {
        code: "LimitExceededException",
        message: format!("a stream has at most {MOST_SHARDS} shards here"),
    }
}

/// The ARN of the stream of this name.
pub(super) fn arn_of(name: &str) -> String {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{name}")
}

fn hash_key_of(key: &str) -> u128 {
    u128::from_be_bytes(md5::digest(key.as_bytes()))
}

fn passes(shard: &Shard, filter: ShardFilter) -> bool {
    match filter {
        // Shards stay listed here, even when their records are gone.
        ShardFilter::All | ShardFilter::FromTrimHorizon => true,
        ShardFilter::AfterShard(after) => after < shard.number,
        ShardFilter::AtTrimHorizon => shard.parents.is_empty(),
        ShardFilter::AtLatest => shard.is_open(),
        ShardFilter::AtTimestamp(time) => shard.was_open_at(time),
        ShardFilter::FromTimestamp(time) => {
            let closed = shard.closed.as_ref();
            closed.is_none_or(|closed| time <= closed.at)
        }
    }
}
