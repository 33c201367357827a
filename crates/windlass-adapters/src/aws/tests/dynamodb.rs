//! GetRecords of DynamoDB Streams.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodbstreams::operation::get_records::GetRecordsOutput;
use aws_sdk_dynamodbstreams::types::{AttributeValue, Record, StreamRecord};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use serde_json::{Map, Value, json};
use windlass_core::arn::Arn;
use windlass_core::ids::ShardId;
use windlass_core::position::{Cursor, Position};
use windlass_core::record::Record as Raw;
use windlass_core::shard::ReadResult;
use windlass_core::time::Timestamp;

use super::json::{self, Json, binary, digits, maybe, maybe_text, object, others, spell, text};
use super::{CASES, ReadOnce as _, assert_same_time, for_many, limits, parsed, take_seconds};
use crate::aws::dynamodb_streams::DynamoDbStreamsReader;
use crate::tests::test_http::{TestHttp, runtime};
use crate::wire::dynamodb::{EventTemplate, GetRecordsParser};
use crate::wire::page_builder::PageEstimate;
use crate::wire::streaming_parser::parse_pieces;

const STREAM: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2026";

/// Confirms the end of a shard: it is no longer listed.
const NO_SHARDS: &[u8] = br#"{"StreamDescription":{"Shards":[]}}"#;

#[test]
fn our_parser_and_the_sdk_agree() {
    let (http, clients) = TestHttp::new();
    let stream = Arn::parse(STREAM).unwrap();
    let reader = Arc::new(DynamoDbStreamsReader::new(&clients, &stream));
    let (runtime, shard) = (runtime(), ShardId::from("shardId-1"));
    let cursor = Cursor {
        iterator: Some("iterator".into()),
        ..Cursor::at(Position::TrimHorizon)
    };
    let spellings = (response(), any::<u64>(), any::<u64>());
    let spellings = spellings
        .prop_map(|(response, one, other)| (spell(&response, one), spell(&response, other)));
    let template = EventTemplate::new(STREAM, stream.region());
    let (estimate, now) = (PageEstimate::new(1), Timestamp::EPOCH);
    for_many(CASES, &spellings, |(body, other_body)| {
        http.respond_once(200, &body);
        http.respond(NO_SHARDS);
        let (typed, raw) = runtime.block_on(async {
            let raw = reader.read(&shard, &cursor, limits(100)).await.unwrap();
            http.respond(body.as_bytes());
            let call = clients.dynamodb_streams.get_records();
            (call.shard_iterator("i").send().await.unwrap(), raw)
        });
        compare(&typed, &raw);
        // The hash of a key does not depend on how the response writes it.
        let parser = GetRecordsParser::new(&template, &estimate, other_body.len(), usize::MAX, now);
        let again = parse_pieces(&[other_body.as_bytes()], parser).unwrap();
        let keys = |records: &[Raw]| records.iter().map(Raw::key).collect::<Vec<_>>();
        assert_eq!(keys(&raw.records), keys(&again.records));
        Ok(())
    });
}

#[track_caller]
fn compare(typed: &GetRecordsOutput, raw: &ReadResult) {
    let next = raw.next.as_ref();
    let iterator = next.and_then(|next| next.iterator.as_deref());
    let typed_iterator = typed.next_shard_iterator.as_deref();
    assert_eq!(iterator, typed_iterator.filter(|it| !it.is_empty()));
    let records = typed.records.as_deref().unwrap_or_default();
    assert_eq!(raw.records.len(), records.len());
    for (raw, typed) in raw.records.iter().zip(records) {
        let change = typed.dynamodb.as_ref().unwrap();
        let number = change.sequence_number.as_deref();
        assert_eq!(Some(raw.sequence_number()), number);
        let mut event = parsed(raw.event());
        let seconds = take_seconds(&mut event, "/dynamodb/ApproximateCreationDateTime");
        let created = change.approximate_creation_date_time.as_ref().unwrap();
        assert_same_time(raw.approximate_arrival(), seconds, created);
        assert_eq!(event, expected(typed, change));
    }
    // Two records have the same hash if and only if they have the same key.
    for (index, one) in records.iter().enumerate() {
        for (other_index, other) in records.iter().enumerate().take(index) {
            let keys = |record: &Record| record.dynamodb.as_ref().and_then(|it| it.keys.clone());
            let same = raw.records[index].key() == raw.records[other_index].key();
            assert_eq!(same, keys(one) == keys(other));
        }
    }
}

/// The event, but for its time.
fn expected(record: &Record, change: &StreamRecord) -> Value {
    let mut members = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    set("ApproximateCreationDateTime", Some(Value::Null));
    set("Keys", change.keys.as_ref().map(item));
    set("NewImage", change.new_image.as_ref().map(item));
    set("OldImage", change.old_image.as_ref().map(item));
    set(
        "SequenceNumber",
        change.sequence_number.clone().map(Value::from),
    );
    set("SizeBytes", change.size_bytes.map(Value::from));
    let view = change.stream_view_type.as_ref();
    set("StreamViewType", view.map(|it| json!(it.as_str())));
    let mut event = json!({"dynamodb": members, "eventSourceARN": STREAM});
    let mut set = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            event[name] = json!(value);
        }
    };
    set("eventID", record.event_id.as_deref());
    set(
        "eventName",
        record.event_name.as_ref().map(|it| it.as_str()),
    );
    set(
        "eventVersion",
        record.event_version.as_deref().or(Some("1.1")),
    );
    set("eventSource", Some("aws:dynamodb"));
    set(
        "awsRegion",
        record.aws_region.as_deref().or(Some("us-east-1")),
    );
    if let Some(identity) = &record.user_identity {
        let mut who = Map::new();
        let members = [
            ("type", &identity.r#type),
            ("principalId", &identity.principal_id),
        ];
        for (name, value) in members {
            if let Some(value) = value {
                who.insert(name.to_owned(), json!(value));
            }
        }
        event["userIdentity"] = Value::Object(who);
    }
    event
}

