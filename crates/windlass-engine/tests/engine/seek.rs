//! Seeks: positions are moved while everything runs, and nothing that ran before saves over them.

use std::time::Duration;

use serde_json::Value;
use windlass_core::ids::ShardId;
use windlass_core::mapping::{DesiredState, MappingId};
use windlass_core::outcome::Outcome;
use windlass_core::place::Place;
use windlass_core::position::Position;
use windlass_core::seek::MovedShard;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{HistoryId, HistoryLine, What};
use windlass_engine::supervisor::{OperationError, Seek};
use windlass_testkit::fakes::{Answer, FakeFunction};

use crate::daemon::{Daemon, after, pass, until};

impl Daemon {
    async fn seek(
        &self,
        id: &MappingId,
        shard: Option<&str>,
        to: Place,
    ) -> Result<Vec<MovedShard>, OperationError> {
        let row = self.store.row(id).expect("the mapping exists");
        let seek = Seek {
            shard: shard.map(ShardId::from),
            to,
            is_dry_run: false,
        };
        let line = |_: &[MovedShard]| HistoryLine {
            id: HistoryId(1),
            time: Timestamp::EPOCH,
            who: "local".to_owned(),
            what: What::Seek,
            mapping: Some(id.clone()),
            before: Value::Null,
            after: Value::Null,
        };
        self.operator.seek(&row, &seek, line).await
    }
}

/// The numbers in the events of one record that a function has received.
fn numbers(function: &FakeFunction) -> Vec<u32> {
    let calls = function.calls().into_iter();
    let numbers = calls.map(|call| {
        let event: Value = serde_json::from_slice(&call.event).expect("it is JSON");
        let number = event["Records"][0]["n"].as_u64().expect("it has a number");
        u32::try_from(number).expect("it is small")
    });
    numbers.collect()
}

fn event(number: u32) -> Vec<u8> {
    format!("{{\"n\":{number}}}").into_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_seek_ends_what_is_in_flight_and_nothing_saves_over_it() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    for number in 0..3 {
        stream.put(0, &event(number));
    }
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it is done", || {
        daemon.store.leases_of(&id).len() == 1 && daemon.checkpoint(&id, "0") == after("2")
    })
    .await;
    function.answers(Answer::After(Duration::from_secs(5), Outcome::Success));
    stream.put(0, &event(3));
    until("it is in flight", || function.n_running() == 1).await;
    let epoch = daemon.store.leases_of(&id)[0].epoch;
    let moved = daemon.seek(&id, None, Place::TrimHorizon).await.unwrap();
    let [moved] = &moved[..] else {
        panic!("one shard is moved: {moved:?}");
    };
    assert_eq!(moved.from, Some(after("3")), "what was in flight has ended");
    assert_eq!(moved.to, Position::TrimHorizon);
    function.answers(Answer::After(Duration::ZERO, Outcome::Success));
    until("all is done again", || {
        daemon.checkpoint(&id, "0") == after("3")
    })
    .await;
    assert_eq!(numbers(&function), [0, 1, 2, 3, 0, 1, 2, 3]);
    let calls = function.calls();
    let epochs = calls
        .iter()
        .map(|call| call.origin.as_ref().map(|it| it.epoch));
    let epochs: Vec<_> = epochs.flatten().collect();
    assert!(epochs[..4].iter().all(|it| *it == epoch), "{epochs:?}");
    assert!(epochs[4..].iter().all(|it| epoch + 2 <= *it), "{epochs:?}");
    assert_eq!(daemon.state(&id), "Enabled");
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_hangs_is_cancelled_and_one_operation_runs_at_a_time() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::Hangs);
    stream.put(0, &event(0));
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it hangs", || function.n_running() == 1).await;
    stream.put(0, &event(1));
    let begun = tokio::time::Instant::now();
    let first = daemon.seek(&id, Some("0"), Place::AfterSequenceNumber("0".into()));
    let second = async {
        pass(1).await;
        let counts = daemon.board.leases().unwrap();
        assert_eq!((counts.running, counts.waiting), (1, 0));
        daemon.seek(&id, None, Place::TrimHorizon).await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(matches!(second, Err(OperationError::Busy)), "{second:?}");
    assert_eq!(first.unwrap()[0].to, after("0"));
    let elapsed = begun.elapsed().as_secs();
    assert!((25..28).contains(&elapsed), "{elapsed} s");
    function.answers(Answer::After(Duration::ZERO, Outcome::Success));
    until("it continues", || daemon.checkpoint(&id, "0") == after("1")).await;
    assert_eq!(numbers(&function), [0, 1]);
    let unknown = daemon.seek(&id, Some("7"), Place::TrimHorizon).await;
    assert!(
        matches!(unknown, Err(OperationError::UnknownShard(_))),
        "{unknown:?}"
    );
    let number = Place::AtSequenceNumber("9".into());
    let unknown = daemon.seek(&id, Some("0"), number).await;
    assert!(
        matches!(unknown, Err(OperationError::UnknownNumber { .. })),
        "{unknown:?}"
    );
}

