//! Enhanced fan-out: the real program, and subscriptions of the emulator that fail.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use windlass_emulator::{Counts, Emulator, Fault, SubscriptionTimes};
use windlass_tests::daemon::Daemon;
use windlass_tests::function::Function;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait::{until, until_some};

const TIMEOUT: Duration = Duration::from_secs(60);

const SUBSCRIBE: &str = "Kinesis.SubscribeToShard";

const SHARD: &str = "shardId-000000000000";

struct Setup {
    dir: TempDir,
    emulator: Emulator,
    stream: String,
    consumer: String,
}

impl Setup {
    /// A stream of one shard, with a consumer.
    async fn new(name: &str, times: SubscriptionTimes) -> anyhow::Result<Self> {
        Self::with_shards(name, 1, times).await
    }

    async fn with_shards(
        name: &str,
        n_shards: u32,
        times: SubscriptionTimes,
    ) -> anyhow::Result<Self> {
        let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let kinesis = emulator.kinesis();
        kinesis.set_subscription_times(times);
        Ok(Self {
            dir: TempDir::new(name),
            stream: kinesis.create_stream("orders", n_shards)?,
            consumer: kinesis.register_consumer("orders", "reader")?,
            emulator,
        })
    }

    async fn start(&self) -> anyhow::Result<Daemon> {
        let function = self.emulator.function_url("f");
        self.start_with(&function, 50).await
    }

    /// Invokes the function at a URL.
    async fn start_with(&self, function: &str, batch_size: u64) -> anyhow::Result<Daemon> {
        let config = json!({
            "store": format!("sqlite:{}", self.dir.path().join("store").display()),
            "aws": {"endpoints": {"kinesis": self.emulator.endpoint()}},
            "functions": {"f": {"url": function}},
            "mappings": [{"FunctionName": "f", "EventSourceArn": self.consumer,
                "StartingPosition": "TRIM_HORIZON", "BatchSize": batch_size}],
        });
        Daemon::start(self.dir.path(), &config.to_string()).await
    }

    fn put(&self, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
        for number in numbers {
            let key = (number % 10).to_string();
            let ledger = self.emulator.ledger();
            let payload = ledger.put_payload(&self.stream, &key, number);
            let kinesis = self.emulator.kinesis();
            kinesis.put("orders", &key, payload.as_bytes())?;
        }
        Ok(())
    }

    /// Puts seven records at a time as an aggregate.
    fn put_aggregates(&self, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
        let numbers: Vec<_> = numbers.collect();
        for numbers in numbers.chunks(7) {
            let records = numbers.iter().map(|number| {
                let key = (number % 10).to_string();
                let ledger = self.emulator.ledger();
                let payload = ledger.put_payload(&self.stream, &key, *number);
                (key, payload)
            });
            let records: Vec<_> = records.collect();
            let kinesis = self.emulator.kinesis();
            kinesis.put("orders", &records[0].0, &aggregate(&records))?;
        }
        Ok(())
    }

    async fn until_delivered(&self, daemon: &Daemon) -> anyhow::Result<()> {
        let delivered = || self.emulator.ledger().counts().missing() == 0;
        match until("all records are delivered", TIMEOUT, delivered).await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(status(daemon).await?)),
        }
    }

    #[track_caller]
    fn assert_once_and_in_order(&self, put: u64) {
        let counts = self.emulator.ledger().counts();
        let expected = Counts {
            put,
            delivered: put,
            batches: counts.batches,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
    }
}

/// Records with their keys, as the Kinesis Producer Library puts them together.
///
/// <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>
fn aggregate(records: &[(String, String)]) -> Vec<u8> {
    let member = |tag: u8, value: &[u8]| {
        let len = u16::try_from(value.len()).expect("it is short");
        let [low, high] = [(len % 128) | 128, len / 128].map(|it| it.to_le_bytes()[0]);
        [&[tag, low, high], value].concat()
    };
    let mut message = Vec::new();
    for (key, _) in records {
        message.extend(member(0x0a, key.as_bytes()));
    }
    for (index, (_, data)) in (0..).zip(records) {
        let record = [&[0x08, index], &member(0x1a, data.as_bytes())[..]].concat();
        message.extend(member(0x1a, &record));
    }
    let digest = Md5::digest(&message);
    [&[0xf3, 0x89, 0x9a, 0xc2], &message[..], &digest[..]].concat()
}

/// The status of the only mapping.
async fn status(daemon: &Daemon) -> anyhow::Result<String> {
    let path = "/windlass/v1/mappings";
    let (_, mappings) = daemon.call("GET", path, None).await?;
    let uuid = mappings[0]["uuid"].as_str().unwrap_or_default();
    let (_, report) = daemon.call("GET", &format!("{path}/{uuid}"), None).await?;
    Ok(report.to_string())
}

