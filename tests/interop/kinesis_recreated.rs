//! A Kinesis stream that is deleted, and created again under its name.

use anyhow::Context;
use serde_json::{Value, json};
use windlass_tests::aws::Aws;
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

    let former = start_of_shard(&aws, name).await?;
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
    create_again(&aws, name, &former).await?;
    producer.put_records(100..200).await?;
    until_delivered(&emulator).await?;
    let again = until_status(&daemon, &uuid, "the new stream is read", |status| {
        status["last_processing_result"] == "OK"
    })
    .await?;
    let notice = again["notice"].as_str().unwrap_or_default();
    assert!(notice.contains("deleted and created again"), "{again}");
    daemon.stop().await?;
    assert_once_and_in_order(ledger.counts(), 200);
    Ok(())
}

/// Creates the stream until its shard starts with another sequence number than the former one.
///
/// kinesis-mock makes the starting number of the second in which the stream is created and of the
/// index of the shard, and the numbers of records of these, the second and a count. So if the stream
/// is created twice in one second, no reader can tell the two apart.
///
/// <https://github.com/etspaceman/kinesis-mock/blob/main/kinesis-mock/src/main/scala/kinesis/mock/models/SequenceNumber.scala>
async fn create_again(aws: &Aws, name: &str, former: &str) -> anyhow::Result<()> {
    let what = "the shard starts with another sequence number";
    wait::until_some(what, TIMEOUT, async || {
        aws.create_stream_named(name, 1).await?;
        if start_of_shard(aws, name).await? != former {
            return Ok(Some(()));
        }
        aws.delete_stream(name).await?;
        Ok(None)
    })
    .await
}

async fn start_of_shard(aws: &Aws, name: &str) -> anyhow::Result<String> {
    let shards = aws
        .kinesis("ListShards", json!({"StreamName": name}))
        .await?;
    let start = shards["Shards"][0]["SequenceNumberRange"]["StartingSequenceNumber"].as_str();
    Ok(start.context("a shard has a start")?.to_owned())
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
