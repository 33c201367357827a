//! The calls of Kinesis: from a request to the answer's body.

use bytes::Bytes;
use serde_json::{Value, json};

use super::iterator::ShardIterator;
use super::refusal::Refusal;
use super::requests::{
    CreateStream, Entry, GetRecords, GetShardIterator, ListShards, MergeShards, PutRecord,
    PutRecords, SplitShard, StreamReference, millis, read,
};
use super::shard::{Place, Shard, shard_id, shard_number};
use super::stream::{Placed, RETENTION_HOURS, ShardFilter, Stream};
use super::{World, nothing};

/// Bytes of data of a record.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecordsRequestEntry.html>
const LARGEST_DATA: usize = 10 * 1024 * 1024;

/// Bytes of a partition key.
const LONGEST_KEY: usize = 256;

/// Records of one PutRecords.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
const MOST_PUT: usize = 500;

/// Records of one GetRecords, and of one that does not say how many.
const MOST_READ: usize = 10_000;

/// Shards of one ListShards, and of one that does not say how many.
const MOST_LISTED: usize = 1_000;

/// Executes one call. `now` is in milliseconds since 1970.
pub(super) fn execute(
    world: &mut World,
    operation: &str,
    body: &[u8],
    now: u64,
) -> Result<Bytes, Refusal> {
    match operation {
        "CreateStream" => create_stream(world, &read(body)?, now),
        "DeleteStream" => {
            world.delete(read::<StreamReference>(body)?.name()?)?;
            Ok(nothing())
        }
        "DescribeStreamSummary" => describe_stream_summary(world, &read(body)?),
        "ListShards" => list_shards(world, &read(body)?),
        "GetShardIterator" => get_shard_iterator(world, &read(body)?, now),
        "GetRecords" => get_records(world, &read(body)?, now),
        "PutRecord" => put_record(world, &read(body)?, now),
        "PutRecords" => put_records(world, &read(body)?, now),
        "SplitShard" => split_shard(world, &read(body)?, now),
        "MergeShards" => {
            let request: MergeShards = read(body)?;
            let stream = world.stream_mut(request.stream.name()?)?;
            stream.merge(
                &request.shard_to_merge,
                &request.adjacent_shard_to_merge,
                now,
            )?;
            Ok(nothing())
        }
        other => Err(Refusal {
            code: "UnknownOperationException",
            message: format!("the emulator's Kinesis has no operation {other}"),
        }),
    }
}

/// Refuses a record that is larger than AWS takes.
pub(super) fn expect_record(key: &str, n_bytes: usize) -> Result<(), Refusal> {
    if key.is_empty() || LONGEST_KEY < key.len() {
        let length = key.len();
        return Err(Refusal::validation(format!(
            "PartitionKey must have 1 to {LONGEST_KEY} bytes and has {length}"
        )));
    }
    if LARGEST_DATA < n_bytes {
        return Err(Refusal::validation(format!(
            "Data must have at most {LARGEST_DATA} bytes and has {n_bytes}"
        )));
    }
    Ok(())
}

fn create_stream(world: &mut World, request: &CreateStream, now: u64) -> Result<Bytes, Refusal> {
    let mode = request.stream_mode_details.as_ref();
    let on_demand = match mode.map(|mode| mode.stream_mode.as_str()) {
        None | Some("PROVISIONED") => false,
        Some("ON_DEMAND") => true,
        Some(other) => {
            let message = format!("StreamMode is PROVISIONED or ON_DEMAND and not '{other}'");
            return Err(Refusal::validation(message));
        }
    };
    let n_shards = match request.shard_count {
        Some(number) => number,
        // As many as AWS starts an on-demand stream with.
        None if on_demand => 4,
        None => {
            return Err(Refusal::validation(
                "a provisioned stream needs a ShardCount",
            ));
        }
    };
    world.create(&request.stream_name, n_shards, on_demand, now)?;
    Ok(nothing())
}

