//! Replays of stretches on third-party servers: each record of the stretch arrives once and in order,
//! and no other.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use serde_json::{Value, json};
use windlass_core::time::Timestamp;
use windlass_emulator::{Emulator, Ledger};
use windlass_tests::aws::Aws;
use windlass_tests::daemon::Daemon;
use windlass_tests::producer::Producer;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{Setup, assert_once_and_in_order, emulator};

const RECORDS: u64 = 300;

#[tokio::test]
async fn a_stretch_of_a_stream_is_replayed_across_a_split() {
    stream().await.unwrap();
}

#[tokio::test]
async fn a_stretch_of_a_table_is_replayed() {
    table().await.unwrap();
}

async fn stream() -> anyhow::Result<()> {
    // The shards of all streams of a server are limited.
    let server = Servers::running().start_own("kinesis_mock", &[]).await?;
    let aws = server.aws();
    let arn = aws.create_stream("replay", 2).await?;
    let (emulator, others) = (emulator().await?, Ledger::new());
    let producer = |ledger| Producer {
        aws: &aws,
        ledger,
        arn: &arn,
        keys: 30,
    };
    let (of_stretch, other) = (producer(emulator.ledger()), producer(&others));
    other.put_records(0..100).await?;
    let from = whole_second().await;
    of_stretch.put_records(100..250).await?;
    split_first(&aws, &arn).await?;
    of_stretch.put_records(250..400).await?;
    let to = whole_second().await;
    other.put_records(400..500).await?;
    let replay = replay("kinesis", aws.endpoint(), &arn, &emulator, [from, to]).await?;
    assert_eq!(
        replay["shards"].as_array().map(Vec::len),
        Some(4),
        "{replay}"
    );
    Ok(())
}

/// Splits the first shard of a stream in the middle.
pub(crate) async fn split_first(aws: &Aws, arn: &str) -> anyhow::Result<()> {
    let name = arn.rsplit_once('/').context("a stream has a name")?.1;
    let shards = aws
        .kinesis("ListShards", json!({"StreamName": name}))
        .await?;
    let shard = &shards["Shards"][0];
    let key = |name: &str| -> anyhow::Result<u128> {
        let key = shard["HashKeyRange"][name].as_str();
        Ok(key.context("a shard has hash keys")?.parse()?)
    };
    let middle = key("StartingHashKey")? / 2 + key("EndingHashKey")? / 2 + 1;
    let split = json!({
        "StreamName": name,
        "ShardToSplit": shard["ShardId"],
        "NewStartingHashKey": middle.to_string(),
    });
    aws.kinesis("SplitShard", split).await?;
    aws.until_active(name).await?;
    Ok(())
}

async fn table() -> anyhow::Result<()> {
    let aws = Servers::running().aws("ministack");
    let (table, arn) = aws.create_table("replay").await?;
    let (emulator, others) = (emulator().await?, Ledger::new());
    let producer = |ledger| Producer {
        aws: &aws,
        ledger,
        arn: &arn,
        keys: 30,
    };
    let (of_stretch, other) = (producer(emulator.ledger()), producer(&others));
    other.write_items(&table, 0..100).await?;
    let from = whole_second().await;
    of_stretch.write_items(&table, 100..400).await?;
    let to = whole_second().await;
    other.write_items(&table, 400..500).await?;
    let service = "dynamodb_streams";
    replay(service, aws.endpoint(), &arn, &emulator, [from, to]).await?;
    Ok(())
}

/// Replays the stretch into a function of the emulator, and returns the replay.
async fn replay(
    service: &str,
    endpoint: &str,
    arn: &str,
    emulator: &Emulator,
    [from, to]: [Timestamp; 2],
) -> anyhow::Result<Value> {
    let setup = Setup::new("replay")
        .endpoint(service, endpoint)
        .function("again", &emulator.function_url("again"));
    let daemon = setup.start().await?;
    let body = json!({
        "name": "again", "event_source_arn": arn, "function_name": "again",
        "from": place(from), "to": place(to), "batch_size": 10,
    });
    let started = daemon
        .call("POST", "/windlass/v1/replays", Some(&body))
        .await?;
    anyhow::ensure!(started.0 == 201, "{}", started.1);
    let replay = completed(&daemon).await?;
    daemon.stop().await?;
    assert_once_and_in_order(emulator.ledger().counts(), RECORDS);
    assert_eq!(replay["delivered"], RECORDS, "{replay}");
    Ok(replay)
}

/// As the API has it.
pub(crate) fn place(at: Timestamp) -> Value {
    json!({"type": "at_timestamp", "timestamp": at.to_rfc3339_millis()})
}

/// Waits until the replay `again` is completed.
pub(crate) async fn completed(daemon: &Daemon) -> anyhow::Result<Value> {
    wait::until_some("the replay is completed", TIMEOUT, async || {
        let path = "/windlass/v1/replays/again";
        let (_, replay) = daemon.call("GET", path, None).await?;
        anyhow::ensure!(replay["state"] != "Failed", "{replay}");
        Ok((replay["state"] == "Completed").then_some(replay))
    })
    .await
}

/// Waits for the next whole second: some servers stamp records with nothing less.
pub(crate) async fn whole_second() -> Timestamp {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let next = Duration::from_secs(since_epoch.as_secs() + 1);
    tokio::time::sleep(next - since_epoch).await;
    Timestamp::EPOCH + next
}
