//! Parks, seeks and skips that mean nothing, and what those that are accepted do to a mapping that runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait::{until, until_some};

use crate::{Ended, FAILED, USAGE, one_mapping, run};

const TIMEOUT: Duration = Duration::from_secs(60);

struct Running {
    dir: TempDir,
    daemon: Daemon,
    emulator: Emulator,
    stream: String,
}

impl Running {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Value)) -> Self {
        let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let emulator = emulator.await.expect("it starts");
        let stream = emulator.kinesis().create_stream("orders", 1);
        let stream = stream.expect("it is new");
        let (dir, endpoint) = (TempDir::new("operate"), emulator.endpoint());
        let mut config = one_mapping(dir.path(), &endpoint, &stream, &emulator.function_url("f"));
        change(&mut config);
        let daemon = Daemon::start(dir.path(), &config.to_string()).await;
        Self {
            dir,
            daemon: daemon.expect("it starts"),
            emulator,
            stream,
        }
    }

    async fn call(&self, arguments: &[&str]) -> Ended {
        let at = ["--endpoint", &self.daemon.endpoint];
        run(self.dir.path(), &[arguments, &at].concat()).await
    }

    fn put(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let ledger = self.emulator.ledger();
            let payload = ledger.put_payload(&self.stream, "key", number);
            let kinesis = self.emulator.kinesis();
            let put = kinesis.put("orders", "key", payload.as_bytes());
            put.expect("the stream exists");
        }
    }

    async fn until_missing(&self, missing: u64) {
        let ledger = self.emulator.ledger();
        let delivered = until("records are delivered", TIMEOUT, || {
            ledger.counts().missing() == missing
        });
        delivered.await.expect("in time");
    }

    async fn until_waiting_for(&self, text: &str) {
        let uuid = self.daemon.only_mapping().await.expect("there is one");
        let waits = until_some("the status says so", TIMEOUT, async || {
            let status = self.daemon.status(&uuid).await?;
            let waiting = status["shards"][0]["waiting_for"].as_str();
            Ok(waiting.is_some_and(|it| it.contains(text)).then_some(()))
        });
        waits.await.expect("in time");
    }
}

#[tokio::test]
async fn a_place_that_means_nothing_is_refused_before_the_daemon_is_asked() {
    let dir = TempDir::new("operate-usage");
    for (place, says) in [
        (
            "2026-11-23T12:00:00",
            "'2026-11-23T12:00:00' is not a place",
        ),
        ("2026-11-23", "'2026-11-23' is not a place"),
        ("1764000000", "'1764000000' is not a place"),
        ("2h", "'2h' is not a place"),
        ("latest", "'latest' is not a place"),
        ("sequence:7", "belongs to one shard; add --shard"),
    ] {
        let ended = run(dir.path(), &["seek", "orders/f", place]).await;
        ended.assert(USAGE, &[says]);
    }
}

#[tokio::test]
async fn an_operation_that_cannot_be_done_is_refused_and_changes_nothing() {
    let running = Running::start().await;
    running.put(0..10);
    running.until_missing(0).await;
    let of_shard = ["--shard", "shardId-000000000000"];
    let seek = |place: &'static str| [&["seek", "orders/f", place][..], &of_shard].concat();
    for (arguments, says) in [
        (vec!["seek", "orders/g", "now"], "no mapping is 'orders/g'"),
        (
            vec!["seek", "orders/f", "9999-01-01T00:00:00Z"],
            "in the future",
        ),
        (
            vec!["seek", "orders/f", "trim-horizon", "--shard", "other"],
            "has no shard other",
        ),
        (seek("sequence:123"), "no record with sequence number 123"),
        (vec!["park", "orders/f", "--shard", "other"], "other"),
    ] {
        running.call(&arguments).await.assert(FAILED, &[says]);
    }
    let dry_run = ["seek", "orders/f", "trim-horizon", "--dry-run"];
    running.call(&dry_run).await.assert(0, &["would be moved"]);
    let history = running.call(&["history", "orders/f"]).await;
    for changed in ["seek", "park"] {
        assert!(!history.text.contains(changed), "{}", history.text);
    }
    assert_eq!(running.emulator.ledger().counts().repeated, 0);
}

