//! A mapping that is parked, replayed meanwhile, continued, and moved back over a split.

use serde_json::{Value, json};
use windlass_emulator::Ledger;
use windlass_tests::daemon::Daemon;
use windlass_tests::function::Function;
use windlass_tests::producer::Producer;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::replays::{completed, place, split_first, whole_second};
use crate::setup::{Setup, numbers_in_order};

#[tokio::test]
async fn a_parked_mapping_rests_next_to_a_replay_and_a_seek_delivers_again_across_a_split() {
    park_and_seek().await.unwrap();
}

async fn park_and_seek() -> anyhow::Result<()> {
    // The shards of all streams of a server are limited.
    let server = Servers::running().start_own("kinesis_mock", &[]).await?;
    let aws = server.aws();
    let (arn, ledger) = (aws.create_stream("parks", 2).await?, Ledger::new());
    let producer = Producer {
        aws: &aws,
        ledger: &ledger,
        arn: &arn,
        keys: 30,
    };
    let (live, again) = (Function::start(200).await?, Function::start(200).await?);
    let members = json!({"StartingPosition": "TRIM_HORIZON", "BatchSize": 10});
    let setup = Setup::new("parks")
        .endpoint("kinesis", aws.endpoint())
        .function("live", &live.url)
        .function("again", &again.url)
        .mapping("live", &arn, members);
    let daemon = setup.start().await?;
    let uuid = daemon.only_mapping().await?;
    producer.put_records(0..100).await?;
    until_received(&live, 100).await?;

    operate(&daemon, &uuid, "park", json!({"reason": "maintenance"})).await?;
    until_parked(&daemon, &uuid).await?;
    let from = whole_second().await;
    producer.put_records(100..200).await?;
    let replay = json!({
        "name": "again", "mapping": uuid, "function_name": "again", "from": place(from),
    });
    let started = daemon.call("POST", "/windlass/v1/replays", Some(&replay));
    assert_eq!(started.await?.0, 201);
    completed(&daemon).await?;
    assert_eq!(numbers(&again.records())?, (100..200).collect::<Vec<_>>());
    assert_eq!(live.records().len(), 100, "it is parked");

    operate(&daemon, &uuid, "unpark", json!({})).await?;
    until_received(&live, 200).await?;
    split_first(&aws, &arn).await?;
    producer.put_records(200..300).await?;
    until_received(&live, 300).await?;
    assert_eq!(numbers(&live.records())?, (0..300).collect::<Vec<_>>());

    let moved = operate(&daemon, &uuid, "seek", json!({"to": place(from)})).await?;
    assert_eq!(moved["shards"].as_array().map(Vec::len), Some(4), "{moved}");
    until_received(&live, 500).await?;
    daemon.stop().await?;
    let repeated = numbers(&live.records()[300..])?;
    assert_eq!(repeated, (100..300).collect::<Vec<_>>());
    Ok(())
}

async fn operate(daemon: &Daemon, uuid: &str, what: &str, body: Value) -> anyhow::Result<Value> {
    let path = format!("/windlass/v1/mappings/{uuid}/{what}");
    let (status, answer) = daemon.call("POST", &path, Some(&body)).await?;
    anyhow::ensure!(status == 200, "{what}: {answer}");
    Ok(answer)
}

/// Waits until both shards have stopped.
async fn until_parked(daemon: &Daemon, uuid: &str) -> anyhow::Result<()> {
    wait::until_some("the mapping is parked", TIMEOUT, async || {
        let status = daemon.status(uuid).await?;
        let shards = status["shards"].as_array().cloned().unwrap_or_default();
        let mut waiting = shards.iter().map(|it| it["waiting_for"].as_str());
        let is_parked = waiting.all(|it| it.is_some_and(|it| it.contains("maintenance")));
        Ok((shards.len() == 2 && is_parked).then_some(()))
    })
    .await
}

async fn until_received(function: &Function, n_records: usize) -> anyhow::Result<()> {
    let received = || n_records <= function.records().len();
    wait::until("the records are delivered", TIMEOUT, received).await
}

/// Of all records, sorted, once those of each key are in order.
fn numbers(records: &[Value]) -> anyhow::Result<Vec<u64>> {
    let mut numbers = numbers_in_order(records)?;
    numbers.sort_unstable();
    Ok(numbers)
}