async fn until_waiting(daemon: &Daemon, text: &str) -> anyhow::Result<()> {
    let waiting = until_some(text, TIMEOUT, async || {
        Ok(status(daemon).await?.contains(text).then_some(()))
    });
    waiting.await
}

/// Subscriptions that end several times a second, and can be replaced at once.
const SHORT: SubscriptionTimes = SubscriptionTimes {
    lifetime: Duration::from_millis(200),
    heartbeat: Duration::from_millis(50),
    takeover: Duration::ZERO,
};

#[tokio::test]
async fn records_arrive_once_and_in_order_however_subscriptions_end() {
    however_subscriptions_end().await.unwrap();
}

async fn however_subscriptions_end() -> anyhow::Result<()> {
    let setup = Setup::new("ends", SHORT).await?;
    let (kinesis, faults) = (setup.emulator.kinesis(), setup.emulator.faults());
    setup.put(0..300)?;
    let daemon = setup.start().await?;
    setup.until_delivered(&daemon).await?;
    for (round, fault) in [
        Fault::TruncateResponse,
        Fault::CorruptResponse,
        Fault::DropRequest,
        Fault::DropResponse,
        Fault::InternalFailure,
        Fault::Throttle,
        Fault::Error("ExpiredIteratorException".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        faults.add(SUBSCRIBE, fault, 2);
        let first = 300 + 100 * round as u64;
        setup.put(first..first + 50)?;
        match round {
            1 => kinesis.split_shard("orders", SHARD)?,
            4 => kinesis.merge_shards("orders", "shardId-000000000001", "shardId-000000000002")?,
            _ => {}
        }
        setup.put(first + 50..first + 100)?;
        setup.until_delivered(&daemon).await?;
    }
    daemon.stop().await?;
    setup.assert_once_and_in_order(1_000);
    Ok(())
}

#[tokio::test]
async fn subscriptions_expire_while_a_function_fails_and_nothing_is_lost() {
    expire_while_a_function_fails().await.unwrap();
}

async fn expire_while_a_function_fails() -> anyhow::Result<()> {
    let setup = Setup::new("expire", SHORT).await?;
    let faults = setup.emulator.faults();
    faults.add_permanent("function.f", Fault::InternalFailure);
    setup.put(0..2_000)?;
    let daemon = setup.start().await?;
    until_waiting(&daemon, "attempt 3").await?;
    setup.put(2_000..4_000)?;
    faults.clear("function.f");
    setup.until_delivered(&daemon).await?;
    daemon.stop().await?;
    setup.assert_once_and_in_order(4_000);
    Ok(())
}

#[tokio::test]
async fn another_subscription_of_the_consumer_is_waited_for_and_shown() {
    another_subscription().await.unwrap();
}

async fn another_subscription() -> anyhow::Result<()> {
    let setup = Setup::new("in_use", SHORT).await?;
    let faults = setup.emulator.faults();
    faults.add_permanent(SUBSCRIBE, Fault::Error("ResourceInUseException".to_owned()));
    setup.put(0..10)?;
    let daemon = setup.start().await?;
    until_waiting(&daemon, "ResourceInUseException").await?;
    faults.clear(SUBSCRIBE);
    setup.until_delivered(&daemon).await?;
    daemon.stop().await?;
    setup.assert_once_and_in_order(10);
    Ok(())
}

#[tokio::test]
async fn a_daemon_that_was_killed_continues_after_its_checkpoint() {
    killed().await.unwrap();
}

async fn killed() -> anyhow::Result<()> {
    let setup = Setup::new("killed", SubscriptionTimes::default()).await?;
    setup.put(0..100)?;
    let daemon = setup.start().await?;
    setup.until_delivered(&daemon).await?;
    daemon.kill().await?;
    setup.put(100..200)?;
    // The subscription of the first daemon began less than five seconds ago.
    let daemon = setup.start().await?;
    setup.until_delivered(&daemon).await?;
    let mappings = daemon.call("GET", "/2015-03-31/event-source-mappings/", None);
    let (_, mappings): (_, Value) = mappings.await?;
    let source = &mappings["EventSourceMappings"][0]["EventSourceArn"];
    assert_eq!(source, &setup.consumer.as_str());
    daemon.stop().await?;
    let counts = setup.emulator.ledger().counts();
    assert_eq!(
        (counts.delivered, counts.out_of_order, counts.foreign),
        (200, 0, 0)
    );
    Ok(())
}

#[tokio::test]
async fn records_of_aggregates_arrive_in_order_across_subscriptions_and_a_kill() {
    aggregates().await.unwrap();
}

async fn aggregates() -> anyhow::Result<()> {
    let setup = Setup::new("aggregates", SHORT).await?;
    let faults = setup.emulator.faults();
    setup.put_aggregates(0..1_000)?;
    let daemon = setup.start().await?;
    setup.until_delivered(&daemon).await?;
    setup.assert_once_and_in_order(1_000);
    faults.add(SUBSCRIBE, Fault::CorruptResponse, 2);
    setup.put_aggregates(1_000..1_500)?;
    setup.until_delivered(&daemon).await?;
    setup.assert_once_and_in_order(1_500);
    // The records of the last batches are in the middle of an aggregate.
    setup.put_aggregates(1_500..3_000)?;
    let some = || 2_000 < setup.emulator.ledger().counts().delivered;
    until("some records are delivered", TIMEOUT, some).await?;
    daemon.kill().await?;
    let daemon = setup.start().await?;
    setup.until_delivered(&daemon).await?;
    daemon.stop().await?;
    let counts = setup.emulator.ledger().counts();
    assert_eq!(
        (counts.delivered, counts.out_of_order, counts.foreign),
        (3_000, 0, 0)
    );
    Ok(())
}

#[tokio::test]
async fn a_full_shard_keeps_its_subscription_and_the_memory_limit() {
    full_shard().await.unwrap();
}

/// Records of one event: rendered, they take several times the memory that their event gets.
const IN_AGGREGATES: u64 = 40_000;

async fn full_shard() -> anyhow::Result<()> {
    let setup = Setup::new("full", SubscriptionTimes::default()).await?;
    let kinesis = setup.emulator.kinesis();
    let numbers: Vec<_> = (0..IN_AGGREGATES).collect();
    for numbers in numbers.chunks(100) {
        let record = |number: &u64| ("k".to_owned(), number.to_string());
        let records: Vec<_> = numbers.iter().map(record).collect();
        kinesis.put("orders", "k", &aggregate(&records))?;
    }
    let function = Function::start(200).await?;
    function.hold();
    let batch_size = 1_000;
    let daemon = setup.start_with(&function.url, batch_size).await?;
    let uuid = daemon.only_mapping().await?;
    until_some("the shard is full", TIMEOUT, async || {
        memory_in_use(&daemon).await?;
        let buffered = daemon.status(&uuid).await?["shards"][0]["buffered_records"].as_u64();
        Ok((Some(10 * batch_size) <= buffered).then_some(()))
    })
    .await?;
    function.release();
    until_some("all records are delivered", TIMEOUT, async || {
        memory_in_use(&daemon).await?;
        let n_records = function.records().len() as u64;
        Ok((IN_AGGREGATES <= n_records).then_some(()))
    })
    .await?;
    until_some("all memory is given back", TIMEOUT, async || {
        Ok((memory_in_use(&daemon).await? == 0).then_some(()))
    })
    .await?;
    assert_eq!(kinesis.subscribe_calls(), 1);
    daemon.stop().await?;
    let data = |record: &Value| record["kinesis"]["data"].as_str().map(str::to_owned);
    let delivered: Vec<_> = function.records().iter().filter_map(data).collect();
    let put = (0..IN_AGGREGATES).map(|it| base64_simd::STANDARD.encode_to_string(it.to_string()));
    assert!(put.eq(delivered), "once and in order");
    Ok(())
}

/// Bytes of events in the memory of the daemon.
async fn memory_in_use(daemon: &Daemon) -> anyhow::Result<u64> {
    let metrics = daemon.metrics().await?;
    let metric = |name| {
        let mut lines = metrics.lines().filter_map(|line| line.split_once(' '));
        let value = lines.find(|(it, _)| *it == name).map(|(_, value)| value);
        value.and_then(|value| value.trim().parse::<u64>().ok())
    };
    let (used, limit) = (
        metric("windlass_buffered_bytes"),
        metric("windlass_buffer_limit_bytes"),
    );
    let used = used.context("the daemon counts its memory")?;
    anyhow::ensure!(Some(used) <= limit, "{used} B of {limit:?} B");
    Ok(used)
}

#[tokio::test]
async fn records_of_aggregates_outside_of_the_hash_keys_of_their_shard_are_delivered_and_counted() {
    outside_hash_keys().await.unwrap();
}

async fn outside_hash_keys() -> anyhow::Result<()> {
    let setup = Setup::with_shards("outside", 2, SubscriptionTimes::default()).await?;
    setup.put_aggregates(0..7)?;
    let daemon = setup.start().await?;
    setup.until_delivered(&daemon).await?;
    // The partition key of the aggregate is 0.
    let is_in_first = |key: u64| Md5::digest(key.to_string())[0] < 0x80;
    let outside = (0..7).filter(|key| is_in_first(*key) != is_in_first(0));
    let outside = outside.count();
    assert_ne!(outside, 0);
    let status = daemon.status(&daemon.only_mapping().await?).await?;
    assert_eq!(
        status["counts"]["outside_hash_key_range"], outside,
        "{status}"
    );
    let metrics = daemon.metrics().await?;
    let metric = metrics.lines().find(|line| {
        line.starts_with("windlass_outside_hash_key_range_events_total{")
            && line.ends_with(&format!(" {outside}"))
    });
    assert!(metric.is_some(), "{metrics}");
    daemon.stop().await?;
    setup.assert_once_and_in_order(7);
    Ok(())
}
