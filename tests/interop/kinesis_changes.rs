//! A mapping that is changed while its batches are in flight.

use std::time::Duration;

use serde_json::json;
use windlass_tests::daemon::Daemon;
use windlass_tests::producer::Producer;
use windlass_tests::proxy::{Proxy, ProxyMode};
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{Setup, assert_once_and_in_order, emulator, until_delivered};

/// Of requests and responses of the function: most changes hit a batch in flight.
const DELAY: Duration = Duration::from_millis(50);

const ROUNDS: u64 = 8;
const RECORDS_PER_ROUND: u64 = 150;

#[tokio::test]
async fn changes_while_batches_are_in_flight_lose_and_repeat_nothing() {
    changes().await.unwrap();
}

async fn changes() -> anyhow::Result<()> {
    let aws = Servers::running().aws("ferrokinesis");
    let (emulator, arn) = (emulator().await?, aws.create_stream("changes", 2).await?);
    let proxy = Proxy::start(&emulator.endpoint()).await?;
    proxy.set_mode(ProxyMode::Delay(DELAY)).await?;
    let url = emulator.function_url("orders");
    let setup = Setup::new("changes")
        .endpoint("kinesis", aws.endpoint())
        .function(
            "orders",
            &url.replace(&emulator.endpoint(), &proxy.endpoint()),
        );
    let daemon = setup.start().await?;
    let ledger = emulator.ledger();
    let producer = Producer {
        aws: &aws,
        ledger,
        arn: &arn,
        keys: 20,
    };
    let members = json!({
        "FunctionName": "orders",
        "EventSourceArn": arn,
        "StartingPosition": "TRIM_HORIZON",
        "ParallelizationFactor": 2,
        "BatchSize": 10,
    });
    let uuid = daemon.create_mapping(&members).await?;
    for round in 0..ROUNDS {
        let first = round * RECORDS_PER_ROUND;
        let half = first + RECORDS_PER_ROUND / 2;
        let before = ledger.counts().delivered;
        producer.put_records(first..half).await?;
        wait::until("records flow", TIMEOUT, || {
            before < ledger.counts().delivered
        })
        .await?;
        let change = match round % 4 {
            0 | 2 => json!({"Enabled": false}),
            1 => json!({"BatchSize": 5, "ParallelizationFactor": 10}),
            _ => json!({"BatchSize": 10, "ParallelizationFactor": 1}),
        };
        daemon.update_mapping(&uuid, &change).await?;
        if change["Enabled"] == false {
            daemon.wait_for_state(&uuid, "Disabled").await?;
            let batches = ledger.counts().batches;
            producer
                .put_records(half..first + RECORDS_PER_ROUND)
                .await?;
            assert_eq!(ledger.counts().batches, batches, "nothing is invoked");
            let enable = json!({"Enabled": true});
            daemon.update_mapping(&uuid, &enable).await?;
        } else {
            producer
                .put_records(half..first + RECORDS_PER_ROUND)
                .await?;
        }
        daemon.wait_for_state(&uuid, "Enabled").await?;
    }
    until_delivered(&emulator).await?;
    let all = ROUNDS * RECORDS_PER_ROUND;
    assert_once_and_in_order(ledger.counts(), all);

    delete(&daemon, &uuid, &producer, all).await?;
    daemon.create_mapping(&members).await?;
    until_delivered(&emulator).await?;
    daemon.stop().await?;
    Ok(())
}

/// A deletion ends what is in flight. `first` is the number of the next record.
async fn delete(
    daemon: &Daemon,
    uuid: &str,
    producer: &Producer<'_>,
    first: u64,
) -> anyhow::Result<()> {
    let half = first + RECORDS_PER_ROUND / 2;
    producer.put_records(first..half).await?;
    let ledger = producer.ledger;
    wait::until("records flow", TIMEOUT, || {
        first < ledger.counts().delivered
    })
    .await?;
    daemon.delete_mapping(uuid).await?;
    let batches = ledger.counts().batches;
    producer
        .put_records(half..first + RECORDS_PER_ROUND)
        .await?;
    assert_eq!(ledger.counts().batches, batches, "nothing is invoked");
    assert_eq!(ledger.counts().repeated, 0);
    Ok(())
}
