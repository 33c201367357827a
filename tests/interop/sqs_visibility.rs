//! Functions that take longer than messages are invisible, and functions that are throttled: neither
//! causes a second delivery, and healthy messages stay out of the dead-letter queue.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use windlass_emulator::Ledger;
use windlass_tests::aws::Aws;
use windlass_tests::function::Function;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::queue::{TestQueue, number, on_all_servers, receive_count};

/// Of the queue of the slow function, in seconds.
const VISIBILITY_TIMEOUT: u32 = 12;

/// Three times as long, and longer than the 30 s for which windlass receives a message at first.
const SLOW: Duration = Duration::from_secs(36);

/// How long the function is throttled: five times the visibility timeout of its queue, whose redrive
/// policy allows three receives.
const THROTTLED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_function_of_three_visibility_timeouts_gets_every_message_once() {
    on_all_servers(&[false, true], slow_function).await.unwrap();
}

async fn slow_function(aws: Aws, fifo: bool) -> anyhow::Result<()> {
    let function = Function::start(200).await?;
    function.set_delay(SLOW);
    let attributes = json!({"VisibilityTimeout": VISIBILITY_TIMEOUT.to_string()});
    let queue = TestQueue::create(&aws, fifo, 20, attributes).await?;
    queue.send(&Ledger::new(), 0..20).await?;
    let setup = queue.setup(&function.url, json!({"BatchSize": 5}));
    let daemon = setup.start().await?;
    wait::until("all messages arrive", TIMEOUT, || {
        20 <= function.records().len()
    })
    .await?;
    queue.until_depth(0).await?;
    daemon.stop().await?;
    each_once(&function.records(), 20)
}

#[tokio::test]
async fn a_throttled_function_sends_no_message_to_the_dead_letter_queue() {
    on_all_servers(&[false, true], throttled_function)
        .await
        .unwrap();
}

async fn throttled_function(aws: Aws, fifo: bool) -> anyhow::Result<()> {
    let function = Function::start(429).await?;
    let (queue, dead) = TestQueue::create_with_dead_letters(&aws, fifo, 10, 2, 3).await?;
    queue.send(&Ledger::new(), 0..100).await?;
    let daemon = queue.setup(&function.url, json!({})).start().await?;
    wait::until("the function is throttled", TIMEOUT, || {
        !function.events().is_empty()
    })
    .await?;
    tokio::time::sleep(THROTTLED).await;
    ensure!(queue.depth().await? == 100, "a message is gone");
    function.set_status(200);
    queue.until_depth(0).await?;
    daemon.stop().await?;
    ensure!(dead.depth().await? == 0, "a message was given up");
    each_once(&function.records(), 100)
}

/// Checks that the messages were received and delivered once.
fn each_once(records: &[Value], n_messages: u64) -> anyhow::Result<()> {
    let numbers: BTreeSet<u64> = records.iter().filter_map(number).collect();
    ensure!(
        numbers.iter().copied().eq(0..n_messages),
        "{numbers:?} arrived"
    );
    let n_records = records.len();
    ensure!(numbers.len() == n_records, "{n_records} messages arrived");
    let again = records.iter().find(|record| receive_count(record) != 1);
    ensure!(again.is_none(), "a message was received again: {again:?}");
    Ok(())
}
