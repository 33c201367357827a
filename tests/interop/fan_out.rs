//! Enhanced fan-out, on two servers.

use anyhow::Context;
use serde_json::json;
use windlass_emulator::Emulator;
use windlass_tests::aws::{Aws, unique_name};
use windlass_tests::producer::Producer;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{
    Setup, assert_complete_and_in_order, assert_once_and_in_order, emulator, until_delivered,
};

/// Registers a consumer and waits until it is active. Returns its ARN.
async fn register_consumer(aws: &Aws, stream: &str) -> anyhow::Result<String> {
    let body = json!({"StreamARN": stream, "ConsumerName": unique_name("reader")});
    let registered = aws.kinesis("RegisterStreamConsumer", body).await?;
    let arn = registered["Consumer"]["ConsumerARN"].as_str();
    let arn = arn.context("a consumer has an ARN")?.to_owned();
    wait::until_some("the consumer is active", TIMEOUT, async || {
        let body = json!({"ConsumerARN": &arn});
        let described = aws.kinesis("DescribeStreamConsumer", body).await?;
        let status = &described["ConsumerDescription"]["ConsumerStatus"];
        Ok((status == "ACTIVE").then_some(()))
    })
    .await?;
    Ok(arn)
}

/// A stream, and a daemon that reads it with a consumer. Returns the ARN of the stream.
async fn set_up(aws: &Aws, name: &str, shards: u32) -> anyhow::Result<(Emulator, String, Setup)> {
    let (emulator, stream) = (emulator().await?, aws.create_stream("fan", shards).await?);
    let consumer = register_consumer(aws, &stream).await?;
    let setup = Setup::new(name)
        .endpoint("kinesis", aws.endpoint())
        .function("orders", &emulator.function_url("orders"))
        .mapping(
            "orders",
            &consumer,
            json!({"StartingPosition": "TRIM_HORIZON"}),
        );
    Ok((emulator, stream, setup))
}

#[tokio::test]
async fn two_hundred_records_across_a_split_of_ferrokinesis() {
    let aws = Servers::running().aws("ferrokinesis");
    across_a_split(&aws).await.unwrap();
}

async fn across_a_split(aws: &Aws) -> anyhow::Result<()> {
    let (emulator, stream, setup) = set_up(aws, "fan", 1).await?;
    let producer = Producer {
        aws,
        ledger: emulator.ledger(),
        arn: &stream,
        keys: 10,
    };
    producer.put_records(0..50).await?;
    let daemon = setup.start().await?;
    until_delivered(&emulator).await?;
    producer.put_records(50..100).await?;
    let (_, name) = stream.rsplit_once('/').unwrap_or_default();
    let middle = (u128::MAX / 2).to_string();
    let split = json!({"StreamName": name, "ShardToSplit": "shardId-000000000000",
        "NewStartingHashKey": middle});
    aws.kinesis("SplitShard", split).await?;
    wait::until_some("the split", TIMEOUT, async || {
        let body = json!({"StreamName": name});
        let listed = aws.kinesis("ListShards", body).await?;
        Ok((listed["Shards"].as_array().map(Vec::len) == Some(3)).then_some(()))
    })
    .await?;
    producer.put_records(100..200).await?;
    until_delivered(&emulator).await?;
    daemon.stop().await?;
    assert_once_and_in_order(emulator.ledger().counts(), 200);
    Ok(())
}

#[tokio::test]
async fn two_hundred_records_of_kinesis_mock() {
    of_kinesis_mock().await.unwrap();
}

async fn of_kinesis_mock() -> anyhow::Result<()> {
    let aws = Servers::running().aws("kinesis_mock");
    let (emulator, stream, setup) = set_up(&aws, "fan_mock", 2).await?;
    let producer = Producer {
        aws: &aws,
        ledger: emulator.ledger(),
        arn: &stream,
        keys: 10,
    };
    producer.put_records(0..100).await?;
    let daemon = setup.start().await?;
    until_delivered(&emulator).await?;
    daemon.kill().await?;
    producer.put_records(100..200).await?;
    let daemon = setup.start().await?;
    until_delivered(&emulator).await?;
    daemon.stop().await?;
    assert_complete_and_in_order(emulator.ledger().counts(), 200);
    Ok(())
}
