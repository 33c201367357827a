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

/// Much sooner than the visibility timeout of the queue, which would apply otherwise.
#[tokio::test]
async fn a_failed_message_comes_again_after_its_delay() {
    on_all_servers(&[false, true], delayed).await.unwrap();
}

async fn delayed(aws: Aws, fifo: bool) -> anyhow::Result<()> {
    let function = Function::start(500).await?;
    let attributes = json!({"VisibilityTimeout": "60"});
    let queue = TestQueue::create(&aws, fifo, 1, attributes).await?;
    queue.send(&Ledger::new(), 0..1).await?;
    let members = json!({
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "Windlass": {"RetryBackoff": {"First": "2s", "Factor": 1.5, "Maximum": "3s"}},
    });
    let daemon = queue.setup(&function.url, members).start().await?;
    wait::until("it is retried twice", TIMEOUT, || {
        3 <= function.arrivals().len()
    })
    .await?;
    function.set_status(200);
    queue.until_depth(0).await?;
    let n_before = function.arrivals().len();
    function.answer_with(|event| {
        let record = &event["Records"][0];
        let item = json!({"itemIdentifier": record["messageId"], "retryAfterSeconds": 4});
        let is_first = receive_count(record) == 1;
        json!({"batchItemFailures": if is_first { vec![item] } else { vec![] }}).to_string()
    });
    queue.send(&Ledger::new(), 1..2).await?;
    wait::until("it comes again", TIMEOUT, || {
        n_before + 2 <= function.arrivals().len()
    })
    .await?;
    daemon.stop().await?;
    let arrivals = function.arrivals();
    for (start, seconds) in [(0, 2), (1, 3), (n_before, 4)] {
        let gap = arrivals[start + 1] - arrivals[start];
        let expected = Duration::from_secs(seconds);
        // A busy machine may make a gap longer, though not by the queue's own timeout.
        let is_right = expected * 9 / 10 <= gap && gap < Duration::from_secs(40);
        ensure!(is_right, "{gap:?} instead of {expected:?}");
    }
    Ok(())
}