fn item(attributes: &HashMap<String, AttributeValue>) -> Value {
    let members = attributes
        .iter()
        .map(|(name, value)| (name.clone(), attribute(value)));
    Value::Object(members.collect())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK may add types")]
fn attribute(value: &AttributeValue) -> Value {
    let base64 = |blob: &aws_smithy_types::Blob| base64_simd::STANDARD.encode_to_string(blob);
    match value {
        AttributeValue::B(blob) => json!({"B": base64(blob)}),
        AttributeValue::Bool(value) => json!({"BOOL": value}),
        AttributeValue::Bs(blobs) => json!({"BS": blobs.iter().map(base64).collect::<Vec<_>>()}),
        AttributeValue::L(values) => json!({"L": values.iter().map(attribute).collect::<Vec<_>>()}),
        AttributeValue::M(values) => json!({"M": item(values)}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::Ns(numbers) => json!({"NS": numbers}),
        AttributeValue::Null(value) => json!({"NULL": value}),
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::Ss(texts) => json!({"SS": texts}),
        other => panic!("unknown attribute type: {other:?}"),
    }
}

/// Any response of the service.
pub(super) fn response() -> impl Strategy<Value = Json> {
    (vec(record(), 0..5), maybe_text(), others()).prop_map(|(records, iterator, others)| {
        let known = vec![
            ("Records", Some(Json::Array(records))),
            ("NextShardIterator", iterator),
        ];
        object(known, others)
    })
}

fn record() -> impl Strategy<Value = Json> {
    let name = prop_oneof![
        Just("INSERT"),
        Just("MODIFY"),
        Just("REMOVE"),
        Just("OTHER")
    ];
    let identity = (maybe_text(), maybe_text(), others()).prop_map(|(kind, principal, others)| {
        object(vec![("Type", kind), ("PrincipalId", principal)], others)
    });
    (
        (maybe_text(), maybe_text(), maybe_text(), maybe_text()),
        maybe(name.prop_map(|name| Json::String(name.to_owned()))),
        change(),
        maybe(identity),
        others(),
    )
        .prop_map(
            |((id, version, source, region), name, change, identity, others)| {
                let known = vec![
                    ("eventID", id),
                    ("eventName", name),
                    ("eventVersion", version),
                    ("eventSource", source),
                    ("awsRegion", region),
                    ("dynamodb", Some(change)),
                    ("userIdentity", identity),
                ];
                object(known, others)
            },
        )
}

fn change() -> impl Strategy<Value = Json> {
    let size = any::<u32>().prop_map(|size| Json::Number(size.to_string()));
    (
        json::timestamp(),
        keys(),
        maybe(attributes()),
        maybe(attributes()),
        digits(),
        maybe(size),
        maybe_text(),
        others(),
    )
        .prop_map(|(created, keys, new, old, number, size, view, others)| {
            let known = vec![
                ("ApproximateCreationDateTime", Some(created)),
                ("Keys", Some(keys)),
                ("NewImage", new),
                ("OldImage", old),
                ("SequenceNumber", Some(Json::String(number))),
                ("SizeBytes", size),
                ("StreamViewType", view),
            ];
            object(known, others)
        })
}

/// One or two attributes, often the same.
fn keys() -> impl Strategy<Value = Json> {
    let text = prop_oneof![Just(String::new()), Just("a".to_owned()), text()];
    let value = prop_oneof![
        text.prop_map(|text| one("S", Json::String(text))),
        digits().prop_map(|number| one("N", Json::String(number))),
        binary().prop_map(|bytes| one("B", bytes)),
    ];
    let names = prop_oneof![Just(vec!["é"]), Just(vec!["id", "a\"b"])];
    (names, vec(value, 2)).prop_map(|(names, values)| {
        let names = names.into_iter().map(str::to_owned);
        Json::Object(names.zip(values).collect())
    })
}

fn attributes() -> impl Strategy<Value = Json> {
    vec((text(), value()), 0..4).prop_map(map)
}

/// A map as the service sends it: without duplicate names.
fn map(mut members: Vec<(String, Json)>) -> Json {
    members.sort_by(|one, other| one.0.cmp(&other.0));
    members.dedup_by(|one, other| one.0 == other.0);
    Json::Object(members)
}

/// Any value of an attribute.
fn value() -> impl Strategy<Value = Json> {
    let number = "-?[0-9]{1,38}(\\.[0-9]{1,5})?".prop_map(Json::String);
    let texts = vec(text().prop_map(Json::String), 0..3).prop_map(Json::Array);
    let leaf = prop_oneof![
        text().prop_map(|text| one("S", Json::String(text))),
        number.clone().prop_map(|number| one("N", number)),
        binary().prop_map(|bytes| one("B", bytes)),
        any::<bool>().prop_map(|value| one("BOOL", Json::Bool(value))),
        any::<bool>().prop_map(|value| one("NULL", Json::Bool(value))),
        texts.prop_map(|texts| one("SS", texts)),
        vec(number, 0..3).prop_map(|numbers| one("NS", Json::Array(numbers))),
        vec(binary(), 0..3).prop_map(|blobs| one("BS", Json::Array(blobs))),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| one("L", Json::Array(values))),
            vec((text(), inner), 0..4).prop_map(|members| one("M", map(members))),
        ]
    })
}

fn one(kind: &str, value: Json) -> Json {
    Json::Object(vec![(kind.to_owned(), value)])
}
