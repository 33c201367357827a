//! Malformed responses: truncated, corrupted, or malicious.
//!
//! A response is accepted only if it is valid JSON, and then with every record in it.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::{Strategy, prop_oneof};
use serde::Deserialize;
use serde::de::IgnoredAny;
use windlass_core::record::Record;
use windlass_core::time::Timestamp;
use windlass_testkit::rng::Rng;

use super::for_many;
use super::json::spelled;
use crate::wire::page_builder::{GetRecordsResponse, PageEstimate};
use crate::wire::streaming_parser::parse_pieces;
use crate::wire::{WireError, dynamodb, kinesis, sqs};

/// Generated responses.
const CASES: u32 = 300;

/// Corruptions of each sample.
const CORRUPTIONS: u64 = 8_000;

const KINESIS: &str = r#"{"NextShardIterator":"AAA/=","MillisBehindLatest":1500,"Records":[
 {"SequenceNumber":"495","ApproximateArrivalTimestamp":1.545084650987E9,"Data":"SGVsbG8=",
  "PartitionKey":"k\u00e9\ud83d\ude00"},
 {"SequenceNumber":"496","ApproximateArrivalTimestamp":1545084651,"Data":"","PartitionKey":null}],
 "Other":[{"a":[1,-2.5e3,true,null]},"\"\\"]}"#;

const DYNAMODB: &str = r#"{"NextShardIterator":null,"Records":[
 {"eventID":"0f","eventName":"MODIFY","eventVersion":"1.1","awsRegion":"us-east-1",
  "dynamodb":{"ApproximateCreationDateTime":1732552345.0,"Keys":{"id":{"S":"a"},"n":{"N":"1"}},
   "NewImage":{"m":{"M":{"l":{"L":[{"NULL":true},{"B":"Zm9v"}]}}},"s":{"SS":["x","\u00e9"]}},
   "OldImage":{},"SequenceNumber":"100","SizeBytes":70,"StreamViewType":"NEW_AND_OLD_IMAGES"}},
 {"dynamodb":{"ApproximateCreationDateTime":1732552346,"Keys":{"id":{"S":""}},
   "SequenceNumber":"101"},"userIdentity":{"Type":"Service","PrincipalId":"dynamodb"}}]}"#;

const SQS: &str = r#"{"Messages":[
 {"MessageId":"059f-1","ReceiptHandle":"AQEB\/x","Body":"{\"a\": \"\u00e9\ud83d\ude00\"}",
  "MD5OfBody":"e4e6","Attributes":{"SentTimestamp":"1545082649183","MessageGroupId":"g"},
  "MessageAttributes":{"A":{"DataType":"String","StringValue":"J"},
   "B":{"DataType":"Binary","BinaryValue":"AAE="}},"MD5OfMessageAttributes":"d25a"},
 {"MessageId":"059f-2","ReceiptHandle":"r","Body":"","Other":1.5}]}"#;

/// Parses a response that arrives in pieces, and returns its events.
type Parse = fn(&[&[u8]]) -> Result<Vec<Bytes>, WireError>;

const ALL: [(Parse, &str); 3] = [
    (parse_kinesis, KINESIS),
    (parse_dynamodb, DYNAMODB),
    (parse_sqs, SQS),
];

fn parse_kinesis(pieces: &[&[u8]]) -> Result<Vec<Bytes>, WireError> {
    let template = kinesis::EventTemplate::new("shardId-1", "arn", "us-east-1", "role");
    let estimate = PageEstimate::new(1);
    let parser =
        kinesis::GetRecordsParser::new(&template, &estimate, 0, usize::MAX, Timestamp::EPOCH);
    let response = parse_pieces(pieces, parser)?;
    assert!(response.behind_latest < Some(Duration::MAX));
    whole(&response)
}

fn parse_dynamodb(pieces: &[&[u8]]) -> Result<Vec<Bytes>, WireError> {
    let template = dynamodb::EventTemplate::new("arn", "us-east-1");
    let estimate = PageEstimate::new(1);
    let parser =
        dynamodb::GetRecordsParser::new(&template, &estimate, 0, usize::MAX, Timestamp::EPOCH);
    whole(&parse_pieces(pieces, parser)?)
}

/// The events of a response. One with a record that cannot be rendered counts as rejected here.
fn whole(response: &GetRecordsResponse) -> Result<Vec<Bytes>, WireError> {
    if let Some(unreadable) = &response.unreadable {
        return Err(WireError::new(0, unreadable.reason));
    }
    if let Some(reason) = response.records.iter().find_map(Record::unreadable) {
        return Err(WireError::new(0, reason));
    }
    let events = response.records.iter().map(Record::event);
    Ok(events.map(Bytes::copy_from_slice).collect())
}

