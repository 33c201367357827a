//! Records that are given up, and the commands that show, export and delete them.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::function::Function;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::{Ended, FAILED, TIMEOUT, USAGE, run};

#[tokio::test]
async fn what_a_function_fails_is_kept_shown_exported_and_deleted() {
    given_up().await.unwrap();
}

/// A daemon whose function fails three records.
struct Failing {
    dir: TempDir,
    config: String,
    function: Function,
    daemon: Option<Daemon>,
    _emulator: Emulator,
}

impl Failing {
    async fn start() -> anyhow::Result<Self> {
        let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let arn = emulator.kinesis().create_stream("orders", 1)?;
        for number in 0..3 {
            let data = number.to_string();
            emulator.kinesis().put("orders", "k", data.as_bytes())?;
        }
        let (dir, function) = (TempDir::new("given-up"), Function::start(500).await?);
        let config = json!({
            "store": format!("sqlite:{}", dir.path().join("store").display()),
            "aws": {"endpoints": {"kinesis": emulator.endpoint()}},
            "functions": {"f": {"url": function.url}},
            "mappings": [{"FunctionName": "f", "EventSourceArn": arn, "BatchSize": 1,
                "StartingPosition": "TRIM_HORIZON", "MaximumRetryAttempts": 0}],
        });
        let config = config.to_string();
        Ok(Self {
            daemon: Some(Daemon::start(dir.path(), &config).await?),
            dir,
            config,
            function,
            _emulator: emulator,
        })
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("it runs")
    }

    async fn command(&self, arguments: &[&str]) -> Ended {
        let endpoint = ["--endpoint", &self.daemon().endpoint];
        let arguments = [&["dead-letters"], arguments, &endpoint].concat();
        run(self.dir.path(), &arguments).await
    }

    async fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let listed = [&["list", "-o", "json"], arguments].concat();
        let listed = self.command(&listed).await;
        serde_json::from_str(&listed.text).unwrap_or_default()
    }
}

async fn given_up() -> anyhow::Result<()> {
    let mut it = Failing::start().await?;
    let letters = wait::until_some("all are given up", TIMEOUT, async || {
        let letters = it.list(&[]).await;
        Ok((letters.len() == 3).then_some(letters))
    });
    let letters = letters.await?;
    let (letter, event) = shows(&it, &letters).await?;
    let id = letter["id"].as_str().unwrap_or_default();
    exports(&it, letter, &event).await?;

    // The letters and their events are those of a daemon that was killed, too.
    let killed = it.daemon.take().expect("it runs");
    killed.kill().await?;
    it.daemon = Some(Daemon::start(it.dir.path(), &it.config).await?);
    assert_eq!(it.command(&["show", id, "--payload"]).await.text, event);
    let deleted = it.command(&["delete", id]).await;
    deleted.assert(0, &["1 dead letters deleted"]);
    for command in ["show", "delete"] {
        let refused = it.command(&[command, id]).await;
        refused.assert(FAILED, &["there is no dead letter", id]);
    }
    let deleted = it.command(&["delete", "--all"]).await;
    deleted.assert(0, &["2 dead letters deleted"]);
    it.command(&["list"]).await.assert(0, &["no dead letters"]);
    Ok(())
}

/// Returns the second letter and its event.
async fn shows<'a>(it: &Failing, letters: &'a [Value]) -> anyhow::Result<(&'a Value, String)> {
    let (letter, uuid) = (&letters[1], it.daemon().only_mapping().await?);
    assert_eq!(letter["reason"], "RetryAttemptsExhausted", "{letter}");
    assert_eq!(letter["last_error"], "function error: HTTP 500", "{letter}");
    assert_eq!(letter["mapping"], json!(uuid), "{letter}");
    let id = letter["id"].as_str().unwrap_or_default();
    let shown = it.command(&["show", id]).await;
    shown.assert(0, &[id, "RetryAttemptsExhausted"]);
    let event = it.command(&["show", id, "--payload"]).await;
    assert_eq!(event.code, 0);
    let shown: Value = serde_json::from_str(&event.text)?;
    assert_eq!(shown, it.function.events()[1]);
    assert_eq!(letter["bytes"], event.text.len());

    let mapping = ["--mapping", "orders/f", "--since", "-1h"];
    assert_eq!(it.list(&mapping).await.len(), 3);
    assert_eq!(it.list(&["--reason", "Skipped"]).await.len(), 0);
    it.command(&["list"]).await.assert(0, &[id, "function:f"]);
    Ok((letter, event.text))
}

async fn exports(it: &Failing, letter: &Value, event: &str) -> anyhow::Result<()> {
    let exported = it.command(&["export", "letters.jsonl"]).await;
    exported.assert(0, &["3 dead letters"]);
    let file = it.dir.path().join("letters.jsonl");
    let mode = std::fs::metadata(&file)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let exported = std::fs::read_to_string(&file)?;
    let line = exported.lines().nth(1).unwrap_or_default();
    assert!(line.ends_with(&format!(",\"payload\":{event}}}")), "{line}");
    let line: Value = serde_json::from_str(line)?;
    assert_eq!(line["id"], letter["id"]);
    assert_eq!(exported.lines().count(), 3);
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
