//! Streams: their records, their iterators, their errors.

use super::*;

const BOTH: ViewType = ViewType::NewAndOldImages;

/// AWS's own example of an item that is made, changed and removed, whose sizes it tells:
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-example.html>
fn example(view: ViewType) -> Vec<Value> {
    let mut bench = Bench::with_stream(view, 1);
    for message in ["New item!", "This item has changed"] {
        let item = json!({"Message": {"S": message}, "id": {"N": "101"}});
        // The second put of each changes nothing.
        for _ in 0..2 {
            bench.call("PutItem", &json!({"TableName": "orders", "Item": item}));
        }
    }
    bench.delete(101);
    bench.delete(101);
    bench.whole_shard(0)
}

#[test]
fn each_change_is_told_in_aws_form() {
    let records = example(BOTH);
    let names: Vec<&Value> = records.iter().map(|record| &record["eventName"]).collect();
    assert_eq!(names, ["INSERT", "MODIFY", "REMOVE"]);
    let sizes = records
        .iter()
        .map(|record| &record["dynamodb"]["SizeBytes"]);
    assert_eq!(sizes.collect::<Vec<_>>(), [26, 59, 38]);
    let mut second = records[1].clone();
    let id = second["eventID"].take();
    let id = id.as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_ne!(id, records[0]["eventID"].as_str().unwrap());
    let number = second["dynamodb"]["SequenceNumber"].take();
    assert!((21..=40).contains(&number.as_str().unwrap().len()));
    let expected = json!({
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000,
            "Keys": {"id": {"N": "101"}},
            "NewImage": {"Message": {"S": "This item has changed"}, "id": {"N": "101"}},
            "OldImage": {"Message": {"S": "New item!"}, "id": {"N": "101"}},
            "SequenceNumber": null,
            "SizeBytes": 59,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventID": null,
        "eventName": "MODIFY",
        "eventSource": "aws:dynamodb",
        "eventVersion": "1.1",
    });
    assert_eq!(second, expected);
}

#[test]
fn a_view_shows_its_images_and_no_others() {
    for (view, shows_new, shows_old) in [
        (ViewType::KeysOnly, false, false),
        (ViewType::NewImage, true, false),
        (ViewType::OldImage, false, true),
        (BOTH, true, true),
    ] {
        let seen: Vec<_> = example(view)
            .iter()
            .map(|record| {
                let told = &record["dynamodb"];
                assert_eq!(told["Keys"], json!({"id": {"N": "101"}}));
                assert_eq!(told["StreamViewType"], view.name());
                (
                    told.get("NewImage").is_some(),
                    told.get("OldImage").is_some(),
                )
            })
            .collect();
        let insert = (shows_new, false);
        let modify = (shows_new, shows_old);
        assert_eq!(seen, [insert, modify, (false, shows_old)], "{view:?}");
    }
}

#[test]
fn each_type_of_iterator_begins_at_its_place() {
    let mut bench = Bench::with_stream(BOTH, 1);
    for n in 1..=3 {
        bench.put(7, n);
    }
    let numbers = numbers_of(&bench.whole_shard(0));
    assert!(numbers.is_sorted() && numbers.len() == 3);
    let second = Some(numbers[1].as_str());
    assert_eq!(
        new_of(&bench.read_from(0, "AT_SEQUENCE_NUMBER", second)),
        [2, 3]
    );
    assert_eq!(
        new_of(&bench.read_from(0, "AFTER_SEQUENCE_NUMBER", second)),
        [3]
    );
    let latest = bench.ask_iterator(0, "LATEST", None).unwrap();
    bench.put(7, 4);
    assert_eq!(new_of(&records_of(&bench.read(&latest))), [4]);
    let first = bench.shards()[0]["SequenceNumberRange"]["StartingSequenceNumber"].clone();
    assert_eq!(first, numbers[0].as_str());
}