fn parse_sqs(pieces: &[&[u8]]) -> Result<Vec<Bytes>, WireError> {
    let template = sqs::EventTemplate::new("arn", "us-east-1", true, false);
    let messages = parse_pieces(pieces, sqs::ReceiveMessageParser::new(&template, 0))?;
    // One that cannot be rendered counts as rejected here.
    if let Some(reason) = messages.iter().find_map(|it| it.unreadable) {
        return Err(WireError::new(0, reason));
    }
    Ok(messages.into_iter().map(|it| it.event).collect())
}

/// A response, as serde parses it.
#[derive(Deserialize)]
struct SerdeResponse {
    #[serde(rename = "Records", alias = "Messages", default)]
    list: Option<Vec<IgnoredAny>>,
}

/// Asserts that a response that is accepted is valid JSON, and that no record is missing.
#[track_caller]
fn assert_accepted_only_whole(parse: Parse, body: &[u8]) {
    let Ok(events) = parse(&[body]) else { return };
    let shown = String::from_utf8_lossy(body);
    let response: SerdeResponse = serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("accepted, but {error}: {shown}"));
    assert_eq!(
        events.len(),
        response.list.unwrap_or_default().len(),
        "{shown}"
    );
    for event in events {
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(&event) {
            panic!("an event is not JSON, {error}: {shown}");
        }
    }
}

#[test]
fn the_samples_are_valid() {
    for (parse, body) in ALL {
        assert_eq!(parse(&[body.as_bytes()]).unwrap().len(), 2);
    }
}

#[test]
fn a_truncated_response_is_rejected() {
    for (parse, body) in ALL {
        for length in 0..body.len() {
            assert!(parse(&[&body.as_bytes()[..length]]).is_err(), "{length}");
        }
    }
    let truncate = |(parse, body): (Parse, String)| {
        let body = body.trim_end().as_bytes();
        let mut rng = Rng::new(body.len() as u64);
        for _ in 0..20 {
            assert!(parse(&[&body[..rng.size(0, body.len() - 1)]]).is_err());
        }
        Ok(())
    };
    for_many(CASES, &any_response(), truncate);
}

#[test]
fn a_corrupted_response_is_rejected_or_parsed_whole() {
    for (parse, body) in ALL {
        let mut rng = Rng::new(1);
        for _ in 0..CORRUPTIONS {
            assert_accepted_only_whole(parse, &corrupted(body.as_bytes(), &mut rng));
        }
    }
    for_many(CASES, &any_response(), |(parse, body)| {
        assert_accepted_only_whole(parse, body.as_bytes());
        let mut rng = Rng::new(body.len() as u64);
        for _ in 0..10 {
            assert_accepted_only_whole(parse, &corrupted(body.as_bytes(), &mut rng));
        }
        Ok(())
    });
}

#[test]
fn a_response_in_pieces_is_parsed_as_in_one() {
    for (parse, body) in ALL {
        let mut rng = Rng::new(2);
        for round in 0..CORRUPTIONS / 4 {
            let body = if round == 0 {
                body.as_bytes().to_vec()
            } else {
                corrupted(body.as_bytes(), &mut rng)
            };
            let single: Vec<&[u8]> = body.chunks(1).collect();
            assert_eq!(parse(&single), parse(&[&body]));
            assert_eq!(parse(&split(&body, 100, &mut rng)), parse(&[&body]));
        }
    }
    for_many(CASES / 3, &any_response(), |(parse, body)| {
        // Large enough that an incomplete element is kept several times.
        let body = enlarged(&body);
        let mut rng = Rng::new(body.len() as u64);
        for body in [corrupted(body.as_bytes(), &mut rng), body.into_bytes()] {
            for max_len in [300, 30_000] {
                assert_eq!(parse(&split(&body, max_len, &mut rng)), parse(&[&body]));
            }
        }
        Ok(())
    });
}

/// Repeats the list, with elements in between that are longer than one piece.
fn enlarged(body: &str) -> String {
    let long = format!(",{{\"Data\":\"{}\"}},", "A".repeat(4_000));
    let (start, list) = body.split_once('[').unwrap_or((body, "]"));
    let (list, end) = list.split_once(']').unwrap_or((list, ""));
    format!("{start}[{}]{end}", [list; 8].join(&long))
}

