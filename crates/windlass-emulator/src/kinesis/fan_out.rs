//! Enhanced fan-out: consumers, and their subscriptions to shards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Kinesis;
use super::event_stream::{event, exception, initial_response};
use super::operations::{StartingPoint, records_json, starting_offset};
use super::requests::{DescribeStreamConsumer, SubscribeToShard};
use super::stream::Stream;
use crate::faults::Fault;
use crate::protocol::{AwsError, parse_request};

/// Records of one event.
pub(crate) const MAX_EVENT_RECORDS: usize = 1_000;

pub(crate) const EVENT: &str = "SubscribeToShardEvent";

const IN_USE: &str = "ResourceInUseException";

/// The times of subscriptions; the default is AWS's.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html>
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionTimes {
    /// After which a subscription ends.
    pub lifetime: Duration,
    /// Between events without records.
    pub heartbeat: Duration,
    /// After the start of a subscription, before another one can replace it.
    pub takeover: Duration,
}

impl Default for SubscriptionTimes {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(5 * 60),
            heartbeat: Duration::from_secs(5),
            takeover: Duration::from_secs(5),
        }
    }
}

/// A consumer of a stream.
#[derive(Debug)]
pub(super) struct Consumer {
    name: String,
    /// Milliseconds since 1970.
    created: u64,
    /// The last subscription to each shard: when it began, and what ends it.
    subscriptions: BTreeMap<u32, (u64, oneshot::Sender<()>)>,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    stream: String,
    shard: u32,
    offset: u64,
    times: SubscriptionTimes,
    /// Completes when another subscription replaces this one.
    replaced: oneshot::Receiver<()>,
}

/// A piece of the body, or the end of the connection.
pub(crate) enum Piece {
    Bytes(Bytes),
    Break,
}

impl Consumer {
    pub(super) fn new(name: &str, now: u64) -> Self {
        Self {
            name: name.to_owned(),
            created: now,
            subscriptions: BTreeMap::new(),
        }
    }

    pub(super) fn arn(&self, stream: &Stream) -> String {
        let seconds = self.created / 1000;
        format!("{}/consumer/{}:{seconds}", stream.arn(), self.name)
    }

