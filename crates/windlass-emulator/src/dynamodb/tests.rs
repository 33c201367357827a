//! Tables and their streams, through the operations of DynamoDB Streams.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

mod shards;

/// A table `orders` with the key `id`.
fn with_table(n_shards: u32) -> (DynamoDb, String) {
    let dynamodb = DynamoDb::new();
    let arn = dynamodb.create_table("orders", "id", n_shards).unwrap();
    (dynamodb, arn)
}

async fn advance(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

impl DynamoDb {
    fn try_json(&self, operation: &str, request: &Value) -> Result<Value, String> {
        let response = self.call(operation, request.to_string().as_bytes());
        let body = body_of(&response);
        if response.status == 200 {
            return Ok(body);
        }
        let code = body["__type"].as_str().unwrap();
        Err(code.split_once('#').unwrap().1.to_owned())
    }

    fn json(&self, operation: &str, request: &Value) -> Value {
        self.try_json(operation, request).unwrap()
    }

    /// Puts an item whose attribute `n` has this value.
    fn put_n(&self, id: &str, n: u32) {
        let payload = json!({"n": n}).to_string();
        self.put_item("orders", id, &payload).unwrap();
    }

    fn arn(&self) -> String {
        self.lock().of_table("orders").unwrap().describe(0, 1)["StreamArn"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn shards(&self) -> Vec<Value> {
        let response = self.json("DescribeStream", &json!({"StreamArn": self.arn()}));
        let shards = response["StreamDescription"]["Shards"].as_array();
        shards.unwrap().clone()
    }

    fn try_iterator(
        &self,
        shard: usize,
        kind: &str,
        number: Option<&str>,
    ) -> Result<String, String> {
        let shard = self.shards()[shard]["ShardId"].clone();
        let mut request = json!({"StreamArn": self.arn(), "ShardId": shard,
            "ShardIteratorType": kind});
        if let Some(number) = number {
            request["SequenceNumber"] = number.into();
        }
        let response = self.try_json("GetShardIterator", &request)?;
        Ok(response["ShardIterator"].as_str().unwrap().to_owned())
    }

    fn iterator(&self, shard: usize, kind: &str, number: Option<&str>) -> String {
        self.try_iterator(shard, kind, number).unwrap()
    }

    fn read(&self, iterator: &str) -> Value {
        self.json("GetRecords", &json!({"ShardIterator": iterator}))
    }

    fn read_from(&self, shard: usize, kind: &str, number: Option<&str>) -> Vec<Value> {
        records_of(&self.read(&self.iterator(shard, kind, number)))
    }

    fn whole_shard(&self, shard: usize) -> Vec<Value> {
        self.read_from(shard, "TRIM_HORIZON", None)
    }
}

fn body_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

fn records_of(page: &Value) -> Vec<Value> {
    page["Records"].as_array().unwrap().clone()
}

fn next_of(page: &Value) -> &str {
    page["NextShardIterator"].as_str().unwrap()
}

/// The attribute `n` of each new image.
fn values_of_n(records: &[Value]) -> Vec<u32> {
    let values = records
        .iter()
        .map(|record| record["dynamodb"]["NewImage"]["n"]["N"].as_str().unwrap());
    values.map(|value| value.parse().unwrap()).collect()
}

fn numbers_of(records: &[Value]) -> Vec<String> {
    let numbers = records
        .iter()
        .map(|record| record["dynamodb"]["SequenceNumber"].as_str().unwrap());
    numbers.map(str::to_owned).collect()
}

fn id_of(record: &Value) -> &str {
    record["dynamodb"]["Keys"]["id"]["S"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_change_has_a_record_in_the_form_of_aws() {
    let (dynamodb, _) = with_table(1);
    let seconds = dynamodb.clock.now_ms() / 1000;
    for message in ["New item!", "This item has changed"] {
        let payload = json!({"Message": message, "n": -101, "more": [{"x": true}, null]});
        // The second put of each changes nothing.
        for _ in 0..2 {
            dynamodb
                .put_item("orders", "k", &payload.to_string())
                .unwrap();
        }
    }
    let mut records = dynamodb.whole_shard(0);
    let names: Vec<&Value> = records.iter().map(|record| &record["eventName"]).collect();
    assert_eq!(names, ["INSERT", "MODIFY"]);
    let id = records[1]["eventID"].take();
    let id = id.as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_ne!(records[0]["eventID"], id);
    let number = records[1]["dynamodb"]["SequenceNumber"].take();
    assert!((21..=40).contains(&number.as_str().unwrap().len()));
    let image = |message: &str| {
        json!({"Message": {"S": message}, "id": {"S": "k"}, "n": {"N": "-101"},
            "more": {"L": [{"M": {"x": {"BOOL": true}}}, {"NULL": true}]}})
    };
    // The key; in each image `id`, `n`, `more` and the name `Message`; the two messages.
    let size = 3 + 2 * (3 + 5 + 16 + 7) + 9 + 21;
    let expected = json!({
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": seconds,
            "Keys": {"id": {"S": "k"}},
            "NewImage": image("This item has changed"),
            "OldImage": image("New item!"),
            "SequenceNumber": null,
            "SizeBytes": size,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventID": null,
        "eventName": "MODIFY",
        "eventSource": "aws:dynamodb",
        "eventVersion": "1.1",
    });
    assert_eq!(records[1], expected);
}

#[test]
fn each_iterator_type_starts_where_aws_documents() {
    let (dynamodb, _) = with_table(1);
    for n in 1..=3 {
        dynamodb.put_n("k", n);
    }
    let numbers = numbers_of(&dynamodb.whole_shard(0));
    assert!(numbers.is_sorted() && numbers.len() == 3);
    let second = Some(numbers[1].as_str());
    let at = dynamodb.read_from(0, "AT_SEQUENCE_NUMBER", second);
    assert_eq!(values_of_n(&at), [2, 3]);
    let after = dynamodb.read_from(0, "AFTER_SEQUENCE_NUMBER", second);
    assert_eq!(values_of_n(&after), [3]);
    let latest = dynamodb.iterator(0, "LATEST", None);
    dynamodb.put_n("k", 4);
    assert_eq!(values_of_n(&records_of(&dynamodb.read(&latest))), [4]);
    let first = &dynamodb.shards()[0]["SequenceNumberRange"]["StartingSequenceNumber"];
    assert_eq!(*first, numbers[0].as_str());
}

#[test]
fn invalid_iterator_requests_fail_with_the_errors_of_aws() {
    let (dynamodb, arn) = with_table(2);
    for id in ["a", "b", "c", "d", "e"] {
        dynamodb.put_n(id, 1);
    }
    let of_other = numbers_of(&dynamodb.whole_shard(1)).remove(0);
    let last = numbers_of(&dynamodb.whole_shard(0)).pop().unwrap();
    let not_assigned = (last.parse::<u128>().unwrap() + 1).to_string();
    for (kind, number) in [
        ("AT_SEQUENCE_NUMBER", Some(of_other.as_str())),
        ("AFTER_SEQUENCE_NUMBER", Some(not_assigned.as_str())),
        ("AFTER_SEQUENCE_NUMBER", Some("x")),
        ("AFTER_SEQUENCE_NUMBER", None),
        ("LATEST", Some(last.as_str())),
        ("AT_TIMESTAMP", None),
    ] {
        let code = dynamodb.try_iterator(0, kind, number).unwrap_err();
        assert_eq!(code, "ValidationException", "{kind} {number:?}");
    }
    let missing = "ResourceNotFoundException";
    let shard = json!({"StreamArn": arn, "ShardId": "shardId-00000000000000000000-00000000",
        "ShardIteratorType": "LATEST"});
    assert_eq!(
        dynamodb.try_json("GetShardIterator", &shard).unwrap_err(),
        missing
    );
    let stream = json!({"StreamArn": arn.replace("orders", "carts")});
    assert_eq!(
        dynamodb.try_json("DescribeStream", &stream).unwrap_err(),
        missing
    );
    let invalid = dynamodb.try_json("GetRecords", &json!({"ShardIterator": "AAA"}));
    assert_eq!(invalid.unwrap_err(), "ValidationException");
}

#[test]
fn a_page_has_at_most_1_mib_but_always_a_record() {
    let (dynamodb, _) = with_table(1);
    for n in 0..3 {
        let payload = json!({"n": n, "x": "x".repeat(600 * 1024)}).to_string();
        dynamodb
            .put_item("orders", &n.to_string(), &payload)
            .unwrap();
    }
    let mut iterator = dynamodb.iterator(0, "TRIM_HORIZON", None);
    for expected in [&[0][..], &[1], &[2], &[]] {
        let page = dynamodb.read(&iterator);
        assert_eq!(values_of_n(&records_of(&page)), expected);
        iterator = next_of(&page).to_owned();
    }
}

#[tokio::test(start_paused = true)]
async fn iterators_expire_after_fifteen_minutes() {
    let (dynamodb, _) = with_table(1);
    let iterator = dynamodb.iterator(0, "LATEST", None);
    advance(15 * 60_000 - 1).await;
    let page = dynamodb.read(&iterator);
    advance(1).await;
    let expired = dynamodb.try_json("GetRecords", &json!({"ShardIterator": iterator}));
    assert_eq!(expired.unwrap_err(), "ExpiredIteratorException");
    dynamodb.read(next_of(&page));
}

#[test]
fn trimmed_records_are_an_error_and_not_skipped() {
    let (dynamodb, _) = with_table(1);
    dynamodb.put_n("k", 1);
    dynamodb.put_n("k", 2);
    let numbers = numbers_of(&dynamodb.whole_shard(0));
    let iterator = dynamodb.iterator(0, "TRIM_HORIZON", None);
    dynamodb.trim_all("orders").unwrap();
    let trimmed = "TrimmedDataAccessException";
    let old = dynamodb.try_json("GetRecords", &json!({"ShardIterator": iterator}));
    assert_eq!(old.unwrap_err(), trimmed);
    for kind in ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"] {
        let code = dynamodb.try_iterator(0, kind, Some(&numbers[1]));
        assert_eq!(code.unwrap_err(), trimmed, "{kind}");
    }
    assert!(dynamodb.whole_shard(0).is_empty());
    dynamodb.put_n("k", 3);
    assert_eq!(values_of_n(&dynamodb.whole_shard(0)), [3]);
}

#[test]
fn invalid_tables_and_items_are_rejected() {
    let dynamodb = DynamoDb::new();
    for n_shards in [0, 1_001] {
        let created = dynamodb.create_table("orders", "id", n_shards);
        assert_eq!(created.unwrap_err().code, "ValidationException");
    }
    dynamodb.create_table("orders", "id", 1).unwrap();
    let again = dynamodb.create_table("orders", "id", 1).unwrap_err();
    assert_eq!(again.code, "ResourceInUseException");
    for payload in ["x", "[]"] {
        let put = dynamodb.put_item("orders", "k", payload).unwrap_err();
        assert_eq!(put.code, "ValidationException", "{payload}");
    }
    let missing = dynamodb.put_item("carts", "k", "{}").unwrap_err();
    assert_eq!(missing.code, "ResourceNotFoundException");
}
