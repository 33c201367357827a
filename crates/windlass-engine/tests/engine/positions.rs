//! Where mappings start, and where their shards continue.

use std::collections::BTreeSet;
use std::time::Duration;

use windlass_core::mapping::latest;
use windlass_core::position::Position;
use windlass_testkit::fakes::Answer;

use crate::daemon::{Daemon, pass, until};

/// The daemon is killed before it has saved anything.
#[tokio::test(start_paused = true)]
async fn a_record_put_just_after_create_survives_a_kill_whatever_the_clocks_say() {
    for minutes in [-5, 0, 5] {
        let daemon = Daemon::start();
        let difference = minutes * 60_000;
        let stream = daemon.stream("orders", 1);
        stream.set_clock_difference(difference);
        let function = daemon.adapters.function("f");
        function.answers(Answer::Hangs);
        stream.put(0, br#"{"n":0}"#);
        pass(5).await;
        let answered = daemon.clock.wall().shifted(difference).floor_to_second();
        let created = latest(Some(answered), daemon.clock.wall());
        let id = daemon.map_latest("stream/orders", "f", created).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        stream.put(0, br#"{"n":1}"#);
        until("it is invoked", || function.n_calls() == 1).await;
        assert!(matches!(
            daemon.checkpoint(&id, "0"),
            Position::AtTimestamp(_)
        ));
        let daemon = daemon.restart_after_a_kill().await;
        until("it is invoked again", || function.n_calls() == 2).await;
        pass(300).await;
        let events: BTreeSet<_> = function.calls().into_iter().map(|it| it.event).collect();
        assert_eq!(events.len(), 1, "{minutes} minutes");
        let event = events.into_iter().next().unwrap();
        let event = String::from_utf8_lossy(&event).into_owned();
        assert!(event.contains(r#"{"n":1}"#), "{event}");
        drop(daemon);
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_is_exact_to_the_millisecond() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    tokio::time::sleep(Duration::from_millis(123)).await;
    stream.put(0, br#"{"n":0}"#);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let start = daemon.clock.wall();
    stream.put(0, br#"{"n":1}"#);
    daemon.map_at("stream/orders", "f", start).await;
    until("it is invoked", || function.n_calls() == 1).await;
    pass(60).await;
    let calls = function.calls();
    let event = String::from_utf8_lossy(&calls[0].event);
    assert!(event.contains(r#"{"n":1}"#), "{event}");
    assert_eq!(calls.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_more_than_a_thousand_shards_is_read_with_all_children() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1_500);
    let function = daemon.adapters.function("f");
    for shard in 0..1_500 {
        stream.put(shard, b"{}");
    }
    for parent in 0..500 {
        let child = 1_500 + parent;
        stream.follow(parent, child);
        stream.put(child, b"{}");
    }
    let id = daemon.map("stream/orders", "f", 1).await;
    until("every record arrives", || function.n_calls() == 2_000).await;
    until("all is saved", || {
        let leases = daemon.store.leases_of(&id);
        let mut positions = leases.iter().map(|it| &it.checkpoint.position);
        leases.len() == 2_000 && positions.all(|it| *it != Position::TrimHorizon)
    })
    .await;
    assert_eq!(function.n_calls(), 2_000);
}
