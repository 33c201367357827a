//! DynamoDB streams, on MiniStack.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};
use windlass_tests::aws::Aws;
use windlass_tests::function::Function;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::Setup;

const ITEMS: usize = 40;

/// Between the put and the delete of an item.
const UPDATES: usize = 4;

#[tokio::test]
async fn every_change_arrives_in_order_for_each_item() {
    every_change().await.unwrap();
}

async fn every_change() -> anyhow::Result<()> {
    let aws = Servers::running().aws("ministack");
    let (table, arn) = aws.create_table("items").await?;
    let function = Function::start(200).await?;
    let setup = setup(&aws, &function, &arn, "TRIM_HORIZON");
    // Some changes precede the start of the daemon, the others happen while it runs.
    change(&aws, &table, 0).await?;
    change(&aws, &table, 1).await?;
    let daemon = setup.start().await?;
    for round in 2..UPDATES + 2 {
        change(&aws, &table, round).await?;
    }
    let all = ITEMS * (UPDATES + 2);
    wait::until("every change has arrived", TIMEOUT, || {
        all <= function.records().len()
    })
    .await?;
    daemon.stop().await?;

    let records = function.records();
    assert_eq!(records.len(), all, "each change arrives once");
    let mut by_key: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for record in &records {
        assert_eq!(record["eventSource"], "aws:dynamodb");
        assert_eq!(record["eventSourceARN"], arn);
        assert_eq!(record["awsRegion"], "us-east-1");
        assert_eq!(record["dynamodb"]["StreamViewType"], "NEW_AND_OLD_IMAGES");
        let key = record["dynamodb"]["Keys"]["key"]["S"].as_str();
        by_key
            .entry(key.context("a record has keys")?.to_owned())
            .or_default()
            .push(record);
    }
    assert_eq!(by_key.len(), ITEMS);
    for (key, changes) in by_key {
        for (round, record) in changes.iter().enumerate() {
            assert_change(&key, round, record);
        }
    }
    Ok(())
}

/// Changes every item once: round 0 puts it, the last round deletes it.
async fn change(aws: &Aws, table: &str, round: usize) -> anyhow::Result<()> {
    for number in 0..ITEMS {
        let key = format!("item-{number}");
        if round == UPDATES + 1 {
            let body = json!({"TableName": table, "Key": {"key": {"S": key}}});
            aws.dynamodb("DeleteItem", body).await?;
        } else {
            put(aws, table, item(&key, round)).await?;
        }
    }
    Ok(())
}

async fn put(aws: &Aws, table: &str, item: Value) -> anyhow::Result<()> {
    aws.dynamodb("PutItem", json!({"TableName": table, "Item": item}))
        .await?;
    Ok(())
}

/// Attributes of many types, with characters that need escaping.
fn item(key: &str, round: usize) -> Value {
    json!({
        "key": {"S": key},
        "n": {"N": round.to_string()},
        "text": {"S": "\"quoted\" \\ \u{1f980} \n\u{7f} </script>"},
        "bytes": {"B": "AAECAwT/"},
        "nested": {"M": {"list": {"L": [{"BOOL": true}, {"NULL": true}, {"N": "-1.5"}]}}},
    })
}

#[track_caller]
fn assert_change(key: &str, round: usize, record: &Value) {
    let (name, new, old) = match round {
        0 => ("INSERT", item(key, 0), Value::Null),
        _ if round == UPDATES + 1 => ("REMOVE", Value::Null, item(key, UPDATES)),
        _ => ("MODIFY", item(key, round), item(key, round - 1)),
    };
    assert_eq!(record["eventName"], name, "change {round} of {key}");
    assert_eq!(
        record["dynamodb"]["NewImage"], new,
        "change {round} of {key}"
    );
    assert_eq!(
        record["dynamodb"]["OldImage"], old,
        "change {round} of {key}"
    );
    assert_eq!(record["dynamodb"]["Keys"], json!({"key": {"S": key}}));
}

#[tokio::test]
async fn latest_starts_with_changes_after_the_mapping() {
    latest().await.unwrap();
}

/// The source reports times in full seconds: changes within the second of the mapping are delivered,
/// because otherwise some could be missed.
async fn latest() -> anyhow::Result<()> {
    let aws = Servers::running().aws("ministack");
    let (table, arn) = aws.create_table("latest").await?;
    let function = Function::start(200).await?;
    put(&aws, &table, item("before", 0)).await?;
    let second = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |it| it.as_secs())
    };
    let put_in = second();
    wait::until("the next second", TIMEOUT, || put_in + 1 < second()).await?;
    let daemon = setup(&aws, &function, &arn, "LATEST").start().await?;
    for round in 0..20 {
        put(&aws, &table, item("after", round)).await?;
    }
    wait::until("everything has arrived", TIMEOUT, || {
        20 <= function.records().len()
    })
    .await?;
    daemon.stop().await?;
    let rounds: Vec<Value> = function
        .records()
        .iter()
        .map(|it| it["dynamodb"]["NewImage"].clone())
        .collect();
    let expected: Vec<Value> = (0..20).map(|round| item("after", round)).collect();
    assert_eq!(rounds, expected);
    Ok(())
}

fn setup(aws: &Aws, function: &Function, arn: &str, position: &str) -> Setup {
    Setup::new("dynamodb")
        .endpoint("dynamodb_streams", aws.endpoint())
        .function("changes", &function.url)
        .mapping("changes", arn, json!({"StartingPosition": position}))
}
