//! A Kinesis stream that is deleted, and created again under its name.

use serde_json::{Value, json};
use windlass_tests::daemon::Daemon;
use windlass_tests::producer::Producer;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{Setup, assert_once_and_in_order, emulator, until_delivered};

#[tokio::test]
async fn a_stream_that_is_created_again_is_read_from_its_oldest_record() {
    recreated().await.unwrap();
}

async fn recreated() -> anyhow::Result<()> {
    let aws = Servers::running().aws("kinesis_mock");
    let (emulator, arn) = (emulator().await?, aws.create_stream("again", 1).await?);
    let name = arn.rsplit_once('/').map_or(arn.as_str(), |(_, name)| name);
    let setup = Setup::new("again")
        .endpoint("kinesis", aws.endpoint())
        .function("orders", &emulator.function_url("orders"))
        .mapping("orders", &arn, json!({"StartingPosition": "LATEST"}));
    let daemon = setup.start().await?;
    let uuid = daemon.only_mapping().await?;
    daemon.wait_for_state(&uuid, "Enabled").await?;
    let ledger = emulator.ledger();
    let producer = Producer {
        aws: &aws,
        ledger,
        arn: &arn,
        keys: 10,
    };
    producer.put_records(0..100).await?;
    until_delivered(&emulator).await?;

    aws.delete_stream(name).await?;
    let gone = until_status(&daemon, &uuid, "the stream is missed", |status| {
        let waiting = status["shards"][0]["waiting_for"].as_str();
        waiting.is_some_and(|text| text.contains("the stream does not exist"))
    })
    .await?;
    assert_eq!(gone["state"], "Enabled");
    assert_eq!(
        gone["last_processing_result"],
        "PROBLEM: Stream does not exist"
    );

    // With LATEST, too, reading continues at the oldest record.
    aws.create_stream_named(name, 1).await?;
    producer.put_records(100..200).await?;
    until_delivered(&emulator).await?;
    let again = until_status(&daemon, &uuid, "the new stream is read", |status| {
        status["last_processing_result"] == "OK"
    })
    .await?;
    // Known by the start of its shard, or, if kinesis-mock gives it the former one, by a sequence
    // number that it does not have.
    assert!(again.to_string().contains("created again"), "{again}");
    daemon.stop().await?;
    assert_once_and_in_order(ledger.counts(), 200);
    Ok(())
}

/// Waits for a status of the mapping, and returns it.
async fn until_status(
    daemon: &Daemon,
    uuid: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    wait::until_some(what, TIMEOUT, async || {
        let status = daemon.status(uuid).await?;
        Ok(holds(&status).then_some(status))
    })
    .await
}
