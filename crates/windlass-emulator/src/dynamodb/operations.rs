//! The operations of DynamoDB Streams, from request to response body.
//!
//! An unknown member of a request is an error, so that nothing a client requests is silently
//! ignored.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::shard::{Shard, shard_number};
use super::stream::Streams;
use crate::protocol::{AwsError, Response, parse_request};
use crate::shard_iterator::ShardIterator;

/// Shards of one DescribeStream.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_DescribeStream.html>
const MAX_LISTED_SHARDS: usize = 100;

/// Records of one GetRecords.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>
const MAX_RECORDS: usize = 1_000;

/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetShardIterator.html>
const MAX_ITERATOR_AGE: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeStream {
    stream_arn: String,
    exclusive_start_shard_id: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetShardIterator {
    stream_arn: String,
    shard_id: String,
    shard_iterator_type: String,
    sequence_number: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetRecords {
    shard_iterator: String,
    limit: Option<usize>,
}

/// `now` is in milliseconds since 1970.
pub(super) fn execute(
    streams: &Streams,
    operation: &str,
    body: &[u8],
    now: u64,
) -> Result<Bytes, AwsError> {
    match operation {
        "DescribeStream" => describe_stream(streams, &parse_request(body)?),
        "GetShardIterator" => get_shard_iterator(streams, &parse_request(body)?, now),
        "GetRecords" => get_records(streams, &parse_request(body)?, now),
        other => Err(AwsError::unknown_operation("DynamoDB Streams", other)),
    }
}

pub(super) fn error_response(error: AwsError) -> Response {
    let namespace = match error.code {
        "ValidationException" => "com.amazon.coral.validate",
        "SerializationException" | "UnknownOperationException" => "com.amazon.coral.service",
        _ => "com.amazonaws.dynamodb.v20120810",
    };
    let code = format!("{namespace}#{}", error.code);
    Response::error(400, &code, &error.message)
}

fn describe_stream(streams: &Streams, request: &DescribeStream) -> Result<Bytes, AwsError> {
    let limit = page_limit(request.limit, MAX_LISTED_SHARDS)?;
    let first_shard = match request.exclusive_start_shard_id.as_deref() {
        None => 0,
        Some(id) => {
            let number = shard_number(id);
            let number =
                number.ok_or_else(|| AwsError::validation(format!("'{id}' is not a shard id")))?;
            number as usize + 1
        }
    };
    let stream = streams.of_arn(&request.stream_arn)?;
    let response = json!({"StreamDescription": stream.describe(first_shard, limit)});
    Ok(response.to_string().into())
}

fn get_shard_iterator(
    streams: &Streams,
    request: &GetShardIterator,
    now: u64,
) -> Result<Bytes, AwsError> {
    let stream = streams.of_arn(&request.stream_arn)?;
    let shard = stream.shard(&request.shard_id)?;
    let iterator = ShardIterator {
        stream: stream.table.clone(),
        shard: shard.number(),
        offset: starting_offset(shard, request)?,
        issued: now,
    };
    let response = json!({"ShardIterator": iterator.encode()});
    Ok(response.to_string().into())
}

fn starting_offset(shard: &Shard, request: &GetShardIterator) -> Result<u64, AwsError> {
    let kind = request.shard_iterator_type.as_str();
    match (kind, request.sequence_number.as_deref()) {
        ("TRIM_HORIZON", None) => Ok(shard.trim_horizon()),
        ("LATEST", None) => Ok(shard.end_offset()),
        ("AT_SEQUENCE_NUMBER", Some(number)) => shard.offset_of(number),
        ("AFTER_SEQUENCE_NUMBER", Some(number)) => Ok(shard.offset_of(number)? + 1),
        (_, number) => {
            let with = if number.is_some() { "with" } else { "without" };
            Err(AwsError::validation(format!(
                "ShardIteratorType '{kind}' {with} SequenceNumber is not valid"
            )))
        }
    }
}

fn get_records(streams: &Streams, request: &GetRecords, now: u64) -> Result<Bytes, AwsError> {
    let limit = page_limit(request.limit, MAX_RECORDS)?;
    let invalid = || AwsError::validation("Invalid ShardIterator.");
    let iterator = ShardIterator::decode(&request.shard_iterator).ok_or_else(invalid)?;
    if iterator.is_expired(MAX_ITERATOR_AGE, now) {
        let message = "Iterator expired. Iterators are valid for 15 minutes.";
        return Err(AwsError::new("ExpiredIteratorException", message));
    }
    let stream = streams.of_table(&iterator.stream)?;
    let shard = stream.shard_by_number(iterator.shard);
    let page = shard.ok_or_else(invalid)?.read(iterator.offset, limit)?;
    let mut response = format!("{{\"Records\":[{}]", page.records);
    if !page.end_of_shard {
        let next = Value::from(iterator.next(page.next_offset, now).encode());
        response.push_str(&format!(",\"NextShardIterator\":{next}"));
    }
    response.push('}');
    Ok(response.into())
}

fn page_limit(limit: Option<usize>, max: usize) -> Result<usize, AwsError> {
    let limit = limit.unwrap_or(max);
    if !(1..=max).contains(&limit) {
        return Err(AwsError::validation(format!(
            "Limit must be between 1 and {max} and is {limit}"
        )));
    }
    Ok(limit)
}
