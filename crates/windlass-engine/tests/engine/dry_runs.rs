//! Dry runs of replays: they count what a replay would read and send, and change nothing.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use windlass_core::ids::ShardId;
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::place::Place;
use windlass_core::replay::ReplayRow;
use windlass_core::time::Timestamp;
use windlass_engine::jobs::{NotStarted, ShardTotals};
use windlass_engine::ports::{PortError, ReplayStore as _};
use windlass_engine::stop::Stop;
use windlass_testkit::fakes::{Answer, FakeStream};

use crate::daemon::{Daemon, pass};
use crate::replays::{completes, new_row, store};

type Counted = Result<Vec<ShardTotals>, PortError>;

fn start(daemon: &Daemon, row: ReplayRow) -> mpsc::Receiver<Counted> {
    daemon.dry_runs.start(row).expect("it starts")
}

async fn count(daemon: &Daemon, row: ReplayRow) -> Counted {
    let mut counted = start(daemon, row);
    counted.recv().await.expect("it ends by itself")
}

/// Lets a dry run begin the first read of each shard, which takes longer.
async fn listed() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Every third record is of another kind.
fn put(stream: &FakeStream, shard: usize, n_records: u64) {
    for number in 0..n_records {
        let kind = if number % 3 == 2 { "other" } else { "wanted" };
        let event = format!(r#"{{"n":{number},"kind":"{kind}"}}"#);
        stream.put(shard, event.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_what_the_replay_then_sends_and_changes_nothing() {
    type Change = fn(&mut ReplayRow);
    let filtered: Change = |row| {
        let pattern = r#"{"kind":["wanted"]}"#;
        let filters = json!({"Filters": [{"Pattern": pattern}]});
        row.spec.set("FilterCriteria", filters);
        row.spec.set("BatchSize", 4);
        row.spec.set("MaximumBatchingWindowInSeconds", 5);
    };
    let in_lanes: Change = |row| {
        row.spec.set("BatchSize", 3);
        row.spec.set("ParallelizationFactor", 4);
    };
    let limited: Change = |row| row.rate = NonZeroU32::new(7);
    for (change, matching) in [(filtered, 40), (in_lanes, 60), (limited, 60)] {
        let daemon = Daemon::start();
        let stream = daemon.stream("orders", 1);
        let function = daemon.adapters.function("f");
        function.answers(Answer::After(Duration::from_millis(1), Outcome::Success));
        put(&stream, 0, 30);
        let split = daemon.clock.wall();
        stream.follow(0, 1);
        stream.follow(0, 2);
        pass(5).await;
        put(&stream, 1, 30);
        pass(5).await;
        let row = new_row(&daemon, "again", change);
        let counted = count(&daemon, row.clone()).await.expect("it reads");
        assert_eq!(function.n_calls(), 0);
        assert!(daemon.store.replays().await.expect("it reads").is_empty());
        assert!(daemon.store.leases_of(&row.id).is_empty());
        assert_eq!(daemon.budget.used(), 0);
        let shards = counted.iter().map(|it| (it.shard.as_str(), it.records));
        assert_eq!(shards.collect::<Vec<_>>(), [("0", 30), ("1", 30), ("2", 0)]);
        assert_eq!(counted[0].first_arrival, Some(split));
        assert_eq!(counted[0].last_arrival, Some(split));
        assert_eq!(counted[2].first_arrival, None);
        assert_eq!(counted.iter().map(|it| it.matching).sum::<u64>(), matching);
        store(&daemon, &row).await;
        completes(&daemon, &row.id).await;
        let batches: u64 = counted.iter().map(|it| it.batches).sum();
        assert_eq!(batches, function.n_calls() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn only_chosen_shards_and_records_of_the_stretch_are_counted() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    put(&stream, 0, 10);
    put(&stream, 1, 10);
    let row = new_row(&daemon, "again", |row| {
        row.shards = vec![ShardId::from("1")];
        row.from = Place::AtSequenceNumber("3".into());
        row.to = Place::AtSequenceNumber("6".into());
    });
    let counted = count(&daemon, row).await.expect("it reads");
    let now = Some(Timestamp::from_millis(1_700_000_000_000));
    let expected = ShardTotals {
        shard: ShardId::from("1"),
        records: 4,
        bytes: 0,
        batches: 1,
        first_arrival: now,
        last_arrival: now,
        matching: 4,
    };
    assert_eq!(counted, [expected]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_read_ends_a_dry_run() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    put(&stream, 0, 10);
    for fault in [Fault::Denied, Fault::Transient, Fault::Gone] {
        let mut counted = start(&daemon, new_row(&daemon, "again", |_| {}));
        listed().await;
        stream.set_fault(Some(fault));
        let counted = counted.recv().await.expect("it ends by itself");
        assert_eq!(counted.expect_err("it fails").fault, fault);
        stream.set_fault(None);
    }
    // The records of a shard may leave the stream after it was listed.
    let mut counted = start(&daemon, new_row(&daemon, "again", |_| {}));
    listed().await;
    stream.remove(0);
    let counted = counted.recv().await.expect("it ends by itself");
    assert_eq!(counted.expect("the stream exists")[0].records, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_ends_with_its_caller_and_with_the_daemon() {
    let mut daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    put(&stream, 0, 10);
    // Others read the shard all the time: that ends by itself some day.
    let (throttled, row) = (
        Fault::Throttled { retry_after: None },
        new_row(&daemon, "a", |_| {}),
    );
    let left = start(&daemon, row.clone());
    let mut waits = start(&daemon, row.clone());
    listed().await;
    stream.set_fault(Some(throttled));
    pass(600).await;
    assert!(waits.try_recv().is_err(), "it waits");
    drop(left);
    daemon.stop(Stop::Drain);
    daemon.ended().await;
    assert_eq!(waits.recv().await.map(|it| it.is_ok()), None);
    assert_eq!(daemon.dry_runs.start(row).err(), Some(NotStarted::Draining));
}
