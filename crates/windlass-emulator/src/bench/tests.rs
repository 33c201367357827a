//! The source of a benchmark: its records and its counts.

use std::time::Duration;

use serde_json::{Value, json};

use super::page::PageTemplate;
use super::*;

const LOAD: BenchLoad = BenchLoad {
    shards: 3,
    record_bytes: 20,
    read_delay: Duration::ZERO,
};

async fn start() -> BenchSource {
    BenchSource::start("127.0.0.1:0".parse().unwrap(), LOAD)
        .await
        .unwrap()
}

fn records(stream: &Stream, iterator: &str, limit: u32) -> Value {
    let request = json!({"ShardIterator": iterator, "Limit": limit}).to_string();
    serde_json::from_slice(&stream.get_records(request.as_bytes()).unwrap()).unwrap()
}

fn iterator(stream: &Stream, request: Value) -> String {
    let response = stream
        .get_shard_iterator(request.to_string().as_bytes())
        .unwrap();
    response["ShardIterator"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn records_are_spread_evenly_and_counted() {
    let source = start().await;
    let stream = &source.stream;
    source.release(4);
    source.release(4);
    let per_shard: Vec<u64> = (0..3).map(|shard| stream.available(shard)).collect();
    assert_eq!(per_shard, [3, 3, 2]);
    let page = records(stream, "0:0", 2);
    assert_eq!(page["Records"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&page["NextShardIterator"], &page["MillisBehindLatest"]),
        (&json!("0:2"), &json!(1000))
    );
    let page = records(stream, "0:2", 2);
    assert_eq!(page["Records"].as_array().unwrap().len(), 1);
    assert_eq!(page["MillisBehindLatest"], 0);
    let page = records(stream, "0:3", 2);
    assert!(page["Records"].as_array().unwrap().is_empty());
    let expected = BenchCounts {
        read: 3,
        delivered: 0,
        shards_read: 1,
        reads: 3,
        reads_on_time: 0,
    };
    assert_eq!(source.counts(), expected);
}

#[tokio::test]
async fn sequence_numbers_grow_across_pages_and_can_be_read_after() {
    let source = start().await;
    let stream = &source.stream;
    source.release(30);
    let mut numbers = Vec::new();
    for index in [0, 5] {
        let page = records(stream, &format!("1:{index}"), 5);
        for record in page["Records"].as_array().unwrap() {
            numbers.push(record["SequenceNumber"].as_str().unwrap().to_owned());
        }
    }
    assert!(numbers.is_sorted() && numbers.len() == 10);
    numbers.dedup();
    assert_eq!(numbers.len(), 10);
    let request = json!({"ShardId": "shardId-000000000001",
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": numbers[6]});
    assert_eq!(iterator(stream, request), "1:7");
}

#[tokio::test]
async fn many_shards_are_listed_in_pages() {
    let load = BenchLoad {
        shards: 1500,
        ..LOAD
    };
    let source = BenchSource::start("127.0.0.1:0".parse().unwrap(), load)
        .await
        .unwrap();
    let first = source.stream.list_shards(b"{}").unwrap();
    assert_eq!(first["Shards"].as_array().unwrap().len(), 1000);
    let token = json!({"NextToken": first["NextToken"]}).to_string();
    let second = source.stream.list_shards(token.as_bytes()).unwrap();
    assert_eq!(second["Shards"].as_array().unwrap().len(), 500);
    assert!(second["NextToken"].is_null());
}

#[test]
fn each_record_has_the_reported_length() {
    for size in [0, 1, 200] {
        let template = PageTemplate::new(size);
        let page = template.page(0, 0, 3, 3);
        let read: Value = serde_json::from_slice(&page.body).unwrap();
        let data = read["Records"][2]["Data"].as_str().unwrap();
        assert_eq!(
            base64_simd::STANDARD.decode_to_vec(data).unwrap().len(),
            size
        );
        let first = &page.body[PAGE_PREFIX.len()..][..template.record_length()];
        let first: Value = serde_json::from_slice(first).unwrap();
        assert_eq!(first, read["Records"][0]);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_are_on_time_about_a_second_after_the_one_before() {
    let stream = Stream::new(LOAD);
    for millis in [0, 1_000, 1_201, 799, 1_200, 800] {
        tokio::time::advance(Duration::from_millis(millis)).await;
        records(&stream, "0:0", 1);
    }
    records(&stream, "1:0", 1);
    let counts = stream.counts();
    assert_eq!((counts.reads, counts.reads_on_time), (7, 3));
}
