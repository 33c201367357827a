//! Records that are given up, and the commands that show, export and delete them.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::function::Function;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::{FAILED, TIMEOUT, USAGE, run};

#[tokio::test]
async fn what_a_function_fails_is_kept_shown_exported_and_deleted() {
    given_up().await.unwrap();
}

async fn given_up() -> anyhow::Result<()> {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let arn = emulator.kinesis().create_stream("orders", 1)?;
    for number in 0..3 {
        emulator
            .kinesis()
            .put("orders", "k", format!("{number}").as_bytes())?;
    }
    let (dir, function) = (TempDir::new("given-up"), Function::start(500).await?);
    let config = json!({
        "store": format!("sqlite:{}", dir.path().join("store").display()),
        "aws": {"endpoints": {"kinesis": emulator.endpoint()}},
        "functions": {"f": {"url": function.url}},
        "mappings": [{"FunctionName": "f", "EventSourceArn": arn, "BatchSize": 1,
            "StartingPosition": "TRIM_HORIZON", "MaximumRetryAttempts": 0}],
    });
    let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
    let uuid = daemon.only_mapping().await?;
    let command = async |arguments: &[&str]| {
        let endpoint = ["--endpoint", &daemon.endpoint];
        run(
            dir.path(),
            &[&["dead-letters"], arguments, &endpoint].concat(),
        )
        .await
    };
    let list = async |arguments: &[&str]| {
        let listed = command(&[&["list", "-o", "json"], arguments].concat()).await;
        serde_json::from_str::<Vec<Value>>(&listed.text).unwrap_or_default()
    };
    let all = wait::until_some("all are given up", TIMEOUT, async || {
        let letters = list(&[]).await;
        Ok((letters.len() == 3).then_some(letters))
    });
    let letters = all.await?;
    let letter = &letters[1];
    assert_eq!(letter["reason"], "RetryAttemptsExhausted", "{letter}");
    assert_eq!(letter["last_error"], "function error: HTTP 500", "{letter}");
    assert_eq!(letter["mapping"], json!(uuid), "{letter}");
    let id = letter["id"].as_str().unwrap_or_default();
    command(&["show", id])
        .await
        .assert(0, &[id, "RetryAttemptsExhausted"]);
    let event = command(&["show", id, "--payload"]).await;
    assert_eq!(event.code, 0);
    let shown: Value = serde_json::from_str(&event.text)?;
    assert_eq!(shown, function.events()[1]);
    assert_eq!(letter["bytes"], event.text.len());

    let named = "orders/f";
    assert_eq!(list(&["--mapping", named, "--since", "-1h"]).await.len(), 3);
    assert_eq!(list(&["--reason", "Skipped"]).await.len(), 0);
    assert_eq!(list(&["--since", "now"]).await.len(), 0);
    command(&["list"]).await.assert(0, &[id, "function:f"]);

    command(&["export", "letters.jsonl"])
        .await
        .assert(0, &["3 dead letters"]);
    let file = dir.path().join("letters.jsonl");
    assert_eq!(
        std::fs::metadata(&file)?.permissions().mode() & 0o777,
        0o600
    );
    let exported = std::fs::read_to_string(&file)?;
    let lines: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[1]["id"], &lines[1]["payload"]),
        (&letter["id"], &shown)
    );

    // The letters and their events are those of a daemon that was killed, too.
    daemon.kill().await?;
    let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
    let command = async |arguments: &[&str]| {
        let endpoint = ["--endpoint", &daemon.endpoint];
        run(
            dir.path(),
            &[&["dead-letters"], arguments, &endpoint].concat(),
        )
        .await
    };
    let again = command(&["show", id, "--payload"]).await;
    assert_eq!(again.text, event.text);
    command(&["delete", id])
        .await
        .assert(0, &["1 dead letters deleted"]);
    command(&["show", id])
        .await
        .assert(FAILED, &["there is no dead letter", id]);
    command(&["delete", id])
        .await
        .assert(FAILED, &["there is no dead letter", id]);
    command(&["delete", "--all"])
        .await
        .assert(0, &["2 dead letters deleted"]);
    command(&["list"]).await.assert(0, &["no dead letters"]);
    Ok(())
}

#[tokio::test]
async fn commands_that_cannot_be_meant() {
    let dir = TempDir::new("letters-usage");
    let id = "14e0db71-5d35-4eb5-b481-8945cf9d10c2";
    for (arguments, says) in [
        (&["list", "--since", "2026-11-23"][..], "2026-11-23"),
        (&["list", "--since", "2h"], "2h"),
        (
            &["list", "--since", "sequence:17"],
            "not by sequence numbers",
        ),
        (&["list", "--reason", "Unknown"], "RetryAttemptsExhausted"),
        (&["show", "14e0db71"], "14e0db71"),
        (&["delete"], "required"),
        (&["delete", id, "--all"], "cannot be used with"),
        (&["export"], "required"),
    ] {
        let arguments = [&["dead-letters"], arguments].concat();
        run(dir.path(), &arguments).await.assert(USAGE, &[says]);
    }
}
