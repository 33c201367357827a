//! The calls for a stream: iterators, their expiry, and lists of shards.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::shard::PageStart;
use windlass_core::shard::lineage::Shard;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{ReadLimits, StreamReader};

use super::{ReadOnce as _, Room, limits};
use crate::aws::dynamodb_streams::DynamoDbStreamsReader;
use crate::aws::kinesis::KinesisReader;
use crate::aws::shard_api::MAX_LIST_PAGES;
use crate::aws::{AwsClients, Service, source_exists};
use crate::tests::test_http::TestHttp;

const KINESIS: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
const DYNAMODB: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2026";
const SHARD: &str = "shardId-1";

const SUMMARY: &str = r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"a",
    "StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1,
    "EnhancedMonitoring":[],"OpenShardCount":1}}"#;
const ITERATOR: &str = r#"{"ShardIterator":"new"}"#;
const EMPTY: &str = r#"{"Records":[],"NextShardIterator":"next","MillisBehindLatest":5}"#;
const ENDED: &str = r#"{"Records":[],"NextShardIterator":null}"#;
const OPEN: &str = r#"[{"ShardId":"shardId-1","SequenceNumberRange":
    {"StartingSequenceNumber":"1"},"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"1"}}]"#;
const EXPIRED: &str = r#"{"__type":"ExpiredIteratorException","message":"old"}"#;

fn kinesis(clients: &AwsClients) -> Arc<dyn StreamReader> {
    let stream = Arn::parse(KINESIS).unwrap();
    Arc::new(KinesisReader::new(clients, &stream, None, "role"))
}

fn dynamodb(clients: &AwsClients) -> Arc<dyn StreamReader> {
    let stream = Arn::parse(DYNAMODB).unwrap();
    Arc::new(DynamoDbStreamsReader::new(clients, &stream))
}

fn at(after: Position, iterator: Option<&str>) -> Cursor {
    Cursor {
        iterator: iterator.map(Into::into),
        ..Cursor::at(after)
    }
}

fn after(number: &str) -> Position {
    Position::After(SequenceNumber::from(number))
}

