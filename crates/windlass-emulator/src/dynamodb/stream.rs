//! The stream of a table: its shards, and how they follow each other.
//!
//! Partition keys are spread over lanes, and a lane has one open shard at a time. AWS closes it
//! after about four hours and opens a child; here that happens when it is asked for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::record::{Place, ViewType};
use super::refusal::DynamoDbRefusal;
use super::shard::{MOST_SHARDS_EVER, Shard, shard_number};
use super::table::{Change, KeySchema};
use crate::md5;

/// How long records are kept, in milliseconds.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html>
const RETENTION: u64 = 24 * 3_600_000;

/// Where a stream keeps the record of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The shard that took it.
    pub shard_id: String,
    /// Its number there: a decimal of 38 digits.
    pub sequence_number: String,
}

/// A stream. Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) table: String,
    pub(super) created: u64,
    pub(super) view: ViewType,
    schema: KeySchema,
    arn: String,
    /// False when its table is gone.
    is_enabled: bool,
    shards: BTreeMap<u32, Shard>,
    /// The youngest shard of each lane.
    lanes: Vec<u32>,
    next_number: u32,
}

impl Stream {
    pub(super) fn new(
        table: &str,
        schema: &KeySchema,
        view: ViewType,
        n_shards: u32,
        created: u64,
    ) -> Self {
        let shards = (0..n_shards).map(|number| (number, Shard::new(number, None, created)));
        Self {
            table: table.to_owned(),
            created,
            view,
            schema: schema.clone(),
            arn: arn_of(table, created),
            is_enabled: true,
            shards: shards.collect(),
            lanes: (0..n_shards).collect(),
            next_number: n_shards,
        }
    }

    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    /// Writes down a change.
    pub(super) fn put(&mut self, change: &Change, now: u64) -> Changed {
        let hash = u128::from_be_bytes(md5::digest(change.partition.as_bytes()));
        let lane = usize::try_from(hash % self.lanes.len() as u128).expect("a lane's place");
        let shard = self.shards.get_mut(&self.lanes[lane]);
        let shard = shard.expect("the youngest shard of a lane is kept");
        shard.trim(now.saturating_sub(RETENTION));
        let sequence_number = shard.next_number().to_string();
        let place = Place {
            stream_arn: &self.arn,
            sequence_number: &sequence_number,
            created: now,
        };
        let (record, size) = self.view.record(change, &place);
        shard.push(&record, size, now);
        Changed {
            shard_id: shard.id(),
            sequence_number,
        }
    }

    /// Closes each open shard and opens a child of it.
    pub(super) fn roll(&mut self, now: u64) -> Result<(), DynamoDbRefusal> {
        let n_lanes = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX);
        if MOST_SHARDS_EVER - self.next_number < n_lanes {
            return Err(DynamoDbRefusal::new(
                "LimitExceededException",
                format!("a stream has at most {MOST_SHARDS_EVER} shards here"),
            ));
        }
        for lane in &mut self.lanes {
            let parent = self.shards.get_mut(lane);
            let parent = parent.expect("the youngest shard of a lane is kept");
            // Never before its parent, so that numbers grow: a stream that follows another of the
            // same millisecond was made ahead of the clock.
            let created = now.max(parent.created);
            parent.closed = Some(created);
            let child = Shard::new(self.next_number, Some(parent), created);
            *lane = child.number;
            self.next_number += 1;
            self.shards.insert(child.number, child);
        }
        Ok(())
    }

    /// Closes all shards: there will be no more changes.
    pub(super) fn disable(&mut self, now: u64) {
        self.is_enabled = false;
        for shard in self.shards.values_mut() {
            shard.closed.get_or_insert(now);
        }
    }

    /// Forgets what is older than AWS keeps; a closed shard goes with its last records.
    pub(super) fn expire(&mut self, now: u64) {
        let horizon = now.saturating_sub(RETENTION);
        self.trim(horizon);
        self.forget_closed(horizon);
    }

    /// Whether it has nothing left, and never will have.
    pub(super) fn is_over(&self) -> bool {
        self.shards.is_empty()
    }

    /// Forgets the records created before this time.
    pub(super) fn trim(&mut self, horizon: u64) {
        for shard in self.shards.values_mut() {
            shard.trim(horizon);
        }
    }

    /// Forgets the shards closed before this time.
    pub(super) fn forget_closed(&mut self, horizon: u64) {
        self.shards
            .retain(|_, shard| shard.closed.is_none_or(|closed| horizon <= closed));
    }

    /// A shard by its name.
    pub(super) fn shard(&self, id: &str) -> Result<&Shard, DynamoDbRefusal> {
        let shard = self.shards.get(&shard_number(id)?);
        let shard = shard.filter(|shard| shard.id() == id);
        shard.ok_or_else(|| no_shard(id, &self.arn))
    }

    /// The shard of an iterator.
    pub(super) fn shard_by_number(&self, number: u32) -> Result<&Shard, DynamoDbRefusal> {
        let shard = self.shards.get(&number);
        shard.ok_or_else(|| no_shard(&number.to_string(), &self.arn))
    }

    /// It as DescribeStream shows it: at most `limit` shards, after another, of one parent.
    pub(super) fn to_json(&self, after: Option<u32>, limit: usize, parent: Option<u32>) -> Value {
        let shards = self.shards.values().filter(|shard| {
            after.is_none_or(|after| after < shard.number)
                && parent.is_none_or(|parent| shard.parent == Some(parent))
        });
        let mut shards = shards.peekable();
        let shown: Vec<&Shard> = shards.by_ref().take(limit).collect();
        let rendered: Vec<Value> = shown.iter().map(|shard| shard.to_json()).collect();
        let status = if self.is_enabled {
            "ENABLED"
        } else {
            "DISABLED"
        };
        let mut stream = json!({
            "StreamArn": self.arn,
            "StreamLabel": label(self.created),
            "StreamStatus": status,
            "StreamViewType": self.view.name(),
            "CreationRequestDateTime": self.created / 1000,
            "TableName": self.table,
            "KeySchema": self.schema.to_json(),
            "Shards": rendered,
        });
        if let Some(last) = shown.last().filter(|_| shards.peek().is_some()) {
            stream["LastEvaluatedShardId"] = last.id().into();
        }
        stream
    }
}

/// The ARN of a table, in the one account and region that there is.
pub(super) fn table_arn(table: &str) -> String {
    format!(
        "arn:aws:dynamodb:{}:000000000000:table/{table}",
        super::REGION
    )
}

/// The ARN of a stream made at this time.
pub(super) fn arn_of(table: &str, created: u64) -> String {
    format!("{}/stream/{}", table_arn(table), label(created))
}

/// What tells the streams of a table apart: when each was made.
pub(super) fn label(created: u64) -> String {
    let time = i64::try_from(created).ok();
    let time = time.and_then(|time| jiff::Timestamp::from_millisecond(time).ok());
    let time = time.unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%3f").to_string()
}

fn no_shard(shard: &str, arn: &str) -> DynamoDbRefusal {
    DynamoDbRefusal::not_found(&format!("Shard: {shard} in Stream: {arn}"))
}
