//! Redrives: documents in queues of ElasticMQ and buckets of MiniStack, and messages of dead-letter
//! queues.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use windlass_tests::aws::{Aws, unique_name};
use windlass_tests::daemon::{self, Daemon};
use windlass_tests::function::Function;
use windlass_tests::servers::Servers;
use windlass_tests::wait::until_some;

use crate::TIMEOUT;
use crate::setup::Setup;

const RECORDS: usize = 5;

async fn redrive(daemon: &Daemon, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = tokio::process::Command::from(daemon::command());
    command.args(["redrive", "--endpoint", &daemon.endpoint]);
    let output = command.args(arguments).stdin(Stdio::null());
    let output = output.kill_on_drop(true).output();
    Ok(tokio::time::timeout(TIMEOUT, output).await??)
}

async fn until_depth(aws: &Aws, url: &str, depth: u64) -> anyhow::Result<()> {
    until_some(&format!("{depth} messages"), TIMEOUT, async || {
        let is_reached = aws.queue_depth(url).await? == depth;
        Ok(is_reached.then_some(()))
    })
    .await
}

/// A function fails all records of a stream; each is a document of its own. When it is repaired, all of
/// them are redriven in order, and deleted.
async fn documents(
    destination: &str,
    from: &str,
    n_left: impl AsyncFn() -> anyhow::Result<u64>,
) -> anyhow::Result<()> {
    let servers = Servers::running();
    let (elasticmq, ministack) = (servers.aws("elasticmq"), servers.aws("ministack"));
    let stream = ministack.create_stream("redriven", 1).await?;
    let function = Function::start(500).await?;
    let setup = Setup::new("redrive")
        .endpoint("kinesis", ministack.endpoint())
        .endpoint("sqs", elasticmq.endpoint())
        .endpoint("s3", ministack.endpoint())
        .function("f", &function.url)
        .mapping(
            "f",
            &stream,
            json!({
                "StartingPosition": "TRIM_HORIZON", "BatchSize": 1, "MaximumRetryAttempts": 0,
                "DestinationConfig": {"OnFailure": {"Destination": destination}},
            }),
        );
    let daemon = setup.start().await?;
    for number in 0..RECORDS {
        let body = json!({"StreamARN": stream, "StreamName": stream.rsplit('/').next(),
            "PartitionKey": "k", "Data": base64_simd::STANDARD.encode_to_string(number.to_string())});
        ministack.kinesis("PutRecord", body).await?;
    }
    until_some("all documents", TIMEOUT, async || {
        Ok((n_left().await? == RECORDS as u64).then_some(()))
    })
    .await?;
    let failed: Vec<Value> = function.events();
    let broken = redrive(&daemon, &["--from", from, "--delete"]).await?;
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    assert_eq!(n_left().await?, RECORDS as u64, "{broken:?}");
    function.set_status(200);
    let kept = redrive(&daemon, &["--from", from]).await?;
    assert!(kept.status.success(), "{kept:?}");
    assert_eq!(n_left().await?, RECORDS as u64, "{kept:?}");
    let repaired = redrive(&daemon, &["--from", from, "--delete"]).await?;
    assert!(repaired.status.success(), "{repaired:?}");
    assert_eq!(n_left().await?, 0, "{repaired:?}");
    let events = function.events();
    assert_eq!(events[events.len() - RECORDS..], failed[..RECORDS]);
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn documents_of_a_queue_are_redriven() -> anyhow::Result<()> {
    let elasticmq = Servers::running().aws("elasticmq");
    let (url, queue) = elasticmq.create_queue("failed", false, json!({})).await?;
    documents(&queue, &queue, async || elasticmq.queue_depth(&url).await).await
}

#[tokio::test]
async fn documents_of_a_bucket_are_redriven() -> anyhow::Result<()> {
    let ministack = Servers::running().aws("ministack");
    let bucket = unique_name("failed");
    ministack.s3("PUT", &format!("/{bucket}")).await?;
    let (arn, from) = (
        format!("arn:aws:s3:::{bucket}"),
        format!("s3://{bucket}/aws/"),
    );
    documents(&arn, &from, async || {
        let list = format!("/{bucket}?list-type=2");
        let list = ministack.s3("GET", &list).await?;
        Ok(String::from_utf8_lossy(&list).matches("<Key>").count() as u64)
    })
    .await
}

#[tokio::test]
async fn messages_of_a_dead_letter_queue_are_redriven() -> anyhow::Result<()> {
    for server in ["elasticmq", "ministack"] {
        messages(Servers::running().aws(server)).await?;
    }
    Ok(())
}

async fn messages(aws: Aws) -> anyhow::Result<()> {
    let (dead_url, dead) = aws.create_queue("dead", true, json!({})).await?;
    let policy = json!({"deadLetterTargetArn": dead, "maxReceiveCount": "3"}).to_string();
    let attributes = json!({"RedrivePolicy": policy});
    let (jobs_url, jobs) = aws.create_queue("jobs", true, attributes).await?;
    let send = async |number: usize| {
        let body = json!({
            "QueueUrl": dead_url, "MessageBody": format!("{{\"n\": {number}}}"),
            "MessageGroupId": "g", "MessageDeduplicationId": format!("id-{number}"),
            "MessageAttributes": {"a": {"DataType": "String", "StringValue": "b"}},
        });
        aws.sqs("SendMessage", body).await.map(drop)
    };
    for number in 0..RECORDS {
        send(number).await?;
    }
    let function = Function::start(200).await?;
    let setup = Setup::new("redrive-queue")
        .endpoint("sqs", aws.endpoint())
        .function("f", &function.url);
    let daemon = setup.start().await?;
    let moved = redrive(&daemon, &["--from", &dead, "--to", &jobs, "--new-ids"]).await?;
    assert!(moved.status.success(), "{moved:?}");
    until_depth(&aws, &dead_url, 0).await?;
    until_depth(&aws, &jobs_url, RECORDS as u64).await?;
    let body = json!({"QueueUrl": jobs_url, "AttributeNames": ["All"],
        "MessageAttributeNames": ["All"], "MaxNumberOfMessages": 10});
    let received = aws.sqs("ReceiveMessage", body).await?;
    let first = &received["Messages"][0];
    assert_eq!(first["Body"], "{\"n\": 0}");
    assert_eq!(first["Attributes"]["MessageGroupId"], "g");
    assert_eq!(first["MessageAttributes"]["a"]["StringValue"], "b");
    for number in RECORDS..2 * RECORDS {
        send(number).await?;
    }
    let invoked = redrive(&daemon, &["--from", &dead, "--function", "f"]).await?;
    assert!(invoked.status.success(), "{invoked:?}");
    until_depth(&aws, &dead_url, 0).await?;
    let records = function.records();
    let bodies: Vec<_> = records
        .iter()
        .filter_map(|it| it["body"].as_str())
        .collect();
    let sent: Vec<_> = (RECORDS..2 * RECORDS)
        .map(|it| format!("{{\"n\": {it}}}"))
        .collect();
    assert_eq!(bodies, sent);
    assert_eq!(records[0]["eventSourceARN"], dead);
    daemon.stop().await?;
    Ok(())
}