#[track_caller]
fn assert_calls(http: &TestHttp, expected: &[(&str, Value)]) {
    let requests = http.requests();
    let calls: Vec<_> = requests.iter().map(|request| request.call()).collect();
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn an_expired_iterator_is_replaced_at_the_position_of_the_read() {
    let (http, clients) = TestHttp::new();
    let shard = ShardId::from(SHARD);
    let from = at(after("42"), Some("old"));
    let expired = || {
        http.respond_once(400, EXPIRED);
        http.respond_once(200, ITERATOR);
        http.respond_once(200, EMPTY);
    };
    expired();
    let page = kinesis(&clients)
        .read(&shard, &from, limits(100))
        .await
        .unwrap();
    let next = page.next.unwrap();
    assert_eq!(
        next.after,
        after("42"),
        "an empty page does not move the position"
    );
    assert_eq!(next.iterator.as_deref(), Some("next"));
    assert_eq!(page.behind, Duration::from_millis(5));
    let read = |iterator: &str, limit: u32| {
        let body = json!({"ShardIterator": iterator, "Limit": limit, "StreamARN": KINESIS});
        ("GetRecords", body)
    };
    let position = json!({"StreamARN": KINESIS, "ShardId": SHARD, "StartingSequenceNumber": "42",
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER"});
    assert_calls(
        &http,
        &[
            read("old", 100),
            ("GetShardIterator", position),
            read("new", 100),
        ],
    );
    expired();
    dynamodb(&clients)
        .read(&shard, &from, limits(5000))
        .await
        .unwrap();
    let read = |iterator| {
        (
            "GetRecords",
            json!({"ShardIterator": iterator, "Limit": 1000}),
        )
    };
    let position = json!({"StreamArn": DYNAMODB, "ShardId": SHARD, "SequenceNumber": "42",
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER"});
    assert_calls(
        &http,
        &[read("old"), ("GetShardIterator", position), read("new")],
    );
}

#[tokio::test]
async fn a_new_iterator_starts_with_the_record_itself_where_that_is_asked() {
    let (http, clients) = TestHttp::new();
    let shard = ShardId::from(SHARD);
    let from = Cursor {
        inclusive: true,
        ..at(after("42"), Some("old"))
    };
    let (kinesis, dynamodb) = (kinesis(&clients), dynamodb(&clients));
    for (reader, stream, number) in [
        (kinesis, "StreamARN", "StartingSequenceNumber"),
        (dynamodb, "StreamArn", "SequenceNumber"),
    ] {
        http.respond_once(400, EXPIRED);
        http.respond_once(200, ITERATOR);
        http.respond_once(200, EMPTY);
        let page = reader.read(&shard, &from, limits(100)).await.unwrap();
        assert_eq!(page.start, PageStart::AtPosition);
        let calls = http.requests();
        let (_, position) = calls[1].call();
        assert_eq!(position["ShardIteratorType"], "AT_SEQUENCE_NUMBER");
        assert_eq!(position[number], "42");
        assert!(position[stream].is_string());
        http.respond_once(200, EMPTY);
        let page = reader.read(&shard, &from, limits(100)).await.unwrap();
        assert_eq!(page.start, PageStart::Continued, "the iterator was used");
        http.requests();
    }
}

#[tokio::test]
async fn reading_begins_at_the_starting_position() {
    let (http, clients) = TestHttp::new();
    let shard = ShardId::from(SHARD);
    let time = Position::AtTimestamp(Timestamp::from_millis(1_732_552_345_678));
    let positions = [
        (
            Position::TrimHorizon,
            json!({"ShardIteratorType": "TRIM_HORIZON"}),
            "TRIM_HORIZON",
        ),
        (
            time,
            json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_732_552_345.678}),
            "TRIM_HORIZON",
        ),
        (
            Position::At("42".into()),
            json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "42"}),
            "AT_SEQUENCE_NUMBER",
        ),
    ];
    for (position, for_kinesis, for_dynamodb) in positions {
        http.respond_once(200, ITERATOR);
        http.respond_once(200, EMPTY);
        let from = at(position, None);
        kinesis(&clients)
            .read(&shard, &from, limits(10))
            .await
            .unwrap();
        let requests = http.requests();
        let (operation, mut body) = requests[0].call();
        let named = body.as_object_mut().unwrap();
        assert_eq!(named.remove("StreamARN"), Some(json!(KINESIS)));
        assert_eq!(named.remove("ShardId"), Some(json!(SHARD)));
        assert_eq!((operation, body), ("GetShardIterator", for_kinesis));
        http.respond_once(200, ITERATOR);
        http.respond_once(200, EMPTY);
        dynamodb(&clients)
            .read(&shard, &from, limits(10))
            .await
            .unwrap();
        let requests = http.requests();
        assert_eq!(requests[0].call().1["ShardIteratorType"], for_dynamodb);
    }
}

#[tokio::test]
async fn a_shard_without_a_next_iterator_has_ended() {
    let (http, clients) = TestHttp::new();
    let shard = ShardId::from(SHARD);
    let from = at(after("1"), Some("i"));
    http.respond_once(200, r#"{"Records":[],"ChildShards":[{"ShardId":"s"}]}"#);
    let page = kinesis(&clients)
        .read(&shard, &from, limits(10))
        .await
        .unwrap();
    assert_eq!(page.next, None);
    assert_eq!(http.requests().len(), 1, "child shards confirm the end");
    for listed in [
        r#"[{"ShardId":"shardId-1","SequenceNumberRange":{"StartingSequenceNumber":"1"},
        "HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"1"}},
        {"ShardId":"child","ParentShardId":"shardId-1","SequenceNumberRange":
        {"StartingSequenceNumber":"2"},"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"1"}}]"#,
        r#"[{"ShardId":"shardId-1","SequenceNumberRange":
        {"StartingSequenceNumber":"1","EndingSequenceNumber":"9"},"HashKeyRange":
        {"StartingHashKey":"0","EndingHashKey":"1"}}]"#,
    ] {
        http.respond_once(200, ENDED);
        http.respond_once(200, &format!(r#"{{"Shards":{listed}}}"#));
        let page = kinesis(&clients)
            .read(&shard, &from, limits(10))
            .await
            .unwrap();
        assert_eq!(page.next, None);
        http.respond_once(200, ENDED);
        http.respond_once(200, &described(listed, "ENABLED"));
        let page = dynamodb(&clients)
            .read(&shard, &from, limits(10))
            .await
            .unwrap();
        assert_eq!(page.next, None);
        assert_eq!(http.requests().len(), 4);
    }
    http.respond_once(200, ENDED);
    http.respond_once(200, &described(OPEN, "DISABLED"));
    let page = dynamodb(&clients)
        .read(&shard, &from, limits(10))
        .await
        .unwrap();
    assert_eq!(page.next, None, "a disabled stream has no open shards");
    http.requests();
    let ended = at(Position::ShardEnd, None);
    kinesis(&clients)
        .read(&shard, &ended, limits(10))
        .await
        .unwrap_err();
    dynamodb(&clients)
        .read(&shard, &ended, limits(10))
        .await
        .unwrap_err();
    assert_eq!(http.requests().len(), 0, "after the end there is no call");
}

#[tokio::test]
async fn a_disabled_stream_of_a_table_is_switched_off() {
    let (http, clients) = TestHttp::new();
    let reader = dynamodb(&clients);
    for (status, is_switched_off) in [
        ("ENABLED", false),
        ("DISABLING", false),
        ("DISABLED", true),
        ("ENABLED", false),
    ] {
        http.respond_once(200, &described(OPEN, status));
        reader.list_shards().await.unwrap();
        assert_eq!(reader.is_switched_off(), is_switched_off, "{status}");
    }
}

#[tokio::test]
async fn an_open_shard_without_a_next_iterator_continues_after_its_last_record() {
    let (http, clients) = TestHttp::new();
    let shard = ShardId::from(SHARD);
    let from = at(after("1"), Some("i"));
    let of_kinesis = r#"{"Records":[{"SequenceNumber":"2","Data":"","PartitionKey":"k",
        "ApproximateArrivalTimestamp":1}],"NextShardIterator":""}"#;
    let of_dynamodb = r#"{"Records":[{"dynamodb":{"SequenceNumber":"2","Keys":{"k":{"S":"a"}},
        "ApproximateCreationDateTime":1}}]}"#;
    let failed = (500, r#"{"__type":"InternalFailure"}"#.to_owned());
    let of = |listed: &str| (200, format!(r#"{{"Shards":{listed}}}"#));
    let described = |listed: &str| (200, described(listed, "ENABLED"));
    let readers: [(Arc<dyn StreamReader>, &str, _); 2] = [
        (
            kinesis(&clients),
            of_kinesis,
            [of(OPEN), of("[]"), failed.clone()],
        ),
        (
            dynamodb(&clients),
            of_dynamodb,
            [described(OPEN), described("[]"), failed],
        ),
    ];
    for (reader, page, listings) in readers {
        for (status, listing) in listings {
            http.respond_once(200, page);
            http.respond_once(status, &listing);
            let page = reader.read(&shard, &from, limits(10)).await.unwrap();
            assert_eq!(page.records.len(), 1, "the records are used in any case");
            assert_eq!(page.next, Some(at(after("2"), None)));
            // An empty page has nothing to lose: a failed check is a failed read.
            http.respond_once(200, ENDED);
            http.respond_once(status, &listing);
            let page = reader.read(&shard, &from, limits(10)).await;
            match status {
                200 => assert_eq!(page.unwrap().next, Some(at(after("1"), None))),
                _ => assert_eq!(page.unwrap_err().fault, Fault::Transient),
            }
        }
    }
}

#[tokio::test]
async fn a_closed_shard_with_endless_iterators_ends_at_its_ending_sequence_number() {
    let (http, clients) = TestHttp::new();
    let clients = AwsClients {
        custom_endpoints: Arc::new([Service::Kinesis, Service::DynamoDbStreams].into()),
        ..clients
    };
    let shard = ShardId::from(SHARD);
    let listed = r#"[{"ShardId":"shardId-1","SequenceNumberRange":{"StartingSequenceNumber":"1",
        "EndingSequenceNumber":"100"},"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"1"}},
        {"ShardId":"child","ParentShardId":"shardId-1","SequenceNumberRange":
        {"StartingSequenceNumber":"101"},"HashKeyRange":
        {"StartingHashKey":"0","EndingHashKey":"1"}}]"#;
    let of_kinesis = r#"{"Records":[{"SequenceNumber":"103","Data":""}],"NextShardIterator":"i"}"#;
    let of_dynamodb = r#"{"Records":[{"dynamodb":{"SequenceNumber":"103"}}],
        "NextShardIterator":"i"}"#;
    let readers: [(Arc<dyn StreamReader>, String, &str); 2] = [
        (
            kinesis(&clients),
            format!(r#"{{"Shards":{listed}}}"#),
            of_kinesis,
        ),
        (
            dynamodb(&clients),
            described(listed, "ENABLED"),
            of_dynamodb,
        ),
    ];
    for (reader, listing, more) in readers {
        http.respond_once(200, &listing);
        reader.list_shards().await.unwrap();
        for (number, has_ended) in [("99", false), ("100", true), ("0101", true), ("9", false)] {
            http.respond_once(200, EMPTY);
            let from = at(after(number), Some("i"));
            let page = reader.read(&shard, &from, limits(10)).await.unwrap();
            assert_eq!(page.next.is_none(), has_ended, "{number}");
            assert!(page.has_children);
        }
        http.respond_once(200, more);
        let from = at(after("100"), Some("i"));
        let page = reader.read(&shard, &from, limits(10)).await.unwrap();
        let next = page.next.map(|next| next.after);
        assert_eq!(next, Some(after("103")), "it has records after that number");
    }
}

