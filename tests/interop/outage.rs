//! Outages of a function and of a source.

use std::time::Duration;

use serde_json::json;
use windlass_tests::producer::Producer;
use windlass_tests::proxy::{Proxy, ProxyMode};
use windlass_tests::servers::Servers;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{Setup, assert_complete_and_in_order, emulator, until_delivered};

const RECORDS: u64 = 2_000;

/// Outage of the function.
const DOWN: Duration = Duration::from_secs(10);

/// Outage of the source: several poll intervals.
const GONE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn the_function_refuses_connections_for_ten_seconds() {
    let repeats = function_is_down(ProxyMode::Refuse).await.unwrap();
    println!("repeats {repeats}, lost 0");
}

#[tokio::test]
async fn the_function_responds_503_for_ten_seconds() {
    let repeats = function_is_down(ProxyMode::Unavailable).await.unwrap();
    println!("repeats {repeats}, lost 0");
}

/// Puts records before, during and after the outage, and returns the number of repeats.
async fn function_is_down(mode: ProxyMode) -> anyhow::Result<u64> {
    let aws = Servers::running().aws("ferrokinesis");
    let (emulator, arn) = (emulator().await?, aws.create_stream("down", 4).await?);
    let proxy = Proxy::start(&emulator.endpoint()).await?;
    let url = emulator.function_url("orders");
    let members = json!({"StartingPosition": "TRIM_HORIZON"});
    let setup = Setup::new("down")
        .endpoint("kinesis", aws.endpoint())
        .function(
            "orders",
            &url.replace(&emulator.endpoint(), &proxy.endpoint()),
        )
        .mapping("orders", &arn, members);
    let daemon = setup.start().await?;
    let ledger = emulator.ledger();
    let producer = Producer {
        aws: &aws,
        ledger,
        arn: &arn,
        keys: 50,
    };
    producer.put_records(0..500).await?;
    wait::until("records flow", TIMEOUT, || 0 < ledger.counts().delivered).await?;

    proxy.set_mode(mode).await?;
    let before = ledger.counts();
    let mut from = 500;
    let mut pace = tokio::time::interval(DOWN / 10);
    for _ in 0..10 {
        pace.tick().await;
        producer.put_records(from..from + 100).await?;
        from += 100;
    }
    pace.tick().await;
    let counts = ledger.counts();
    assert_eq!(counts.delivered, before.delivered, "the function is down");

    proxy.set_mode(ProxyMode::Forward).await?;
    producer.put_records(from..RECORDS).await?;
    until_delivered(&emulator).await?;
    daemon.stop().await?;
    assert_complete_and_in_order(ledger.counts(), RECORDS);
    Ok(ledger.counts().repeated)
}

#[tokio::test]
async fn the_source_is_killed_and_restarted() {
    source_is_killed().await.unwrap();
}

/// The server keeps its streams in a directory, so they survive the restart.
async fn source_is_killed() -> anyhow::Result<()> {
    let state = TempDir::new("source");
    let dir = state.path().to_string_lossy();
    let mut server = Servers::running()
        .start_own("ferrokinesis", &["--state-dir", &dir])
        .await?;
    let aws = server.aws();
    let (emulator, arn) = (emulator().await?, aws.create_stream("gone", 4).await?);
    let setup = Setup::new("gone")
        .endpoint("kinesis", aws.endpoint())
        .function("orders", &emulator.function_url("orders"))
        .mapping("orders", &arn, json!({"StartingPosition": "TRIM_HORIZON"}));
    let daemon = setup.start().await?;
    let ledger = emulator.ledger();
    let producer = Producer {
        aws: &aws,
        ledger,
        arn: &arn,
        keys: 50,
    };
    producer.put_records(0..1_000).await?;
    wait::until("records flow", TIMEOUT, || 0 < ledger.counts().delivered).await?;

    server.kill().await?;
    tokio::time::sleep(GONE).await;
    server.restart().await?;
    producer.put_records(1_000..RECORDS).await?;
    until_delivered(&emulator).await?;
    let log = daemon.stop().await?;
    assert!(
        log.contains("GetRecords"),
        "the daemon did not log the outage:\n{log}"
    );
    assert_complete_and_in_order(ledger.counts(), RECORDS);
    Ok(())
}

#[tokio::test]
async fn the_source_is_unreachable_for_a_while() {
    source_cannot_be_reached().await.unwrap();
}

/// Records are put while the daemon cannot reach the server.
async fn source_cannot_be_reached() -> anyhow::Result<()> {
    let aws = Servers::running().aws("kinesis_mock");
    let (emulator, arn) = (emulator().await?, aws.create_stream("cut", 2).await?);
    let proxy = Proxy::start(aws.endpoint()).await?;
    let setup = Setup::new("cut")
        .endpoint("kinesis", &proxy.endpoint())
        .function("orders", &emulator.function_url("orders"))
        .mapping("orders", &arn, json!({"StartingPosition": "TRIM_HORIZON"}));
    proxy.set_mode(ProxyMode::Refuse).await?;
    // The source is already unreachable when the daemon starts.
    let daemon = setup.start().await?;
    let ledger = emulator.ledger();
    let producer = Producer {
        aws: &aws,
        ledger,
        arn: &arn,
        keys: 20,
    };
    producer.put_records(0..200).await?;
    proxy.set_mode(ProxyMode::Forward).await?;
    wait::until("records flow", TIMEOUT, || 0 < ledger.counts().delivered).await?;
    for (mode, from) in [(ProxyMode::Refuse, 200), (ProxyMode::Unavailable, 400)] {
        proxy.set_mode(mode).await?;
        let gone = tokio::time::sleep(GONE);
        tokio::join!(gone, producer.put_records(from..from + 200)).1?;
        proxy.set_mode(ProxyMode::Forward).await?;
        until_delivered(&emulator).await?;
    }
    daemon.stop().await?;
    assert_complete_and_in_order(ledger.counts(), 600);
    Ok(())
}