#[tokio::test]
async fn a_parked_shard_rests_and_a_seek_delivers_again() {
    let running = Running::start().await;
    running.put(0..10);
    running.until_missing(0).await;
    let park = ["park", "orders/f", "--reason", "maintenance"];
    running.call(&park).await.assert(0, &[]);
    running.until_waiting_for("maintenance").await;
    running.put(10..20);
    let seek = ["seek", "orders/f", "trim-horizon"];
    running.call(&seek).await.assert(0, &["1 shard moved"]);
    assert_eq!(
        running.emulator.ledger().counts().missing(),
        10,
        "it is parked"
    );
    running.call(&["unpark", "orders/f"]).await.assert(0, &[]);
    running.until_missing(0).await;
    let ledger = running.emulator.ledger();
    let repeated = until("all are delivered again", TIMEOUT, || {
        ledger.counts().repeated == 10
    });
    repeated.await.expect("in time");
    let history = running.call(&["history", "orders/f"]).await;
    history.assert(0, &["park", "seek", "unpark"]);
    running.daemon.stop().await.expect("it stops");
}

const SHARD: [&str; 2] = ["--shard", "shardId-000000000000"];

fn skip<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["skip", "orders/f"][..], arguments, &SHARD[..]].concat()
}

#[tokio::test]
async fn a_skip_that_means_nothing_is_refused_before_the_daemon_is_asked() {
    let dir = TempDir::new("skip-usage");
    for (arguments, says) in [
        (&[][..], "required arguments were not provided"),
        (&["--records", "0"], "0 is not in 1.."),
        (&["--records", "-1"], "unexpected argument"),
        (&["--records", "all"], "invalid digit"),
        (&["--records", "1", "--batch"], "cannot be used with"),
        (&["--through", "latest"], "decimal digits"),
    ] {
        let ended = run(dir.path(), &skip(arguments)).await;
        ended.assert(USAGE, &[says]);
    }
    let without_shard = ["skip", "orders/f", "--batch"];
    let ended = run(dir.path(), &without_shard).await;
    ended.assert(USAGE, &["--shard <ID>"]);
}

#[tokio::test]
async fn what_is_skipped_becomes_dead_letters_that_are_redriven() {
    let running = Running::start().await;
    running.put(0..10);
    running.until_missing(0).await;
    let park = ["park", "orders/f", "--reason", "maintenance"];
    running.call(&park).await.assert(0, &[]);
    running.until_waiting_for("maintenance").await;
    running.put(10..20);
    let records = skip(&["--records", "4"]);
    let says = "4 records of shard shardId-000000000000 skipped";
    running.call(&records).await.assert(0, &[says]);
    running.call(&["unpark", "orders/f"]).await.assert(0, &[]);
    running.until_missing(4).await;
    let letters = running.call(&["dead-letters", "list"]).await;
    letters.assert(0, &["Skipped"]);
    for (arguments, says) in [
        (&["--records", "1"][..], "nothing to skip"),
        (&["--batch"], "no batch of shard"),
        (&["--through", "1"], "has passed sequence number 1"),
    ] {
        running.call(&skip(arguments)).await.assert(FAILED, &[says]);
    }
    let unknown = ["skip", "orders/f", "--shard", "other", "--batch"];
    let says = "shard other has no checkpoint";
    running.call(&unknown).await.assert(FAILED, &[says]);
    let redrive = ["dead-letters", "redrive", "--all"];
    running.call(&redrive).await.assert(0, &[]);
    running.until_missing(0).await;
    let history = running.call(&["history", "orders/f", "-o", "json"]).await;
    history.assert(0, &["\"skip\"", "\"skipped\": 4"]);
    assert_eq!(history.text.matches("\"skip\"").count(), 1);
    running.daemon.stop().await.expect("it stops");
}

#[tokio::test]
async fn where_letters_are_never_kept_a_skip_has_to_discard() {
    let never = |config: &mut Value| config["dead_letters"] = json!({"keep": "never"});
    let running = Running::start_with(never).await;
    running.put(0..2);
    running.until_missing(0).await;
    running.call(&["park", "orders/f"]).await.assert(0, &[]);
    running.until_waiting_for("parked").await;
    running.put(2..4);
    let one = ["--records", "1"];
    let says = "dead letters are not kept";
    running.call(&skip(&one)).await.assert(FAILED, &[says]);
    let discard = skip(&["--records", "1", "--discard", "-o", "json"]);
    let says = ["\"shard_id\": \"shardId-000000000000\"", "\"skipped\": 1"];
    running.call(&discard).await.assert(0, &says);
    running.call(&["unpark", "orders/f"]).await.assert(0, &[]);
    running.until_missing(1).await;
    let letters = running.call(&["dead-letters", "list"]).await;
    assert!(!letters.text.contains("Skipped"), "{}", letters.text);
    running.daemon.stop().await.expect("it stops");
}
