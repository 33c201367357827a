//! The calls of DynamoDB Streams: from a request to the answer's body.

use bytes::Bytes;
use serde_json::{Value, json};

use super::World;
use super::refusal::DynamoDbRefusal;
use super::requests::{
    DescribeStream, GetRecords, GetShardIterator, ListStreams, ShardFilter, page_limit, read,
};
use super::shard::{Shard, shard_number};
use super::stream::label;
use crate::kinesis::iterator::ShardIterator;

/// Shards of one DescribeStream, streams of one ListStreams.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_DescribeStream.html>
const MOST_LISTED: usize = 100;

/// Records of one GetRecords.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>
const MOST_READ: usize = 1_000;

/// Executes one call. `now` is in milliseconds since 1970.
pub(super) fn execute(
    world: &mut World,
    operation: &str,
    body: &[u8],
    now: u64,
) -> Result<Bytes, DynamoDbRefusal> {
    world.expire(now);
    let answer = match operation {
        "ListStreams" => list_streams(world, &read(body)?),
        "DescribeStream" => describe_stream(world, &read(body)?),
        "GetShardIterator" => get_shard_iterator(world, &read(body)?, now),
        "GetRecords" => return get_records(world, &read(body)?, now),
        other => Err(DynamoDbRefusal::no_operation("DynamoDBStreams", other)),
    };
    Ok(answer?.to_string().into())
}

/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_ListStreams.html>
fn list_streams(world: &World, request: &ListStreams) -> Result<Value, DynamoDbRefusal> {
    let limit = page_limit(request.limit, MOST_LISTED)?;
    let after = match &request.exclusive_start_stream_arn {
        Some(arn) => {
            let stream = world.stream(arn)?;
            Some((stream.table.as_str(), stream.created))
        }
        None => None,
    };
    let table = request.table_name.as_ref();
    let streams = world.streams.values();
    let mut streams = streams
        .filter(|stream| table.is_none_or(|table| *table == stream.table))
        .filter(|stream| after.is_none_or(|after| after < (&stream.table, stream.created)))
        .peekable();
    let (mut shown, mut last) = (Vec::new(), None);
    for stream in streams.by_ref().take(limit) {
        last = Some(stream.arn());
        shown.push(json!({
            "StreamArn": stream.arn(),
            "TableName": stream.table,
            "StreamLabel": label(stream.created),
        }));
    }
    let mut answer = json!({"Streams": shown});
    if let Some(last) = last.filter(|_| streams.peek().is_some()) {
        answer["LastEvaluatedStreamArn"] = last.into();
    }
    Ok(answer)
}

fn describe_stream(world: &World, request: &DescribeStream) -> Result<Value, DynamoDbRefusal> {
    let limit = page_limit(request.limit, MOST_LISTED)?;
    let after = request.exclusive_start_shard_id.as_deref();
    let after = after.map(shard_number).transpose()?;
    let parent = match &request.shard_filter {
        None => None,
        Some(ShardFilter { kind, shard_id }) if kind == "CHILD_SHARDS" => {
            Some(shard_number(shard_id)?)
        }
        Some(ShardFilter { kind, .. }) => {
            return Err(DynamoDbRefusal::validation(format!(
                "ShardFilter has the one type CHILD_SHARDS and not '{kind}'"
            )));
        }
    };
    let stream = world.stream(&request.stream_arn)?;
    Ok(json!({"StreamDescription": stream.to_json(after, limit, parent)}))
}

/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetShardIterator.html>
fn get_shard_iterator(
    world: &World,
    request: &GetShardIterator,
    now: u64,
) -> Result<Value, DynamoDbRefusal> {
    let stream = world.stream(&request.stream_arn)?;
    let shard = stream.shard(&request.shard_id)?;
    let iterator = ShardIterator {
        stream: stream.table.clone(),
        stream_created: stream.created,
        shard: shard.number,
        place: place_of(shard, request)?,
        issued: now,
        reads: 0,
    };
    Ok(json!({"ShardIterator": iterator.encode()}))
}

fn place_of(shard: &Shard, request: &GetShardIterator) -> Result<u64, DynamoDbRefusal> {
    let kind = request.shard_iterator_type.as_str();
    let before = || {
        let number = request.sequence_number.as_deref();
        let missing = || DynamoDbRefusal::validation(format!("{kind} needs a SequenceNumber"));
        shard.before(number.ok_or_else(missing)?)
    };
    match kind {
        "AT_SEQUENCE_NUMBER" => before(),
        "AFTER_SEQUENCE_NUMBER" => Ok(before()? + 1),
        "TRIM_HORIZON" | "LATEST" if request.sequence_number.is_some() => Err(
            DynamoDbRefusal::validation(format!("{kind} takes no SequenceNumber")),
        ),
        "TRIM_HORIZON" => Ok(shard.horizon()),
        "LATEST" => Ok(shard.end()),
        other => Err(DynamoDbRefusal::validation(format!(
            "ShardIteratorType '{other}' is not one of AT_SEQUENCE_NUMBER, \
             AFTER_SEQUENCE_NUMBER, TRIM_HORIZON, LATEST"
        ))),
    }
}

fn get_records(world: &World, request: &GetRecords, now: u64) -> Result<Bytes, DynamoDbRefusal> {
    let limit = page_limit(request.limit, MOST_READ)?;
    let iterator = ShardIterator::decode(&request.shard_iterator)?;
    iterator.expect_alive(world.iterator_life, now)?;
    let stream = world.stream_of(&iterator.stream, iterator.stream_created)?;
    let page = stream
        .shard_by_number(iterator.shard)?
        .read(iterator.place, limit)?;
    let mut answer = format!("{{\"Records\":[{}]", page.records);
    if !page.is_end_of_shard {
        let next = Value::from(iterator.followed_by(page.next, now).encode());
        answer.push_str(&format!(",\"NextShardIterator\":{next}"));
    }
    answer.push('}');
    Ok(answer.into())
}
