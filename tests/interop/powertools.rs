//! The batch processors of Powertools for AWS Lambda, which report the records that failed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::servers::Servers;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait::until;

use crate::TIMEOUT;

const FUNCTION: &str = include_str!("powertools.py");

const SOURCES: [&str; 4] = ["dynamodb", "fifo", "kinesis", "sqs"];

/// Of each source, in 4 keys or groups.
const RECORDS: u64 = 60;
const KEYS: u64 = 4;

#[tokio::test]
async fn batch_processors_of_powertools_repeat_what_failed() {
    batch_processors().await.unwrap();
}

async fn batch_processors() -> anyhow::Result<()> {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let arns = create_sources(&emulator)?;
    let dir = TempDir::new("powertools");
    std::fs::write(dir.path().join("app.py"), FUNCTION)?;
    let daemon = Daemon::start(dir.path(), &config(&emulator, dir.path(), &arns)).await?;
    for number in 0..RECORDS {
        put(&emulator, number)?;
    }
    until("all records are processed", TIMEOUT, || {
        let processed = processed(dir.path()).unwrap_or_default();
        SOURCES.iter().all(|source| {
            let numbers = processed.get(*source);
            numbers.is_some_and(|numbers| (0..RECORDS).all(|it| numbers.contains(&it)))
        })
    })
    .await?;
    let log = daemon.stop().await?;
    // What fails is reported: an invocation fails only if no record of it succeeds.
    anyhow::ensure!(
        !log.contains("is not valid for ReportBatchItemFailures"),
        "{log}"
    );
    let processed = processed(dir.path())?;
    // Of streams, the processor continues behind a record that fails.
    assert_in_order(&processed["fifo"]);
    for source in ["fifo", "sqs"] {
        assert_once(source, &processed[source]);
    }
    Ok(())
}

fn create_sources(emulator: &Emulator) -> anyhow::Result<[String; 4]> {
    let sqs = emulator.sqs();
    let attributes = [("VisibilityTimeout", "1")];
    let fifo = [("VisibilityTimeout", "1"), ("FifoQueue", "true")];
    Ok([
        emulator.dynamodb().create_table("table", "id", 1)?,
        sqs.create_queue("jobs.fifo", &fifo)?,
        emulator.kinesis().create_stream("stream", 1)?,
        sqs.create_queue("jobs", &attributes)?,
    ])
}

fn config(emulator: &Emulator, dir: &Path, arns: &[String; 4]) -> String {
    let endpoint = emulator.endpoint();
    let function = |source: &str| {
        json!({
            "command": [Servers::running().python(), "-m", "awslambdaric", format!("app.{source}")]
        })
    };
    let functions = SOURCES.map(|source| (source.to_owned(), function(source)));
    let mappings = SOURCES.iter().zip(arns).map(|(source, arn)| {
        let mut mapping = json!({
            "FunctionName": source,
            "EventSourceArn": arn,
            "BatchSize": 10,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        });
        if ["dynamodb", "kinesis"].contains(source) {
            mapping["StartingPosition"] = "TRIM_HORIZON".into();
        }
        mapping
    });
    json!({
        "store": format!("sqlite:{}", dir.join("store").display()),
        "aws": {"endpoints": {"kinesis": endpoint, "dynamodb_streams": endpoint, "sqs": endpoint}},
        "functions": functions.into_iter().collect::<serde_json::Map<_, _>>(),
        "mappings": mappings.collect::<Vec<Value>>(),
    })
    .to_string()
}

fn put(emulator: &Emulator, number: u64) -> anyhow::Result<()> {
    let (key, text) = (format!("key{}", number % KEYS), number.to_string());
    emulator.kinesis().put("stream", &key, text.as_bytes())?;
    let item = json!({"n": number}).to_string();
    emulator.dynamodb().put_item("table", &key, &item)?;
    emulator.sqs().send("jobs", None, &text)?;
    emulator.sqs().send("jobs.fifo", Some(&key), &text)?;
    Ok(())
}

/// The numbers that the function has processed, by source, in the order in which it did.
fn processed(dir: &Path) -> anyhow::Result<BTreeMap<String, Vec<u64>>> {
    let text = std::fs::read_to_string(dir.join("processed.txt"))?;
    let mut processed: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in text.lines() {
        let (source, number) = line.split_once(' ').context("it has two words")?;
        let numbers = processed.entry(source.to_owned()).or_default();
        numbers.push(number.parse()?);
    }
    Ok(processed)
}

#[track_caller]
fn assert_in_order(processed: &[u64]) {
    let mut last = BTreeMap::new();
    for number in processed {
        let before = last.insert(number % KEYS, *number);
        assert!(before < Some(*number), "{processed:?}");
    }
}

#[track_caller]
fn assert_once(source: &str, processed: &[u64]) {
    let mut sorted = processed.to_vec();
    sorted.sort_unstable();
    assert!(
        sorted.iter().copied().eq(0..RECORDS),
        "{source}: {processed:?}"
    );
}
