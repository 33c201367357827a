//! The stream of a benchmark: all records are equal except for their sequence numbers, so none is
//! stored.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use super::pace::Pace;
use super::page::PageTemplate;
use super::{BenchCounts, invalid};
use crate::kinesis::event_stream;
use crate::kinesis::fan_out::{EVENT, MAX_EVENT_RECORDS, Piece};
use crate::kinesis::sequence_number::SequenceNumber;
use crate::kinesis::shard::{shard_id, shard_number};
use crate::protocol::{AwsError, parse_request};

/// Shards of one ListShards.
const MAX_LISTED_SHARDS: u32 = 1_000;

/// Between events without records.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The shape of a benchmark's stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamLoad {
    /// Open shards, at least 1.
    pub shards: u32,
    /// Bytes of data of each record.
    pub record_bytes: u32,
    /// How long a read of a shard takes.
    pub read_delay: Duration,
}

#[derive(Debug)]
pub(super) struct Stream {
    template: PageTemplate,
    n_shards: u32,
    /// Records that may be read, over all shards.
    released: AtomicU64,
    /// Wakes subscriptions when more are released.
    changed: Notify,
    read: AtomicU64,
    delivered: AtomicU64,
    invocations: AtomicU64,
    shards_read: AtomicU64,
    pace: Pace,
    read_delay: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListShards {
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetShardIterator {
    shard_id: String,
    shard_iterator_type: String,
    starting_sequence_number: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SubscribeToShard {
    shard_id: String,
    starting_position: StartingPosition,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartingPosition {
    #[serde(rename = "Type")]
    kind: String,
    sequence_number: Option<String>,
}

/// Where a subscription continues.
#[derive(Debug)]
pub(super) struct Subscription {
    shard: u32,
    index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecords {
    shard_iterator: String,
    limit: Option<u32>,
}

impl Stream {
    pub(super) fn new(load: StreamLoad) -> Self {
        Self {
            template: PageTemplate::new(load.record_bytes as usize),
            n_shards: load.shards,
            released: AtomicU64::new(0),
            changed: Notify::new(),
            read: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            invocations: AtomicU64::new(0),
            shards_read: AtomicU64::new(0),
            pace: Pace::new(load.shards),
            read_delay: load.read_delay,
        }
    }

    pub(super) fn release(&self, records: u64) {
        self.released.fetch_add(records, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// An event has arrived at the function.
    pub(super) fn deliver(&self, records: u64) {
        self.invocations.fetch_add(1, Ordering::Relaxed);
        self.delivered.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> BenchCounts {
        BenchCounts {
            read: self.read.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
            invocations: self.invocations.load(Ordering::Relaxed),
            shards_read: self.shards_read.load(Ordering::Relaxed),
            reads: self.pace.reads(),
            reads_on_time: self.pace.on_time(),
            ..BenchCounts::default()
        }
    }

    /// Released records of one shard.
    pub(super) fn available(&self, shard: u32) -> u64 {
        let n_shards = u64::from(self.n_shards);
        let released = self.released.load(Ordering::Relaxed);
        released / n_shards + u64::from(u64::from(shard) < released % n_shards)
    }

    pub(super) fn record_length(&self) -> usize {
        self.template.record_length()
    }

    /// Executes an operation of Kinesis.
    pub(super) async fn call(&self, operation: &str, body: &[u8]) -> Result<Bytes, AwsError> {
        let response = match operation {
            "GetRecords" => {
                if !self.read_delay.is_zero() {
                    tokio::time::sleep(self.read_delay).await;
                }
                return self.get_records(body);
            }
            "ListShards" => self.list_shards(body)?,
            "GetShardIterator" => self.get_shard_iterator(body)?,
            "DescribeStreamSummary" => self.describe_summary(),
            "DescribeStreamConsumer" => describe_consumer(),
            _ => return Err(AwsError::unknown_operation("the bench stream", operation)),
        };
        Ok(response.to_string().into())
    }

    fn describe_summary(&self) -> Value {
        json!({"StreamDescriptionSummary": {
            "StreamName": "bench",
            "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/bench",
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_700_000_000,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "OpenShardCount": self.n_shards,
        }})
    }

    pub(super) fn list_shards(&self, body: &[u8]) -> Result<Value, AwsError> {
        let request: ListShards = parse_request(body)?;
        let first: u32 = match request.next_token {
            Some(token) => token.parse().map_err(|_| invalid("NextToken"))?,
            None => 0,
        };
        let end = self.n_shards.min(first.saturating_add(MAX_LISTED_SHARDS));
        let step = u128::MAX / u128::from(self.n_shards);
        let shards = (first..end).map(|shard| {
            let first = step * u128::from(shard);
            let last = if shard + 1 == self.n_shards {
                u128::MAX
            } else {
                first + step - 1
            };
            json!({
                "ShardId": shard_id(shard),
                "HashKeyRange": {
                    "StartingHashKey": first.to_string(), "EndingHashKey": last.to_string(),
                },
                "SequenceNumberRange": {
                    "StartingSequenceNumber": self.template.sequence_number(shard, 0).as_str(),
                },
            })
        });
        let shards: Vec<Value> = shards.collect();
        let mut response = json!({"Shards": shards});
        if end < self.n_shards {
            response["NextToken"] = end.to_string().into();
        }
        Ok(response)
    }

    pub(super) fn get_shard_iterator(&self, body: &[u8]) -> Result<Value, AwsError> {
        let request: GetShardIterator = parse_request(body)?;
        let number = request.starting_sequence_number.as_deref();
        let start = self.start(&request.shard_id, &request.shard_iterator_type, number);
        let Subscription { shard, index } = start?;
        Ok(json!({"ShardIterator": format!("{shard}:{index}")}))
    }

    /// A subscription that reads the shard for the first time counts as a read.
    pub(super) fn subscribe(&self, body: &[u8]) -> Result<Subscription, AwsError> {
        let request: SubscribeToShard = parse_request(body)?;
        let StartingPosition {
            kind,
            sequence_number,
        } = request.starting_position;
        let start = self.start(&request.shard_id, &kind, sequence_number.as_deref())?;
        self.count_read(start.shard)?;
        Ok(start)
    }

    /// Sends events as fast as they are taken, until the client is gone.
    pub(super) async fn send_events(
        &self,
        subscription: Subscription,
        pieces: mpsc::Sender<Piece>,
    ) {
        let Subscription { shard, mut index } = subscription;
        let mut message = event_stream::initial_response();
        // The first event comes at once.
        let mut waits = false;
        while pieces.send(Piece::Bytes(message)).await.is_ok() {
            let changed = self.changed.notified();
            if std::mem::replace(&mut waits, true) && self.available(shard) <= index {
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep(HEARTBEAT) => {}
                    () = pieces.closed() => return,
                }
            }
            let available = self.available(shard).saturating_sub(index);
            let limit = MAX_EVENT_RECORDS as u64;
            let page = self.template.event(shard, index, limit, available);
            self.read.fetch_add(page.n_records, Ordering::Relaxed);
            index += page.n_records;
            message = event_stream::event(EVENT, &page.body);
        }
    }

    /// The shard and the index at which a reader begins.
    fn start(
        &self,
        shard: &str,
        kind: &str,
        number: Option<&str>,
    ) -> Result<Subscription, AwsError> {
        let shard = shard_number(shard).filter(|shard| *shard < self.n_shards);
        let shard = shard.ok_or_else(|| invalid("ShardId"))?;
        let number = || {
            let number = number.and_then(SequenceNumber::parse);
            number.ok_or_else(|| invalid("StartingSequenceNumber"))
        };
        let index = match kind {
            "TRIM_HORIZON" => 0,
            "LATEST" => self.available(shard),
            "AT_SEQUENCE_NUMBER" => number()?.index(),
            "AFTER_SEQUENCE_NUMBER" => number()?.index() + 1,
            _ => return Err(invalid("the kind of the starting position")),
        };
        Ok(Subscription { shard, index })
    }

    fn count_read(&self, shard: u32) -> Result<(), AwsError> {
        let is_first = self.pace.read(shard).ok_or_else(|| invalid("ShardId"))?;
        self.shards_read
            .fetch_add(u64::from(is_first), Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn get_records(&self, body: &[u8]) -> Result<Bytes, AwsError> {
        let request: GetRecords = parse_request(body)?;
        let iterator = request.shard_iterator.split_once(':');
        let iterator =
            iterator.and_then(|(shard, index)| Some((shard.parse().ok()?, index.parse().ok()?)));
        let (shard, index): (u32, u64) = iterator.ok_or_else(|| invalid("ShardIterator"))?;
        self.count_read(shard)?;
        let available = self.available(shard).saturating_sub(index);
        let limit = u64::from(request.limit.unwrap_or(u32::MAX).max(1));
        let page = self.template.page(shard, index, limit, available);
        self.read.fetch_add(page.n_records, Ordering::Relaxed);
        Ok(page.body)
    }
}

fn describe_consumer() -> Value {
    json!({"ConsumerDescription": {
        "ConsumerName": "bench",
        "ConsumerARN": "arn:aws:kinesis:us-east-1:000000000000:stream/bench/consumer/bench:1700000000",
        "ConsumerStatus": "ACTIVE",
        "ConsumerCreationTimestamp": 1_700_000_000,
        "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/bench",
    }})
}
