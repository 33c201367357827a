//! Redrives: the real program, a function that fails until it is repaired, and the documents of what it
//! gave up.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::daemon::{self, Daemon};
use windlass_tests::function::Function;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait::{until, until_some};

const TIMEOUT: Duration = Duration::from_secs(60);

const RECORDS: usize = 60;

async fn windlass(dir: &TempDir, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = tokio::process::Command::from(daemon::command());
    command.args(arguments).current_dir(dir.path());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    Ok(tokio::time::timeout(TIMEOUT, output).await??)
}

fn number(record: &Value) -> &str {
    record["kinesis"]["sequenceNumber"]
        .as_str()
        .unwrap_or_default()
}

/// The document that a destination gets of an event that its function has failed.
fn document(event: &Value, stream: &str) -> Value {
    let records = event["Records"].as_array().expect("an event has records");
    let (first, last) = (&records[0], &records[records.len() - 1]);
    let id = first["eventID"].as_str().unwrap_or_default();
    let (shard, _) = id.split_once(':').expect("an id has a shard");
    json!({
        "requestContext": {
            "requestId": format!("request-{}", number(first)),
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 1,
        },
        "version": "1.0",
        "timestamp": "2026-11-14T00:38:06.021Z",
        "KinesisBatchInfo": {
            "shardId": shard,
            "startSequenceNumber": number(first),
            "endSequenceNumber": number(last),
            "approximateArrivalOfFirstRecord": "2026-11-14T00:38:04.835Z",
            "approximateArrivalOfLastRecord": "2026-11-14T00:38:05.580Z",
            "batchSize": records.len(),
            "streamArn": stream,
        },
    })
}

