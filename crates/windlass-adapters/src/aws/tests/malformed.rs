//! Answers that are not what they should be: cut off, changed on the way, or made to do harm.
//!
//! A page is accepted only if it is JSON, and then with every record that this JSON has.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::{Strategy, prop_oneof};
use serde::Deserialize;
use serde::de::IgnoredAny;
use windlass_core::record::Record;
use windlass_testkit::rng::Rng;

use super::for_many;
use super::json::spelled;
use crate::wire::{WireError, arriving, dynamodb, kinesis, sqs};

/// Generated answers that are cut off and changed.
const ANSWERS: u32 = 300;

/// Changes of each sample.
const CHANGES: u64 = 8_000;

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

/// Reads an answer that arrives in pieces, and gives the events of its records.
type Read = fn(&[&[u8]]) -> Result<Vec<Bytes>, WireError>;

const ALL: [(Read, &str); 3] = [
    (read_kinesis, KINESIS),
    (read_dynamodb, DYNAMODB),
    (read_sqs, SQS),
];

fn read_kinesis(pieces: &[&[u8]]) -> Result<Vec<Bytes>, WireError> {
    let frame = kinesis::Frame::new("shardId-1", "arn", "us-east-1", "role");
    let answer = arriving::read(pieces, kinesis::GetRecords::new(&frame, 0, usize::MAX))?;
    assert!(answer.behind < Duration::MAX);
    Ok(events(&answer.records))
}

fn read_dynamodb(pieces: &[&[u8]]) -> Result<Vec<Bytes>, WireError> {
    let frame = dynamodb::Frame::new("arn");
    let answer = arriving::read(pieces, dynamodb::GetRecords::new(&frame, 0, usize::MAX))?;
    Ok(events(&answer.records))
}

fn events(records: &[Record]) -> Vec<Bytes> {
    let events = records.iter().map(Record::event);
    events.map(Bytes::copy_from_slice).collect()
}

fn read_sqs(pieces: &[&[u8]]) -> Result<Vec<Bytes>, WireError> {
    let frame = sqs::Frame::new("arn", "us-east-1", true, true);
    let messages = arriving::read(pieces, sqs::ReceiveMessage::new(&frame, 0))?;
    Ok(messages.into_iter().map(|it| it.event).collect())
}

/// What an independent parser finds.
#[derive(Deserialize)]
struct Says {
    #[serde(rename = "Records", alias = "Messages", default)]
    list: Option<Vec<IgnoredAny>>,
}

/// An answer that is read is JSON, and nothing that it says is missing.
#[track_caller]
fn accepted_only_whole(read: Read, body: &[u8]) {
    let Ok(events) = read(&[body]) else { return };
    let shown = String::from_utf8_lossy(body);
    let says: Says =
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("read, but {error}: {shown}"));
    assert_eq!(events.len(), says.list.unwrap_or_default().len(), "{shown}");
    for event in events {
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(&event) {
            panic!("an event is no JSON, {error}: {shown}");
        }
    }
}

#[test]
fn the_samples_are_read() {
    for (read, body) in ALL {
        assert_eq!(read(&[body.as_bytes()]).unwrap().len(), 2);
    }
}

#[test]
fn an_answer_that_breaks_off_is_refused_wherever_it_does() {
    for (read, body) in ALL {
        for length in 0..body.len() {
            assert!(read(&[&body.as_bytes()[..length]]).is_err(), "{length}");
        }
    }
    let read = |(read, body): (Read, String)| {
        let body = body.trim_end().as_bytes();
        let mut rng = Rng::new(body.len() as u64);
        for _ in 0..20 {
            assert!(read(&[&body[..rng.size(0, body.len() - 1)]]).is_err());
        }
        Ok(())
    };
    for_many(ANSWERS, &any_answer(), read);
}

#[test]
fn a_changed_answer_is_refused_or_read_as_it_now_is() {
    for (read, body) in ALL {
        let mut rng = Rng::new(1);
        for _ in 0..CHANGES {
            accepted_only_whole(read, &changed(body.as_bytes(), &mut rng));
        }
    }
    for_many(ANSWERS, &any_answer(), |(read, body)| {
        accepted_only_whole(read, body.as_bytes());
        let mut rng = Rng::new(body.len() as u64);
        for _ in 0..10 {
            accepted_only_whole(read, &changed(body.as_bytes(), &mut rng));
        }
        Ok(())
    });
}

#[test]
fn an_answer_in_pieces_is_what_it_is_in_one() {
    for (read, body) in ALL {
        let mut rng = Rng::new(2);
        for change in 0..CHANGES / 4 {
            let body = if change == 0 {
                body.as_bytes().to_vec()
            } else {
                changed(body.as_bytes(), &mut rng)
            };
            let single: Vec<&[u8]> = body.chunks(1).collect();
            assert_eq!(read(&single), read(&[&body]));
            assert_eq!(read(&cut(&body, 100, &mut rng)), read(&[&body]));
        }
    }
    for_many(ANSWERS / 3, &any_answer(), |(read, body)| {
        // Large enough that what is cut off is kept, and kept again.
        let body = enlarged(&body);
        let mut rng = Rng::new(body.len() as u64);
        for body in [changed(body.as_bytes(), &mut rng), body.into_bytes()] {
            for largest in [300, 30_000] {
                assert_eq!(read(&cut(&body, largest, &mut rng)), read(&[&body]));
            }
        }
        Ok(())
    });
}

