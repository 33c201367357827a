//! Records as no well-behaved producer makes them.

use serde_json::{Value, json};
use windlass_core::ids::KeyHash;
use windlass_core::record::Record;
use windlass_core::time::Timestamp;

use crate::wire::page_builder::{GetRecordsResponse, PageEstimate};
use crate::wire::streaming_parser::parse_pieces;
use crate::wire::{dynamodb, kinesis};

/// Of the pieces in which a response arrives; the last one is the whole.
const PIECES: [usize; 3] = [1_021, 64 * 1_024, usize::MAX];

fn of_kinesis(record: &Value, piece: usize) -> Record {
    let template = kinesis::EventTemplate::new("shardId-1", "arn", "us-east-1", "role");
    let estimate = PageEstimate::new(1);
    let parser =
        kinesis::GetRecordsParser::new(&template, &estimate, 0, usize::MAX, Timestamp::EPOCH);
    let body = json!({"Records": [record]}).to_string();
    let pieces: Vec<_> = body.as_bytes().chunks(piece).collect();
    only_record(parse_pieces(&pieces, parser).unwrap())
}

fn of_dynamodb(record: &Value) -> Record {
    let template = dynamodb::EventTemplate::new("arn", "us-east-1");
    let estimate = PageEstimate::new(1);
    let parser =
        dynamodb::GetRecordsParser::new(&template, &estimate, 0, usize::MAX, Timestamp::EPOCH);
    let body = json!({"Records": [record]}).to_string();
    only_record(parse_pieces(&[body.as_bytes()], parser).unwrap())
}

#[track_caller]
fn only_record(mut response: GetRecordsResponse) -> Record {
    let unreadable = &response.unreadable;
    assert!(unreadable.is_none(), "{unreadable:?}");
    assert_eq!(response.records.len(), 1);
    response.records.remove(0)
}

fn event(record: &Record) -> Value {
    serde_json::from_slice(record.event()).unwrap()
}

#[test]
fn data_of_any_bytes_and_length_is_passed_on_as_it_is() {
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let mib = 1024 * 1024;
    for data in [
        Vec::new(),
        vec![0],
        b"\xff\xfe".to_vec(),
        every_byte.repeat(5),
        vec![b'"'; 100],
        // The largest record of a stream.
        vec![0xff; 10 * mib],
    ] {
        let text = base64_simd::STANDARD.encode_to_string(&data);
        let sent = json!({"SequenceNumber": "495", "PartitionKey": "k", "Data": text});
        for piece in PIECES {
            let record = of_kinesis(&sent, piece);
            assert!(record.data() == text.as_bytes(), "{} bytes", data.len());
            assert!(event(&record)["kinesis"]["data"] == text);
        }
    }
}

#[test]
fn a_partition_key_of_any_characters_is_passed_on_and_decides_about_the_lane() {
    for key in [
        "x".repeat(256),
        "\u{1f980}".repeat(256),
        "\"\\/\u{0}\n\u{7f}\u{2028}".to_owned(),
        " ".to_owned(),
        String::new(),
    ] {
        let sent = json!({"SequenceNumber": "495", "PartitionKey": key, "Data": ""});
        let record = of_kinesis(&sent, usize::MAX);
        assert_eq!(event(&record)["kinesis"]["partitionKey"], key);
        assert_eq!(record.key(), KeyHash::of(key.as_bytes()));
    }
}

/// Servers other than AWS's leave keys out. Such records have no order among each other.
#[test]
fn a_record_without_a_key_has_the_lane_of_its_sequence_number() {
    let number = "49590338271490256608559692538361571095921575989136588898";
    let lane = KeyHash::of(number.as_bytes());
    for key in [json!({}), json!({"PartitionKey": null})] {
        let mut sent = key;
        sent["SequenceNumber"] = number.into();
        sent["Data"] = "".into();
        let record = of_kinesis(&sent, usize::MAX);
        let event = event(&record);
        assert_eq!(event["kinesis"].get("partitionKey"), None, "{event}");
        assert_eq!(record.key(), lane);
    }
    for keys in [json!({}), json!({"Keys": null}), json!({"Keys": {}})] {
        let mut change = keys;
        change["SequenceNumber"] = number.into();
        let record = of_dynamodb(&json!({"eventName": "INSERT", "dynamodb": change}));
        assert_eq!(event(&record)["dynamodb"]["SequenceNumber"], number);
        assert_eq!(record.key(), lane);
    }
}

#[test]
fn an_item_of_any_attributes_is_passed_on_as_it_is() {
    let kib = 1024;
    for value in [
        json!({"B": ""}),
        json!({"B": base64_simd::STANDARD.encode_to_string((0..=u8::MAX).collect::<Vec<_>>())}),
        json!({"S": "\"\\\u{0}\u{1f980}\u{7f}"}),
        json!({"M": {"": {"NULL": true}, "\"": {"L": []}}}),
        // The largest item of a table.
        json!({"S": "x".repeat(400 * kib)}),
    ] {
        // A key has up to 2,048 bytes.
        let keys = json!({"key": {"B": base64_simd::STANDARD.encode_to_string([0xff; 2_048])}});
        let change = json!({"Keys": keys, "NewImage": {"a": value}, "SequenceNumber": "1"});
        let record = of_dynamodb(&json!({"eventName": "INSERT", "dynamodb": change}));
        let event = event(&record);
        assert_eq!(event["dynamodb"]["NewImage"], json!({"a": value}));
        assert_eq!(event["dynamodb"]["Keys"], keys);
    }
}
