//! Twenty kills of the daemon of a standard queue with the default settings.
//!
//! Messages of a killed daemon become visible again 30 s after their receive or their last extension:
//! those of the last kills arrive after that time.

use serde_json::json;
use windlass_tests::servers::Servers;

use crate::kill::{Experiment, MAX_LIFETIME_MS, Source, seed};

/// Messages in one invocation.
const BATCH: u64 = 10;

/// Of a queue without `MaximumConcurrency`.
const MAX_INVOCATIONS: u64 = 50;

#[tokio::test]
async fn twenty_kills_on_a_queue_of_elasticmq_lose_nothing() {
    let seed = seed();
    println!("{}", twenty_kills("elasticmq", seed).await.unwrap());
}

#[tokio::test]
async fn twenty_kills_on_a_queue_of_fauxqs_lose_nothing() {
    let seed = seed();
    println!("{}", twenty_kills("fauxqs", seed).await.unwrap());
}

async fn twenty_kills(server: &str, seed: u64) -> anyhow::Result<String> {
    let aws = Servers::running().aws(server);
    let (url, arn) = aws.create_queue("kill", false, json!({})).await?;
    let experiment = Experiment {
        aws,
        source: Source::Queue { url, fifo: false },
        arn,
        members: json!({"BatchSize": BATCH}),
        heartbeat: true,
        keys: 100,
        records: 20_000,
        kills: 20,
        max_lifetime_ms: 3 * MAX_LIFETIME_MS,
        // The messages in flight, and those that are being deleted.
        max_repeats: 2 * MAX_INVOCATIONS * BATCH,
    };
    experiment.run(seed).await
}
