//! Shards: how keys are spread over them, and how they follow each other.

use super::*;

const BOTH: ViewType = ViewType::NewAndOldImages;

/// Reads a shard and then its child, as a reader of the stream does.
fn lineage(bench: &mut Bench, shard: usize) -> Vec<Value> {
    let shards = bench.shards();
    let mut records = bench.whole_shard(shard);
    let id = &shards[shard]["ShardId"];
    let child = shards
        .iter()
        .position(|child| child["ParentShardId"] == *id);
    if let Some(child) = child {
        records.extend(lineage(bench, child));
    }
    records
}

fn id_of(record: &Value) -> &str {
    record["dynamodb"]["Keys"]["id"]["N"].as_str().unwrap()
}

#[test]
fn a_rolled_shard_is_closed_and_has_one_child() {
    let mut bench = Bench::with_stream(BOTH, 2);
    bench.put(7, 1);
    bench.roll();
    let shards = bench.shards();
    let range = |shard: &Value, end: &str| shard["SequenceNumberRange"][end].clone();
    assert_eq!(shards.len(), 4);
    for (parent, child) in [(0, 2), (1, 3)] {
        let (parent, child) = (&shards[parent], &shards[child]);
        assert_eq!(parent.get("ParentShardId"), None);
        assert_eq!(child["ParentShardId"], parent["ShardId"]);
        let last = range(parent, "EndingSequenceNumber");
        let first = range(child, "StartingSequenceNumber");
        assert!(last.as_str().unwrap() < first.as_str().unwrap());
        assert_eq!(range(child, "EndingSequenceNumber"), Value::Null);
        let id = child["ShardId"].as_str().unwrap();
        assert!((28..=65).contains(&id.len()), "as AWS has it");
    }
    for shard in 0..4 {
        let iterator = bench.ask_iterator(shard, "TRIM_HORIZON", None).unwrap();
        let is_over = bench.read(&iterator).get("NextShardIterator").is_none();
        assert_eq!(is_over, shard < 2, "{shard}");
    }
}

#[test]
fn the_last_page_of_a_closed_shard_says_that_it_is() {
    let mut bench = Bench::with_stream(BOTH, 1);
    bench.put(7, 1);
    bench.put(7, 2);
    bench.roll();
    let iterator = bench.ask_iterator(0, "TRIM_HORIZON", None).unwrap();
    let first = bench.call(
        "GetRecords",
        &json!({"ShardIterator": iterator, "Limit": 1}),
    );
    assert_eq!(new_of(&records_of(&first)), [1]);
    let last = bench.read(first["NextShardIterator"].as_str().unwrap());
    assert_eq!(new_of(&records_of(&last)), [2]);
    assert_eq!(last.get("NextShardIterator"), None);
    let latest = bench.ask_iterator(0, "LATEST", None).unwrap();
    assert_eq!(bench.read(&latest), json!({"Records": []}));
}

#[test]
fn an_iterator_reads_on_when_its_shard_is_closed() {
    let mut bench = Bench::with_stream(BOTH, 1);
    let iterator = bench.ask_iterator(0, "LATEST", None).unwrap();
    bench.put(7, 1);
    bench.roll();
    bench.put(7, 2);
    let page = bench.read(&iterator);
    assert_eq!(
        (new_of(&records_of(&page)), page.get("NextShardIterator")),
        (vec![1], None)
    );
}

#[test]
fn changes_of_a_key_keep_their_order_over_rolls() {
    let mut bench = Bench::with_stream(BOTH, 4);
    for n in 0..5 {
        for id in 0..40 {
            bench.put(id, n);
        }
        if n % 2 == 0 {
            bench.roll();
        }
    }
    let mut n_ids = 0;
    for lane in 0..4 {
        let records = lineage(&mut bench, lane);
        let mut ids: Vec<&str> = records.iter().map(id_of).collect();
        ids.sort_unstable();
        ids.dedup();
        assert!(!ids.is_empty(), "forty keys are spread over four lanes");
        n_ids += ids.len();
        for id in ids {
            let of_key = records.iter().filter(|record| id_of(record) == id);
            let of_key: Vec<Value> = of_key.cloned().collect();
            assert_eq!(new_of(&of_key), [0, 1, 2, 3, 4], "{id}");
            assert!(numbers_of(&of_key).is_sorted());
        }
    }
    assert_eq!(n_ids, 40, "no key is in two lanes");
}

#[test]
fn shards_are_listed_in_pages_and_by_their_parent() {
    let mut bench = Bench::with_stream(BOTH, 60);
    bench.roll();
    let arn = bench.arn();
    let mut seen = Vec::new();
    let mut request = json!({"StreamArn": arn});
    let mut pages = Vec::new();
    loop {
        let answer = bench.call("DescribeStream", &request);
        let described = &answer["StreamDescription"];
        let shards = described["Shards"].as_array().unwrap();
        pages.push(shards.len());
        seen.extend(shards.iter().map(|shard| shard["ShardId"].to_string()));
        let Some(last) = described.get("LastEvaluatedShardId") else {
            break;
        };
        assert_eq!(*last, shards.last().unwrap()["ShardId"]);
        request["ExclusiveStartShardId"] = last.clone();
        request["Limit"] = 15.into();
    }
    assert_eq!(pages, [100, 15, 5]);
    seen.dedup();
    assert!(seen.is_sorted() && seen.len() == 120);
    let shards = bench.shards();
    let filter = |kind: &str| json!({"Type": kind, "ShardId": shards[3]["ShardId"]});
    let children = json!({"StreamArn": arn, "ShardFilter": filter("CHILD_SHARDS")});
    let children = bench.call("DescribeStream", &children)["StreamDescription"]["Shards"].clone();
    assert_eq!(children, json!([shards[63]]));
    for (name, value) in [
        ("Limit", json!(101)),
        ("Limit", json!(0)),
        ("ExclusiveStartShardId", json!("x")),
        ("ShardFilter", filter("ALL")),
    ] {
        let mut request = json!({"StreamArn": arn});
        request[name] = value;
        assert_eq!(
            bench.code("DescribeStream", &request),
            "ValidationException",
            "{name}"
        );
    }
}