/// A split shard with two records, and its child with one.
async fn split(daemon: &Daemon) -> (MappingId, std::sync::Arc<FakeFunction>) {
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, &event(0));
    stream.put(0, &event(1));
    stream.follow(0, 1);
    stream.put(1, &event(2));
    let id = daemon.map("stream/orders", "f", 1).await;
    until("all is done", || {
        daemon.checkpoint_is(&id, "1", &after("0"))
    })
    .await;
    assert_eq!(daemon.checkpoint(&id, "0"), Position::ShardEnd);
    (id, function)
}

#[tokio::test(start_paused = true)]
async fn a_seek_back_over_a_split_takes_up_the_parent_and_its_child_waits() {
    let daemon = Daemon::start();
    let (id, function) = split(&daemon).await;
    function.answers(Answer::After(Duration::from_secs(5), Outcome::Success));
    let moved = daemon.seek(&id, None, Place::TrimHorizon).await;
    assert_eq!(moved.unwrap().len(), 2);
    pass(3).await;
    let counts = daemon.board.leases().unwrap();
    assert_eq!((counts.running, counts.waiting), (1, 0), "the child waits");
    assert_eq!(daemon.state(&id), "Enabled");
    let daemon = daemon.restart_after_a_kill().await;
    until("all is done again", || {
        daemon.checkpoint_is(&id, "1", &after("0"))
    })
    .await;
    assert_eq!(numbers(&function), [0, 1, 2, 0, 0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_child_of_one_shard_that_is_moved_continues_where_it_was() {
    let daemon = Daemon::start();
    let (id, function) = split(&daemon).await;
    let at = Place::AtSequenceNumber("1".into());
    let moved = daemon.seek(&id, Some("0"), at).await.unwrap();
    assert_eq!(
        (moved.len(), moved[0].from.clone()),
        (1, Some(Position::ShardEnd))
    );
    until("the parent ends again", || {
        let leases = daemon.store.leases_of(&id);
        leases.iter().all(|it| !it.waits) && daemon.checkpoint(&id, "0") == Position::ShardEnd
    })
    .await;
    pass(60).await;
    assert_eq!(numbers(&function), [0, 1, 2, 1]);
    assert_eq!(daemon.checkpoint(&id, "1"), after("0"));
    assert_eq!(daemon.status(&id).units.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_mapping_begins_there_later_also_shards_without_a_row() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, &event(0));
    pass(60).await;
    let id = daemon
        .map_latest("stream/orders", "f", daemon.clock.wall())
        .await;
    daemon.set(&id, DesiredState::Disabled).await;
    until("it is disabled", || daemon.state(&id) == "Disabled").await;
    let time = daemon.clock.wall().shifted(-120_000);
    let moved = daemon.seek(&id, None, Place::AtTimestamp(time)).await;
    moved.unwrap();
    pass(60).await;
    assert_eq!((daemon.state(&id), function.n_calls()), ("Disabled", 0));
    daemon.set(&id, DesiredState::Enabled).await;
    until("it begins", || daemon.checkpoint_is(&id, "0", &after("0"))).await;
    assert_eq!(numbers(&function), [0]);
}

#[tokio::test(start_paused = true)]
async fn now_is_measured_by_the_clock_of_the_source() {
    for minutes in [-5, 5] {
        let daemon = Daemon::start();
        let stream = daemon.stream("orders", 1);
        stream.set_clock_difference(minutes * 60_000);
        let function = daemon.adapters.function("f");
        stream.put(0, &event(0));
        let id = daemon.map("stream/orders", "f", 1).await;
        until("it is done", || daemon.checkpoint_is(&id, "0", &after("0"))).await;
        pass(10).await;
        daemon.seek(&id, None, Place::Now).await.unwrap();
        stream.put(0, &event(1));
        until("both are", || daemon.checkpoint_is(&id, "0", &after("1"))).await;
        assert_eq!(numbers(&function), [0, 1], "{minutes} minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn the_age_of_records_counts_from_the_seek() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, &event(0));
    let id = daemon
        .map_with("stream/orders", "f", 1, |spec| {
            spec.set("MaximumRecordAgeInSeconds", 60);
        })
        .await;
    until("it is done", || daemon.checkpoint_is(&id, "0", &after("0"))).await;
    pass(600).await;
    function.answers(Answer::After(
        Duration::ZERO,
        Outcome::function_error(200, "Unhandled"),
    ));
    daemon.seek(&id, None, Place::TrimHorizon).await.unwrap();
    pass(50).await;
    assert!(3 < function.n_calls(), "{}", function.n_calls());
    assert_eq!(daemon.status(&id).counts.dropped.get(), 0);
    until("it is given up", || {
        daemon.status(&id).counts.dropped.get() == 1
    })
    .await;
}
