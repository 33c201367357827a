//! The source of a measurement: what it offers and what it counts.

use super::*;

const LOAD: BenchLoad = BenchLoad {
    shards: 3,
    record_bytes: 20,
};

async fn start() -> BenchSource {
    BenchSource::start("127.0.0.1:0".parse().unwrap(), LOAD)
        .await
        .unwrap()
}

fn records(state: &State, iterator: &str, limit: u32) -> Value {
    let request = json!({"ShardIterator": iterator, "Limit": limit}).to_string();
    serde_json::from_slice(&state.get_records(request.as_bytes()).unwrap()).unwrap()
}

fn iterator(state: &State, request: Value) -> String {
    let answer = state
        .get_shard_iterator(request.to_string().as_bytes())
        .unwrap();
    answer["ShardIterator"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn records_are_spread_evenly_and_counted() {
    let source = start().await;
    let state = &source.state;
    source.release(4);
    source.release(4);
    let per_shard: Vec<u64> = (0..3).map(|shard| state.available(shard)).collect();
    assert_eq!(per_shard, [3, 3, 2]);
    let page = records(state, "0:0", 2);
    assert_eq!(page["Records"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&page["NextShardIterator"], &page["MillisBehindLatest"]),
        (&json!("0:2"), &json!(1000))
    );
    let page = records(state, "0:2", 2);
    assert_eq!(page["Records"].as_array().unwrap().len(), 1);
    assert_eq!(page["MillisBehindLatest"], 0);
    let page = records(state, "0:3", 2);
    assert!(page["Records"].as_array().unwrap().is_empty());
    let expected = BenchSeen {
        read: 3,
        delivered: 0,
        shards_read: 1,
    };
    assert_eq!(source.seen(), expected);
}

#[tokio::test]
async fn numbers_grow_over_pages_and_find_their_place_again() {
    let source = start().await;
    let state = &source.state;
    source.release(30);
    let mut numbers = Vec::new();
    for place in [0, 5] {
        let page = records(state, &format!("1:{place}"), 5);
        for record in page["Records"].as_array().unwrap() {
            numbers.push(record["SequenceNumber"].as_str().unwrap().to_owned());
        }
    }
    assert!(numbers.is_sorted() && numbers.len() == 10);
    numbers.dedup();
    assert_eq!(numbers.len(), 10);
    let asked = json!({"ShardId": "shardId-000000000001",
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": numbers[6]});
    assert_eq!(iterator(state, asked), "1:7");
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
    let first = source.state.list_shards(b"{}").unwrap();
    assert_eq!(first["Shards"].as_array().unwrap().len(), 1000);
    let token = json!({"NextToken": first["NextToken"]}).to_string();
    let second = source.state.list_shards(token.as_bytes()).unwrap();
    assert_eq!(second["Shards"].as_array().unwrap().len(), 500);
    assert!(second["NextToken"].is_null());
}

#[test]
fn each_record_has_the_length_that_is_told() {
    for size in [0, 1, 200] {
        let pages = Pages::new(size);
        let page = pages.answer(0, 0, 3, 3);
        let read: Value = serde_json::from_slice(&page.body).unwrap();
        let data = read["Records"][2]["Data"].as_str().unwrap();
        assert_eq!(
            base64_simd::STANDARD.decode_to_vec(data).unwrap().len(),
            size
        );
        let first = &page.body[BEFORE_RECORDS.len()..][..pages.record_length()];
        let first: Value = serde_json::from_slice(first).unwrap();
        assert_eq!(first, read["Records"][0]);
    }
}
