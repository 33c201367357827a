//! Kinesis streams, on two servers.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use windlass_emulator::{Ledger, Summary};
use windlass_tests::aws::Aws;
use windlass_tests::function::Function;
use windlass_tests::producer::Producer;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{Setup, assert_once_and_in_order, emulator, numbers_in_order, until_delivered};

#[tokio::test]
async fn five_thousand_records_over_four_shards_of_kinesis_mock() {
    let aws = Servers::running().aws("kinesis_mock");
    println!("{:?}", five_thousand_records(&aws).await.unwrap());
}

#[tokio::test]
async fn five_thousand_records_over_four_shards_of_ferrokinesis() {
    let aws = Servers::running().aws("ferrokinesis");
    println!("{:?}", five_thousand_records(&aws).await.unwrap());
}

/// Each record arrives once, in order per key.
async fn five_thousand_records(aws: &Aws) -> anyhow::Result<Summary> {
    let (emulator, arn) = (emulator().await?, aws.create_stream("orders", 4).await?);
    let setup = Setup::new("kinesis")
        .endpoint("kinesis", aws.endpoint())
        .function("orders", &emulator.function_url("orders"))
        .mapping("orders", &arn, json!({"StartingPosition": "TRIM_HORIZON"}));
    let daemon = setup.start().await?;
    let ledger = emulator.ledger();
    let producer = Producer {
        aws,
        ledger,
        arn: &arn,
        keys: 50,
    };
    producer.put_records(0..5_000).await?;
    until_delivered(&emulator).await?;
    // After the stop, no repeat can arrive unseen.
    daemon.stop().await?;
    assert_once_and_in_order(ledger.counts(), 5_000);
    Ok(ledger.summary())
}

#[tokio::test]
async fn a_failing_mapping_does_not_affect_another_on_the_same_stream() {
    two_mappings().await.unwrap();
}

async fn two_mappings() -> anyhow::Result<()> {
    let aws = Servers::running().aws("ferrokinesis");
    let (emulator, arn) = (emulator().await?, aws.create_stream("shared", 2).await?);
    let failing = Function::start(500).await?;
    let members = json!({"StartingPosition": "TRIM_HORIZON", "BatchSize": 50});
    let setup = Setup::new("two")
        .endpoint("kinesis", aws.endpoint())
        .function("good", &emulator.function_url("good"))
        .function("bad", &failing.url)
        .mapping("good", &arn, members.clone())
        .mapping("bad", &arn, members);
    let daemon = setup.start().await?;
    let producer = Producer {
        aws: &aws,
        ledger: emulator.ledger(),
        arn: &arn,
        keys: 20,
    };
    producer.put_records(0..1_000).await?;
    until_delivered(&emulator).await?;
    wait::until("the failing function is retried", TIMEOUT, || {
        6 <= failing.events().len()
    })
    .await?;
    // It received only the first batch of each shard.
    let firsts: BTreeSet<String> = failing
        .events()
        .iter()
        .map(|event| event["Records"][0]["kinesis"]["sequenceNumber"].to_string())
        .collect();
    assert_eq!(firsts.len(), 2, "{firsts:?}");

    failing.set_status(200);
    wait::until("the function has caught up", TIMEOUT, || {
        1_000 <= failing.records().len()
    })
    .await?;
    daemon.stop().await?;
    assert_once_and_in_order(emulator.ledger().counts(), 1_000);
    let late = numbers_in_order(&failing.records())?;
    assert_eq!(late.len(), 1_000, "each record arrives once");
    Ok(())
}

#[tokio::test]
async fn latest_starts_with_records_after_the_mapping() {
    starting_position(json!({"StartingPosition": "LATEST"}))
        .await
        .unwrap();
}

#[tokio::test]
async fn at_timestamp_starts_at_its_time() {
    // In the future and in full seconds, so that records put before it are older.
    let moment = now().as_secs() + 2;
    let members = json!({
        "StartingPosition": "AT_TIMESTAMP",
        "StartingPositionTimestamp": moment,
    });
    starting_position(members).await.unwrap();
}

/// Puts records before and after the starting position; only those after it arrive.
async fn starting_position(members: Value) -> anyhow::Result<()> {
    let aws = Servers::running().aws("kinesis_mock");
    let (emulator, arn) = (emulator().await?, aws.create_stream("begin", 2).await?);
    let before = Ledger::new(); // These records must not arrive.
    let producer = Producer {
        aws: &aws,
        ledger: &before,
        arn: &arn,
        keys: 10,
    };
    producer.put_records(0..100).await?;
    let moment = members["StartingPositionTimestamp"].as_u64();
    if let Some(moment) = moment.map(Duration::from_secs) {
        anyhow::ensure!(now() < moment, "the machine is too slow for this test");
        wait::until("the moment", TIMEOUT, || moment < now()).await?;
        Producer {
            ledger: emulator.ledger(),
            ..producer
        }
        .put_records(100..200)
        .await?;
    }
    // LATEST includes the last second, and the source reports its time in full seconds.
    let begin = now() + Duration::from_secs(3);
    wait::until("LATEST to be later", TIMEOUT, || begin < now()).await?;
    let setup = Setup::new("begin")
        .endpoint("kinesis", aws.endpoint())
        .function("orders", &emulator.function_url("orders"))
        .mapping("orders", &arn, members);
    let daemon = setup.start().await?;
    Producer {
        ledger: emulator.ledger(),
        ..producer
    }
    .put_records(200..300)
    .await?;
    until_delivered(&emulator).await?;
    daemon.stop().await?;
    let put = if moment.is_some() { 200 } else { 100 };
    assert_once_and_in_order(emulator.ledger().counts(), put);
    Ok(())
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