#[test]
fn a_closed_shard_is_gone_a_day_later() {
    let mut bench = Bench::with_stream(BOTH, 1);
    bench.put(7, 1);
    bench.roll();
    let parent = bench.shards()[0]["ShardId"].clone();
    let iterator = bench.ask_iterator(0, "TRIM_HORIZON", None).unwrap();
    bench.now += 24 * 3_600_000 + 2;
    bench.world.iterator_life.age = Duration::MAX;
    let shards = bench.shards();
    assert_eq!((shards.len(), &shards[0]["ParentShardId"]), (1, &parent));
    let request = json!({"StreamArn": bench.arn(), "ShardId": parent,
        "ShardIteratorType": "TRIM_HORIZON"});
    assert_eq!(
        bench.code("GetShardIterator", &request),
        "ResourceNotFoundException"
    );
    let request = json!({"ShardIterator": iterator});
    assert_eq!(
        bench.code("GetRecords", &request),
        "ResourceNotFoundException"
    );
}

#[test]
fn tables_are_used_in_process() {
    let dynamodb = DynamoDb::new();
    let arn = dynamodb.create_table("orders", "key", 1).unwrap();
    assert!(arn.starts_with("arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/20"));
    let ledger = crate::Ledger::new();
    let payload = ledger.put_payload(&arn, "k", 1);
    let first = dynamodb.put_item("orders", "k", &payload).unwrap().unwrap();
    assert_eq!(
        dynamodb.put_item("orders", "k", &payload),
        Ok(None),
        "it changes nothing"
    );
    dynamodb.roll_shards("orders").unwrap();
    let payload = ledger.put_payload("dynamodb/orders", "k", 2);
    let second = dynamodb.put_item("orders", "k", &payload).unwrap().unwrap();
    assert!(first.shard_id < second.shard_id && first.sequence_number < second.sequence_number);
    for changed in [&first, &second] {
        let record = read(&dynamodb, &arn, changed).remove(0);
        assert_eq!(
            record["dynamodb"]["SequenceNumber"],
            changed.sequence_number.as_str()
        );
        let mut record = record;
        record["eventSourceARN"] = arn.as_str().into();
        let event = json!({"Records": [record]}).to_string();
        assert_eq!(ledger.deliver(event.as_bytes()).unwrap(), 1);
    }
    let counts = ledger.counts();
    assert_eq!((counts.put, counts.delivered, counts.foreign), (2, 2, 0));
    dynamodb.trim_all("orders").unwrap();
    assert!(read(&dynamodb, &arn, &first).is_empty());
    dynamodb.forget_closed_shards("orders").unwrap();
    let listed = ask(&dynamodb, "DescribeStream", &json!({"StreamArn": arn}));
    let shards = listed["StreamDescription"]["Shards"].as_array().unwrap();
    assert_eq!(
        (shards.len(), &shards[0]["ShardId"]),
        (1, &json!(second.shard_id))
    );
}

#[test]
fn what_cannot_be_done_in_process_is_refused() {
    let dynamodb = DynamoDb::new();
    let code = |result: Result<(), DynamoDbRefusal>| result.unwrap_err().code;
    for n_shards in [0, 1_001] {
        let made = dynamodb.create_table("orders", "id", n_shards);
        assert_eq!(code(made.map(drop)), "ValidationException");
    }
    dynamodb.create_table("orders", "id", 1).unwrap();
    for payload in ["x", "[]", r#"{"id": "other"}"#, r#"{"id": 7}"#] {
        let put = dynamodb.put_item("orders", "k", payload);
        assert_eq!(code(put.map(drop)), "ValidationException", "{payload}");
    }
    let put = dynamodb.put_item("none", "k", "{}").map(drop);
    let (rolled, trimmed) = (dynamodb.roll_shards("none"), dynamodb.trim_all("none"));
    for result in [put, rolled, trimmed, dynamodb.forget_closed_shards("none")] {
        assert_eq!(code(result), "ResourceNotFoundException");
    }
    let refused = dynamodb.call_streams("PutItem", b"{}");
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    let code = "com.amazon.coral.service#UnknownOperationException";
    assert_eq!((refused.status, &body["__type"]), (400, &json!(code)));
}

/// The records of the shard of a change.
fn read(dynamodb: &DynamoDb, arn: &str, changed: &Changed) -> Vec<Value> {
    let request = json!({"StreamArn": arn, "ShardId": changed.shard_id,
        "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = ask(dynamodb, "GetShardIterator", &request);
    records_of(&ask(dynamodb, "GetRecords", &iterator))
}

fn ask(dynamodb: &DynamoDb, operation: &str, request: &Value) -> Value {
    let answer = dynamodb.call_streams(operation, request.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    serde_json::from_slice(&answer.body).unwrap()
}