/// The same list many times over, with more in between than arrives at a time.
fn enlarged(body: &str) -> String {
    let long = format!(",{{\"Data\":\"{}\"}},", "A".repeat(4_000));
    let (start, list) = body.split_once('[').unwrap_or((body, "]"));
    let (list, end) = list.split_once(']').unwrap_or((list, ""));
    format!("{start}[{}]{end}", [list; 8].join(&long))
}

/// A text in pieces of at most so many bytes.
fn cut<'a>(mut body: &'a [u8], largest: usize, rng: &mut Rng) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !body.is_empty() {
        let (piece, rest) = body.split_at(rng.size(0, largest).min(body.len()));
        pieces.push(piece);
        body = rest;
    }
    pieces
}

fn any_answer() -> impl Strategy<Value = (Read, String)> {
    prop_oneof![
        spelled(super::kinesis::answer()).prop_map(|body| (read_kinesis as Read, body)),
        spelled(super::dynamodb::answer()).prop_map(|body| (read_dynamodb as Read, body)),
        spelled(super::sqs::answer()).prop_map(|body| (read_sqs as Read, body)),
    ]
}

/// One to three bytes are changed, left out, added or said twice.
fn changed(body: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut body = body.to_vec();
    for _ in 0..rng.size(1, 3) {
        let place = rng.size(0, body.len() - 1);
        // Half of what comes new is a byte that means something.
        let any = u8::try_from(rng.between(0, 255)).unwrap();
        let telling = rng.pick(b"{}[]\",:\\0-.eEu n\n");
        let new = rng.pick(&[any, telling]);
        match rng.size(0, 4) {
            0 => body[place] ^= 1 << rng.size(0, 7),
            1 => body[place] = new,
            2 => body.insert(place, new),
            3 if 1 < body.len() => drop(body.remove(place)),
            _ => {
                let end = rng.size(place, body.len());
                let piece = body[place..end].to_vec();
                body.splice(place..place, piece);
            }
        }
    }
    body
}

#[test]
fn what_is_nested_without_end_is_refused() {
    let places = [
        (read_kinesis as Read, r#"{"Records":[],"x":@}"#),
        (read_kinesis, r#"{"Records":[{"x":@}]}"#),
        (read_dynamodb, r#"{"Records":[],"x":@}"#),
        (read_dynamodb, r#"{"Records":[{"dynamodb":{"Keys":@}}]}"#),
        (
            read_dynamodb,
            r#"{"Records":[{"dynamodb":{"NewImage":@}}]}"#,
        ),
        (read_dynamodb, r#"{"Records":[{"userIdentity":@}]}"#),
        (read_sqs, r#"{"Messages":[{"Attributes":@}]}"#),
        (read_sqs, r#"{"Messages":[{"MessageAttributes":@}]}"#),
        (read_sqs, r#"{"x":@}"#),
    ];
    for (read, body) in places {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let opened = open.repeat(100_000);
            let closed = format!("{opened}1{}", close.repeat(100_000));
            for value in [opened, closed] {
                let body = body.replace('@', &value);
                let error = read(&[body.as_bytes()]).unwrap_err();
                assert!(error.to_string().ends_with("nested too deeply"), "{error}");
            }
        }
    }
}

#[test]
fn what_a_record_needs_is_never_guessed() {
    let needed = [
        (read_kinesis as Read, KINESIS, "SequenceNumber"),
        (read_kinesis, KINESIS, "ApproximateArrivalTimestamp"),
        (read_kinesis, KINESIS, "Data"),
        (read_kinesis, KINESIS, "Records"),
        (read_dynamodb, DYNAMODB, "SequenceNumber"),
        (read_dynamodb, DYNAMODB, "ApproximateCreationDateTime"),
        (read_dynamodb, DYNAMODB, "Keys"),
        (read_dynamodb, DYNAMODB, "dynamodb"),
        (read_dynamodb, DYNAMODB, "Records"),
        (read_sqs, SQS, "MessageId"),
        (read_sqs, SQS, "ReceiptHandle"),
        (read_sqs, SQS, "Body"),
    ];
    for (read, body, name) in needed {
        let missing = body.replacen(&format!("\"{name}\":"), "\"x\":", 1);
        assert!(read(&[missing.as_bytes()]).is_err(), "{name} is missing");
        let null = body.replacen(
            &format!("\"{name}\":"),
            &format!("\"{name}\":null,\"x\":"),
            1,
        );
        assert!(read(&[null.as_bytes()]).is_err(), "{name} is null");
    }
}

#[test]
fn a_second_list_does_not_take_the_place_of_the_first() {
    for (read, body) in ALL {
        let list = if body.contains("Messages") {
            "Messages"
        } else {
            "Records"
        };
        let end = format!(",\"{list}\":[]}}");
        let twice = body.strip_suffix('}').unwrap().to_owned() + &end;
        assert!(read(&[twice.as_bytes()]).is_err());
        let both_empty = format!("{{\"{list}\":[]{end}");
        assert!(read(&[both_empty.as_bytes()]).is_err());
    }
}