fn describe_stream_summary(world: &World, request: &StreamReference) -> Result<Bytes, Refusal> {
    let stream = world.stream(request.name()?)?;
    let mode = if stream.on_demand {
        "ON_DEMAND"
    } else {
        "PROVISIONED"
    };
    let summary = json!({
        "StreamName": stream.name,
        "StreamARN": stream.arn(),
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": mode},
        "RetentionPeriodHours": RETENTION_HOURS,
        "StreamCreationTimestamp": stream.created / 1000,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
        "OpenShardCount": stream.n_open(),
        "ConsumerCount": 0,
    });
    Ok(body(&json!({"StreamDescriptionSummary": summary})))
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
fn list_shards(world: &World, request: &ListShards) -> Result<Bytes, Refusal> {
    let limit = request.max_results.unwrap_or(MOST_LISTED).min(MOST_LISTED);
    if limit == 0 {
        return Err(Refusal::validation("MaxResults must be at least 1"));
    }
    let (name, filter, after) = match &request.next_token {
        Some(token) => {
            if request.stream.name().is_ok() {
                let message = "NextToken and StreamName cannot be provided together.";
                return Err(Refusal::invalid(message));
            }
            read_token(token)?
        }
        None => {
            let filter = request.shard_filter.as_ref().map(|filter| filter.read());
            let after = request.exclusive_start_shard_id.as_deref();
            let after = after.map(|id| shard_number(id).ok_or_else(|| bad_shard_id(id)));
            let name = request.stream.name()?.to_owned();
            let filter = filter.transpose()?.unwrap_or(ShardFilter::All);
            (name, filter, after.transpose()?)
        }
    };
    let shards = world.stream(&name)?.list(filter, after);
    let shown = &shards[..limit.min(shards.len())];
    let rendered: Vec<Value> = shown.iter().map(|shard| shard.to_json()).collect();
    let mut answer = json!({"Shards": rendered});
    if let Some(last) = shown.last().filter(|_| shown.len() < shards.len()) {
        answer["NextToken"] = token(&name, filter, last.number).into();
    }
    Ok(body(&answer))
}

/// What a list goes on with: the stream, its filter, and the last shard shown.
fn token(name: &str, filter: ShardFilter, after: u32) -> String {
    let (kind, value) = match filter {
        ShardFilter::All => ("all", 0),
        ShardFilter::AfterShard(number) => ("after", u64::from(number)),
        ShardFilter::AtTrimHorizon => ("at-horizon", 0),
        ShardFilter::FromTrimHorizon => ("from-horizon", 0),
        ShardFilter::AtLatest => ("latest", 0),
        ShardFilter::AtTimestamp(time) => ("at", time),
        ShardFilter::FromTimestamp(time) => ("from", time),
    };
    base64_simd::STANDARD.encode_to_string(format!("{name}/{kind}/{value}/{after}"))
}

fn read_token(token: &str) -> Result<(String, ShardFilter, Option<u32>), Refusal> {
    parse_token(token).ok_or_else(|| Refusal {
        code: "ExpiredNextTokenException",
        message: "NextToken is none that was given here".to_owned(),
    })
}

fn parse_token(token: &str) -> Option<(String, ShardFilter, Option<u32>)> {
    let text = base64_simd::STANDARD.decode_to_vec(token).ok()?;
    let text = String::from_utf8(text).ok()?;
    let parts: Vec<&str> = text.split('/').collect();
    let [name, kind, value, after] = parts[..] else {
        return None;
    };
    let value: u64 = value.parse().ok()?;
    let filter = match kind {
        "all" => ShardFilter::All,
        "after" => ShardFilter::AfterShard(u32::try_from(value).ok()?),
        "at-horizon" => ShardFilter::AtTrimHorizon,
        "from-horizon" => ShardFilter::FromTrimHorizon,
        "latest" => ShardFilter::AtLatest,
        "at" => ShardFilter::AtTimestamp(value),
        "from" => ShardFilter::FromTimestamp(value),
        _ => return None,
    };
    Some((name.to_owned(), filter, Some(after.parse().ok()?)))
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>
fn get_shard_iterator(
    world: &World,
    request: &GetShardIterator,
    now: u64,
) -> Result<Bytes, Refusal> {
    let stream = world.stream(request.stream.name()?)?;
    let shard = stream.shard(&request.shard_id)?;
    let iterator = ShardIterator {
        stream: stream.name.clone(),
        stream_created: stream.created,
        shard: shard.number,
        place: place_of(stream, shard, request, now)?,
        issued: now,
        reads: 0,
    };
    Ok(body(&json!({"ShardIterator": iterator.encode()})))
}

fn place_of(
    stream: &Stream,
    shard: &Shard,
    request: &GetShardIterator,
    now: u64,
) -> Result<Place, Refusal> {
    let kind = request.shard_iterator_type.as_str();
    let number = || {
        let text = request.starting_sequence_number.as_deref();
        let missing = || Refusal::invalid(format!("{kind} needs a StartingSequenceNumber"));
        stream.expect_number_of(shard, text.ok_or_else(missing)?)
    };
    match kind {
        "TRIM_HORIZON" => Ok(shard.horizon()),
        "LATEST" => Ok(shard.end()),
        "AT_SEQUENCE_NUMBER" => Ok(shard.at_or_above(number()?)),
        "AFTER_SEQUENCE_NUMBER" => Ok(shard.above(number()?)),
        "AT_TIMESTAMP" => {
            let missing = || Refusal::invalid("AT_TIMESTAMP needs a Timestamp");
            let time = millis(request.timestamp.ok_or_else(missing)?);
            if now < time {
                return Err(Refusal::invalid(format!(
                    "The timestampInMillis parameter cannot be greater than the \
                     currentTimestampInMillis. timestampInMillis: {time}, \
                     currentTimestampInMillis: {now}"
                )));
            }
            Ok(shard.at_time(time))
        }
        other => Err(Refusal::validation(format!(
            "ShardIteratorType '{other}' is not one of AT_SEQUENCE_NUMBER, \
             AFTER_SEQUENCE_NUMBER, TRIM_HORIZON, LATEST, AT_TIMESTAMP"
        ))),
    }
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
fn get_records(world: &World, request: &GetRecords, now: u64) -> Result<Bytes, Refusal> {
    let limit = request.limit.unwrap_or(MOST_READ);
    if limit == 0 || MOST_READ < limit {
        return Err(Refusal::validation(format!(
            "Limit must be between 1 and {MOST_READ} and is {limit}"
        )));
    }
    let iterator = ShardIterator::decode(&request.shard_iterator)?;
    iterator.expect_alive(world.iterator_life, now)?;
    let stream = world.stream(&iterator.stream)?;
    let shard = stream.shard_by_number(iterator.shard);
    let shard = shard.filter(|_| stream.created == iterator.stream_created);
    let shard = shard.ok_or_else(|| Refusal::invalid("Invalid ShardIterator."))?;
    let page = shard.read(iterator.place, limit, now);
    let mut answer = Vec::with_capacity(page.records.len() + 512);
    answer.extend_from_slice(b"{\"Records\":[");
    answer.extend_from_slice(&page.records);
    let mut rest = json!({"MillisBehindLatest": page.millis_behind_latest});
    if page.end_of_shard {
        let closed = shard.closed.as_ref();
        let children = closed.map_or(&[][..], |closed| &closed.children[..]);
        let children = children
            .iter()
            .filter_map(|number| stream.shard_by_number(*number));
        let children: Vec<Value> = children.map(|child| child.to_child_json()).collect();
        rest["NextShardIterator"] = Value::Null;
        rest["ChildShards"] = children.into();
    } else {
        rest["NextShardIterator"] = iterator.followed_by(page.next, now).encode().into();
    }
    answer.extend_from_slice(b"],");
    answer.extend_from_slice(&rest.to_string().as_bytes()[1..]);
    Ok(answer.into())
}

fn put_record(world: &mut World, request: &PutRecord, now: u64) -> Result<Bytes, Refusal> {
    let stream = world.stream_mut(request.stream.name()?)?;
    let entry = CheckedEntry::new(&request.entry)?;
    let mut answer = placed_json(&entry.put(stream, now));
    answer["EncryptionType"] = "NONE".into();
    Ok(body(&answer))
}

fn put_records(world: &mut World, request: &PutRecords, now: u64) -> Result<Bytes, Refusal> {
    let stream = world.stream_mut(request.stream.name()?)?;
    if request.records.is_empty() || MOST_PUT < request.records.len() {
        let number = request.records.len();
        return Err(Refusal::validation(format!(
            "Records must have 1 to {MOST_PUT} members and has {number}"
        )));
    }
    // All are looked at before one is put: AWS refuses such a call as a whole.
    let entries = request.records.iter().map(CheckedEntry::new);
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    let placed: Vec<Value> = entries
        .iter()
        .map(|entry| placed_json(&entry.put(stream, now)))
        .collect();
    Ok(body(&json!({
        "FailedRecordCount": 0,
        "Records": placed,
        "EncryptionType": "NONE",
    })))
}

/// A record that may be put.
struct CheckedEntry<'a> {
    entry: &'a Entry,
    size: usize,
    explicit_hash_key: Option<u128>,
}

impl<'a> CheckedEntry<'a> {
    fn new(entry: &'a Entry) -> Result<Self, Refusal> {
        let data = base64_simd::STANDARD.decode_to_vec(&entry.data);
        let data = data.map_err(|_| Refusal {
            code: "SerializationException",
            message: "Data is not base64".to_owned(),
        })?;
        expect_record(&entry.partition_key, data.len())?;
        let explicit = entry.explicit_hash_key.as_deref();
        Ok(Self {
            entry,
            size: data.len(),
            explicit_hash_key: explicit.map(hash_key).transpose()?,
        })
    }

    fn put(&self, stream: &mut Stream, now: u64) -> Placed {
        let Entry {
            data,
            partition_key,
            ..
        } = self.entry;
        stream.put(partition_key, self.explicit_hash_key, data, self.size, now)
    }
}

fn split_shard(world: &mut World, request: &SplitShard, now: u64) -> Result<Bytes, Refusal> {
    let stream = world.stream_mut(request.stream.name()?)?;
    let at = hash_key(&request.new_starting_hash_key)?;
    stream.split(&request.shard_to_split, at, now)?;
    Ok(nothing())
}

fn hash_key(text: &str) -> Result<u128, Refusal> {
    let wrong = || Refusal::validation(format!("'{text}' is not a hash key from 0 to 2^128-1"));
    text.parse().map_err(|_| wrong())
}

fn placed_json(placed: &Placed) -> Value {
    json!({"ShardId": placed.shard_id, "SequenceNumber": placed.sequence_number})
}

fn bad_shard_id(id: &str) -> Refusal {
    let example = shard_id(0);
    Refusal::validation(format!(
        "'{id}' is not the id of a shard, such as {example}"
    ))
}

fn body(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}
