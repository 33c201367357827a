//! Queues, standard and FIFO, of three servers: two of them refuse what has been deleted before,
//! one does not.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use windlass_emulator::Ledger;
use windlass_tests::aws::Aws;
use windlass_tests::function::Function;
use windlass_tests::producer::Producer;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{Setup, emulator, numbers_in_order, until_delivered};

const SERVERS: [&str; 3] = ["elasticmq", "ministack", "fauxqs"];

#[tokio::test]
async fn every_message_of_a_standard_queue_arrives_and_is_deleted() {
    let servers = Servers::running();
    for name in SERVERS {
        let done = every_message(&servers.aws(name), false).await;
        done.with_context(|| name).unwrap();
    }
}

#[tokio::test]
async fn every_message_of_a_fifo_queue_arrives_in_order_and_is_deleted() {
    let servers = Servers::running();
    for name in SERVERS {
        let done = every_message(&servers.aws(name), true).await;
        done.with_context(|| name).unwrap();
    }
}

async fn every_message(aws: &Aws, fifo: bool) -> anyhow::Result<()> {
    let emulator = emulator().await?;
    let (url, arn) = aws.create_queue("jobs", fifo, json!({})).await?;
    let ledger = emulator.ledger();
    let producer = Producer {
        aws,
        ledger,
        arn: &arn,
        keys: 10,
    };
    producer.send_messages(&url, 0..250).await?;
    let daemon = setup(aws, &emulator.function_url("jobs"), &arn, json!({}))
        .start()
        .await?;
    producer.send_messages(&url, 250..500).await?;
    until_delivered(&emulator).await?;
    until_depth(aws, &url, 0).await?;
    daemon.stop().await?;
    let counts = ledger.counts();
    ensure!(
        (counts.delivered, counts.repeated) == (500, 0),
        "{counts:?}"
    );
    // A standard queue promises no order.
    ensure!(!fifo || counts.out_of_order == 0, "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn messages_that_a_function_fails_with_come_back() {
    let servers = Servers::running();
    for name in SERVERS {
        for fifo in [false, true] {
            let done = come_back(&servers.aws(name), fifo).await;
            done.with_context(|| format!("{name}, FIFO: {fifo}"))
                .unwrap();
        }
    }
}

async fn come_back(aws: &Aws, fifo: bool) -> anyhow::Result<()> {
    let function = Function::start(500).await?;
    let attributes = json!({"VisibilityTimeout": "2"});
    let (url, arn) = aws.create_queue("failing", fifo, attributes).await?;
    let ledger = Ledger::new();
    let producer = Producer {
        aws,
        ledger: &ledger,
        arn: &arn,
        keys: 3,
    };
    producer.send_messages(&url, 0..9).await?;
    let daemon = setup(aws, &function.url, &arn, json!({})).start().await?;
    wait::until("a message comes back", TIMEOUT, || {
        received(&function.events())
            .values()
            .any(|counts| 2 <= counts.len())
    })
    .await?;
    ensure!(
        aws.queue_depth(&url).await? == 9,
        "nothing is deleted after an error"
    );
    function.set_status(200);
    wait::until("all come back", TIMEOUT, || 9 <= function.records().len()).await?;
    until_depth(aws, &url, 0).await?;
    daemon.stop().await?;
    let records = function.records();
    ensure!(records.len() == 9, "each is accepted once");
    if fifo {
        numbers_in_order(&records)?;
    }
    Ok(())
}

#[tokio::test]
async fn messages_that_always_fail_go_to_the_dead_letter_queue() {
    let servers = Servers::running();
    for name in SERVERS {
        // MiniStack takes out what goes to the dead letter queue at one moment and looks for what may
        // be received at the next: a message that comes back in between is given once more.
        let most = if name == "ministack" { 3 } else { 2 };
        let done = dead_letters(&servers.aws(name), most).await;
        done.with_context(|| name).unwrap();
    }
}

/// Each message may be received twice, and `most` times is what the server makes of that.
async fn dead_letters(aws: &Aws, most: usize) -> anyhow::Result<()> {
    let function = Function::start(500).await?;
    let (dead_url, dead_arn) = aws.create_queue("dead", false, json!({})).await?;
    let redrive = json!({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "2"});
    let attributes = json!({"VisibilityTimeout": "1", "RedrivePolicy": redrive.to_string()});
    let (url, arn) = aws.create_queue("redriven", false, attributes).await?;
    let ledger = Ledger::new();
    let producer = Producer {
        aws,
        ledger: &ledger,
        arn: &arn,
        keys: 5,
    };
    producer.send_messages(&url, 0..5).await?;
    let one = json!({"BatchSize": 1});
    let daemon = setup(aws, &function.url, &arn, one).start().await?;
    until_depth(aws, &dead_url, 5).await?;
    until_depth(aws, &url, 0).await?;
    daemon.stop().await?;
    let received = received(&function.events());
    ensure!(received.len() == 5, "{received:?}");
    for counts in received.values() {
        ensure!((2..=most).contains(&counts.len()), "{received:?}");
        // The function was given what was received, each time and once.
        let expected = (1..=counts.len()).map(|count| json!(count.to_string()));
        ensure!(expected.eq(counts.iter().cloned()), "{received:?}");
    }
    Ok(())
}

/// The server's count of receives each time that the function was given a message, by message.
fn received(events: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut counts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in events {
        for record in event["Records"].as_array().into_iter().flatten() {
            let count = record["attributes"]["ApproximateReceiveCount"].clone();
            let message = record["messageId"].to_string();
            counts.entry(message).or_default().push(count);
        }
    }
    counts
}

async fn until_depth(aws: &Aws, url: &str, depth: u64) -> anyhow::Result<()> {
    wait::until_some(
        &format!("{url} has {depth} messages"),
        TIMEOUT,
        async || Ok((aws.queue_depth(url).await? == depth).then_some(())),
    )
    .await
}

fn setup(aws: &Aws, function_url: &str, arn: &str, members: Value) -> Setup {
    Setup::new("sqs")
        .endpoint("sqs", aws.endpoint())
        .function("jobs", function_url)
        .mapping("jobs", arn, members)
}