#[tokio::test]
async fn a_rejected_iterator_is_replaced_and_a_rejected_position_reported() {
    let (http, clients) = TestHttp::new();
    let shard = ShardId::from(SHARD);
    let from = at(after("1"), Some("old"));
    let gone =
        r#"{"__type":"ResourceNotFoundException","message":"Invalid ShardId in ShardIterator"}"#;
    let unknown = r#"{"__type":"ResourceNotFoundException",
        "message":"Unable to find record with provided SequenceNumber 1 in stream s"}"#;
    for reader in [kinesis(&clients), dynamodb(&clients)] {
        for (status, body) in [(400, gone), (200, ITERATOR), (200, EMPTY)] {
            http.respond_once(status, body);
        }
        let page = reader.read(&shard, &from, limits(10)).await.unwrap();
        assert_eq!(page.next.unwrap().iterator.as_deref(), Some("next"));
        for body in [gone, unknown] {
            http.respond_once(400, body);
        }
        let error = reader.read(&shard, &from, limits(10)).await.unwrap_err();
        assert_eq!(error.fault, Fault::UnknownPosition);
    }
}

#[tokio::test]
async fn only_a_page_of_a_table_that_has_an_iterator_may_lack_its_list() {
    let (http, clients) = TestHttp::new();
    let (shard, from) = (ShardId::from(SHARD), at(after("1"), Some("i")));
    let readers = [(kinesis(&clients), false), (dynamodb(&clients), true)];
    for (body, is_page) in [
        (r#"{"NextShardIterator":"next"}"#, true),
        (r#"{"Records":null,"NextShardIterator":"next"}"#, true),
        (r#"{"NextShardIterator":"next","Records":null}"#, true),
        (r#"{"NextShardIterator":""}"#, false),
        (r#"{"Records":null,"NextShardIterator":null}"#, false),
        ("{}", false),
    ] {
        for (reader, is_of_table) in &readers {
            http.respond_once(200, body);
            let page = reader.read(&shard, &from, limits(10)).await;
            let next = page.map(|page| (page.records.len(), page.next));
            if is_page && *is_of_table {
                assert_eq!(next.unwrap(), (0, Some(at(after("1"), Some("next")))));
            } else {
                assert_eq!(next.unwrap_err().fault, Fault::Transient);
            }
        }
    }
}

#[tokio::test]
async fn a_truncated_page_is_continued_after_its_last_record() {
    let (http, clients) = TestHttp::new();
    let shard = ShardId::from(SHARD);
    let from = at(after("1"), Some("i"));
    let long = "A".repeat(40_000);
    let of_kinesis = |number: u32| {
        format!(
            r#"{{"SequenceNumber":"{number}","Data":"{long}","PartitionKey":"k",
                "ApproximateArrivalTimestamp":1}}"#
        )
    };
    let of_dynamodb = |number: u32| {
        format!(
            r#"{{"dynamodb":{{"SequenceNumber":"{number}","Keys":{{"k":{{"S":"{long}"}}}},
                "ApproximateCreationDateTime":1}}}}"#
        )
    };
    let page = |records: [String; 4]| {
        let records = records.join(",");
        format!(r#"{{"Records":[{records}],"MillisBehindLatest":0,"NextShardIterator":null}}"#)
    };
    let readers: [(Arc<dyn StreamReader>, String); 2] = [
        (kinesis(&clients), page([11, 12, 13, 14].map(of_kinesis))),
        (dynamodb(&clients), page([11, 12, 13, 14].map(of_dynamodb))),
    ];
    for (reader, body) in readers {
        http.respond_once(200, &body);
        let limits = ReadLimits {
            max_records: 10,
            memory: &Room { bytes: 100_000 },
            ..limits(10)
        };
        let page = reader.read(&shard, &from, limits).await.unwrap();
        assert_eq!(page.records.len(), 3);
        // The end of the shard counts only after its last record was read.
        assert_eq!(page.next, Some(at(after("13"), None)));
        assert_ne!(page.behind, Duration::ZERO);
        assert_eq!(http.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_rendered_is_returned_as_such() {
    let (http, clients) = TestHttp::new();
    let from = at(after("1"), Some("i"));
    let of_kinesis = r#"{"Records":[{"SequenceNumber":"2","Data":""},{"SequenceNumber":"3"}],
        "NextShardIterator":"next"}"#;
    let of_dynamodb = r#"{"Records":[
        {"dynamodb":{"SequenceNumber":"2","Keys":{"k":{"S":"a"}}}},
        {"dynamodb":{"SequenceNumber":"3","Keys":1}}],"NextShardIterator":"next"}"#;
    let readers: [(Arc<dyn StreamReader>, &str); 2] = [
        (kinesis(&clients), of_kinesis),
        (dynamodb(&clients), of_dynamodb),
    ];
    for (reader, body) in readers {
        http.respond_once(200, body);
        let shard = ShardId::from(SHARD);
        let page = reader.read(&shard, &from, limits(10)).await.unwrap();
        assert_eq!(page.records.len(), 2);
        assert_eq!(page.records[0].unreadable(), None);
        assert_eq!(page.records[1].sequence_number(), "3");
        assert!(page.records[1].unreadable().is_some());
        assert_eq!(page.unreadable, None);
        assert_eq!(http.requests().len(), 1);
    }
}