/// Splits a text into pieces of up to `max_len` bytes.
fn split<'a>(mut body: &'a [u8], max_len: usize, rng: &mut Rng) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !body.is_empty() {
        let (piece, rest) = body.split_at(rng.size(0, max_len).min(body.len()));
        pieces.push(piece);
        body = rest;
    }
    pieces
}

fn any_response() -> impl Strategy<Value = (Parse, String)> {
    prop_oneof![
        spelled(super::kinesis::response()).prop_map(|body| (parse_kinesis as Parse, body)),
        spelled(super::dynamodb::response()).prop_map(|body| (parse_dynamodb as Parse, body)),
        spelled(super::sqs::response()).prop_map(|body| (parse_sqs as Parse, body)),
    ]
}

/// Changes, removes, adds or repeats one to three bytes.
fn corrupted(body: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut body = body.to_vec();
    for _ in 0..rng.size(1, 3) {
        let index = rng.size(0, body.len() - 1);
        // Half of the new bytes have a meaning in JSON.
        let any = u8::try_from(rng.between(0, 255)).unwrap();
        let syntax = rng.pick(b"{}[]\",:\\0-.eEu n\n");
        let new = rng.pick(&[any, syntax]);
        match rng.size(0, 4) {
            0 => body[index] ^= 1 << rng.size(0, 7),
            1 => body[index] = new,
            2 => body.insert(index, new),
            3 if 1 < body.len() => drop(body.remove(index)),
            _ => {
                let end = rng.size(index, body.len());
                let piece = body[index..end].to_vec();
                body.splice(index..index, piece);
            }
        }
    }
    body
}

#[test]
fn endless_nesting_is_rejected() {
    let bodies = [
        (parse_kinesis as Parse, r#"{"Records":[],"x":@}"#),
        (parse_kinesis, r#"{"Records":[{"x":@}]}"#),
        (parse_dynamodb, r#"{"Records":[],"x":@}"#),
        (parse_dynamodb, r#"{"Records":[{"dynamodb":{"Keys":@}}]}"#),
        (
            parse_dynamodb,
            r#"{"Records":[{"dynamodb":{"NewImage":@}}]}"#,
        ),
        (parse_dynamodb, r#"{"Records":[{"userIdentity":@}]}"#),
        (parse_sqs, r#"{"Messages":[{"Attributes":@}]}"#),
        (parse_sqs, r#"{"Messages":[{"MessageAttributes":@}]}"#),
        (parse_sqs, r#"{"x":@}"#),
    ];
    for (parse, body) in bodies {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let opened = open.repeat(100_000);
            let closed = format!("{opened}1{}", close.repeat(100_000));
            for value in [opened, closed] {
                let body = body.replace('@', &value);
                let error = parse(&[body.as_bytes()]).unwrap_err();
                assert!(error.to_string().ends_with("nested too deeply"), "{error}");
            }
        }
    }
}

#[test]
fn required_members_have_no_defaults() {
    let required = [
        (parse_kinesis as Parse, KINESIS, "SequenceNumber"),
        (parse_kinesis, KINESIS, "Data"),
        (parse_kinesis, KINESIS, "Records"),
        (parse_dynamodb, DYNAMODB, "SequenceNumber"),
        (parse_dynamodb, DYNAMODB, "dynamodb"),
        (parse_sqs, SQS, "MessageId"),
        (parse_sqs, SQS, "ReceiptHandle"),
        (parse_sqs, SQS, "Body"),
    ];
    for (parse, body, name) in required {
        let missing = body.replacen(&format!("\"{name}\":"), "\"x\":", 1);
        assert!(parse(&[missing.as_bytes()]).is_err(), "{name} is missing");
        let null = body.replacen(
            &format!("\"{name}\":"),
            &format!("\"{name}\":null,\"x\":"),
            1,
        );
        assert!(parse(&[null.as_bytes()]).is_err(), "{name} is null");
    }
}

#[test]
fn a_second_list_is_rejected() {
    for (parse, body) in ALL {
        let list = if body.contains("Messages") {
            "Messages"
        } else {
            "Records"
        };
        let end = format!(",\"{list}\":[]}}");
        let twice = body.strip_suffix('}').unwrap().to_owned() + &end;
        assert!(parse(&[twice.as_bytes()]).is_err());
        let both_empty = format!("{{\"{list}\":[]{end}");
        assert!(parse(&[both_empty.as_bytes()]).is_err());
    }
}
