//! FIFO queues: messages of a group keep their order across failures, a stop and a kill.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::{Value, json};
use windlass_emulator::Ledger;
use windlass_tests::aws::Aws;
use windlass_tests::function::Function;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::queue::{TestQueue, number, on_all_servers, receive_count};
use crate::setup::numbers_in_order;

const MESSAGES: u64 = 200;

const GROUPS: u64 = 10;

#[tokio::test]
async fn a_group_keeps_its_order_across_failures_and_restarts() {
    on_all_servers(&[true], order_of_groups).await.unwrap();
}

async fn order_of_groups(aws: Aws, fifo: bool) -> anyhow::Result<()> {
    let function = Function::start(200).await?;
    function.break_on(Some(|record| {
        is_failing(record) && receive_count(record) <= 2
    }));
    let attributes = json!({"VisibilityTimeout": "1"});
    let queue = TestQueue::create(&aws, fifo, GROUPS, attributes).await?;
    let setup = queue.setup(&function.url, json!({"BatchSize": 2}));
    let ledger = Ledger::new();
    queue.send(&ledger, 0..MESSAGES / 2).await?;

    let daemon = setup.start().await?;
    until_processed(&function, MESSAGES / 4).await?;
    daemon.stop().await?;

    let daemon = setup.start().await?;
    queue.send(&ledger, MESSAGES / 2..MESSAGES).await?;
    until_processed(&function, MESSAGES * 3 / 4).await?;
    daemon.kill().await?;

    let daemon = setup.start().await?;
    until_processed(&function, MESSAGES).await?;
    queue.until_depth(0).await?;
    daemon.stop().await?;
    let records = first_arrivals(&function.records());
    ensure!(
        records.len() as u64 == MESSAGES,
        "{} arrived",
        records.len()
    );
    numbers_in_order(&records)?;
    let failing = records.iter().filter(|record| is_failing(record));
    let failed_twice = failing.map(|record| 3 <= receive_count(record));
    let failed_twice: Vec<bool> = failed_twice.collect();
    ensure!(
        failed_twice.contains(&true) && !failed_twice.contains(&false),
        "{failed_twice:?}"
    );
    Ok(())
}

/// Whether invocations with a message fail, twice.
fn is_failing(record: &Value) -> bool {
    number(record).is_some_and(|n| n % 13 == 5)
}

/// Waits until this number of different messages has been processed.
async fn until_processed(function: &Function, n_messages: u64) -> anyhow::Result<()> {
    let what = format!("{n_messages} messages are processed");
    wait::until(&what, TIMEOUT, || {
        n_messages <= first_arrivals(&function.records()).len() as u64
    })
    .await
}

/// Without the messages that were processed before: a kill repeats some.
fn first_arrivals(records: &[Value]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let first = records.iter().filter(|record| seen.insert(number(record)));
    first.cloned().collect()
}
