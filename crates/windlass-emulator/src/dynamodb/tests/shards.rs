//! Shards: how keys are distributed over them, and how they succeed each other.

use super::*;

#[test]
fn a_rolled_shard_is_closed_and_has_one_child() {
    let (dynamodb, _) = with_table(2);
    dynamodb.put_n("k", 1);
    dynamodb.roll_shards("orders").unwrap();
    let shards = dynamodb.shards();
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
        assert!((28..=65).contains(&id.len()), "as AWS documents");
    }
    for shard in 0..4 {
        let page = dynamodb.read(&dynamodb.iterator(shard, "TRIM_HORIZON", None));
        let has_ended = page.get("NextShardIterator").is_none();
        assert_eq!(has_ended, shard < 2, "{shard}");
    }
}

#[test]
fn the_last_page_of_a_closed_shard_has_no_next_iterator() {
    let (dynamodb, _) = with_table(1);
    dynamodb.put_n("k", 1);
    let iterator = dynamodb.iterator(0, "TRIM_HORIZON", None);
    dynamodb.put_n("k", 2);
    dynamodb.roll_shards("orders").unwrap();
    dynamodb.put_n("k", 3);
    let limited = json!({"ShardIterator": iterator, "Limit": 1});
    let first = dynamodb.json("GetRecords", &limited);
    assert_eq!(values_of_n(&records_of(&first)), [1]);
    let last = dynamodb.read(next_of(&first));
    assert_eq!(values_of_n(&records_of(&last)), [2]);
    assert_eq!(last.get("NextShardIterator"), None);
    let latest = dynamodb.iterator(0, "LATEST", None);
    assert_eq!(dynamodb.read(&latest), json!({"Records": []}));
}

/// Reads a shard and then its descendants, as a reader of the stream does.
fn read_lineage(dynamodb: &DynamoDb, shard: usize) -> Vec<Value> {
    let shards = dynamodb.shards();
    let mut records = dynamodb.whole_shard(shard);
    let id = &shards[shard]["ShardId"];
    let child = shards
        .iter()
        .position(|child| child["ParentShardId"] == *id);
    if let Some(child) = child {
        records.extend(read_lineage(dynamodb, child));
    }
    records
}

#[test]
fn changes_of_a_key_keep_their_order_across_shards() {
    let (dynamodb, _) = with_table(4);
    for n in 0..5 {
        for id in 0..40 {
            dynamodb.put_n(&id.to_string(), n);
        }
        if n % 2 == 0 {
            dynamodb.roll_shards("orders").unwrap();
        }
    }
    let mut n_ids = 0;
    for lane in 0..4 {
        let records = read_lineage(&dynamodb, lane);
        let mut ids: Vec<&str> = records.iter().map(id_of).collect();
        ids.sort_unstable();
        ids.dedup();
        assert!(!ids.is_empty(), "40 keys are distributed over four lanes");
        n_ids += ids.len();
        for id in ids {
            let of_key = records.iter().filter(|record| id_of(record) == id);
            let of_key: Vec<Value> = of_key.cloned().collect();
            assert_eq!(values_of_n(&of_key), [0, 1, 2, 3, 4], "{id}");
            assert!(numbers_of(&of_key).is_sorted());
        }
    }
    assert_eq!(n_ids, 40, "each key is in one lane");
}

#[test]
fn shards_are_listed_in_pages() {
    let (dynamodb, arn) = with_table(60);
    dynamodb.roll_shards("orders").unwrap();
    let (mut ids, mut pages) = (Vec::new(), Vec::new());
    let mut request = json!({"StreamArn": arn});
    loop {
        let response = dynamodb.json("DescribeStream", &request);
        let description = &response["StreamDescription"];
        let shards = description["Shards"].as_array().unwrap();
        pages.push(shards.len());
        ids.extend(shards.iter().map(|shard| shard["ShardId"].to_string()));
        let Some(last) = description.get("LastEvaluatedShardId") else {
            break;
        };
        assert_eq!(*last, shards.last().unwrap()["ShardId"]);
        request["ExclusiveStartShardId"] = last.clone();
        request["Limit"] = 15.into();
    }
    assert_eq!(pages, [100, 15, 5]);
    ids.dedup();
    assert!(ids.is_sorted() && ids.len() == 120);
    for (name, value, code) in [
        ("Limit", json!(101), "ValidationException"),
        ("Limit", json!(0), "ValidationException"),
        ("ExclusiveStartShardId", json!("x"), "ValidationException"),
        ("ShardFilter", json!({}), "SerializationException"),
    ] {
        let mut request = json!({"StreamArn": arn});
        request[name] = value;
        let result = dynamodb.try_json("DescribeStream", &request);
        assert_eq!(result.unwrap_err(), code, "{name}");
    }
}
