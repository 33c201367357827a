//! Standard and FIFO queues, on three servers, whose differences [`crate::queue`] lists.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use windlass_emulator::Ledger;
use windlass_tests::aws::Aws;
use windlass_tests::function::Function;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::queue::{TestQueue, number, on_each_server, receive_count};
use crate::setup::{emulator, numbers_in_order, until_delivered};

#[tokio::test]
async fn every_message_arrives_once_and_is_deleted() {
    on_each_server(every_message).await.unwrap();
}

async fn every_message(aws: &Aws, fifo: bool) -> anyhow::Result<()> {
    let emulator = emulator().await?;
    let queue = TestQueue::create(aws, fifo, 10, json!({})).await?;
    let ledger = emulator.ledger();
    queue.send(ledger, 0..250).await?;
    let setup = queue.setup(&emulator.function_url("jobs"), json!({}));
    let daemon = setup.start().await?;
    queue.send(ledger, 250..500).await?;
    until_delivered(&emulator).await?;
    queue.until_depth(0).await?;
    daemon.stop().await?;
    let counts = ledger.counts();
    ensure!(
        (counts.delivered, counts.repeated) == (500, 0),
        "{counts:?}"
    );
    // A standard queue does not keep the order.
    ensure!(!fifo || counts.out_of_order == 0, "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn messages_of_a_failed_batch_are_redelivered() {
    on_each_server(redelivered).await.unwrap();
}

async fn redelivered(aws: &Aws, fifo: bool) -> anyhow::Result<()> {
    let function = Function::start(500).await?;
    let attributes = json!({"VisibilityTimeout": "2"});
    let queue = TestQueue::create(aws, fifo, 3, attributes).await?;
    queue.send(&Ledger::new(), 0..9).await?;
    let daemon = queue.setup(&function.url, json!({})).start().await?;
    wait::until("a message is redelivered", TIMEOUT, || {
        received(&function.events())
            .values()
            .any(|counts| 2 <= counts.len())
    })
    .await?;
    ensure!(
        queue.depth().await? == 9,
        "a message was deleted after an error"
    );
    function.set_status(200);
    wait::until("all are redelivered", TIMEOUT, || {
        9 <= function.records().len()
    })
    .await?;
    queue.until_depth(0).await?;
    daemon.stop().await?;
    let records = function.records();
    ensure!(records.len() == 9, "a message was delivered twice");
    if fifo {
        numbers_in_order(&records)?;
    }
    Ok(())
}

#[tokio::test]
async fn exactly_the_messages_that_the_function_reports_are_redelivered() {
    on_each_server(reported).await.unwrap();
}

async fn reported(aws: &Aws, fifo: bool) -> anyhow::Result<()> {
    let function = Function::start(200).await?;
    function.report_failed(|record| is_odd(record) && receive_count(record) == 1);
    let attributes = json!({"VisibilityTimeout": "2"});
    let queue = TestQueue::create(aws, fifo, 3, attributes).await?;
    queue.send(&Ledger::new(), 0..30).await?;
    let members = json!({"FunctionResponseTypes": ["ReportBatchItemFailures"]});
    let daemon = queue.setup(&function.url, members).start().await?;
    wait::until("the reported messages come again", TIMEOUT, || {
        45 <= function.records().len()
    })
    .await?;
    queue.until_depth(0).await?;
    daemon.stop().await?;
    let records = function.records();
    let (first, again): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|it| receive_count(it) == 1);
    ensure!(first.len() == 30, "{} messages came first", first.len());
    ensure!(again.len() == 15, "{} messages came again", again.len());
    ensure!(
        again.iter().all(is_odd),
        "a message came again that was not reported"
    );
    if fifo {
        numbers_in_order(&again)?;
    }
    Ok(())
}

fn is_odd(record: &Value) -> bool {
    number(record).is_some_and(|n| n % 2 == 1)
}

#[tokio::test]
async fn messages_that_always_fail_go_to_the_dead_letter_queue() {
    let servers = Servers::running();
    // MiniStack may return a message once more.
    for (name, max_receives) in [("elasticmq", 2), ("ministack", 3), ("fauxqs", 2)] {
        let done = dead_letters(&servers.aws(name), max_receives).await;
        done.with_context(|| name).unwrap();
    }
}

/// The redrive policy allows two receives; the server allows `max_receives`.
async fn dead_letters(aws: &Aws, max_receives: usize) -> anyhow::Result<()> {
    let function = Function::start(500).await?;
    let (queue, dead) = TestQueue::create_with_dead_letters(aws, false, 5, 1, 2).await?;
    queue.send(&Ledger::new(), 0..5).await?;
    let setup = queue.setup(&function.url, json!({"BatchSize": 1}));
    let daemon = setup.start().await?;
    dead.until_depth(5).await?;
    queue.until_depth(0).await?;
    daemon.stop().await?;
    let received = received(&function.events());
    ensure!(received.len() == 5, "{received:?}");
    for counts in received.values() {
        ensure!((2..=max_receives).contains(&counts.len()), "{received:?}");
        // Each receive led to exactly one invocation.
        let expected = (1..=counts.len()).map(|count| json!(count.to_string()));
        ensure!(expected.eq(counts.iter().cloned()), "{received:?}");
    }
    Ok(())
}

/// The server's receive counts of each message, one for each time the function received it.
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
