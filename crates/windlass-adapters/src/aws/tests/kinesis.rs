//! GetRecords of Kinesis.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use serde_json::{Value, json};
use windlass_core::arn::Arn;
use windlass_core::ids::ShardId;
use windlass_core::position::{Cursor, Position};
use windlass_core::shard::ReadResult;

use super::json::{self, Json, base64, digits, maybe, maybe_text, object, others, spelled};
use super::{CASES, ReadOnce as _, assert_same_time, for_many, hash, limits, parsed, take_seconds};
use crate::aws::kinesis::KinesisReader;
use crate::tests::test_http::{TestHttp, runtime};

const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
const SHARD: &str = "shardId-000000000007";
const ROLE: &str = "arn:aws:iam::123456789012:role/r";

/// Confirms the end of a shard: it is no longer listed.
const NO_SHARDS: &[u8] = br#"{"Shards":[]}"#;

#[test]
fn our_parser_and_the_sdk_agree() {
    let (http, clients) = TestHttp::new();
    let stream = Arn::parse(STREAM).unwrap();
    let reader = Arc::new(KinesisReader::new(&clients, &stream, None, ROLE));
    let (runtime, shard) = (runtime(), ShardId::from(SHARD));
    let cursor = Cursor {
        iterator: Some("iterator".into()),
        ..Cursor::at(Position::TrimHorizon)
    };
    for_many(CASES, &spelled(response()), |body| {
        http.respond_once(200, &body);
        http.respond(NO_SHARDS);
        let (typed, raw) = runtime.block_on(async {
            let typed = clients.kinesis.get_records().shard_iterator("iterator");
            let raw = reader.read(&shard, &cursor, limits(100)).await.unwrap();
            http.respond(body.as_bytes());
            (typed.send().await.unwrap(), raw)
        });
        compare(&typed, &raw);
        Ok(())
    });
}

#[track_caller]
fn compare(typed: &GetRecordsOutput, raw: &ReadResult) {
    match typed.millis_behind_latest.map(u64::try_from) {
        Some(behind) => assert_eq!(raw.behind, Duration::from_millis(behind.unwrap())),
        None => assert_eq!(raw.behind.is_zero(), raw.records.is_empty()),
    }
    let next = raw.next.as_ref();
    let iterator = next.and_then(|next| next.iterator.as_deref());
    let typed_iterator = typed.next_shard_iterator.as_deref();
    assert_eq!(iterator, typed_iterator.filter(|it| !it.is_empty()));
    let last = raw.records.last();
    let after = last.map_or(Position::TrimHorizon, |record| {
        Position::After(record.sequence_number().into())
    });
    assert!(next.is_none_or(|next| next.after == after));
    assert_eq!(raw.records.len(), typed.records.len());
    for (raw, typed) in raw.records.iter().zip(&typed.records) {
        assert_eq!(raw.sequence_number(), typed.sequence_number);
        let key = typed.partition_key.as_deref();
        assert_eq!(raw.key(), hash(key.unwrap_or(&typed.sequence_number)));
        let mut event = parsed(raw.event());
        let seconds = take_seconds(&mut event, "/kinesis/approximateArrivalTimestamp");
        let arrival = typed.approximate_arrival_timestamp.as_ref().unwrap();
        assert_same_time(raw.approximate_arrival(), seconds, arrival);
        assert_eq!(event, expected(typed));
    }
}

/// The event, without its time.
fn expected(record: &aws_sdk_kinesis::types::Record) -> Value {
    let mut event = json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "sequenceNumber": record.sequence_number,
            "data": base64_simd::STANDARD.encode_to_string(&record.data),
            "approximateArrivalTimestamp": null,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": format!("{SHARD}:{}", record.sequence_number),
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": ROLE,
        "awsRegion": "us-east-1",
        "eventSourceARN": STREAM,
    });
    if let Some(key) = &record.partition_key {
        event["kinesis"]["partitionKey"] = json!(key);
    }
    event
}

/// Any response of the service.
pub(super) fn response() -> impl Strategy<Value = Json> {
    let behind = prop_oneof![Just(0), 0..86_400_000_u32];
    let child =
        json::text().prop_map(|id| object(vec![("ShardId", Some(Json::String(id)))], Vec::new()));
    (
        vec(record(), 0..5),
        maybe_text(),
        maybe(behind.prop_map(|behind| Json::Number(behind.to_string()))),
        maybe(vec(child, 0..3).prop_map(Json::Array)),
        others(),
    )
        .prop_map(|(records, iterator, behind, children, others)| {
            let known = vec![
                ("Records", Some(Json::Array(records))),
                ("NextShardIterator", iterator),
                ("MillisBehindLatest", behind),
                ("ChildShards", children),
            ];
            object(known, others)
        })
}

fn record() -> impl Strategy<Value = Json> {
    (
        digits(),
        json::timestamp(),
        base64(),
        maybe_text(),
        maybe_text(),
        others(),
    )
        .prop_map(|(number, arrival, data, key, encryption, others)| {
            let known = vec![
                ("SequenceNumber", Some(Json::String(number))),
                ("ApproximateArrivalTimestamp", Some(arrival)),
                ("Data", Some(Json::String(data))),
                ("PartitionKey", key),
                ("EncryptionType", encryption),
            ];
            object(known, others)
        })
}