/// Filters and lanes leave gaps between the records of a batch.
#[tokio::test]
async fn what_a_broken_function_was_sent_arrives_once_it_is_repaired() -> anyhow::Result<()> {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let kinesis = emulator.kinesis();
    let stream = kinesis.create_stream("orders", 2)?;
    for number in 0..RECORDS {
        let data = json!({"n": number, "wanted": number % 3 != 0}).to_string();
        kinesis.put("orders", &format!("key {}", number % 7), data.as_bytes())?;
    }
    let function = Function::start(500).await?;
    let dir = TempDir::new("redrive");
    let config = json!({
        "store": format!("sqlite:{}", dir.path().join("store").display()),
        "aws": {"endpoints": {"kinesis": emulator.endpoint()}},
        "kinesis": {"poll_interval": "100ms"},
        "functions": {"f": {"url": function.url}},
        "mappings": [{
            "FunctionName": "f", "EventSourceArn": stream, "StartingPosition": "TRIM_HORIZON",
            "BatchSize": 4, "MaximumRetryAttempts": 0, "ParallelizationFactor": 3,
            "FilterCriteria": {"Filters": [{"Pattern": "{\"data\":{\"wanted\":[true]}}"}]},
        }],
    });
    let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
    let n_wanted = RECORDS - RECORDS.div_ceil(3);
    let n_sent = || {
        let events = function.events();
        let sent = events
            .iter()
            .filter_map(|event| event["Records"].as_array());
        sent.map(Vec::len).sum::<usize>()
    };
    until("all records were given up", TIMEOUT, || {
        n_sent() == n_wanted
    })
    .await?;
    let failed = function.events();
    let documents: Vec<_> = failed
        .iter()
        .map(|event| document(event, &stream))
        .collect();
    let lines: Vec<_> = documents.iter().rev().map(Value::to_string).collect();
    std::fs::write(dir.path().join("failed.json"), lines.join("\n"))?;
    let redrive = [
        "redrive",
        "--from",
        "failed.json",
        "--endpoint",
        &daemon.endpoint,
    ];

    let dry = windlass(&dir, &[&redrive[..], &["--dry-run"]].concat()).await?;
    assert!(dry.status.success(), "{dry:?}");
    let broken = windlass(&dir, &redrive).await?;
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    assert_eq!(function.records().len(), 0);
    function.set_status(200);
    let repaired = windlass(&dir, &[&redrive[..], &["-o", "json"]].concat()).await?;
    assert!(repaired.status.success(), "{repaired:?}");
    let reports: Vec<Value> = serde_json::from_slice(&repaired.stdout)?;
    assert_eq!(reports.len(), failed.len());
    let arrived = function.events().split_off(failed.len() * 2);
    let sorted = |mut events: Vec<Value>| {
        events.sort_by_key(|event| number(&event["Records"][0]).to_owned());
        events
    };
    assert_eq!(sorted(arrived), sorted(failed), "the very events");
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn dead_letters_arrive_once_their_function_is_repaired() -> anyhow::Result<()> {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let kinesis = emulator.kinesis();
    let stream = kinesis.create_stream("orders", 2)?;
    for number in 0..RECORDS {
        kinesis.put(
            "orders",
            &format!("key {}", number % 7),
            number.to_string().as_bytes(),
        )?;
    }
    let function = Function::start(500).await?;
    let dir = TempDir::new("redrive-letters");
    let config = json!({
        "store": format!("sqlite:{}", dir.path().join("store").display()),
        "aws": {"endpoints": {"kinesis": emulator.endpoint()}},
        "kinesis": {"poll_interval": "100ms"},
        "functions": {"f": {"url": function.url}},
        "mappings": [{
            "FunctionName": "f", "EventSourceArn": stream, "StartingPosition": "TRIM_HORIZON",
            "BatchSize": 4, "MaximumRetryAttempts": 0,
        }],
    });
    let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
    let letters = async || {
        let (_, letters) = daemon
            .call("GET", "/windlass/v1/dead-letters", None)
            .await?;
        let letters = letters["dead_letters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        anyhow::Ok(letters)
    };
    let kept = until_some("all records are kept", TIMEOUT, async || {
        let kept = letters().await?;
        let records = kept.iter().filter_map(|letter| letter["records"].as_u64());
        Ok((records.sum::<u64>() == RECORDS as u64).then_some(kept))
    });
    let kept = kept.await?;
    let failed = function.events();
    let redrive = ["dead-letters", "redrive", "--endpoint", &daemon.endpoint];
    let broken = windlass(&dir, &[&redrive[..], &["--all"]].concat()).await?;
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    let counts: Vec<_> = letters()
        .await?
        .iter()
        .map(|it| it["redrives"].clone())
        .collect();
    assert_eq!(counts, vec![json!(1); kept.len()]);
    function.set_status(200);
    let edited = "{\"Records\": [ ]}";
    std::fs::write(dir.path().join("event.json"), format!("{edited}\n"))?;
    let id = kept[0]["id"].as_str().unwrap_or_default();
    let one = windlass(
        &dir,
        &[&redrive[..], &["--event", "event.json", id]].concat(),
    )
    .await?;
    assert!(one.status.success(), "{one:?}");
    let all = windlass(&dir, &[&redrive[..], &["--mapping", "orders/f"]].concat()).await?;
    assert!(all.status.success(), "{all:?}");
    assert!(letters().await?.is_empty());
    let arrived = function.events().split_off(failed.len() * 2);
    assert_eq!(arrived.len(), failed.len());
    assert_eq!(arrived[0], json!({"Records": []}));
    assert!(arrived[1..].iter().all(|event| failed.contains(event)));
    refuses(&dir, &redrive, id).await?;
    daemon.stop().await?;
    Ok(())
}

/// Letters that do not exist, and events that cannot be read.
async fn refuses(dir: &TempDir, redrive: &[&str], id: &str) -> anyhow::Result<()> {
    let unknown = [redrive, &["a68b2e4e-2f6c-5a0c-9f39-2d5b8a5b7d11"]].concat();
    let unknown = windlass(dir, &unknown).await?;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    let usage = windlass(dir, &[redrive, &["--event", "missing.json", id]].concat()).await?;
    assert_eq!(usage.status.code(), Some(64), "{usage:?}");
    Ok(())
}
