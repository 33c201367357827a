//! Replays by the real program, on streams of the emulator: each record of the stretch is delivered
//! in order for each key, none outside it, and mappings are not concerned.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use windlass_core::time::Timestamp;
use windlass_emulator::{Counts, Emulator};
use windlass_tests::daemon::{self, Daemon};
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait::{until, until_some};

const TIMEOUT: Duration = Duration::from_secs(60);

const STREAM: &str = "orders";

/// The sources with the function of the mapping, and the function of the replays: each has a ledger of
/// its own.
struct Setup {
    dir: TempDir,
    live: Emulator,
    replayed: Emulator,
    stream: String,
}

impl Setup {
    async fn new(name: &str, n_shards: u32) -> anyhow::Result<Self> {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let live = Emulator::start(local).await?;
        Ok(Self {
            dir: TempDir::new(name),
            stream: live.kinesis().create_stream(STREAM, n_shards)?,
            replayed: Emulator::start(local).await?,
            live,
        })
    }

    async fn start(&self) -> anyhow::Result<Daemon> {
        let config = json!({
            "store": format!("sqlite:{}", self.dir.path().join("store").display()),
            "aws": {"endpoints": {"kinesis": self.live.endpoint()}},
            "functions": {
                "f": {"url": self.live.function_url("f")},
                "again": {"url": self.replayed.function_url("again")},
            },
            "mappings": [{"FunctionName": "f", "EventSourceArn": self.stream,
                "StartingPosition": "TRIM_HORIZON", "BatchSize": 50}],
        });
        Daemon::start(self.dir.path(), &config.to_string()).await
    }

    /// Puts records of ten keys, which a replay must deliver if they are of its stretch. Returns the
    /// bytes of their data.
    fn put(&self, numbers: Range<u64>, is_replayed: bool) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for number in numbers {
            let key = (number % 10).to_string();
            let payload = self.live.ledger().put_payload(&self.stream, &key, number);
            if is_replayed {
                self.replayed.ledger().put(&self.stream, &key, number);
            }
            let kinesis = self.live.kinesis();
            kinesis.put(STREAM, &key, payload.as_bytes())?;
            bytes += payload.len() as u64;
        }
        Ok(bytes)
    }

    async fn until_delivered(&self) -> anyhow::Result<()> {
        let delivered = || self.live.ledger().counts().missing() == 0;
        until("the mapping is done", TIMEOUT, delivered).await
    }

    #[track_caller]
    fn assert_replayed_once(&self, put: u64) {
        let counts = self.replayed.ledger().counts();
        let expected = Counts {
            put,
            delivered: put,
            batches: counts.batches,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
    }
}

/// A time between the records before and those after: their stamps have whole milliseconds.
async fn now() -> String {
    let millis = || {
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or_default()
    };
    let last = millis();
    while millis() == last {
        tokio::task::yield_now().await;
    }
    Timestamp::from_millis(millis()).to_rfc3339_millis()
}

async fn run(daemon: &Daemon, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = tokio::process::Command::from(daemon::command());
    let ended = command
        .arg("replay")
        .args(arguments)
        .args(["--endpoint", &daemon.endpoint])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    Ok(tokio::time::timeout(TIMEOUT, ended).await??)
}

/// The output of a command that succeeds.
async fn succeed(daemon: &Daemon, arguments: &[&str]) -> anyhow::Result<String> {
    let ended = run(daemon, arguments).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let errors = text(&ended.stderr);
    assert!(ended.status.success(), "{arguments:?}: {errors}");
    Ok(text(&ended.stdout))
}

async fn show(daemon: &Daemon, name: &str) -> anyhow::Result<Value> {
    let shown = succeed(daemon, &["show", name, "-o", "json"]).await?;
    Ok(serde_json::from_str(&shown)?)
}

