//! Queues of third-party servers, each with what its tests need.
//!
//! Where the servers differ from SQS, and from each other:
//!
//! - A second deletion of a message succeeds in SQS and fauxqs; ElasticMQ and MiniStack refuse the
//!   receipt handle. So does one with an outdated handle, whose message stays; fauxqs confirms it, and
//!   the message stays.
//! - A message of a FIFO queue whose visibility is over can be deleted in all three, and not in SQS.
//! - fauxqs returns one message of a group per receive; the others return several.
//! - MiniStack moves messages to the dead-letter queue and then selects those to return, without a
//!   lock: a message that becomes visible in between is received once more. Its receives become slow
//!   with a backlog of thousands.
//! - ElasticMQ makes messages visible up to 0.1 s late, and its first thousands of requests are slow.

use std::ops::Range;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};
use windlass_emulator::Ledger;
use windlass_tests::aws::Aws;
use windlass_tests::producer::Producer;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::Setup;

const SERVERS: [&str; 3] = ["elasticmq", "ministack", "fauxqs"];

/// Runs a test on every server, with a standard queue and with a FIFO queue, one after the other.
pub(crate) async fn on_each_server(
    test: impl AsyncFn(&Aws, bool) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let servers = Servers::running();
    for name in SERVERS {
        for fifo in [false, true] {
            let done = test(&servers.aws(name), fifo).await;
            done.with_context(|| context(name, fifo))?;
        }
    }
    Ok(())
}

/// Runs a test on every server, each with standard or FIFO queues or both, all at a time: for tests
/// that wait more than they work.
pub(crate) async fn on_all_servers<F>(
    kinds: &[bool],
    test: fn(Aws, bool) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let servers = Servers::running();
    let local = LocalSet::new();
    let mut tests = JoinSet::new();
    for name in SERVERS {
        for &fifo in kinds {
            let test = test(servers.aws(name), fifo);
            let test = async move { test.await.with_context(|| context(name, fifo)) };
            tests.spawn_local_on(test, &local);
        }
    }
    let all = async {
        while let Some(done) = tests.join_next().await {
            done??;
        }
        Ok(())
    };
    local.run_until(all).await
}

fn context(server: &str, fifo: bool) -> String {
    let kind = if fifo {
        "a FIFO queue"
    } else {
        "a standard queue"
    };
    format!("{kind} of {server}")
}

/// A queue with a name of its own.
pub(crate) struct TestQueue {
    aws: Aws,
    url: String,
    arn: String,
    /// Message groups of a FIFO queue.
    keys: u64,
}

impl TestQueue {
    pub(crate) async fn create(
        aws: &Aws,
        fifo: bool,
        keys: u64,
        attributes: Value,
    ) -> anyhow::Result<Self> {
        let (url, arn) = aws.create_queue("jobs", fifo, attributes).await?;
        let aws = aws.clone();
        Ok(Self {
            aws,
            url,
            arn,
            keys,
        })
    }

    /// Creates a queue with a visibility timeout in seconds, and the queue that gets its messages
    /// after a number of receives.
    pub(crate) async fn create_with_dead_letters(
        aws: &Aws,
        fifo: bool,
        keys: u64,
        visibility_timeout: u32,
        max_receives: u32,
    ) -> anyhow::Result<(Self, Self)> {
        let dead_letters = Self::create(aws, fifo, keys, json!({})).await?;
        let redrive = json!({
            "deadLetterTargetArn": dead_letters.arn,
            "maxReceiveCount": max_receives.to_string(),
        });
        let attributes = json!({
            "VisibilityTimeout": visibility_timeout.to_string(),
            "RedrivePolicy": redrive.to_string(),
        });
        let queue = Self::create(aws, fifo, keys, attributes).await?;
        Ok((queue, dead_letters))
    }

    /// A daemon that reads this queue, with additional members of the mapping.
    pub(crate) fn setup(&self, function_url: &str, members: Value) -> Setup {
        Setup::new("sqs")
            .endpoint("sqs", self.aws.endpoint())
            .function("jobs", function_url)
            .mapping("jobs", &self.arn, members)
    }

    /// Sends numbered messages and enters them into the ledger.
    pub(crate) async fn send(&self, ledger: &Ledger, numbers: Range<u64>) -> anyhow::Result<()> {
        let producer = Producer {
            aws: &self.aws,
            ledger,
            arn: &self.arn,
            keys: self.keys,
        };
        producer.send_messages(&self.url, numbers).await
    }

    /// Messages in the queue, whether visible or not.
    pub(crate) async fn depth(&self) -> anyhow::Result<u64> {
        self.aws.queue_depth(&self.url).await
    }

    pub(crate) async fn until_depth(&self, depth: u64) -> anyhow::Result<()> {
        let what = format!("{} has {depth} messages", self.url);
        wait::until_some(&what, TIMEOUT, async || {
            Ok((self.depth().await? == depth).then_some(()))
        })
        .await
    }
}

/// How often a message was received, according to the server.
pub(crate) fn receive_count(record: &Value) -> u64 {
    let count = record["attributes"]["ApproximateReceiveCount"].as_str();
    count.and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// The number of a message.
pub(crate) fn number(record: &Value) -> Option<u64> {
    let body = record["body"].as_str().unwrap_or_default();
    let payload: Value = serde_json::from_str(body).unwrap_or_default();
    payload["n"].as_u64()
}
