//! What `LATEST` is measured by: the `Date` of the answer that describes the stream.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde_json::json;
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::ids::ShardId;
use windlass_core::mapping::latest;
use windlass_core::position::{Cursor, Position};
use windlass_core::time::Timestamp;

use super::{ReadOnce as _, limits};
use crate::aws::kinesis::KinesisReader;
use crate::aws::source_exists;
use crate::tests::test_http::TestHttp;

const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
const TABLE: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2026";
const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:q";

const SUMMARY: &[u8] = br#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"a",
    "StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1,
    "EnhancedMonitoring":[],"OpenShardCount":1}}"#;

fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::EPOCH + since_epoch.unwrap()
}

fn http_date(time: Timestamp) -> &'static str {
    let seconds = i64::try_from(time.as_millis() / 1000).unwrap();
    let date = DateTime::from_secs(seconds).fmt(Format::HttpDate);
    date.unwrap().leak()
}

async fn answered(http: &[(&'static str, &'static str)], source: &str) -> Option<Timestamp> {
    let (server, clients) = TestHttp::new();
    server.respond_with(200, http, SUMMARY);
    let source = SourceArn::parse(source).unwrap();
    source_exists(&clients, &source).await.unwrap()
}

#[tokio::test]
async fn latest_is_earlier_than_the_clock_of_the_source() {
    for source in [STREAM, TABLE] {
        for offset in [-8_000, 0, 8_000] {
            let of_server = wall().shifted(offset);
            let date = [("date", http_date(of_server))];
            let start = latest(answered(&date, source).await, wall());
            assert!(start < of_server, "{source} {offset}");
            assert!(of_server.since(start) <= Duration::from_secs(2));
        }
        for headers in [&[][..], &[("date", "yesterday")]] {
            assert_eq!(answered(headers, source).await, None, "{source}");
        }
    }
    let date = [("date", http_date(wall()))];
    assert_eq!(answered(&date, QUEUE).await, None, "a queue has no LATEST");
}

#[tokio::test]
async fn the_iterator_of_latest_is_not_later_than_the_clock_of_kinesis() {
    let (http, clients) = TestHttp::new();
    let of_server = wall().shifted(-8_000);
    http.respond_with(200, &[("date", http_date(of_server))], SUMMARY);
    let source = SourceArn::parse(STREAM).unwrap();
    let answered = source_exists(&clients, &source).await.unwrap();
    let start = Position::AtTimestamp(latest(answered, wall()));

    http.respond_once(200, r#"{"ShardIterator":"i"}"#);
    http.respond(br#"{"Records":[],"NextShardIterator":"n","MillisBehindLatest":0}"#);
    http.requests();
    let stream = Arn::parse(STREAM).unwrap();
    let reader = Arc::new(KinesisReader::new(&clients, &stream, None, "role"));
    let shard = ShardId::from("shardId-1");
    let read = reader.read(&shard, &Cursor::at(start), limits(10)).await;
    read.unwrap();
    let requests = http.requests();
    let (call, input) = requests[0].call();
    assert_eq!(call, "GetShardIterator");
    assert_eq!(input["ShardIteratorType"], json!("AT_TIMESTAMP"));
    let seconds = input["Timestamp"].as_f64().unwrap();
    assert!(
        seconds * 1000.0 <= of_server.as_millis() as f64,
        "{seconds}"
    );
}
