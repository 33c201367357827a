//! `kill -9` at random moments, while records flow.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};
use windlass_tests::aws::Aws;
use windlass_tests::daemon::spawn;
use windlass_tests::producer::Producer;
use windlass_tests::proxy::{Proxy, ProxyMode};
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{Setup, assert_complete_and_in_order, emulator, until_delivered};

/// How long a request takes to the function, and its answer back: most kills find an invocation
/// in progress, and the function has it or has it not.
const SLOW: Duration = Duration::from_millis(60);

/// A life is no longer, in milliseconds from the start of the process: so some end before they have
/// read anything, and some while an invocation or a save is in progress.
const MAX_LIFETIME_MS: u64 = 1_500;

/// Between two puts: shorter than an invocation takes, so that no moment is a quiet one.
const PORTION: Duration = Duration::from_millis(50);

const BATCH: u64 = 50;

/// One source, and how often its daemon is killed.
struct Experiment {
    aws: Aws,
    source: Source,
    arn: String,
    members: Value,
    keys: u64,
    records: u64,
    kills: u64,
    /// In milliseconds.
    max_lifetime_ms: u64,
    /// What one kill may cost at the most.
    repeats_of_a_kill: u64,
}

/// What records are put into.
enum Source {
    Stream,
    /// Its URL.
    Queue(String),
    /// Its name.
    Table(String),
}

#[tokio::test]
async fn twenty_kills_on_a_kinesis_stream_lose_nothing_and_keep_the_order() {
    let seed = seed();
    println!("{}", kinesis_stream(seed).await.unwrap());
}

async fn kinesis_stream(seed: u64) -> anyhow::Result<String> {
    let aws = Servers::running().aws("ferrokinesis");
    let arn = aws.create_stream("kill", 4).await?;
    let experiment = Experiment {
        aws,
        source: Source::Stream,
        arn,
        members: json!({"StartingPosition": "TRIM_HORIZON", "BatchSize": BATCH}),
        keys: 100,
        records: 20_000,
        kills: 20,
        max_lifetime_ms: MAX_LIFETIME_MS,
        // On each shard the batch that is in progress, and that whose checkpoint is being saved.
        repeats_of_a_kill: 4 * 2 * BATCH,
    };
    experiment.run(seed).await
}

#[tokio::test]
async fn kills_on_a_dynamodb_stream_lose_nothing_and_keep_the_order() {
    let seed = seed();
    println!("{}", dynamodb_stream(seed).await.unwrap());
}

async fn dynamodb_stream(seed: u64) -> anyhow::Result<String> {
    let aws = Servers::running().aws("ministack");
    let (table, arn) = aws.create_table("kill").await?;
    let experiment = Experiment {
        aws,
        source: Source::Table(table),
        arn,
        members: json!({"StartingPosition": "TRIM_HORIZON", "BatchSize": BATCH}),
        keys: 50,
        records: 3_000,
        kills: 8,
        max_lifetime_ms: MAX_LIFETIME_MS,
        repeats_of_a_kill: 2 * BATCH,
    };
    experiment.run(seed).await
}

#[tokio::test]
async fn kills_on_a_fifo_queue_lose_nothing_and_keep_the_order() {
    let seed = seed();
    println!("{}", fifo_queue(seed).await.unwrap());
}

async fn fifo_queue(seed: u64) -> anyhow::Result<String> {
    let aws = Servers::running().aws("elasticmq");
    // What a dead daemon has received comes back after this, and holds up its group until then.
    let attributes = json!({"VisibilityTimeout": "1"});
    let (url, arn) = aws.create_queue("kill", true, attributes).await?;
    let (keys, records) = (20, 1_600);
    let experiment = Experiment {
        aws: aws.clone(),
        source: Source::Queue(url.clone()),
        arn,
        // One message of a group after the other, so that groups are busy at every moment.
        members: json!({"BatchSize": 1}),
        keys,
        records,
        kills: 6,
        max_lifetime_ms: 3 * MAX_LIFETIME_MS,
        // Of each group the message that is in progress, and that which is being deleted.
        repeats_of_a_kill: keys * 2,
    };
    let said = experiment.run(seed).await?;
    let empty = wait::until_some("the queue is empty", TIMEOUT, async || {
        Ok((aws.queue_depth(&url).await? == 0).then_some(()))
    });
    empty.await?;
    Ok(said)
}

