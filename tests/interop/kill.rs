//! SIGKILL at random times, while records flow.

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

/// Delay of requests and responses of the function: most kills hit an invocation in flight, before or
/// after the function has received it.
const DELAY: Duration = Duration::from_millis(60);

/// From the start of a daemon to its kill. Some daemons are killed before they have read anything, some
/// during an invocation or a save.
pub(crate) const MAX_LIFETIME_MS: u64 = 1_500;

/// Between two puts: shorter than an invocation, so that the daemon is never idle.
const PUT_INTERVAL: Duration = Duration::from_millis(50);

const BATCH: u64 = 50;

/// A source and the kills of its daemon.
pub(crate) struct Experiment {
    pub(crate) aws: Aws,
    pub(crate) source: Source,
    pub(crate) arn: String,
    pub(crate) members: Value,
    /// Whether the visibility of messages is extended: those of a killed daemon are then invisible for
    /// longer.
    pub(crate) heartbeat: bool,
    pub(crate) keys: u64,
    pub(crate) records: u64,
    pub(crate) kills: u64,
    pub(crate) max_lifetime_ms: u64,
    /// Allowed repeats per kill.
    pub(crate) max_repeats: u64,
}

pub(crate) enum Source {
    Stream,
    /// A standard queue does not keep the order.
    Queue {
        url: String,
        fifo: bool,
    },
    Table {
        name: String,
    },
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
        heartbeat: false,
        keys: 100,
        records: 20_000,
        kills: 20,
        max_lifetime_ms: MAX_LIFETIME_MS,
        // Per shard, the batch in flight and the batch whose checkpoint is being saved.
        max_repeats: 4 * 2 * BATCH,
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
        source: Source::Table { name: table },
        arn,
        members: json!({"StartingPosition": "TRIM_HORIZON", "BatchSize": BATCH}),
        heartbeat: false,
        keys: 50,
        records: 3_000,
        kills: 8,
        max_lifetime_ms: MAX_LIFETIME_MS,
        max_repeats: 2 * BATCH,
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
    // Messages of a killed daemon become visible again after this, and block their groups until then.
    let attributes = json!({"VisibilityTimeout": "1"});
    let (url, arn) = aws.create_queue("kill", true, attributes).await?;
    let (keys, records) = (20, 1_600);
    let experiment = Experiment {
        aws,
        source: Source::Queue { url, fifo: true },
        arn,
        // One message of a group at a time, so that the groups are always busy.
        members: json!({"BatchSize": 1}),
        heartbeat: false,
        keys,
        records,
        kills: 6,
        max_lifetime_ms: 3 * MAX_LIFETIME_MS,
        // Per group, the message in flight and the message that is being deleted.
        max_repeats: keys * 2,
    };
    experiment.run(seed).await
}

/// The seed, which is printed first so that a failure shows it.
pub(crate) fn seed() -> u64 {
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
    reason = "the test harness captures it and shows it on failure"
)]
fn show(line: &str) {
    println!("{line}");
}

impl Experiment {
    /// Starts and kills daemons, lets the last one finish, and returns a summary.
    pub(crate) async fn run(&self, seed: u64) -> anyhow::Result<String> {
        let emulator = emulator().await?;
        let proxy = Proxy::start(&emulator.endpoint()).await?;
        proxy.set_mode(ProxyMode::Delay(DELAY)).await?;
        let url = emulator.function_url("orders");
        let mut setup = Setup::new("kill")
            .endpoint(self.service(), self.aws.endpoint())
            .function(
                "orders",
                &url.replace(&emulator.endpoint(), &proxy.endpoint()),
            )
            .mapping("orders", &self.arn, self.members.clone());
        if !self.heartbeat {
            setup = setup.without_heartbeat("orders");
        }
        let ledger = emulator.ledger();
        let producer = Producer {
            aws: &self.aws,
            ledger,
            arn: &self.arn,
            keys: self.keys,
        };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Records per daemon; the last one gets the rest.
        let share = self.records / (self.kills + 1);
        let mut daemons_that_delivered = 0;
        for number in 0..self.kills {
            let span = Duration::from_millis(50 + random.next_u64() % (self.max_lifetime_ms - 50));
            let before = ledger.counts().delivered;
            let numbers = number * share..(number + 1) * share;
            tokio::try_join!(
                run_and_kill(&setup, span),
                self.flow(&producer, numbers, span),
            )?;
            daemons_that_delivered += u64::from(before < ledger.counts().delivered);
        }
        let before = ledger.counts().delivered;
        let daemon = setup.start().await?;
        self.put(&producer, self.kills * share..self.records)
            .await?;
        until_delivered(&emulator).await?;
        if let Source::Queue { url, .. } = &self.source {
            let empty = wait::until_some("the queue is empty", TIMEOUT, async || {
                Ok((self.aws.queue_depth(url).await? == 0).then_some(()))
            });
            empty.await?;
        }
        daemon.stop().await?;

        let (kills, mut counts) = (self.kills, ledger.counts());
        if let Source::Queue { fifo: false, .. } = self.source {
            counts.out_of_order = 0;
        }
        assert_complete_and_in_order(counts, self.records);
        // Kills of idle daemons would prove nothing.
        assert!(
            kills / 2 < daemons_that_delivered,
            "only {daemons_that_delivered} of {kills} daemons delivered anything"
        );
        let repeats = counts.repeated;
        assert_ne!(repeats, 0, "no kill hit an invocation");
        assert!(repeats <= kills * self.max_repeats, "{repeats} repeats");
        Ok(format!(
            "{}: kills {kills}, repeats {repeats}, lost {} (of {}; {before} before the last kill, \
             by {daemons_that_delivered} daemons)",
            self.service(),
            counts.missing(),
            self.records,
        ))
    }

    fn service(&self) -> &'static str {
        match self.source {
            Source::Stream => "kinesis",
            Source::Queue { .. } => "sqs",
            Source::Table { .. } => "dynamodb_streams",
        }
    }

    /// Puts records, spread evenly over a span of time.
    async fn flow(
        &self,
        producer: &Producer<'_>,
        numbers: Range<u64>,
        span: Duration,
    ) -> anyhow::Result<()> {
        let n_puts = u64::try_from(span.as_millis().div_ceil(PUT_INTERVAL.as_millis()))?;
        let mut interval = tokio::time::interval(PUT_INTERVAL);
        let mut from = numbers.start;
        for put in 1..=n_puts {
            interval.tick().await;
            let length = numbers.end - numbers.start;
            let to = numbers.start + length * put / n_puts;
            self.put(producer, from..to).await?;
            from = to;
        }
        Ok(())
    }

    async fn put(&self, producer: &Producer<'_>, numbers: Range<u64>) -> anyhow::Result<()> {
        match &self.source {
            Source::Stream => producer.put_records(numbers).await,
            Source::Queue { url, .. } => producer.send_messages(url, numbers).await,
            Source::Table { name } => producer.write_items(name, numbers).await,
        }
    }
}

/// Starts a daemon and kills it after a time.
pub(crate) async fn run_and_kill(setup: &Setup, span: Duration) -> anyhow::Result<()> {
    let mut child = spawn(setup.dir(), &setup.text())?;
    // A fixed time, not a condition: the kill must be able to hit any state.
    tokio::time::sleep(span).await;
    Ok(child.kill().await?)
}
