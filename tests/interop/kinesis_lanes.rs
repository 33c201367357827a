//! A Kinesis shard with several lanes, and a key that is stuck in one of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use windlass_core::ids::KeyHash;
use windlass_emulator::Ledger;
use windlass_tests::function::Function;
use windlass_tests::producer::Producer;
use windlass_tests::proxy::{Proxy, ProxyMode};
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{Setup, numbers_in_order};

const LANES: u64 = 10;
const KEYS: u64 = 40;
const BATCH: u64 = 5;

/// Of requests and responses of the function: an invocation takes longer than a save, and most lanes
/// have one in flight when the daemon is killed.
const DELAY: Duration = Duration::from_millis(150);

/// Put before the daemon starts, and while it runs.
const FIRST: u64 = 400;
const ALL: u64 = 800;

#[tokio::test]
async fn a_kill_repeats_only_the_batch_of_a_stuck_lane_and_what_was_in_flight() {
    println!("{}", stuck_lane().await.unwrap());
}

async fn stuck_lane() -> anyhow::Result<String> {
    let aws = Servers::running().aws("kinesis_mock");
    let arn = aws.create_stream("lanes", 1).await?;
    let function = Function::start(200).await?;
    function.break_on(Some(has_stuck_key));
    let (address, path) = function.url.rsplit_once('/').context("it has a path")?;
    let proxy = Proxy::start(address).await?;
    proxy.set_mode(ProxyMode::Delay(DELAY)).await?;
    let members = json!({
        "StartingPosition": "TRIM_HORIZON",
        "ParallelizationFactor": LANES,
        "BatchSize": BATCH,
    });
    let setup = Setup::new("lanes")
        .endpoint("kinesis", aws.endpoint())
        .metrics_per_shard()
        .function("lanes", &format!("{}/{path}", proxy.endpoint()))
        .mapping("lanes", &arn, members);
    let ledger = Ledger::new();
    let producer = Producer {
        aws: &aws,
        ledger: &ledger,
        arn: &arn,
        keys: KEYS,
    };
    producer.put_records(0..FIRST).await?;
    let daemon = setup.start().await?;
    let free = |numbers: std::ops::Range<u64>| numbers.filter(|n| !is_in_stuck_lane(*n));
    until_delivered(&function, &free(0..FIRST).collect::<Vec<_>>()).await?;
    let metrics = daemon.metrics().await?;
    let series = metrics.lines().find(|line| {
        line.starts_with("windlass_shard_behind_seconds{")
            && line.contains("shard=\"shardId-000000000000\"")
    });
    assert!(series.is_some(), "{metrics}");

    producer.put_records(FIRST..ALL).await?;
    let some: Vec<_> = free(FIRST..ALL).take(100).collect();
    until_delivered(&function, &some).await?;
    daemon.kill().await?;
    let n_stuck = n_failed(&function);
    let daemon = setup.start().await?;
    let all_free: Vec<_> = free(0..ALL).collect();
    until_delivered(&function, &all_free).await?;
    wait::until("the stuck lane is tried again", TIMEOUT, || {
        n_stuck < n_failed(&function)
    })
    .await?;

    let counts = arrivals(&function)?;
    let repeats: u64 = all_free.iter().map(|n| counts[n] - 1).sum();
    // Of each lane, the batch in flight and the one whose resolution was not saved yet.
    let bound = LANES * 2 * BATCH;
    assert!(repeats <= bound, "{repeats} repeats, more than {bound}");
    let held = counts.keys().filter(|n| is_in_stuck_lane(**n)).count() as u64;
    assert!(held <= BATCH, "the stuck lane has sent {held} records");

    function.break_on(None);
    let all: Vec<_> = (0..ALL).collect();
    until_delivered(&function, &all).await?;
    daemon.stop().await?;
    let mut seen = std::collections::BTreeSet::new();
    let mut firsts = function.records();
    firsts.retain(|record| seen.insert(record["kinesis"]["sequenceNumber"].to_string()));
    assert_eq!(numbers_in_order(&firsts)?.len() as u64, ALL);
    Ok(format!(
        "{repeats} of {} records outside the stuck lane repeated by a kill, at most {bound}",
        all_free.len()
    ))
}

fn has_stuck_key(record: &Value) -> bool {
    record["kinesis"]["partitionKey"] == "key-0"
}

/// Whether the key of a record shares its lane with the one that fails.
fn is_in_stuck_lane(n: u64) -> bool {
    let lane = |key: u64| KeyHash::of(format!("key-{key}").as_bytes()).0 % LANES;
    lane(n % KEYS) == lane(0)
}

/// Failed invocations so far.
fn n_failed(function: &Function) -> usize {
    let responses = function.responses();
    responses
        .iter()
        .filter(|(status, _)| *status == 500)
        .count()
}

/// How often each record has arrived, whatever the response.
fn arrivals(function: &Function) -> anyhow::Result<BTreeMap<u64, u64>> {
    let mut counts = BTreeMap::new();
    for event in function.events() {
        let records = event["Records"].as_array().context("it has records")?;
        for n in numbers_in_order(records)? {
            *counts.entry(n).or_default() += 1;
        }
    }
    Ok(counts)
}

async fn until_delivered(function: &Function, numbers: &[u64]) -> anyhow::Result<()> {
    wait::until("the records are delivered", TIMEOUT, || {
        let records = function.records();
        let delivered = records
            .iter()
            .filter_map(|record| numbers_in_order(std::slice::from_ref(record)).ok()?.pop());
        let delivered: std::collections::BTreeSet<_> = delivered.collect();
        numbers.iter().all(|n| delivered.contains(n))
    })
    .await
}