#[test]
fn iterators_are_refused_that_aws_refuses() {
    let mut bench = Bench::with_stream(BOTH, 2);
    for id in 0..20 {
        bench.put(id, 1);
    }
    let of_other = numbers_of(&bench.whole_shard(1)).remove(0);
    let last = numbers_of(&bench.whole_shard(0)).pop().unwrap();
    let to_come = (last.parse::<u128>().unwrap() + 1).to_string();
    for (kind, number) in [
        ("AT_SEQUENCE_NUMBER", Some(of_other.as_str())),
        ("AFTER_SEQUENCE_NUMBER", Some(to_come.as_str())),
        ("AFTER_SEQUENCE_NUMBER", Some("x")),
        ("AFTER_SEQUENCE_NUMBER", Some("0")),
        ("AT_SEQUENCE_NUMBER", None),
        ("LATEST", Some(last.as_str())),
        ("AT_TIMESTAMP", None),
    ] {
        let refusal = bench.ask_iterator(0, kind, number).unwrap_err();
        assert_eq!(refusal.code, "ValidationException", "{kind} {number:?}");
    }
    let (arn, id) = (bench.arn(), bench.shards()[0]["ShardId"].clone());
    let later = arn.replace("2023", "2024");
    let other = id.as_str().unwrap().replace("-00000000", "-000000ff");
    for (arn, id, code) in [
        (arn.as_str(), json!(other), "ResourceNotFoundException"),
        (arn.as_str(), json!("shard"), "ValidationException"),
        (later.as_str(), id.clone(), "ResourceNotFoundException"),
        ("orders", id, "ValidationException"),
    ] {
        let request = json!({"StreamArn": arn, "ShardId": id, "ShardIteratorType": "LATEST"});
        assert_eq!(bench.code("GetShardIterator", &request), code, "{request}");
    }
}

#[test]
fn a_page_has_a_thousand_records_at_most() {
    let mut bench = Bench::with_stream(BOTH, 1);
    for n in 0..1_001 {
        bench.put(7, n);
    }
    let iterator = bench.ask_iterator(0, "TRIM_HORIZON", None).unwrap();
    let two = bench.call(
        "GetRecords",
        &json!({"ShardIterator": iterator, "Limit": 2}),
    );
    assert_eq!(new_of(&records_of(&two)), [0, 1]);
    let full = bench.read(two["NextShardIterator"].as_str().unwrap());
    assert_eq!(records_of(&full).len(), 999);
    assert_eq!(records_of(&bench.read(&iterator)).len(), 1_000);
    for limit in [0, 1_001] {
        let request = json!({"ShardIterator": iterator, "Limit": limit});
        assert_eq!(bench.code("GetRecords", &request), "ValidationException");
    }
}

#[test]
fn a_page_has_a_megabyte_at_most() {
    let mut bench = Bench::with_stream(ViewType::NewImage, 1);
    for n in 1..=4 {
        let item = json!({"id": {"N": "7"}, "n": {"N": n.to_string()},
            "text": {"S": "x".repeat(350_000)}});
        bench.call("PutItem", &json!({"TableName": "orders", "Item": item}));
    }
    let mut iterator = bench.ask_iterator(0, "TRIM_HORIZON", None).unwrap();
    let mut pages = Vec::new();
    for _ in 0..3 {
        let page = bench.read(&iterator);
        pages.push(new_of(&records_of(&page)));
        iterator = page["NextShardIterator"].as_str().unwrap().to_owned();
    }
    assert_eq!(pages, [vec![1, 2], vec![3, 4], vec![]]);
}

#[test]
fn iterators_expire_by_age_and_by_reads() {
    let mut bench = Bench::with_stream(BOTH, 1);
    let iterator = bench.ask_iterator(0, "LATEST", None).unwrap();
    bench.now += 15 * 60_000 - 1;
    let next = bench.read(&iterator)["NextShardIterator"].clone();
    bench.now += 1;
    let old = json!({"ShardIterator": iterator});
    assert_eq!(bench.code("GetRecords", &old), "ExpiredIteratorException");
    bench.read(next.as_str().unwrap());
    bench.world.iterator_life.reads = Some(1);
    let used = json!({"ShardIterator": next});
    assert_eq!(bench.code("GetRecords", &used), "ExpiredIteratorException");
    let fresh = bench.ask_iterator(0, "LATEST", None).unwrap();
    bench.read(&fresh);
    let nonsense = json!({"ShardIterator": "AAA"});
    assert_eq!(bench.code("GetRecords", &nonsense), "ValidationException");
}

