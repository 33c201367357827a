//! The operations of Kinesis, from request to response body.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Kinesis;
use super::fan_out::describe_stream_consumer;
use super::requests::{
    DescribeStreamSummary, GetRecords, GetShardIterator, ListShards, stream_name,
};
use super::shard::Shard;
use super::stream::{Stream, Streams};
use crate::protocol::{AwsError, parse_request};
use crate::shard_iterator::ShardIterator;

/// Records of one GetRecords, and its default limit.
const MAX_RECORDS: usize = 10_000;

/// Shards of one ListShards.
const MAX_LISTED_SHARDS: usize = 1_000;

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>
const MAX_ITERATOR_AGE: Duration = Duration::from_secs(5 * 60);

/// `now` is in milliseconds since 1970.
pub(super) fn execute(
    kinesis: &Kinesis,
    operation: &str,
    body: &[u8],
    now: u64,
) -> Result<Bytes, AwsError> {
    if operation == "DescribeStreamConsumer" {
        return describe_stream_consumer(kinesis, &parse_request(body)?);
    }
    let streams = &*kinesis.lock();
    match operation {
        "DescribeStreamSummary" => describe_stream_summary(streams, &parse_request(body)?),
        "ListShards" => list_shards(streams, &parse_request(body)?),
        "GetShardIterator" => get_shard_iterator(streams, &parse_request(body)?, now),
        "GetRecords" => get_records(streams, &parse_request(body)?, now),
        other => Err(AwsError::unknown_operation("Kinesis", other)),
    }
}