fn described(shards: &str, status: &str) -> String {
    format!(r#"{{"StreamDescription":{{"Shards":{shards},"StreamStatus":"{status}"}}}}"#)
}

#[tokio::test]
async fn an_iterator_is_replaced_only_once_per_read() {
    let (http, clients) = TestHttp::new();
    let shard = ShardId::from(SHARD);
    for reader in [kinesis(&clients), dynamodb(&clients)] {
        for (status, body) in [(400, EXPIRED), (200, ITERATOR), (400, EXPIRED)] {
            http.respond_once(status, body);
        }
        let from = at(Position::TrimHorizon, Some("old"));
        let error = reader.read(&shard, &from, limits(10)).await.unwrap_err();
        assert_eq!(error.fault, Fault::Transient);
        assert_eq!(http.requests().len(), 3);
    }
}

#[tokio::test]
async fn a_trimmed_position_is_reported() {
    let (http, clients) = TestHttp::new();
    http.respond_once(200, ITERATOR);
    http.respond_once(
        400,
        r#"{"__type":"TrimmedDataAccessException","message":"gone"}"#,
    );
    let from = at(after("1"), None);
    let read = dynamodb(&clients);
    let error = read
        .read(&ShardId::from(SHARD), &from, limits(10))
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Trimmed);
}

