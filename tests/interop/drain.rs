//! SIGTERM: invocations in flight finish and are saved, so a restart repeats nothing.

use std::time::Duration;

use serde_json::json;
use windlass_tests::producer::Producer;
use windlass_tests::proxy::{Proxy, ProxyMode};
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::queue::TestQueue;
use crate::setup::{Setup, assert_once_and_in_order, emulator, until_delivered};

/// Delay of requests and responses of the function, so that an invocation is nearly always in flight.
const DELAY: Duration = Duration::from_millis(100);

/// Number of restarts.
const STOPS: u64 = 3;

#[tokio::test]
async fn a_restart_continues_a_stream_without_repeats() {
    stream().await.unwrap();
}

async fn stream() -> anyhow::Result<()> {
    let aws = Servers::running().aws("ferrokinesis");
    let (emulator, arn) = (emulator().await?, aws.create_stream("drain", 4).await?);
    let proxy = Proxy::start(&emulator.endpoint()).await?;
    proxy.set_mode(ProxyMode::Delay(DELAY)).await?;
    let url = emulator.function_url("orders");
    let members = json!({"StartingPosition": "TRIM_HORIZON", "BatchSize": 20});
    let setup = Setup::new("drain")
        .endpoint("kinesis", aws.endpoint())
        .function(
            "orders",
            &url.replace(&emulator.endpoint(), &proxy.endpoint()),
        )
        .mapping("orders", &arn, members);
    let ledger = emulator.ledger();
    let producer = Producer {
        aws: &aws,
        ledger,
        arn: &arn,
        keys: 50,
    };
    producer.put_records(0..1_500).await?;
    for stop in 0..STOPS {
        let daemon = setup.start().await?;
        let before = ledger.counts().delivered;
        wait::until("records flow", TIMEOUT, || {
            before < ledger.counts().delivered
        })
        .await?;
        daemon.stop().await?;
        let counts = ledger.counts();
        assert!(
            counts.delivered < 1_500,
            "nothing was left for the restart after stop {stop}"
        );
    }
    let daemon = setup.start().await?;
    until_delivered(&emulator).await?;
    daemon.stop().await?;
    assert_once_and_in_order(ledger.counts(), 1_500);
    Ok(())
}

#[tokio::test]
async fn a_restart_continues_a_queue_without_repeats() {
    queue().await.unwrap();
}

async fn queue() -> anyhow::Result<()> {
    let aws = Servers::running().aws("elasticmq");
    let emulator = emulator().await?;
    let queue = TestQueue::create(&aws, false, 50, json!({})).await?;
    let proxy = Proxy::start(&emulator.endpoint()).await?;
    proxy.set_mode(ProxyMode::Delay(DELAY)).await?;
    let function = emulator.function_url("jobs");
    let function = function.replace(&emulator.endpoint(), &proxy.endpoint());
    let setup = queue.setup(&function, json!({"BatchSize": 1}));
    let ledger = emulator.ledger();
    queue.send(ledger, 0..1_000).await?;
    for stop in 0..STOPS {
        let daemon = setup.start().await?;
        let before = ledger.counts().delivered;
        wait::until("messages flow", TIMEOUT, || {
            before < ledger.counts().delivered
        })
        .await?;
        daemon.stop().await?;
        let counts = ledger.counts();
        // Delivered messages are deleted; the others are still in the queue.
        assert_eq!(queue.depth().await?, counts.missing(), "after stop {stop}");
        assert!(
            0 < counts.missing(),
            "nothing was left for the restart after stop {stop}"
        );
    }
    let daemon = setup.start().await?;
    until_delivered(&emulator).await?;
    daemon.stop().await?;
    let counts = ledger.counts();
    assert_eq!((counts.delivered, counts.repeated), (1_000, 0));
    assert_eq!(queue.depth().await?, 0);
    Ok(())
}