#[tokio::test]
async fn a_stretch_across_a_split_is_replayed_while_the_mapping_runs() -> anyhow::Result<()> {
    let setup = Setup::new("replay-split", 2).await?;
    let daemon = setup.start().await?;
    setup.put(0..200, false)?;
    let from = now().await;
    setup.put(200..400, true)?;
    setup
        .live
        .kinesis()
        .split_shard(STREAM, "shardId-000000000000")?;
    setup.put(400..600, true)?;
    let to = now().await;
    setup.put(600..700, false)?;
    setup.until_delivered().await?;
    let start = [
        "start",
        "--name",
        "split",
        "--mapping",
        "orders/f",
        "--function",
        "again",
        "--from",
        &from,
        "--to",
        &to,
        "--watch",
    ];
    let shown = succeed(&daemon, &start).await?;
    let last = shown.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("split Completed 100.0 %, 400 delivered"),
        "{shown}"
    );
    setup.assert_replayed_once(400);
    let counts = setup.live.ledger().counts();
    assert_eq!((counts.delivered, counts.repeated), (700, 0));
    let replay = show(&daemon, "split").await?;
    assert_eq!(
        (&replay["reason"], &replay["fraction"]),
        (&Value::Null, &json!(1.0))
    );
    assert_eq!(replay["shards"].as_array().map(Vec::len), Some(4));
    let (_, mappings) = daemon.call("GET", "/windlass/v1/mappings", None).await?;
    assert_eq!(mappings.as_array().map(Vec::len), Some(1), "{mappings}");
    assert!(!daemon.metrics().await?.contains("replay"));
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_replay_continues_after_a_kill_and_is_paused_changed_and_resumed() -> anyhow::Result<()> {
    let setup = Setup::new("replay-kill", 2).await?;
    let daemon = setup.start().await?;
    setup.put(0..600, true)?;
    setup.until_delivered().await?;
    let start = [
        "start",
        "--name",
        "slow",
        "--source",
        &setup.stream,
        "--function",
        "again",
        "--rate",
        "100",
        "--batch-size",
        "20",
    ];
    succeed(&daemon, &start).await?;
    let reached = |n: u64| {
        let ledger = setup.replayed.ledger();
        until("records are replayed", TIMEOUT, move || {
            n <= ledger.counts().delivered
        })
    };
    reached(40).await?;
    daemon.kill().await?;
    let daemon = setup.start().await?;
    reached(100).await?;
    succeed(&daemon, &["pause", "slow"]).await?;
    succeed(&daemon, &["pause", "slow"]).await?;
    let state = until_some("it is paused", TIMEOUT, async || {
        let replay = show(&daemon, "slow").await?;
        Ok((replay["state"] == "Paused").then_some(replay))
    });
    assert!(state.await?["delivered"].as_u64() < Some(600));
    succeed(&daemon, &["set", "slow", "--rate", "none"]).await?;
    succeed(&daemon, &["resume", "slow"]).await?;
    let replay = until_some("it completes", TIMEOUT, async || {
        let replay = show(&daemon, "slow").await?;
        Ok((replay["state"] == "Completed").then_some(replay))
    });
    let replay = replay.await?;
    assert_eq!(replay["delivered"], 600, "{replay}");
    let counts = setup.replayed.ledger().counts();
    assert_eq!(
        (counts.missing(), counts.out_of_order, counts.foreign),
        (0, 0, 0)
    );
    assert!(
        counts.repeated <= 60,
        "what was in flight at the kill: {counts:?}"
    );
    let again = run(&daemon, &["pause", "slow"]).await?;
    assert_eq!(again.status.code(), Some(1));
    succeed(&daemon, &["delete", "slow"]).await?;
    assert!(succeed(&daemon, &["list"]).await?.contains("no replays"));
    let history = daemon
        .call("GET", "/windlass/v1/replays/slow", None)
        .await?;
    assert_eq!(history.0, 404);
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_watch_ends_with_its_replay_and_an_interrupt_leaves_it_running() -> anyhow::Result<()> {
    let setup = Setup::new("replay-watch", 1).await?;
    let daemon = setup.start().await?;
    setup.put(0..1_000, true)?;
    let start = |name: &str| {
        let mut command = tokio::process::Command::from(daemon::command());
        command
            .args(["replay", "start", "--name", name, "--mapping", "orders/f"])
            .args(["--function", "again", "--rate", "10", "--watch"])
            .args(["--endpoint", &daemon.endpoint])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
    };
    let first_line = async |child: &mut tokio::process::Child| {
        let output = child.stdout.take().expect("it is a pipe");
        let mut lines = BufReader::new(output).lines();
        let line = tokio::time::timeout(TIMEOUT, lines.next_line()).await??;
        anyhow::ensure!(line.is_some_and(|line| line.contains("Running")));
        anyhow::Ok(lines)
    };
    let is_running = async |name: &str| {
        until_some("it runs", TIMEOUT, async || {
            let path = format!("/windlass/v1/replays/{name}");
            let (_, replay) = daemon.call("GET", &path, None).await?;
            Ok((replay["state"] == "Running").then_some(()))
        })
        .await
    };
    let mut interrupted = start("one")?;
    let mut cancelled = start("two")?;
    let _lines = first_line(&mut interrupted).await?;
    let _more_lines = first_line(&mut cancelled).await?;
    let pid = interrupted.id().expect("it runs").to_string();
    std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status()?;
    let ended = tokio::time::timeout(TIMEOUT, interrupted.wait()).await??;
    assert_eq!(ended.code(), Some(0));
    is_running("one").await?;
    succeed(&daemon, &["cancel", "two"]).await?;
    let ended = tokio::time::timeout(TIMEOUT, cancelled.wait()).await??;
    assert_eq!(ended.code(), Some(1));
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_dry_run_counts_each_shard_and_starts_nothing() -> anyhow::Result<()> {
    let setup = Setup::new("replay-dry", 2).await?;
    let daemon = setup.start().await?;
    setup.put(0..100, false)?;
    let from = now().await;
    let mut bytes = setup.put(100..200, false)?;
    let kinesis = setup.live.kinesis();
    kinesis.split_shard(STREAM, "shardId-000000000000")?;
    bytes += setup.put(200..300, false)?;
    setup.until_delivered().await?;
    let start = [
        "start",
        "--dry-run",
        "--mapping",
        "orders/f",
        "--function",
        "again",
        "--from",
        &from,
        "--to",
        "2999-01-01T00:00:00Z",
        "--batch-size",
        "1",
    ];
    let in_json = [&start[..], &["-o", "json"]].concat();
    let both = tokio::try_join!(succeed(&daemon, &start), succeed(&daemon, &in_json));
    let (table, counted) = both?;
    assert_eq!(table.lines().count(), 5, "{table}");
    let counted: Value = serde_json::from_str(&counted)?;
    let sum = |member: &str| {
        let shards = counted["shards"].as_array().into_iter().flatten();
        shards.map(|it| it[member].as_u64().unwrap_or(0)).sum()
    };
    let sums: [u64; 4] = ["records", "matching", "batches", "bytes"].map(sum);
    assert_eq!(sums, [200, 200, 200, bytes], "{counted}");
    let counts = setup.replayed.ledger().counts();
    assert_eq!((counts.delivered, counts.batches), (0, 0));
    assert!(succeed(&daemon, &["list"]).await?.contains("no replays"));
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_means_nothing_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let setup = Setup::new("replay-refused", 2).await?;
    let daemon = setup.start().await?;
    setup.put(0..10, false)?;
    let of = |more: &[&'static str]| {
        let start = ["start", "--name", "a", "--mapping", "orders/f"];
        [&start[..], more].concat()
    };
    for (arguments, code, says) in [
        (of(&["--from", "2026-11-23T12:00:00"]), 64, "it has no zone"),
        (of(&["--from", "latest"]), 64, "'latest' is not a place"),
        (
            of(&["--to", "after:7", "--shard", "x"]),
            64,
            "cannot end after",
        ),
        (of(&["--from", "sequence:7"]), 64, "exactly one --shard"),
        (
            of(&[
                "--from",
                "2026-11-23T12:00:00Z",
                "--to",
                "2026-11-23T12:00:00Z",
            ]),
            64,
            "has no records",
        ),
        (of(&["--rate", "0"]), 64, "--rate"),
        (
            vec!["start", "--name", "a b", "--mapping", "orders/f"],
            64,
            "a name has",
        ),
        (vec!["start", "--name", "a"], 64, "--mapping"),
        (vec!["start", "--mapping", "orders/f"], 64, "--name"),
        (of(&["--dry-run", "--watch"]), 64, "cannot be used with"),
        (of(&["--dry-run", "--function", "a/b"]), 1, "function_name"),
        (vec!["set", "a"], 64, "--rate"),
        (of(&["--from", "-1s", "--to", "-1h"]), 1, "has no records"),
        (
            of(&["--shard", "shardId-000000000007"]),
            1,
            "no shard 'shardId-000000000007'",
        ),
        (of(&["--function", "a/b"]), 1, "function_name"),
        (
            vec!["start", "--name", "a", "--mapping", "carts/f"],
            1,
            "no mapping is 'carts/f'",
        ),
        (vec!["show", "a"], 1, "there is no replay 'a'"),
        (vec!["cancel", "a"], 1, "there is no replay 'a'"),
    ] {
        let ended = run(&daemon, &arguments).await?;
        let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(says), "{arguments:?}: {errors}");
    }
    let (_, replays) = daemon.call("GET", "/windlass/v1/replays", None).await?;
    assert_eq!(replays, json!({"replays": []}));
    daemon.stop().await?;
    Ok(())
}
