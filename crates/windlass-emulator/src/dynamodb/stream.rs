//! The stream of a table: its shards, and how they succeed each other.
//!
//! Partition keys are distributed over a fixed number of lanes. Each lane has one open shard.

use std::collections::BTreeMap;

use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::attribute::{self, Attributes};
use super::shard::{Shard, shard_number};
use crate::protocol::AwsError;

const REGION: &str = "us-east-1";

/// Open shards of a stream.
const MAX_SHARDS: u32 = 1_000;

/// The streams, by the name of their table.
#[derive(Debug, Default)]
pub(super) struct Streams(BTreeMap<String, Stream>);

/// Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) table: String,
    created: u64,
    arn: String,
    hash_key: String,
    /// The items of the table, by the value of their key.
    items: BTreeMap<String, Attributes>,
    /// Indexed by their number.
    shards: Vec<Shard>,
    /// The open shard of each lane.
    lanes: Vec<usize>,
}

impl Streams {
    pub(super) fn create(
        &mut self,
        table: &str,
        hash_key: &str,
        n_shards: u32,
        now: u64,
    ) -> Result<String, AwsError> {
        if !(1..=MAX_SHARDS).contains(&n_shards) {
            let message = format!("a stream must have between 1 and {MAX_SHARDS} open shards");
            return Err(AwsError::validation(message));
        }
        if self.0.contains_key(table) {
            let message = format!("Table already exists: {table}");
            return Err(AwsError::new("ResourceInUseException", message));
        }
        let arn = format!(
            "arn:aws:dynamodb:{REGION}:000000000000:table/{table}/stream/{}",
            label(now)
        );
        let stream = Stream {
            table: table.to_owned(),
            created: now,
            arn: arn.clone(),
            hash_key: hash_key.to_owned(),
            items: BTreeMap::new(),
            shards: (0..n_shards)
                .map(|number| Shard::new(number, None, now))
                .collect(),
            lanes: (0..n_shards as usize).collect(),
        };
        self.0.insert(table.to_owned(), stream);
        Ok(arn)
    }

    pub(super) fn of_table(&self, table: &str) -> Result<&Stream, AwsError> {
        self.0.get(table).ok_or_else(|| no_table(table))
    }

    pub(super) fn of_table_mut(&mut self, table: &str) -> Result<&mut Stream, AwsError> {
        self.0.get_mut(table).ok_or_else(|| no_table(table))
    }

    pub(super) fn of_arn(&self, arn: &str) -> Result<&Stream, AwsError> {
        let mut streams = self.0.values();
        let stream = streams.find(|stream| stream.arn == arn);
        stream.ok_or_else(|| not_found(&format!("Stream: {arn}")))
    }
}

impl Stream {
    pub(super) fn put_item(&mut self, key: &str, mut item: Attributes, now: u64) {
        let key_value = json!({"S": key});
        item.insert(self.hash_key.clone(), key_value.clone());
        let old = self.items.insert(key.to_owned(), item.clone());
        if old.as_ref() == Some(&item) {
            return;
        }
        let hash = u128::from_be_bytes(Md5::digest(key).into());
        let lane = usize::try_from(hash % self.lanes.len() as u128).expect("lanes are few");
        let shard = &mut self.shards[self.lanes[lane]];
        let keys = Attributes::from_iter([(self.hash_key.clone(), key_value)]);
        let number = shard.next_sequence_number().to_string();
        let (record, size) = record(&self.arn, &number, &keys, old.as_ref(), &item, now);
        shard.push(&record, size);
    }

    /// Closes each open shard and opens a child of it.
    pub(super) fn roll(&mut self, now: u64) {
        for lane in &mut self.lanes {
            let number = u32::try_from(self.shards.len()).expect("shard ids have eight digits");
            let parent = &mut self.shards[*lane];
            parent.close();
            let child = Shard::new(number, Some(parent), now);
            *lane = self.shards.len();
            self.shards.push(child);
        }
    }

    pub(super) fn trim_all(&mut self) {
        self.shards.iter_mut().for_each(Shard::trim_all);
    }

    pub(super) fn shard(&self, id: &str) -> Result<&Shard, AwsError> {
        let shard = shard_number(id).and_then(|number| self.shard_by_number(number));
        let shard = shard.filter(|shard| shard.id() == id);
        shard.ok_or_else(|| not_found(&format!("Shard: {id} in Stream: {}", self.arn)))
    }

    pub(super) fn shard_by_number(&self, number: u32) -> Option<&Shard> {
        self.shards.get(number as usize)
    }

    /// The `StreamDescription`, with up to `limit` shards from this number on.
    pub(super) fn describe(&self, first_shard: usize, limit: usize) -> Value {
        let shards = self.shards.get(first_shard..).unwrap_or_default();
        let page = &shards[..shards.len().min(limit)];
        let mut description = json!({
            "StreamArn": self.arn,
            "StreamLabel": label(self.created),
            "StreamStatus": "ENABLED",
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            "CreationRequestDateTime": self.created / 1000,
            "TableName": self.table,
            "KeySchema": [{"AttributeName": self.hash_key, "KeyType": "HASH"}],
            "Shards": page.iter().map(Shard::to_json).collect::<Vec<_>>(),
        });
        if let Some(last) = page.last().filter(|_| page.len() < shards.len()) {
            description["LastEvaluatedShardId"] = last.id().into();
        }
        description
    }
}

/// The record of a change, and its `SizeBytes`. The creation time has whole seconds, as in AWS.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html>
fn record(
    stream_arn: &str,
    sequence_number: &str,
    keys: &Attributes,
    old: Option<&Attributes>,
    new: &Attributes,
    now: u64,
) -> (Value, usize) {
    let size = attribute::size(keys) + attribute::size(new) + old.map_or(0, attribute::size);
    let mut change = json!({
        "ApproximateCreationDateTime": now / 1000,
        "Keys": keys,
        "NewImage": new,
        "SequenceNumber": sequence_number,
        "SizeBytes": size,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    });
    if let Some(old) = old {
        change["OldImage"] = old.clone().into();
    }
    let id = Md5::digest(format!("{stream_arn}/{sequence_number}"));
    let record = json!({
        "awsRegion": REGION,
        "dynamodb": change,
        "eventID": format!("{id:x}"),
        "eventName": if old.is_some() { "MODIFY" } else { "INSERT" },
        "eventSource": "aws:dynamodb",
        "eventVersion": "1.1",
    });
    (record, size)
}

/// The stream's label: its creation time.
fn label(created: u64) -> String {
    let time = i64::try_from(created).ok();
    let time = time.and_then(|time| jiff::Timestamp::from_millisecond(time).ok());
    let time = time.unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%3f").to_string()
}

fn no_table(name: &str) -> AwsError {
    not_found(&format!("Table: {name}"))
}

fn not_found(resource: &str) -> AwsError {
    AwsError::not_found(format!(
        "Requested resource not found: {resource} not found"
    ))
}