#[tokio::test]
async fn every_page_of_shards_is_read() {
    let (http, clients) = TestHttp::new();
    let range = r#""HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"1"},
        "SequenceNumberRange":{"StartingSequenceNumber":"1"}"#;
    http.respond_once(
        200,
        &format!(r#"{{"Shards":[{{"ShardId":"a",{range}}}],"NextToken":"more"}}"#),
    );
    http.respond_once(200, r#"{"Shards":[],"NextToken":"and more"}"#);
    http.respond_once(
        200,
        &format!(
            r#"{{"Shards":[{{"ShardId":"c","ParentShardId":"a","AdjacentParentShardId":"b",{range}}}]}}"#
        ),
    );
    let shards = kinesis(&clients).list_shards().await.unwrap();
    let start = shards[1].starting_sequence_number.as_ref();
    assert_eq!(start.map(SequenceNumber::as_str), Some("1"));
    assert_eq!(
        shards.iter().map(|it| it.is_closed).collect::<Vec<_>>(),
        [true, false],
        "a parent is closed, whatever else is listed of it"
    );
    let parents: Vec<_> = shards[1].parents.iter().map(ShardId::as_str).collect();
    assert_eq!(
        (shards.len(), shards[1].id.as_str(), parents),
        (2, "c", vec!["a", "b"])
    );
    let list = |body| ("ListShards", body);
    let tokens = [json!({"StreamARN": KINESIS}), json!({"NextToken": "more"})];
    let [first, second] = tokens;
    assert_calls(
        &http,
        &[
            list(first),
            list(second),
            list(json!({"NextToken": "and more"})),
        ],
    );
    let page = |shards: &str, last: &str| {
        format!(r#"{{"StreamDescription":{{"Shards":[{shards}]{last}}}}}"#)
    };
    http.respond_once(
        200,
        &page(r#"{"ShardId":"a"}"#, r#","LastEvaluatedShardId":"a""#),
    );
    http.respond_once(
        200,
        &page(
            r#"{"ShardId":"a"},{"ShardId":"b","ParentShardId":"a",
            "SequenceNumberRange":{"StartingSequenceNumber":"7","EndingSequenceNumber":"9"}}"#,
            "",
        ),
    );
    let shards = dynamodb(&clients).list_shards().await.unwrap();
    let ids: Vec<_> = shards.iter().map(|shard| shard.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"], "a duplicate counts once");
    assert_eq!(shards[1].parents.len(), 1);
    let start = shards[1].starting_sequence_number.as_ref();
    assert_eq!(start.map(SequenceNumber::as_str), Some("7"));
    assert!(shards.iter().all(|shard| shard.is_closed));
    let describe = |body| ("DescribeStream", body);
    let second = json!({"StreamArn": DYNAMODB, "ExclusiveStartShardId": "a"});
    assert_calls(
        &http,
        &[describe(json!({"StreamArn": DYNAMODB})), describe(second)],
    );
}

#[tokio::test]
async fn a_list_of_shards_without_an_end_is_an_error() {
    let (http, clients) = TestHttp::new();
    http.respond(br#"{"Shards":[],"NextToken":"same"}"#);
    let error = kinesis(&clients).list_shards().await.unwrap_err();
    assert_eq!(error.fault, Fault::Transient);
    for page in 0..MAX_LIST_PAGES {
        let last = format!(r#""LastEvaluatedShardId":"{page}""#);
        let body = format!(r#"{{"StreamDescription":{{"Shards":[],{last}}}}}"#);
        http.respond_once(200, &body);
    }
    let error = dynamodb(&clients).list_shards().await.unwrap_err();
    assert_eq!(error.fault, Fault::Transient);
    assert_eq!(http.requests().len(), 2 * MAX_LIST_PAGES);
}

#[tokio::test]
async fn empty_members_of_a_list_of_shards_count_as_missing() {
    let (http, clients) = TestHttp::new();
    let shard = r#"{"ShardId":"a","ParentShardId":"","AdjacentParentShardId":"","HashKeyRange":
        {"StartingHashKey":"0","EndingHashKey":"1"},"SequenceNumberRange":
        {"StartingSequenceNumber":"","EndingSequenceNumber":""}}"#;
    let lists: [(Arc<dyn StreamReader>, String); 2] = [
        (
            kinesis(&clients),
            format!(r#"{{"Shards":[{shard}],"NextToken":""}}"#),
        ),
        (
            dynamodb(&clients),
            format!(r#"{{"StreamDescription":{{"Shards":[{shard}],"LastEvaluatedShardId":""}}}}"#),
        ),
    ];
    for (reader, list) in lists {
        http.respond_once(200, &list);
        let expected = Shard {
            id: ShardId::from("a"),
            parents: Vec::new(),
            starting_sequence_number: None,
            is_closed: false,
        };
        assert_eq!(reader.list_shards().await.unwrap(), [expected]);
        assert_eq!(http.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_list_of_shards_ends_with_a_page_that_names_the_same_last_shard_again() {
    let (http, clients) = TestHttp::new();
    let body = br#"{"StreamDescription":{"Shards":[{"ShardId":"a"}],"LastEvaluatedShardId":"a"}}"#;
    http.respond(body);
    let shards = dynamodb(&clients).list_shards().await.unwrap();
    assert_eq!((shards.len(), http.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_page_without_a_distance_from_the_tip_is_at_the_tip_if_it_is_empty() {
    let (http, clients) = TestHttp::new();
    let (reader, shard) = (kinesis(&clients), ShardId::from(SHARD));
    let from = at(after("1"), Some("i"));
    for distance in [
        "",
        r#""MillisBehindLatest":null,"#,
        r#""MillisBehindLatest":-1,"#,
    ] {
        for (records, is_at_tip) in [("", true), (r#"{"SequenceNumber":"2","Data":""}"#, false)] {
            let body = format!(r#"{{{distance}"Records":[{records}],"NextShardIterator":"n"}}"#);
            http.respond_once(200, &body);
            let page = reader.read(&shard, &from, limits(10)).await.unwrap();
            assert_eq!(page.behind.is_zero(), is_at_tip, "{body}");
        }
    }
}

/// Servers at other endpoints may know names only, and a name alone means a stream of the caller's
/// account.
#[tokio::test]
async fn a_stream_is_called_by_its_arn_and_elsewhere_than_at_aws_by_its_name_too() {
    let (http, at_aws) = TestHttp::new();
    let elsewhere = AwsClients {
        custom_endpoints: Arc::new([Service::Kinesis].into()),
        ..at_aws.clone()
    };
    let source = SourceArn::parse(KINESIS).unwrap();
    for (clients, name) in [(at_aws, None), (elsewhere, Some("s"))] {
        let named = |mut body: Value| {
            body["StreamARN"] = json!(KINESIS);
            if let Some(name) = name {
                body["StreamName"] = json!(name);
            }
            body
        };
        http.respond_once(200, SUMMARY);
        source_exists(&clients, &source).await.unwrap();
        http.respond_once(200, r#"{"Shards":[],"NextToken":"more"}"#);
        http.respond_once(200, r#"{"Shards":[]}"#);
        let reader = kinesis(&clients);
        reader.list_shards().await.unwrap();
        http.respond_once(200, ITERATOR);
        http.respond_once(200, EMPTY);
        let from = at(Position::TrimHorizon, None);
        let shard = ShardId::from(SHARD);
        reader.read(&shard, &from, limits(10)).await.unwrap();
        let position = json!({"ShardId": SHARD, "ShardIteratorType": "TRIM_HORIZON"});
        let read = json!({"ShardIterator": "new", "Limit": 10, "StreamARN": KINESIS});
        assert_calls(
            &http,
            &[
                ("DescribeStreamSummary", named(json!({}))),
                ("ListShards", named(json!({}))),
                ("ListShards", json!({"NextToken": "more"})),
                ("GetShardIterator", named(position)),
                ("GetRecords", read),
            ],
        );
    }
}

#[tokio::test]
async fn a_stream_has_removed_what_arrived_before_its_retention_period() {
    let summary = |hours: u64, created: u64| {
        SUMMARY
            .replace(":24", &format!(":{hours}"))
            .replace(":1,", &format!(":{created},"))
    };
    let hours_ago = async |summary: &str| {
        let (http, clients) = TestHttp::new();
        http.respond_once(200, summary);
        let until = kinesis(&clients).removed_until().await.unwrap();
        assert_eq!(http.requests()[0].call().0, "DescribeStreamSummary");
        let now = clients.kinesis_clock.now();
        until.map(|until| (now.since(until).as_secs_f64() / 3600.0).round())
    };
    assert_eq!(hours_ago(&summary(24, 1)).await, Some(24.0));
    assert_eq!(hours_ago(&summary(8_760, 1)).await, Some(8_760.0));
    let (_, clients) = TestHttp::new();
    let now = clients.kinesis_clock.now().as_millis() / 1000;
    assert_eq!(hours_ago(&summary(24, now)).await, None, "it is younger");
    let until = dynamodb(&clients).removed_until().await.unwrap().unwrap();
    let age = clients.dynamodb_streams_clock.now().since(until);
    assert_eq!(age.as_secs() / 3600, 24);
}
