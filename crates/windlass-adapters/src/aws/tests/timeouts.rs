//! How long calls may take.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use windlass_core::arn::Arn;
use windlass_core::ids::ShardId;
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{PortError, QueueReader, ReadLimits, StreamReader, chain};

use super::{ROOM, ReadOnce as _, limits};
use crate::aws::dynamodb_streams::DynamoDbStreamsReader;
use crate::aws::kinesis::KinesisReader;
use crate::aws::sqs::SqsReader;
use crate::aws::{AwsClients, Service};
use crate::tests::test_http::{Ending, TestHttp, queue};

const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
const TABLE: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2026";
const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:q";
const EMPTY: &str = r#"{"Records":[],"NextShardIterator":"next"}"#;

fn readers(clients: &AwsClients) -> [Arc<dyn StreamReader>; 2] {
    let (stream, table) = (Arn::parse(STREAM).unwrap(), Arn::parse(TABLE).unwrap());
    [
        Arc::new(KinesisReader::new(clients, &stream, None, "role")),
        Arc::new(DynamoDbStreamsReader::new(clients, &table)),
    ]
}

fn shard() -> ShardId {
    ShardId::from("shardId-1")
}

fn with_iterator() -> Cursor {
    Cursor {
        iterator: Some("i".into()),
        ..Cursor::at(Position::TrimHorizon)
    }
}

/// The error of a call, and after how many seconds it ended.
async fn failed<T>(call: impl Future<Output = Result<T, PortError>>) -> (Fault, u64, String) {
    let started = Instant::now();
    let error = call.await.map(drop).unwrap_err();
    (error.fault, started.elapsed().as_secs(), chain(&error))
}

#[tokio::test(start_paused = true)]
async fn a_read_has_the_time_that_it_is_given() {
    let (http, clients) = TestHttp::new();
    let (shard, from) = (shard(), with_iterator());
    for reader in readers(&clients) {
        for seconds in [40, 600] {
            let limits = ReadLimits {
                timeout: Duration::from_secs(seconds),
                ..limits(10)
            };
            http.respond(EMPTY.as_bytes());
            http.delay(limits.timeout - Duration::from_secs(1));
            reader.read(&shard, &from, limits).await.unwrap();
            http.delay(limits.timeout + Duration::from_secs(1));
            let (fault, after, _) = failed(reader.read(&shard, &from, limits)).await;
            assert_eq!((fault, after), (Fault::TimedOut, seconds));
            // The response begins, but does not end.
            http.respond(b"{");
            http.end(Ending::Hanging);
            let (fault, after, text) = failed(reader.read(&shard, &from, limits)).await;
            assert_eq!((fault, after), (Fault::TimedOut, seconds));
            let cause = format!("not complete within {seconds} s");
            assert!(text.contains(&cause), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_records_has_10_seconds() {
    let (http, clients) = TestHttp::new();
    http.respond(b"{}");
    http.delay(Duration::from_secs(3_600));
    let timed_out = |(fault, seconds, _): (Fault, u64, String)| {
        assert_eq!((fault, seconds), (Fault::Transient, 10));
    };
    for reader in readers(&clients) {
        timed_out(failed(reader.list_shards()).await);
        // The call for the iterator; the read itself would have 40 s.
        let from = Cursor::at(Position::TrimHorizon);
        timed_out(failed(reader.read(&shard(), &from, limits(10))).await);
    }
    let queue = SqsReader::new(
        &clients,
        &queue(QUEUE, false, Duration::ZERO),
        Arc::default(),
    );
    timed_out(failed(queue.attributes()).await);
    let receive = queue.receive(1, Duration::from_secs(20), Duration::ZERO, &ROOM);
    let (fault, seconds, _) = failed(receive).await;
    assert_eq!((fault, seconds), (Fault::Transient, 40), "a receive waits");
}

/// As kinesalite, which does not answer while the shard is empty.
#[tokio::test(start_paused = true)]
async fn an_iterator_by_time_that_does_not_come_is_replaced_by_one_at_the_oldest_record() {
    let (http, clients) = TestHttp::new();
    let clients = AwsClients {
        custom_endpoints: Arc::new([Service::Kinesis].into()),
        ..clients
    };
    let start = Timestamp::from_millis(9_000);
    let from = Cursor::at(Position::AtTimestamp(start));
    let record = |number: u8, time: &str| {
        format!(r#"{{"SequenceNumber":"{number}","Data":"","PartitionKey":"k"{time}}}"#)
    };
    let time = |seconds: u8| format!(r#","ApproximateArrivalTimestamp":{seconds}"#);
    let page = |records: &[String]| {
        let records = records.join(",");
        format!(r#"{{"Records":[{records}],"NextShardIterator":"next"}}"#)
    };
    let [reader, _] = readers(&clients);
    http.respond_once_after(Duration::from_secs(60), 200, r#"{"ShardIterator":"late"}"#);
    http.respond_once(200, r#"{"ShardIterator":"oldest"}"#);
    let early = record(1, &time(8));
    http.respond_once(200, &page(&[early, record(2, ""), record(3, &time(8))]));
    let started = Instant::now();
    let read = reader.read(&shard(), &from, limits(10)).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 10);
    let numbers = read.records.iter().map(|it| it.sequence_number());
    assert_eq!(
        numbers.collect::<Vec<_>>(),
        ["2", "3"],
        "those before the start are skipped"
    );
    let calls: Vec<_> = http.requests().iter().map(|it| it.call().1).collect();
    assert_eq!(calls[1]["ShardIteratorType"], "TRIM_HORIZON");
    assert_eq!(calls[1].get("Timestamp"), None);
    assert_eq!(calls[2]["ShardIterator"], json!("oldest"));

    // AWS answers; there the read is repeated.
    let (http, clients) = TestHttp::new();
    let [reader, _] = readers(&clients);
    http.respond_once_after(Duration::from_secs(60), 200, r#"{"ShardIterator":"late"}"#);
    let (fault, seconds, _) = failed(reader.read(&shard(), &from, limits(10))).await;
    assert_eq!((fault, seconds), (Fault::Transient, 10));
    assert_eq!(http.requests().len(), 1);
}