#[test]
fn what_is_trimmed_cannot_be_read_and_is_not_passed_over() {
    let mut bench = Bench::with_stream(BOTH, 1);
    for n in 1..=3 {
        bench.put(7, n);
        bench.now += 1_000;
    }
    let numbers = numbers_of(&bench.whole_shard(0));
    let before = bench.ask_iterator(0, "TRIM_HORIZON", None).unwrap();
    let third = bench.ask_iterator(0, "AFTER_SEQUENCE_NUMBER", Some(&numbers[1]));
    let third = third.unwrap();
    bench.trim(START + 2_000);
    let trimmed = "TrimmedDataAccessException";
    let old = json!({"ShardIterator": before});
    assert_eq!(bench.code("GetRecords", &old), trimmed);
    assert_eq!(new_of(&records_of(&bench.read(&third))), [3]);
    for kind in ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"] {
        let refusal = bench.ask_iterator(0, kind, Some(&numbers[1])).unwrap_err();
        assert_eq!(refusal.code, trimmed, "{kind}");
        bench.ask_iterator(0, kind, Some(&numbers[2])).unwrap();
    }
    assert_eq!(new_of(&bench.whole_shard(0)), [3]);
    bench.trim(u64::MAX);
    assert!(bench.whole_shard(0).is_empty());
    bench.put(7, 4);
    assert_eq!(new_of(&bench.whole_shard(0)), [4]);
}

#[test]
fn records_are_kept_for_a_day() {
    let mut bench = Bench::with_stream(BOTH, 1);
    bench.put(7, 1);
    bench.now += 1;
    bench.put(7, 2);
    bench.now = START + 24 * 3_600_000;
    assert_eq!(new_of(&bench.whole_shard(0)), [1, 2]);
    bench.now += 1;
    assert_eq!(new_of(&bench.whole_shard(0)), [2]);
}

#[test]
fn streams_are_listed_in_pages_and_outlive_their_tables() {
    let mut bench = Bench::with_stream(BOTH, 1);
    let (first, table) = (bench.arn(), json!({"TableName": "orders"}));
    bench.put(7, 1);
    bench.call("DeleteTable", &table);
    assert_eq!(
        bench.code("DescribeTable", &table),
        "ResourceNotFoundException"
    );
    let request = json!({
        "TableName": "orders",
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "N"}],
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "KEYS_ONLY"},
    });
    bench.call("CreateTable", &request);
    let second = bench.arn();
    assert_ne!(first, second, "though made at the same time");
    bench.roll();
    let ids = bench.shards();
    let ids = ids.iter().map(|shard| shard["ShardId"].as_str().unwrap());
    assert!(ids.is_sorted());
    let page = bench.call("ListStreams", &json!({"TableName": "orders", "Limit": 1}));
    assert_eq!(page["Streams"][0]["StreamArn"], first.as_str());
    let after = json!({"ExclusiveStartStreamArn": page["LastEvaluatedStreamArn"]});
    let page = bench.call("ListStreams", &after);
    let label = second.rsplit_once('/').unwrap().1;
    let expected = json!({"StreamArn": second, "TableName": "orders", "StreamLabel": label});
    assert_eq!(page, json!({"Streams": [expected]}));
    let old = bench.call("DescribeStream", &json!({"StreamArn": first}));
    let old = &old["StreamDescription"];
    assert_eq!(old["StreamStatus"], "DISABLED");
    let request = json!({"StreamArn": first, "ShardId": old["Shards"][0]["ShardId"],
        "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = bench.call("GetShardIterator", &request);
    let page = bench.call("GetRecords", &iterator);
    assert_eq!(new_of(&records_of(&page)), [1]);
    assert_eq!(page.get("NextShardIterator"), None);
    bench.now += 24 * 3_600_000 + 1;
    let gone = json!({"StreamArn": first});
    assert_eq!(
        bench.code("DescribeStream", &gone),
        "ResourceNotFoundException"
    );
}