/// Printed first, so that a failure shows it.
fn seed() -> u64 {
    let seed = std::env::var("WINDLASS_SEED").ok();
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let moment = since.map_or(0, |since| u64::from(since.subsec_nanos()));
    let seed = seed.map_or(moment, |seed| {
        seed.parse().expect("WINDLASS_SEED is a number")
    });
    show(&format!("WINDLASS_SEED={seed}"));
    seed
}

#[expect(
    clippy::print_stdout,
    reason = "the harness keeps it, and shows it when the test fails"
)]
fn show(line: &str) {
    println!("{line}");
}

impl Experiment {
    /// Kills a daemon again and again and lets the last one live; gives a line for people.
    async fn run(&self, seed: u64) -> anyhow::Result<String> {
        let emulator = emulator().await?;
        let proxy = Proxy::start(&emulator.endpoint()).await?;
        proxy.set_mode(ProxyMode::Delay(SLOW)).await?;
        let url = emulator.function_url("orders");
        let setup = Setup::new("kill")
            .endpoint(self.service(), self.aws.endpoint())
            .function(
                "orders",
                &url.replace(&emulator.endpoint(), &proxy.endpoint()),
            )
            .without_heartbeat("orders")
            .mapping("orders", &self.arn, self.members.clone());
        let ledger = emulator.ledger();
        let producer = Producer {
            aws: &self.aws,
            ledger,
            arn: &self.arn,
            keys: self.keys,
        };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Records of one life of the daemon; the rest flows when it is left alone.
        let share = self.records / (self.kills + 1);
        let mut lives_that_delivered = 0;
        for life in 0..self.kills {
            let span = Duration::from_millis(50 + random.next_u64() % (self.max_lifetime_ms - 50));
            let before = ledger.counts().delivered;
            let numbers = life * share..(life + 1) * share;
            tokio::try_join!(
                live_and_die(&setup, span),
                self.flow(&producer, numbers, span),
            )?;
            lives_that_delivered += u64::from(before < ledger.counts().delivered);
        }
        let before = ledger.counts().delivered;
        let daemon = setup.start().await?;
        self.put(&producer, self.kills * share..self.records)
            .await?;
        until_delivered(&emulator).await?;
        daemon.stop().await?;

        let (kills, counts) = (self.kills, ledger.counts());
        assert_complete_and_in_order(counts, self.records);
        // Kills while nothing happens would prove nothing.
        assert!(
            kills / 2 < lives_that_delivered,
            "{lives_that_delivered} lives delivered"
        );
        let repeats = counts.repeated;
        assert_ne!(repeats, 0, "no kill has hit an invocation");
        assert!(
            repeats <= kills * self.repeats_of_a_kill,
            "{repeats} repeats"
        );
        Ok(format!(
            "{}: kills {kills}, repeats {repeats}, lost {} (of {}; {before} before the last kill, \
             in {lives_that_delivered} lives)",
            self.service(),
            counts.missing(),
            self.records,
        ))
    }

    fn service(&self) -> &'static str {
        match self.source {
            Source::Stream => "kinesis",
            Source::Queue(_) => "sqs",
            Source::Table(_) => "dynamodb_streams",
        }
    }

    /// Puts records throughout a span of time.
    async fn flow(
        &self,
        producer: &Producer<'_>,
        numbers: Range<u64>,
        span: Duration,
    ) -> anyhow::Result<()> {
        let portions = u64::try_from(span.as_millis().div_ceil(PORTION.as_millis()))?;
        let mut pace = tokio::time::interval(PORTION);
        let mut from = numbers.start;
        for portion in 1..=portions {
            pace.tick().await;
            let length = numbers.end - numbers.start;
            let to = numbers.start + length * portion / portions;
            self.put(producer, from..to).await?;
            from = to;
        }
        Ok(())
    }

    async fn put(&self, producer: &Producer<'_>, numbers: Range<u64>) -> anyhow::Result<()> {
        match &self.source {
            Source::Stream => producer.put_records(numbers).await,
            Source::Queue(url) => producer.send_messages(url, numbers).await,
            Source::Table(name) => producer.write_items(name, numbers).await,
        }
    }
}

/// One life of the daemon.
async fn live_and_die(setup: &Setup, span: Duration) -> anyhow::Result<()> {
    let mut child = spawn(setup.dir(), &setup.text())?;
    // The end of its life is the experiment itself; nothing is waited for.
    tokio::time::sleep(span).await;
    Ok(child.kill().await?)
}