    fn to_json(&self, stream: &Stream) -> Value {
        json!({
            "ConsumerName": self.name,
            "ConsumerARN": self.arn(stream),
            "ConsumerStatus": "ACTIVE",
            "ConsumerCreationTimestamp": self.created / 1000,
            "StreamARN": stream.arn(),
        })
    }
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStreamConsumer.html>
pub(super) fn describe_stream_consumer(
    kinesis: &Kinesis,
    request: &DescribeStreamConsumer,
) -> Result<Bytes, AwsError> {
    let streams = kinesis.lock();
    let stream = streams.get(stream_of(&request.consumer_arn)?)?;
    let consumer = stream.consumers.iter();
    let mut consumer = consumer.filter(|it| it.arn(stream) == request.consumer_arn);
    let consumer = consumer
        .next()
        .ok_or_else(|| no_consumer(&request.consumer_arn))?;
    let response = json!({"ConsumerDescription": consumer.to_json(stream)});
    Ok(response.to_string().into())
}

fn stream_of(consumer_arn: &str) -> Result<&str, AwsError> {
    let stream = consumer_arn.split_once(":stream/").map(|(_, rest)| rest);
    let stream = stream.and_then(|rest| rest.split_once("/consumer/"));
    stream.map(|(name, _)| name).ok_or_else(|| {
        AwsError::validation(format!("'{consumer_arn}' is not the ARN of a consumer"))
    })
}

fn no_consumer(arn: &str) -> AwsError {
    AwsError::not_found(format!("Consumer {arn} not found."))
}

impl Kinesis {
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html>
    pub(crate) fn subscribe(&self, body: &[u8]) -> Result<Subscription, AwsError> {
        self.subscribe_calls.fetch_add(1, Ordering::Relaxed);
        let request: SubscribeToShard = parse_request(body)?;
        let (now, times) = (self.clock.now_ms(), self.times());
        let mut streams = self.lock();
        let stream = streams.get_mut(stream_of(&request.consumer_arn)?)?;
        let shard = stream.shard(&request.shard_id)?;
        let point = StartingPoint {
            kind: &request.starting_position.kind,
            number: request.starting_position.sequence_number.as_deref(),
            timestamp: request.starting_position.timestamp,
        };
        let (number, offset) = (shard.number, starting_offset(stream, shard, &point, now)?);
        let arns: Vec<_> = stream.consumers.iter().map(|it| it.arn(stream)).collect();
        let index = arns.iter().position(|arn| *arn == request.consumer_arn);
        let index = index.ok_or_else(|| no_consumer(&request.consumer_arn))?;
        let name = stream.name.clone();
        let subscriptions = &mut stream.consumers[index].subscriptions;
        let takeover = u64::try_from(times.takeover.as_millis()).unwrap_or(u64::MAX);
        if subscriptions
            .get(&number)
            .is_some_and(|(began, _)| now < began.saturating_add(takeover))
        {
            let message = "Another active subscription exists for this consumer.";
            return Err(AwsError::new(IN_USE, message));
        }
        let (replace, replaced) = oneshot::channel();
        subscriptions.insert(number, (now, replace));
        Ok(Subscription {
            stream: name,
            shard: number,
            offset,
            times,
            replaced,
        })
    }
}

impl Subscription {
    /// Sends events until the subscription ends, as fast as they are taken.
    pub(crate) async fn run(
        mut self,
        kinesis: Arc<Kinesis>,
        fault: Option<Fault>,
        pieces: mpsc::Sender<Piece>,
    ) {
        let end = Instant::now() + self.times.lifetime;
        let mut is_first = true;
        if pieces.send(Piece::Bytes(initial_response())).await.is_err() {
            return;
        }
        if fault == Some(Fault::SilentResponse) {
            return pieces.closed().await;
        }
        loop {
            let changed = kinesis.changed.notified();
            let Ok((message, is_last, has_records)) = self.next_event(&kinesis) else {
                return; // The stream was deleted.
            };
            if has_records || is_last || is_first {
                is_first = false;
                let pieces_of_fault = match &fault {
                    Some(Fault::TruncateResponse) if has_records => {
                        vec![
                            Piece::Bytes(message.slice(..message.len() / 2)),
                            Piece::Break,
                        ]
                    }
                    Some(Fault::CorruptResponse) if has_records => {
                        let mut broken = message.to_vec();
                        let middle = broken.len() / 2;
                        broken[middle] ^= 1;
                        vec![Piece::Bytes(broken.into())]
                    }
                    _ => vec![Piece::Bytes(message)],
                };
                for piece in pieces_of_fault {
                    if pieces.send(piece).await.is_err() {
                        return;
                    }
                }
                if is_last {
                    return;
                }
                if has_records {
                    continue;
                }
            }
            let heartbeat = tokio::time::sleep(self.times.heartbeat);
            tokio::select! {
                () = changed => {}
                () = heartbeat => is_first = true,
                () = tokio::time::sleep_until(end) => return,
                _ = &mut self.replaced => {
                    let text = json!({"message": "Another subscription has replaced this one."});
                    let message = exception(IN_USE, text.to_string().as_bytes());
                    let _closed = pieces.send(Piece::Bytes(message)).await;
                    return;
                }
                () = pieces.closed() => return,
            }
        }
    }

    /// The next event, whether it is the last one, and whether it has records.
    fn next_event(&mut self, kinesis: &Kinesis) -> Result<(Bytes, bool, bool), AwsError> {
        let now = kinesis.clock.now_ms();
        let streams = kinesis.lock();
        let stream = streams.get(&self.stream)?;
        let shard = stream.shard_by_number(self.shard);
        let shard = shard.ok_or_else(|| AwsError::not_found("the shard is gone"))?;
        let page = shard.read(self.offset, MAX_EVENT_RECORDS, now);
        let has_records = !page.records.is_empty();
        self.offset = page.next_offset;
        let mut rest = json!({"MillisBehindLatest": page.millis_behind_latest});
        if page.end_of_shard {
            rest["ChildShards"] = stream.children_json(shard);
        } else {
            rest["ContinuationSequenceNumber"] = shard.number_before(self.offset).as_str().into();
        }
        let payload = records_json(&page.records, &rest);
        Ok((event(EVENT, &payload), page.end_of_shard, has_records))
    }
}
