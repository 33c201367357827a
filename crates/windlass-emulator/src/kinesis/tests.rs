//! Kinesis by its calls, under a clock that the tests set.

use serde_json::{Value, json};

use super::*;

const START: u64 = 1_700_000_000_000;

/// Streams under a clock of the test's own.
struct Bench {
    world: World,
    now: u64,
}

impl Bench {
    fn with_stream(n_shards: u32) -> Self {
        let mut bench = Self {
            world: World::default(),
            now: START,
        };
        bench.call(
            "CreateStream",
            &json!({"StreamName": "s", "ShardCount": n_shards}),
        );
        bench
    }

    fn ask(&mut self, operation: &str, request: &Value) -> Result<Value, Refusal> {
        let request = request.to_string();
        let body = calls::execute(&mut self.world, operation, request.as_bytes(), self.now)?;
        let body = if body.is_empty() { b"null" } else { &body[..] };
        Ok(parse(body))
    }

    fn call(&mut self, operation: &str, request: &Value) -> Value {
        self.ask(operation, request).unwrap()
    }

    /// Puts a record into the shard of the lowest hash keys; answers its number.
    fn put(&mut self, data: &str) -> String {
        let data = base64_simd::STANDARD.encode_to_string(data);
        let answer = self.call(
            "PutRecord",
            &json!({"StreamName": "s", "Data": data, "PartitionKey": "k", "ExplicitHashKey": "0"}),
        );
        answer["SequenceNumber"].as_str().unwrap().to_owned()
    }

    fn iterator(&mut self, shard: &str, kind: &str, rest: &Value) -> Result<String, Refusal> {
        let mut request = json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": kind});
        for (name, value) in rest.as_object().unwrap() {
            request[name] = value.clone();
        }
        let answer = self.ask("GetShardIterator", &request)?;
        Ok(answer["ShardIterator"].as_str().unwrap().to_owned())
    }

    fn read(&mut self, iterator: &str, limit: usize) -> Value {
        self.call(
            "GetRecords",
            &json!({"ShardIterator": iterator, "Limit": limit}),
        )
    }

    /// The data read from the first shard by a new iterator.
    fn data_from(&mut self, kind: &str, rest: &Value) -> Vec<String> {
        let iterator = self.iterator("shardId-000000000000", kind, rest).unwrap();
        data_of(&self.read(&iterator, 100))
    }

