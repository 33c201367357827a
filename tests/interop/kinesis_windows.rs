//! A function that sums the records of each tumbling window, while its daemon is killed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use windlass_emulator::Ledger;
use windlass_tests::function::Function;
use windlass_tests::producer::Producer;
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::{Setup, numbers_in_order};

const WINDOW_SECONDS: u64 = 3;

/// Of each put; many of them reach every window.
const BATCH: u64 = 10;
const PUTS: u64 = 40;

/// Between two puts, so that they take some windows.
const INTERVAL: Duration = Duration::from_millis(250);

/// After these puts the daemon is killed.
const KILLS: [u64; 3] = [7, 16, 25];

/// After these records, and after two windows, this one ends the last window.
const LAST: u64 = PUTS * BATCH;

#[tokio::test]
async fn kills_in_the_middle_of_tumbling_windows_leave_their_sums_right() {
    println!("{}", sums().await.unwrap());
}

async fn sums() -> anyhow::Result<String> {
    let aws = Servers::running().aws("kinesis_mock");
    let arn = aws.create_stream("windows", 1).await?;
    let function = Function::start(200).await?;
    function.answer_with(sum);
    function.set_delay(Duration::from_millis(20));
    let members = json!({
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": BATCH,
        "TumblingWindowInSeconds": WINDOW_SECONDS,
    });
    let setup = Setup::new("windows")
        .endpoint("kinesis", aws.endpoint())
        .function("windows", &function.url)
        .mapping("windows", &arn, members);
    let ledger = Ledger::new();
    let producer = Producer {
        aws: &aws,
        ledger: &ledger,
        arn: &arn,
        keys: 7,
    };
    let mut daemon = setup.start().await?;
    for put in 0..PUTS {
        producer.put_records(put * BATCH..(put + 1) * BATCH).await?;
        tokio::time::sleep(INTERVAL).await;
        if KILLS.contains(&put) {
            daemon.kill().await?;
            daemon = setup.start().await?;
        }
    }
    tokio::time::sleep(Duration::from_secs(2 * WINDOW_SECONDS)).await;
    producer.put_records(LAST..LAST + 1).await?;
    wait::until("all windows have ended", TIMEOUT, || {
        numbers(&function.events()).len() as u64 == LAST
    })
    .await?;
    daemon.stop().await?;

    let events = function.events();
    let windows = sums_of_windows(&events);
    anyhow::ensure!(3 <= windows.len(), "too few windows: {windows:?}");
    // The state is saved with the position, so nothing counts twice, whatever was invoked twice.
    let total: u64 = windows
        .values()
        .map(|state| state["sum"].as_u64().unwrap_or(0))
        .sum();
    anyhow::ensure!(total == (0..LAST).sum::<u64>(), "{windows:?}");
    let crosses = events
        .iter()
        .any(|event| event["isWindowTerminatedEarly"] != json!(false));
    anyhow::ensure!(!crosses, "a window was terminated early");
    Ok(format!(
        "{} windows, {} invocations",
        windows.len(),
        events.len()
    ))
}

/// The state with the records of the event.
fn sum(event: &Value) -> String {
    let records = event["Records"].as_array().cloned().unwrap_or_default();
    let new = numbers_in_order(&records).unwrap_or_default();
    let mut numbers: Vec<u64> = event["state"]["numbers"]
        .as_array()
        .map(|numbers| numbers.iter().filter_map(Value::as_u64).collect())
        .unwrap_or_default();
    numbers.extend(new);
    let sum: u64 = numbers.iter().sum();
    json!({"state": {"sum": sum, "numbers": numbers}}).to_string()
}

/// The state of the last final invocation of each window. One that was repeated after a crash counts
/// once, as where a function writes its result under the start of the window.
fn sums_of_windows(events: &[Value]) -> BTreeMap<String, Value> {
    let finals = events
        .iter()
        .filter(|event| event["isFinalInvokeForWindow"] == json!(true));
    let windows =
        finals.map(|event| (event["window"]["start"].to_string(), event["state"].clone()));
    windows.collect()
}

/// Those of all windows that have ended.
fn numbers(events: &[Value]) -> Vec<u64> {
    let windows = sums_of_windows(events);
    let numbers = windows
        .values()
        .filter_map(|state| state["numbers"].as_array());
    numbers.flatten().filter_map(Value::as_u64).collect()
}
