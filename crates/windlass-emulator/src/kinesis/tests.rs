//! Streams, through the operations of Kinesis.

use std::time::Duration;

use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::*;

const ZERO: &str = "shardId-000000000000";
const ONE: &str = "shardId-000000000001";
const TWO: &str = "shardId-000000000002";

fn with_stream(n_shards: u32) -> Kinesis {
    let kinesis = Kinesis::new();
    kinesis.create_stream("s", n_shards).unwrap();
    kinesis
}

async fn advance(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

impl Kinesis {
    fn try_json(&self, operation: &str, request: &Value) -> Result<Value, String> {
        let response = self.call(operation, request.to_string().as_bytes());
        let body = body_of(&response);
        match response.status {
            200 => Ok(body),
            _ => Err(body["__type"].as_str().unwrap().to_owned()),
        }
    }

    fn json(&self, operation: &str, request: &Value) -> Value {
        self.try_json(operation, request).unwrap()
    }

    fn put_data(&self, data: &str) -> String {
        let put = self.put("s", "k", data.as_bytes()).unwrap();
        put.sequence_number
    }

    fn try_iterator(&self, shard: &str, kind: &str, rest: &Value) -> Result<String, String> {
        let mut request = json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": kind});
        for (name, value) in rest.as_object().unwrap() {
            request[name] = value.clone();
        }
        let response = self.try_json("GetShardIterator", &request)?;
        Ok(response["ShardIterator"].as_str().unwrap().to_owned())
    }

    fn iterator(&self, shard: &str, kind: &str) -> String {
        self.try_iterator(shard, kind, &json!({})).unwrap()
    }

    fn read(&self, iterator: &str, limit: usize) -> Value {
        self.json(
            "GetRecords",
            &json!({"ShardIterator": iterator, "Limit": limit}),
        )
    }

    /// The data that a new iterator of the first shard reads.
    fn data_from(&self, kind: &str, rest: &Value) -> Vec<String> {
        let iterator = self.try_iterator(ZERO, kind, rest).unwrap();
        data_of(&self.read(&iterator, 100))
    }
}

fn body_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

fn data_of(page: &Value) -> Vec<String> {
    let records = page["Records"].as_array().unwrap().iter();
    let data = records.map(|record| record["Data"].as_str().unwrap());
    let data = data.map(|data| base64_simd::STANDARD.decode_to_vec(data).unwrap());
    data.map(|data| String::from_utf8(data).unwrap()).collect()
}

fn next_of(page: &Value) -> &str {
    page["NextShardIterator"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_record_is_read_as_it_was_put() {
    let kinesis = with_stream(1);
    let number = kinesis.put_data("hello \"you\"");
    let arrived = kinesis.clock.now_ms();
    advance(1500).await;
    let page = kinesis.read(&kinesis.iterator(ZERO, "TRIM_HORIZON"), 10);
    let timestamp: Value =
        serde_json::from_str(&format!("{}.{:03}", arrived / 1000, arrived % 1000)).unwrap();
    let expected = json!({
        "SequenceNumber": number,
        "ApproximateArrivalTimestamp": timestamp,
        "Data": base64_simd::STANDARD.encode_to_string("hello \"you\""),
        "PartitionKey": "k",
    });
    assert_eq!(page["Records"], json!([expected]));
    assert_eq!(page["MillisBehindLatest"], 0);
    assert!(page["NextShardIterator"].is_string());
}

#[tokio::test(start_paused = true)]
async fn pages_continue_each_other_and_report_how_far_behind_they_are() {
    let kinesis = with_stream(1);
    for data in ["a", "b", "c"] {
        kinesis.put_data(data);
        advance(1000).await;
    }
    let first = kinesis.read(&kinesis.iterator(ZERO, "TRIM_HORIZON"), 2);
    assert_eq!(data_of(&first), ["a", "b"]);
    assert_eq!(
        first["MillisBehindLatest"], 1000,
        "the next record, c, is one second old"
    );
    let second = kinesis.read(next_of(&first), 2);
    assert_eq!(
        (data_of(&second), &second["MillisBehindLatest"]),
        (vec!["c".to_owned()], &json!(0))
    );
    let third = kinesis.read(next_of(&second), 2);
    assert!(data_of(&third).is_empty());
    kinesis.put_data("d");
    assert_eq!(data_of(&kinesis.read(next_of(&third), 2)), ["d"]);
}

#[test]
fn a_page_has_at_most_10_mib_but_always_a_record() {
    let kinesis = with_stream(1);
    let large = "x".repeat(6 * 1024 * 1024);
    kinesis.put_data(&large);
    kinesis.put_data(&large);
    let page = kinesis.read(&kinesis.iterator(ZERO, "TRIM_HORIZON"), 10);
    assert_eq!(data_of(&page).len(), 1);
    assert_eq!(data_of(&kinesis.read(next_of(&page), 10)).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_iterator_type_starts_where_aws_documents() {
    let kinesis = with_stream(1);
    let first = kinesis.put_data("a");
    let between = (kinesis.clock.now_ms() + 500) as f64 / 1000.0;
    advance(1000).await;
    let second = kinesis.put_data("b");
    let at = json!({"StartingSequenceNumber": second});
    assert_eq!(kinesis.data_from("TRIM_HORIZON", &json!({})), ["a", "b"]);
    assert!(kinesis.data_from("LATEST", &json!({})).is_empty());
    assert_eq!(kinesis.data_from("AT_SEQUENCE_NUMBER", &at), ["b"]);
    assert!(kinesis.data_from("AFTER_SEQUENCE_NUMBER", &at).is_empty());
    let after = json!({"StartingSequenceNumber": first});
    assert_eq!(kinesis.data_from("AFTER_SEQUENCE_NUMBER", &after), ["b"]);
    let between = json!({"Timestamp": between});
    assert_eq!(kinesis.data_from("AT_TIMESTAMP", &between), ["b"]);
    let zero = json!({"Timestamp": 0});
    assert_eq!(kinesis.data_from("AT_TIMESTAMP", &zero), ["a", "b"]);
}

#[test]
fn latest_means_the_end_of_the_shard_when_the_iterator_was_requested() {
    let kinesis = with_stream(1);
    kinesis.put_data("a");
    let iterator = kinesis.iterator(ZERO, "LATEST");
    kinesis.put_data("b");
    assert_eq!(data_of(&kinesis.read(&iterator, 10)), ["b"]);
}

#[test]
fn invalid_iterator_requests_fail_with_the_errors_of_aws() {
    let kinesis = with_stream(2);
    let puts = ["a", "b", "c", "d", "e"].map(|key| kinesis.put("s", key, b"").unwrap());
    let of_one = puts.iter().find(|put| put.shard_id == ONE).unwrap();
    let code = |shard: &str, kind: &str, rest: Value| {
        kinesis.try_iterator(shard, kind, &rest).unwrap_err()
    };
    let of_other = json!({"StartingSequenceNumber": of_one.sequence_number});
    let invalid = "InvalidArgumentException";
    assert_eq!(code(ZERO, "AFTER_SEQUENCE_NUMBER", of_other), invalid);
    assert_eq!(code(ZERO, "AT_SEQUENCE_NUMBER", json!({})), invalid);
    let future = json!({"Timestamp": 10_000_000_000_u64});
    assert_eq!(code(ZERO, "AT_TIMESTAMP", future), invalid);
    assert_eq!(code(ZERO, "FIRST", json!({})), "ValidationException");
    assert_eq!(code(TWO, "LATEST", json!({})), "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn iterators_expire_after_five_minutes() {
    let kinesis = with_stream(1);
    let iterator = kinesis.iterator(ZERO, "LATEST");
    advance(299_999).await;
    let page = kinesis.read(&iterator, 1);
    advance(1).await;
    let expired = kinesis.try_json("GetRecords", &json!({"ShardIterator": iterator}));
    assert_eq!(expired.unwrap_err(), "ExpiredIteratorException");
    kinesis.read(next_of(&page), 1);
    let invalid = kinesis.try_json("GetRecords", &json!({"ShardIterator": "AAA"}));
    assert_eq!(invalid.unwrap_err(), "InvalidArgumentException");
}

#[test]
fn a_split_shard_ends_with_its_children_and_their_numbers_are_higher() {
    let kinesis = with_stream(1);
    let before = kinesis.put_data("a");
    kinesis.split_shard("s", ZERO).unwrap();
    let after = kinesis.put_data("b");
    assert!(before < after && before.len() == after.len());
    let page = kinesis.read(&kinesis.iterator(ZERO, "TRIM_HORIZON"), 10);
    assert_eq!(
        (data_of(&page), &page["NextShardIterator"]),
        (vec!["a".to_owned()], &Value::Null)
    );
    let children = page["ChildShards"].as_array().unwrap();
    assert_eq!(children.len(), 2);
    assert_eq!(children[0]["ParentShards"], json!([ZERO]));
    let middle = (1_u128 << 127).to_string();
    assert_eq!(
        children[1]["HashKeyRange"]["StartingHashKey"],
        middle.as_str()
    );
    let again = kinesis.split_shard("s", ZERO).unwrap_err();
    assert_eq!(again.code, "ResourceInUseException");
    let missing = kinesis.split_shard("s", "shardId-000000000009");
    assert_eq!(missing.unwrap_err().code, "ResourceNotFoundException");
}

#[test]
fn merged_shards_have_one_child_with_two_parents() {
    let kinesis = with_stream(3);
    let not_adjacent = kinesis.merge_shards("s", ZERO, TWO).unwrap_err();
    assert_eq!(not_adjacent.code, "InvalidArgumentException");
    kinesis.merge_shards("s", ONE, ZERO).unwrap();
    let listed = kinesis.json("ListShards", &json!({"StreamName": "s"}));
    let child = &listed["Shards"][3];
    assert_eq!(child["ParentShardId"], ONE);
    assert_eq!(child["AdjacentParentShardId"], ZERO);
    assert_eq!(child["HashKeyRange"]["StartingHashKey"], "0");
    assert!(listed["Shards"][0]["SequenceNumberRange"]["EndingSequenceNumber"].is_string());
    assert!(child["SequenceNumberRange"]["EndingSequenceNumber"].is_null());
    for key in ["a", "b", "c", "d"] {
        kinesis.put("s", key, b"").unwrap();
    }
    for parent in [ZERO, ONE] {
        let page = kinesis.read(&kinesis.iterator(parent, "LATEST"), 1);
        assert_eq!(page["NextShardIterator"], Value::Null);
    }
}

#[test]
fn keys_are_distributed_by_their_md5() {
    let kinesis = with_stream(2);
    for key in ["a", "b", "c", "d", "e"] {
        let in_upper_half = 0x80 <= Md5::digest(key)[0];
        let expected = if in_upper_half { ONE } else { ZERO };
        assert_eq!(kinesis.put("s", key, b"").unwrap().shard_id, expected);
    }
}

#[test]
fn shards_are_listed_in_pages_of_a_thousand() {
    let kinesis = with_stream(1_500);
    let first = kinesis.json("ListShards", &json!({"StreamName": "s"}));
    assert_eq!(first["Shards"].as_array().unwrap().len(), 1_000);
    let token = &first["NextToken"];
    let second = kinesis.json("ListShards", &json!({"NextToken": token}));
    assert_eq!(second["Shards"][0]["ShardId"], "shardId-000000001000");
    assert_eq!(second["Shards"].as_array().unwrap().len(), 500);
    assert!(second["NextToken"].is_null());
    let both = kinesis.try_json(
        "ListShards",
        &json!({"NextToken": token, "StreamName": "s"}),
    );
    assert_eq!(both.unwrap_err(), "InvalidArgumentException");
    let invalid = kinesis.try_json("ListShards", &json!({"NextToken": "AAA"}));
    assert_eq!(invalid.unwrap_err(), "ExpiredNextTokenException");
}

#[test]
fn trimmed_records_are_skipped() {
    let kinesis = with_stream(1);
    let old = kinesis.put_data("old");
    let iterator = kinesis.iterator(ZERO, "TRIM_HORIZON");
    kinesis.trim_all("s").unwrap();
    kinesis.put_data("new");
    assert_eq!(data_of(&kinesis.read(&iterator, 10)), ["new"]);
    let at = json!({"StartingSequenceNumber": old});
    assert_eq!(kinesis.data_from("AT_SEQUENCE_NUMBER", &at), ["new"]);
}

#[test]
fn streams_are_identified_by_name_or_arn() {
    let kinesis = with_stream(2);
    let created_twice = kinesis.create_stream("s", 1).unwrap_err();
    assert_eq!(created_twice.code, "ResourceInUseException");
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";
    for request in [json!({"StreamARN": arn}), json!({"StreamName": "s"})] {
        let response = kinesis.json("DescribeStreamSummary", &request);
        let summary = &response["StreamDescriptionSummary"];
        assert_eq!(
            (&summary["StreamStatus"], &summary["OpenShardCount"]),
            (&json!("ACTIVE"), &json!(2))
        );
    }
    let unknown = kinesis.try_json("DescribeStreamSummary", &json!({"StreamName": "t"}));
    assert_eq!(unknown.unwrap_err(), "ResourceNotFoundException");
    let unnamed = kinesis.try_json("DescribeStreamSummary", &json!({}));
    assert_eq!(unnamed.unwrap_err(), "InvalidArgumentException");
    let filtered = json!({"StreamName": "s", "ShardFilter": {"Type": "AT_LATEST"}});
    let filtered = kinesis.try_json("ListShards", &filtered);
    assert_eq!(filtered.unwrap_err(), "SerializationException");
}
