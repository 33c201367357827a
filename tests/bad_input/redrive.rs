//! Redrives of other texts than documents, of what was deleted, and of sources that the command refuses.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;

use crate::{FAILED, USAGE, run};

#[tokio::test]
async fn a_source_that_cannot_be_redriven_is_refused_before_the_daemon_is_asked() {
    let dir = TempDir::new("redrive-usage");
    std::fs::write(dir.path().join("one.json"), "{}").unwrap();
    let queue = "arn:aws:sqs:us-east-1:000000000000:dead";
    for (arguments, says) in [
        (vec!["--from", "missing.json"], "cannot read missing.json"),
        (
            vec!["--from", "arn:aws:kinesis:us-east-1:1:stream/s"],
            "expected the ARN of a queue",
        ),
        (vec!["--from", "s3://"], "expected s3://BUCKET/PREFIX"),
        (
            vec!["--from", queue, "--to", "jobs"],
            "expected the ARN of a queue, not jobs",
        ),
        (vec!["--from", queue, "--new-ids"], "--to"),
        (
            vec!["--from", queue, "--to", queue, "--function", "f"],
            "cannot be used with",
        ),
        (
            vec!["--from", "one.json", "--delete"],
            "--delete is for queues and buckets",
        ),
        (
            vec!["--from", "one.json", "--to", queue],
            "--to is for queues and buckets",
        ),
        (vec!["--from", "one.json", "--rate", "0"], "0 is not in 1.."),
    ] {
        let arguments = [vec!["redrive"], arguments].concat();
        run(dir.path(), &arguments).await.assert(USAGE, &[says]);
    }
}

#[tokio::test]
async fn what_cannot_be_redriven_is_reported_with_its_reason() {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    let stream = emulator.kinesis().create_stream("orders", 1).unwrap();
    let dir = TempDir::new("redrive-reports");
    let config = json!({
        "store": format!("sqlite:{}", dir.path().join("store").display()),
        "aws": {"endpoints": {"kinesis": emulator.endpoint()}},
        "functions": {"f": {"url": emulator.function_url("f")}},
    });
    let daemon = Daemon::start(dir.path(), &config.to_string())
        .await
        .unwrap();
    let document = |function: &str, stream: &str, shard: &str| {
        json!({
            "requestContext": {
                "requestId": "r",
                "functionArn": format!("arn:aws:lambda:us-east-1:000000000000:function:{function}"),
            },
            "KinesisBatchInfo": {
                "shardId": shard, "startSequenceNumber": "1", "endSequenceNumber": "2",
                "batchSize": 2, "streamArn": stream,
            },
        })
    };
    let gone = "arn:aws:kinesis:us-east-1:000000000000:stream/gone";
    let shard = "shardId-000000000000";
    let documents: [Value; 4] = [
        document("f", &stream, shard),
        document("f", &stream, "shardId-000000000007"),
        document("f", gone, shard),
        document("other", &stream, shard),
    ];
    let mut lines: Vec<_> = documents.iter().map(Value::to_string).collect();
    lines.insert(1, "not JSON".to_owned());
    lines.insert(2, "{\"hello\": \"world\"}".to_owned());
    std::fs::write(dir.path().join("failed.json"), lines.join("\n")).unwrap();
    let arguments = [
        "redrive",
        "--from",
        "failed.json",
        "--endpoint",
        &daemon.endpoint,
    ];
    run(dir.path(), &arguments).await.assert(
        FAILED,
        &[
            "line 2: not an on-failure document",
            "line 3: not an on-failure document",
            "shardId-000000000000 1 to 2: kept: ",
            "the stream or the shard no longer exists",
            "is neither under 'functions'",
            "0 redriven, 6 kept",
        ],
    );
    let arguments = [&arguments[..], &["--function", "a b"]].concat();
    run(dir.path(), &arguments)
        .await
        .assert(FAILED, &["function_name: 'a b' is not the name"]);
    daemon.stop().await.unwrap();
}
