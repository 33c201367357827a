//! Responses of a function with `ReportBatchItemFailures`, as AWS was recorded to take them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::function::Function;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::{TIMEOUT, one_mapping};

/// The record is done.
const SUCCESS: [&str; 7] = [
    r#"{"batchItemFailures":[]}"#,
    r#"{"batchItemFailures":null}"#,
    r#"{"anything":["else"]}"#,
    "{}",
    "null",
    "[]",
    EMPTY,
];

/// The batch has failed.
const FAILURE: [&str; 10] = [
    r#"{"batchItemFailures":[{"itemIdentifier":123}]}"#,
    r#"{"batchItemFailures":[{"itemIdentifier":"123"}]}"#,
    r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
    r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
    r#"{"batchItemFailures":[{"foo":123}]}"#,
    r#"{"batchItemFailures":[{"foo":null}]}"#,
    r#"{"batchItemFailures":[{"foo":"notvalid"}]}"#,
    r#"{"batchItemFailures":{}}"#,
    r#"{"batchItemFailures":["#,
    "not JSON",
];

/// Stands for a response of no bytes: a partition key has at least one character.
const EMPTY: &str = "EMPTY";

#[tokio::test]
async fn every_response_is_taken_as_aws_takes_it() {
    every_response().await.unwrap();
}

/// Each record has its response as the partition key, and is a batch of its own.
async fn every_response() -> anyhow::Result<()> {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let arn = emulator.kinesis().create_stream("responses", 1)?;
    for response in SUCCESS.iter().chain(&FAILURE) {
        emulator.kinesis().put("responses", response, b"{}")?;
    }
    let (dir, function) = (TempDir::new("responses"), Function::start(200).await?);
    function.answer_with(|event| match key(event) {
        EMPTY => String::new(),
        response => response.to_owned(),
    });
    let mut config = one_mapping(dir.path(), &emulator.endpoint(), &arn, &function.url);
    for (name, value) in [
        ("BatchSize", json!(1)),
        ("MaximumRetryAttempts", json!(1)),
        ("ParallelizationFactor", json!(10)),
        ("FunctionResponseTypes", json!(["ReportBatchItemFailures"])),
    ] {
        config["mappings"][0][name] = value;
    }
    let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
    let uuid = daemon.only_mapping().await?;
    let n_events = SUCCESS.len() + 2 * FAILURE.len();
    wait::until_some("all are resolved", TIMEOUT, async || {
        let dropped = daemon.status(&uuid).await?["counts"]["dropped"].as_u64();
        let is_done = dropped == Some(FAILURE.len() as u64) && n_events <= function.events().len();
        Ok(is_done.then_some(()))
    })
    .await?;
    daemon.stop().await?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for event in function.events() {
        *counts.entry(key(&event).to_owned()).or_default() += 1;
    }
    let expected = |(responses, n): (&[&str], usize)| {
        let counts = responses.iter().map(move |it| ((*it).to_owned(), n));
        counts.collect::<Vec<_>>()
    };
    let expected = [(&SUCCESS[..], 1), (&FAILURE[..], 2)].map(expected);
    assert_eq!(counts, expected.into_iter().flatten().collect());
    Ok(())
}

fn key(event: &Value) -> &str {
    let key = &event["Records"][0]["kinesis"]["partitionKey"];
    key.as_str().unwrap_or_default()
}