    fn shards(&mut self, rest: &Value) -> Vec<String> {
        let mut request = json!({"StreamName": "s"});
        for (name, value) in rest.as_object().unwrap() {
            request[name] = value.clone();
        }
        ids_of(&self.call("ListShards", &request))
    }
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

fn data_of(answer: &Value) -> Vec<String> {
    let records = answer["Records"].as_array().unwrap().iter();
    let data = records.map(|record| record["Data"].as_str().unwrap());
    let data = data.map(|data| base64_simd::STANDARD.decode_to_vec(data).unwrap());
    data.map(|data| String::from_utf8(data).unwrap()).collect()
}

fn ids_of(answer: &Value) -> Vec<String> {
    let shards = answer["Shards"].as_array().unwrap().iter();
    let ids = shards.map(|shard| shard["ShardId"].as_str().unwrap());
    ids.map(|id| {
        id.trim_start_matches("shardId-")
            .trim_start_matches('0')
            .to_owned()
    })
    .collect()
}

#[test]
fn a_record_is_read_as_it_was_put() {
    let mut bench = Bench::with_stream(1);
    let number = bench.put("hello \"you\"");
    bench.now += 1500;
    let iterator = bench
        .iterator("shardId-000000000000", "TRIM_HORIZON", &json!({}))
        .unwrap();
    let answer = bench.read(&iterator, 10);
    let expected = json!({
        "SequenceNumber": number,
        "ApproximateArrivalTimestamp": 1_700_000_000.0,
        "Data": base64_simd::STANDARD.encode_to_string("hello \"you\""),
        "PartitionKey": "k",
    });
    assert_eq!(answer["Records"], json!([expected]));
    assert_eq!(answer["MillisBehindLatest"], 0);
    assert!(answer["NextShardIterator"].is_string());
}

#[test]
fn pages_follow_each_other_and_tell_how_far_behind_they_are() {
    let mut bench = Bench::with_stream(1);
    for data in ["a", "b", "c"] {
        bench.put(data);
        bench.now += 1000;
    }
    let iterator = bench
        .iterator("shardId-000000000000", "TRIM_HORIZON", &json!({}))
        .unwrap();
    let first = bench.read(&iterator, 2);
    assert_eq!(data_of(&first), ["a", "b"]);
    assert_eq!(
        first["MillisBehindLatest"], 1000,
        "c came two seconds later, one second ago"
    );
    let second = bench.read(first["NextShardIterator"].as_str().unwrap(), 2);
    assert_eq!(
        (data_of(&second), &second["MillisBehindLatest"]),
        (vec!["c".to_owned()], &json!(0))
    );
    let third = bench.read(second["NextShardIterator"].as_str().unwrap(), 2);
    assert!(data_of(&third).is_empty());
    bench.put("d");
    assert_eq!(
        data_of(&bench.read(third["NextShardIterator"].as_str().unwrap(), 2)),
        ["d"]
    );
}

#[test]
fn a_page_has_at_most_ten_mebibytes_but_always_a_record() {
    let mut bench = Bench::with_stream(1);
    let large = "x".repeat(6 * 1024 * 1024);
    bench.put(&large);
    bench.put(&large);
    let iterator = bench
        .iterator("shardId-000000000000", "TRIM_HORIZON", &json!({}))
        .unwrap();
    let page = bench.read(&iterator, 10);
    assert_eq!(data_of(&page).len(), 1);
    assert_eq!(
        data_of(&bench.read(page["NextShardIterator"].as_str().unwrap(), 10)).len(),
        1
    );
}

#[test]
fn each_type_of_iterator_begins_where_aws_says() {
    let mut bench = Bench::with_stream(1);
    let first = bench.put("a");
    bench.now += 1000;
    let second = bench.put("b");
    let at = json!({"StartingSequenceNumber": second});
    assert_eq!(bench.data_from("TRIM_HORIZON", &json!({})), ["a", "b"]);
    assert!(bench.data_from("LATEST", &json!({})).is_empty());
    assert_eq!(bench.data_from("AT_SEQUENCE_NUMBER", &at), ["b"]);
    assert!(bench.data_from("AFTER_SEQUENCE_NUMBER", &at).is_empty());
    let after = json!({"StartingSequenceNumber": first});
    assert_eq!(bench.data_from("AFTER_SEQUENCE_NUMBER", &after), ["b"]);
    let between = json!({"Timestamp": 1_700_000_000.5});
    assert_eq!(bench.data_from("AT_TIMESTAMP", &between), ["b"]);
    assert_eq!(
        bench.data_from("AT_TIMESTAMP", &json!({"Timestamp": 0})),
        ["a", "b"]
    );
}

#[test]
fn latest_is_the_place_when_the_iterator_was_asked_for() {
    let mut bench = Bench::with_stream(1);
    bench.put("a");
    let iterator = bench
        .iterator("shardId-000000000000", "LATEST", &json!({}))
        .unwrap();
    bench.put("b");
    assert_eq!(data_of(&bench.read(&iterator, 10)), ["b"]);
}

#[test]
fn iterators_are_refused_that_aws_refuses() {
    let mut bench = Bench::with_stream(2);
    let number = bench.put("a");
    let mut code = |shard: &str, kind: &str, rest: Value| {
        let refusal = bench.iterator(shard, kind, &rest).unwrap_err();
        refusal.code
    };
    let (zero, one) = ("shardId-000000000000", "shardId-000000000001");
    let of_other = json!({"StartingSequenceNumber": number});
    assert_eq!(
        code(one, "AFTER_SEQUENCE_NUMBER", of_other),
        "InvalidArgumentException"
    );
    assert_eq!(
        code(zero, "AT_SEQUENCE_NUMBER", json!({})),
        "InvalidArgumentException"
    );
    let future = json!({"Timestamp": 1_800_000_000});
    assert_eq!(
        code(zero, "AT_TIMESTAMP", future),
        "InvalidArgumentException"
    );
    assert_eq!(code(zero, "FIRST", json!({})), "ValidationException");
    assert_eq!(
        code("shardId-000000000002", "LATEST", json!({})),
        "ResourceNotFoundException"
    );
}

#[test]
fn iterators_expire_by_age_and_by_reads() {
    let mut bench = Bench::with_stream(1);
    let iterator = bench
        .iterator("shardId-000000000000", "LATEST", &json!({}))
        .unwrap();
    bench.now += 299_999;
    let next = bench.read(&iterator, 1)["NextShardIterator"].clone();
    bench.now += 1;
    let expired = bench
        .ask("GetRecords", &json!({"ShardIterator": iterator}))
        .unwrap_err();
    assert_eq!(expired.code, "ExpiredIteratorException");
    bench.read(next.as_str().unwrap(), 1);
    bench.world.iterator_life.reads = Some(1);
    let expired = bench
        .ask("GetRecords", &json!({"ShardIterator": next}))
        .unwrap_err();
    assert_eq!(expired.code, "ExpiredIteratorException");
    let fresh = bench
        .iterator("shardId-000000000000", "LATEST", &json!({}))
        .unwrap();
    bench.read(&fresh, 1);
    let nonsense = bench
        .ask("GetRecords", &json!({"ShardIterator": "AAA"}))
        .unwrap_err();
    assert_eq!(nonsense.code, "InvalidArgumentException");
}

#[test]
fn a_split_shard_ends_with_its_children_and_their_numbers_are_higher() {
    let mut bench = Bench::with_stream(1);
    let before = bench.put("a");
    let middle = (u128::MAX / 2).to_string();
    let zero = "shardId-000000000000";
    let split = json!({"StreamName": "s", "ShardToSplit": zero, "NewStartingHashKey": middle});
    bench.call("SplitShard", &split);
    let after = bench.put("b");
    assert!(before < after && before.len() == after.len());
    let iterator = bench.iterator(zero, "TRIM_HORIZON", &json!({})).unwrap();
    let page = bench.read(&iterator, 10);
    assert_eq!(
        (data_of(&page), &page["NextShardIterator"]),
        (vec!["a".to_owned()], &Value::Null)
    );
    let children = page["ChildShards"].as_array().unwrap();
    assert_eq!(children.len(), 2);
    assert_eq!(children[0]["ParentShards"], json!([zero]));
    assert_eq!(
        children[1]["HashKeyRange"]["StartingHashKey"],
        middle.as_str()
    );
    let again = bench.ask("SplitShard", &split).unwrap_err();
    assert_eq!(again.code, "ResourceInUseException");
    let first_key = json!({"StreamName": "s", "ShardToSplit": "shardId-000000000001",
        "NewStartingHashKey": "0"});
    let refused = bench.ask("SplitShard", &first_key).unwrap_err();
    assert_eq!(refused.code, "InvalidArgumentException");
}

#[test]
fn merged_shards_have_one_child_with_two_parents() {
    let mut bench = Bench::with_stream(3);
    let merge = |a: &str, b: &str| {
        json!({"StreamName": "s", "ShardToMerge": format!("shardId-00000000000{a}"),
            "AdjacentShardToMerge": format!("shardId-00000000000{b}")})
    };
    let refused = bench.ask("MergeShards", &merge("0", "2")).unwrap_err();
    assert_eq!(refused.code, "InvalidArgumentException");
    bench.call("MergeShards", &merge("1", "0"));
    let answer = bench.call("ListShards", &json!({"StreamName": "s"}));
    let child = &answer["Shards"][3];
    assert_eq!(child["ParentShardId"], "shardId-000000000001");
    assert_eq!(child["AdjacentParentShardId"], "shardId-000000000000");
    assert_eq!(child["HashKeyRange"]["StartingHashKey"], "0");
    assert!(answer["Shards"][0]["SequenceNumberRange"]["EndingSequenceNumber"].is_string());
    assert!(child["SequenceNumberRange"]["EndingSequenceNumber"].is_null());
    bench.put("goes to the child, as the open shards cover all keys");
    for parent in ["shardId-000000000000", "shardId-000000000001"] {
        let iterator = bench.iterator(parent, "LATEST", &json!({})).unwrap();
        assert_eq!(bench.read(&iterator, 1)["NextShardIterator"], Value::Null);
    }
}

#[test]
fn keys_are_spread_by_their_md5() {
    let mut bench = Bench::with_stream(2);
    for key in ["a", "b", "c", "d", "e"] {
        let answer = bench.call(
            "PutRecord",
            &json!({"StreamName": "s", "Data": "", "PartitionKey": key}),
        );
        let in_upper_half = 0x80 <= crate::md5::digest(key.as_bytes())[0];
        let expected = shard::shard_id(u32::from(in_upper_half));
        assert_eq!(answer["ShardId"], expected.as_str(), "{key}");
    }
}

#[test]
fn shards_are_listed_in_pages() {
    let mut bench = Bench::with_stream(5);
    let first = bench.call("ListShards", &json!({"StreamName": "s", "MaxResults": 2}));
    assert_eq!(ids_of(&first), ["", "1"]);
    let token = first["NextToken"].clone();
    let second = bench.call("ListShards", &json!({"NextToken": token, "MaxResults": 3}));
    assert_eq!(
        (ids_of(&second).len(), &second["NextToken"]),
        (3, &Value::Null)
    );
    let both = bench.ask(
        "ListShards",
        &json!({"NextToken": token, "StreamName": "s"}),
    );
    assert_eq!(both.unwrap_err().code, "InvalidArgumentException");
    let nonsense = bench.ask("ListShards", &json!({"NextToken": "AAA"}));
    assert_eq!(nonsense.unwrap_err().code, "ExpiredNextTokenException");
}

#[test]
fn a_filter_holds_for_all_pages() {
    let mut bench = Bench::with_stream(2);
    bench.now += 1000;
    let upper = (u128::MAX - 1).to_string();
    bench.call(
        "SplitShard",
        &json!({"StreamName": "s", "ShardToSplit": "shardId-000000000001",
            "NewStartingHashKey": upper}),
    );
    let mut filtered = |filter: Value| bench.shards(&json!({"ShardFilter": filter}));
    assert_eq!(filtered(json!({"Type": "AT_LATEST"})), ["", "2", "3"]);
    assert_eq!(filtered(json!({"Type": "AT_TRIM_HORIZON"})), ["", "1"]);
    assert_eq!(
        filtered(json!({"Type": "FROM_TRIM_HORIZON"})),
        ["", "1", "2", "3"]
    );
    let after = json!({"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001"});
    assert_eq!(filtered(after), ["2", "3"]);
    assert_eq!(
        filtered(json!({"Type": "AT_TIMESTAMP", "Timestamp": 1_700_000_000})),
        ["", "1"]
    );
    let from = json!({"Type": "FROM_TIMESTAMP", "Timestamp": 1_700_000_002});
    assert_eq!(filtered(from), ["", "2", "3"]);
    let request = json!({"StreamName": "s", "ShardFilter": {"Type": "AT_LATEST"}, "MaxResults": 1});
    let token = bench.call("ListShards", &request)["NextToken"].clone();
    assert_eq!(
        ids_of(&bench.call("ListShards", &json!({"NextToken": token}))),
        ["2", "3"]
    );
}

#[test]
fn records_are_forgotten_after_their_retention() {
    let mut bench = Bench::with_stream(1);
    let old = bench.put("old");
    bench.now += RETENTION + 1;
    bench.put("new");
    assert_eq!(bench.data_from("TRIM_HORIZON", &json!({})), ["new"]);
    let at = json!({"StartingSequenceNumber": old});
    assert_eq!(bench.data_from("AT_SEQUENCE_NUMBER", &at), ["new"]);
}

const RETENTION: u64 = stream::RETENTION_HOURS * 3_600_000;

#[test]
fn many_records_are_put_at_once_or_none() {
    let mut bench = Bench::with_stream(2);
    let entry = json!({"Data": "YQ==", "PartitionKey": "k"});
    let good = json!({"StreamName": "s", "Records": [entry, entry]});
    let answer = bench.call("PutRecords", &good);
    assert_eq!(answer["FailedRecordCount"], 0);
    assert_eq!(answer["Records"].as_array().unwrap().len(), 2);
    let shard = answer["Records"][0]["ShardId"].as_str().unwrap().to_owned();
    let bad = json!({"StreamName": "s", "Records": [entry, {"Data": "!", "PartitionKey": "k"}]});
    assert_eq!(
        bench.ask("PutRecords", &bad).unwrap_err().code,
        "SerializationException"
    );
    let iterator = bench.iterator(&shard, "TRIM_HORIZON", &json!({})).unwrap();
    assert_eq!(data_of(&bench.read(&iterator, 10)), ["a", "a"]);
}

#[test]
fn streams_are_named_or_given_by_arn() {
    let mut bench = Bench::with_stream(2);
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";
    let answer = bench.call("DescribeStreamSummary", &json!({"StreamARN": arn}));
    let summary = &answer["StreamDescriptionSummary"];
    assert_eq!(
        (&summary["StreamStatus"], &summary["OpenShardCount"]),
        (&json!("ACTIVE"), &json!(2))
    );
    bench.call("DeleteStream", &json!({"StreamName": "s"}));
    let gone = bench.ask("DescribeStreamSummary", &json!({"StreamName": "s"}));
    assert_eq!(gone.unwrap_err().code, "ResourceNotFoundException");
    let nameless = bench.ask("DescribeStreamSummary", &json!({}));
    assert_eq!(nameless.unwrap_err().code, "InvalidArgumentException");
}

#[test]
fn an_iterator_of_a_deleted_stream_does_not_read_its_successor() {
    let mut bench = Bench::with_stream(1);
    let iterator = bench
        .iterator("shardId-000000000000", "TRIM_HORIZON", &json!({}))
        .unwrap();
    bench.call("DeleteStream", &json!({"StreamName": "s"}));
    bench.now += 1;
    bench.call("CreateStream", &json!({"StreamName": "s", "ShardCount": 1}));
    let refused = bench.ask("GetRecords", &json!({"ShardIterator": iterator}));
    assert_eq!(refused.unwrap_err().code, "InvalidArgumentException");
}

#[test]
fn the_api_in_process_does_what_the_calls_do() {
    let kinesis = Kinesis::new();
    let arn = kinesis.create_stream("s", 1).unwrap();
    assert_eq!(arn, "arn:aws:kinesis:us-east-1:000000000000:stream/s");
    assert_eq!(
        kinesis.create_stream("s", 1).unwrap_err().code,
        "ResourceInUseException"
    );
    let first = kinesis.put("s", "k", b"1").unwrap();
    kinesis.split_shard("s", &first.shard_id).unwrap();
    let second = kinesis.put("s", "k", b"2").unwrap();
    assert!(first.sequence_number < second.sequence_number);
    assert_ne!(first.shard_id, second.shard_id);
    kinesis
        .merge_shards("s", "shardId-000000000001", "shardId-000000000002")
        .unwrap();
    assert_eq!(
        kinesis.put("s", "k", b"3").unwrap().shard_id,
        "shardId-000000000003"
    );
    assert_eq!(
        kinesis.put("s", "", b"").unwrap_err().code,
        "ValidationException"
    );
    assert_eq!(
        kinesis.put("none", "k", b"").unwrap_err().code,
        "ResourceNotFoundException"
    );
}