fn describe_stream_summary(
    streams: &Streams,
    request: &DescribeStreamSummary,
) -> Result<Bytes, AwsError> {
    let name = stream_name(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )?;
    let stream = streams.get(name)?;
    let response = json!({"StreamDescriptionSummary": {
        "StreamName": stream.name,
        "StreamARN": stream.arn(),
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": stream.created / 1000,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
        "OpenShardCount": stream.n_open_shards(),
        "ConsumerCount": 0,
    }});
    Ok(response.to_string().into())
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
fn list_shards(streams: &Streams, request: &ListShards) -> Result<Bytes, AwsError> {
    let name = stream_name(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    );
    let (name, first) = match &request.next_token {
        Some(_) if name.is_ok() => {
            let message = "NextToken and StreamName cannot be provided together.";
            return Err(AwsError::invalid_argument(message));
        }
        Some(token) => parse_token(token)
            .ok_or_else(|| AwsError::new("ExpiredNextTokenException", "NextToken is not valid"))?,
        None => (name?.to_owned(), 0),
    };
    let shards = streams.get(&name)?.shards_from(first);
    let page = &shards[..shards.len().min(MAX_LISTED_SHARDS)];
    let listed: Vec<Value> = page.iter().map(Shard::to_listed_json).collect();
    let mut response = json!({"Shards": listed});
    if let Some(next) = shards.get(page.len()) {
        response["NextToken"] = token(&name, next.number).into();
    }
    Ok(response.to_string().into())
}

fn token(stream: &str, first_shard: u32) -> String {
    base64_simd::STANDARD.encode_to_string(format!("{stream}/{first_shard}"))
}

fn parse_token(token: &str) -> Option<(String, u32)> {
    let text = base64_simd::STANDARD.decode_to_vec(token).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (stream, first_shard) = text.split_once('/')?;
    Some((stream.to_owned(), first_shard.parse().ok()?))
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>
fn get_shard_iterator(
    streams: &Streams,
    request: &GetShardIterator,
    now: u64,
) -> Result<Bytes, AwsError> {
    let name = stream_name(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )?;
    let stream = streams.get(name)?;
    let shard = stream.shard(&request.shard_id)?;
    let point = StartingPoint {
        kind: &request.shard_iterator_type,
        number: request.starting_sequence_number.as_deref(),
        timestamp: request.timestamp,
    };
    let iterator = ShardIterator {
        stream: stream.name.clone(),
        shard: shard.number,
        offset: starting_offset(stream, shard, &point, now)?,
        issued: now,
    };
    let response = json!({"ShardIterator": iterator.encode()});
    Ok(response.to_string().into())
}

/// Where an iterator or a subscription begins.
pub(super) struct StartingPoint<'a> {
    pub(super) kind: &'a str,
    pub(super) number: Option<&'a str>,
    /// Seconds since 1970.
    pub(super) timestamp: Option<f64>,
}

pub(super) fn starting_offset(
    stream: &Stream,
    shard: &Shard,
    point: &StartingPoint<'_>,
    now: u64,
) -> Result<u64, AwsError> {
    let kind = point.kind;
    let missing = |member| move || AwsError::invalid_argument(format!("{kind} needs a {member}"));
    let number = || {
        let text = point.number.ok_or_else(missing("SequenceNumber"));
        stream.parse_number(shard, text?)
    };
    match kind {
        "TRIM_HORIZON" => Ok(shard.trim_horizon()),
        "LATEST" => Ok(shard.end_offset()),
        "AT_SEQUENCE_NUMBER" => Ok(shard.offset_at(number()?)),
        "AFTER_SEQUENCE_NUMBER" => Ok(shard.offset_after_number(number()?)),
        "AT_TIMESTAMP" => {
            let time = to_millis(point.timestamp.ok_or_else(missing("Timestamp"))?);
            if now < time {
                return Err(AwsError::invalid_argument(format!(
                    "The timestampInMillis parameter cannot be greater than the \
                     currentTimestampInMillis. timestampInMillis: {time}, \
                     currentTimestampInMillis: {now}"
                )));
            }
            Ok(shard.offset_at_time(time))
        }
        other => Err(AwsError::validation(format!(
            "ShardIteratorType '{other}' is not one of AT_SEQUENCE_NUMBER, \
             AFTER_SEQUENCE_NUMBER, TRIM_HORIZON, LATEST, AT_TIMESTAMP"
        ))),
    }
}

/// Times before 1970 become 1970.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is out of range becomes the nearest integer"
)]
fn to_millis(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
fn get_records(streams: &Streams, request: &GetRecords, now: u64) -> Result<Bytes, AwsError> {
    let limit = request.limit.unwrap_or(MAX_RECORDS);
    if !(1..=MAX_RECORDS).contains(&limit) {
        return Err(AwsError::validation(format!(
            "Limit must be between 1 and {MAX_RECORDS} and is {limit}"
        )));
    }
    let invalid = || AwsError::invalid_argument("Invalid ShardIterator.");
    let iterator = ShardIterator::decode(&request.shard_iterator).ok_or_else(invalid)?;
    if iterator.is_expired(MAX_ITERATOR_AGE, now) {
        let message = "Iterator expired. Iterators are valid for 5 minutes.";
        return Err(AwsError::new("ExpiredIteratorException", message));
    }
    let stream = streams.get(&iterator.stream)?;
    let shard = stream.shard_by_number(iterator.shard);
    let shard = shard.ok_or_else(invalid)?;
    let page = shard.read(iterator.offset, limit, now);
    let mut rest = json!({"MillisBehindLatest": page.millis_behind_latest});
    if page.end_of_shard {
        rest["NextShardIterator"] = Value::Null;
        rest["ChildShards"] = stream.children_json(shard);
    } else {
        rest["NextShardIterator"] = iterator.next(page.next_offset, now).encode().into();
    }
    Ok(records_json(&page.records, &rest).into())
}

/// An object with these records, which have commas between them, and other members.
pub(super) fn records_json(records: &[u8], rest: &Value) -> Vec<u8> {
    let mut response = Vec::with_capacity(records.len() + 512);
    response.extend_from_slice(b"{\"Records\":[");
    response.extend_from_slice(records);
    response.extend_from_slice(b"],");
    response.extend_from_slice(&rest.to_string().as_bytes()[1..]);
    response
}
