//! Standard and FIFO queues, on three servers. Two of them reject a second deletion of a message.

use std::collections::BTreeMap;
use std::time::Duration;

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
    // A standard queue does not keep the order.
    ensure!(!fifo || counts.out_of_order == 0, "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn messages_of_a_failed_batch_are_redelivered() {
    let servers = Servers::running();
    for name in SERVERS {
        for fifo in [false, true] {
            let done = redelivered(&servers.aws(name), fifo).await;
            done.with_context(|| format!("{name}, FIFO: {fifo}"))
                .unwrap();
        }
    }
}

async fn redelivered(aws: &Aws, fifo: bool) -> anyhow::Result<()> {
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
    wait::until("a message is redelivered", TIMEOUT, || {
        received(&function.events())
            .values()
            .any(|counts| 2 <= counts.len())
    })
    .await?;
    ensure!(
        aws.queue_depth(&url).await? == 9,
        "a message was deleted after an error"
    );
    function.set_status(200);
    wait::until("all are redelivered", TIMEOUT, || {
        9 <= function.records().len()
    })
    .await?;
    until_depth(aws, &url, 0).await?;
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
    let servers = Servers::running();
    for name in SERVERS {
        for fifo in [false, true] {
            let done = reported(&servers.aws(name), fifo).await;
            done.with_context(|| format!("{name}, FIFO: {fifo}"))
                .unwrap();
        }
    }
}

async fn reported(aws: &Aws, fifo: bool) -> anyhow::Result<()> {
    let function = Function::start(200).await?;
    function.report_failed(|record| is_odd(record) && receive_count(record) == 1);
    let attributes = json!({"VisibilityTimeout": "2"});
    let (url, arn) = aws.create_queue("partial", fifo, attributes).await?;
    let ledger = Ledger::new();
    let producer = Producer {
        aws,
        ledger: &ledger,
        arn: &arn,
        keys: 3,
    };
    producer.send_messages(&url, 0..30).await?;
    let members = json!({"FunctionResponseTypes": ["ReportBatchItemFailures"]});
    let daemon = setup(aws, &function.url, &arn, members).start().await?;
    wait::until("the reported messages come again", TIMEOUT, || {
        45 <= function.records().len()
    })
    .await?;
    until_depth(aws, &url, 0).await?;
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
    let body = record["body"].as_str().unwrap_or_default();
    let payload: Value = serde_json::from_str(body).unwrap_or_default();
    payload["n"].as_u64().is_some_and(|n| n % 2 == 1)
}

fn receive_count(record: &Value) -> u64 {
    let count = record["attributes"]["ApproximateReceiveCount"].as_str();
    count.and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// Much shorter than the visibility timeout of the queue, which would apply otherwise.
#[tokio::test]
async fn a_failed_message_comes_again_after_its_delay() {
    let servers = Servers::running();
    for name in SERVERS {
        let done = delayed(&servers.aws(name)).await;
        done.with_context(|| name).unwrap();
    }
}

async fn delayed(aws: &Aws) -> anyhow::Result<()> {
    let function = Function::start(500).await?;
    let attributes = json!({"VisibilityTimeout": "60"});
    let (url, arn) = aws.create_queue("delayed", false, attributes).await?;
    let ledger = Ledger::new();
    let producer = Producer {
        aws,
        ledger: &ledger,
        arn: &arn,
        keys: 1,
    };
    producer.send_messages(&url, 0..1).await?;
    let members = json!({
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "Windlass": {"RetryBackoff": {"First": "2s", "Factor": 1.5, "Maximum": "3s"}},
    });
    let daemon = setup(aws, &function.url, &arn, members).start().await?;
    wait::until("it is retried twice", TIMEOUT, || {
        3 <= function.arrivals().len()
    })
    .await?;
    function.set_status(200);
    until_depth(aws, &url, 0).await?;
    let n_before = function.arrivals().len();
    function.report_failed_for(|record| receive_count(record) == 1, 4);
    producer.send_messages(&url, 1..2).await?;
    wait::until("it comes again", TIMEOUT, || {
        n_before + 2 <= function.arrivals().len()
    })
    .await?;
    daemon.stop().await?;
    let arrivals = function.arrivals();
    for (start, seconds) in [(0, 2), (1, 3), (n_before, 4)] {
        let (gap, expected) = (
            arrivals[start + 1] - arrivals[start],
            Duration::from_secs(seconds),
        );
        // A busy machine may make a gap longer, though not by the queue's own timeout.
        let is_right = expected * 9 / 10 <= gap && gap < Duration::from_secs(40);
        ensure!(is_right, "{gap:?} instead of {expected:?}");
    }
    Ok(())
}

#[tokio::test]
async fn messages_that_always_fail_go_to_the_dead_letter_queue() {
    let servers = Servers::running();
    for name in SERVERS {
        // MiniStack moves messages to the dead-letter queue and then selects those to return, without
        // a lock: a message that becomes visible in between is received once more.
        let max_receives = if name == "ministack" { 3 } else { 2 };
        let done = dead_letters(&servers.aws(name), max_receives).await;
        done.with_context(|| name).unwrap();
    }
}

/// The redrive policy allows two receives; the server allows `max_receives`.
async fn dead_letters(aws: &Aws, max_receives: usize) -> anyhow::Result<()> {
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
