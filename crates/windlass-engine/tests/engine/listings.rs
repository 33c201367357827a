//! Listings that lack shards, shards that are gone, and streams that are created again.

use std::time::Duration;

use windlass_core::outcome::Outcome;
use windlass_core::position::Position;
use windlass_testkit::fakes::Answer;

use crate::daemon::{Daemon, after, pass, until};

#[tokio::test(start_paused = true)]
async fn a_shard_that_listings_lack_keeps_its_checkpoint_and_its_children_wait() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, b"{}");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it is saved", || is_saved(&daemon, "0", &after("0"))).await;
    function.answers(Answer::Hangs);
    stream.put(0, b"{}");
    stream.follow(0, 1);
    stream.put(1, b"{}");
    stream.hide(0, true);
    pass(300).await;
    assert_eq!(function.n_calls(), 2, "the child has not begun");
    assert_eq!(daemon.checkpoint(&id, "0"), after("0"));
    assert_eq!(daemon.store.leases_of(&id).len(), 1);
    stream.hide(0, false);
    pass(60).await;
    assert_eq!(daemon.store.leases_of(&id).len(), 1);
    assert_eq!(daemon.status(&id).counts.lost_shards.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_gone_ends_after_what_was_read_of_it_is_processed() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    let work = Answer::After(Duration::from_secs(200), Outcome::Success);
    function.answers(work);
    stream.put(0, br#"{"n":0}"#);
    stream.put(0, br#"{"n":1}"#);
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it is read", || function.n_calls() == 1).await;
    stream.follow(0, 1);
    stream.put(1, br#"{"n":2}"#);
    stream.remove(0);
    until("the child is processed", || {
        is_saved(&daemon, "1", &after("0"))
    })
    .await;
    let calls = function.calls();
    assert_eq!(calls.len(), 3);
    assert!(is_saved(&daemon, "0", &Position::ShardEnd));
    let status = daemon.status(&id);
    assert_eq!(status.counts.lost_shards.get(), 1);
    let notice = status.notice.expect("it is shown");
    assert!(
        notice.contains("after sequence number 1 are lost"),
        "{notice}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_created_again_is_read_from_its_oldest_record() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    let function = daemon.adapters.function("f");
    for _ in 0..3 {
        stream.put(0, b"{}");
    }
    stream.follow(1, 2);
    let id = daemon.map("stream/orders", "f", 1).await;
    until("all is saved", || is_saved(&daemon, "0", &after("2"))).await;
    until("a shard has ended", || {
        is_saved(&daemon, "1", &Position::ShardEnd)
    })
    .await;
    until("its child runs", || daemon.store.leases_of(&id).len() == 3).await;
    stream.recreate(1_000);
    stream.put(0, b"{}");
    until("it is read", || function.n_calls() == 4).await;
    until("it is saved", || daemon.checkpoint(&id, "0") == after("0")).await;
    let status = daemon.status(&id);
    assert_eq!(status.counts.recreated_shards.get(), 1);
    assert_eq!(status.counts.trimmed_gaps.get(), 0, "a listing says more");
    assert!(status.notice.is_some_and(|it| it.contains("created again")));
    // The other rows of the former stream end as their shards are gone.
    until("its rows are gone", || {
        daemon.store.leases_of(&id).len() == 1
    })
    .await;
    assert_eq!(function.n_calls(), 4);
}

/// Whether it is another shard depends on the checkpoint, which was saved after the lease was read.
#[tokio::test(start_paused = true)]
async fn a_start_that_moves_up_to_the_checkpoint_is_not_another_shard() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    pass(10).await;
    for _ in 0..10 {
        stream.put(0, b"{}");
    }
    until("all is saved", || daemon.checkpoint(&id, "0") == after("9")).await;
    stream.move_start(0, 5);
    until("the new start is kept", || {
        daemon.store.leases_of(&id)[0].shard_start == Some("5".into())
    })
    .await;
    pass(60).await;
    assert_eq!(daemon.status(&id).counts.recreated_shards.get(), 0);
    assert_eq!(daemon.checkpoint(&id, "0"), after("9"));
    assert_eq!(function.n_calls(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_mapping_whose_leases_cannot_be_read_holds_up_no_other() {
    let daemon = Daemon::start();
    let (sick, sound) = (daemon.stream("sick", 1), daemon.stream("sound", 1));
    let function = daemon.adapters.function("f");
    let first = daemon.map("stream/sick", "f", 1).await;
    let second = daemon.map("stream/sound", "f", 1).await;
    for stream in [&sick, &sound] {
        stream.put(0, b"{}");
        stream.put(0, b"{}");
    }
    until("both are read", || function.n_calls() == 4).await;
    daemon.store.cannot_read_leases_of(&first, true);
    let start = |id| daemon.store.leases_of(id)[0].shard_start.clone();
    for stream in [&sick, &sound] {
        stream.move_start(0, 1);
    }
    until("the other start is kept", || {
        start(&second) == Some("1".into())
    })
    .await;
    pass(60).await;
    assert_eq!(start(&first), Some("0".into()));
    let problem = daemon.status(&first).problem;
    assert!(problem.is_some_and(|it| it.contains("reading the leases")));
    assert!(!daemon.errors.take().is_empty());
    daemon.store.cannot_read_leases_of(&first, false);
    until("it is kept", || start(&first) == Some("1".into())).await;
    assert_eq!(function.n_calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_position_counts_as_trimmed_after_the_next_listing() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    for _ in 0..3 {
        stream.put(0, b"{}");
    }
    let id = daemon.map("stream/orders", "f", 1).await;
    until("all is saved", || is_saved(&daemon, "0", &after("2"))).await;
    stream.lose(0);
    stream.put(0, b"{}");
    until("it is read", || function.n_calls() == 4).await;
    let status = daemon.status(&id);
    assert_eq!(status.counts.trimmed_gaps.get(), 1);
    assert_eq!(status.counts.recreated_shards.get(), 0);
}

/// The row of the former stream has the name of a shard that must wait for its parent.
#[tokio::test(start_paused = true)]
async fn a_trimmed_position_of_a_former_stream_does_not_overtake_the_parent() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    stream.trims_unknown_positions();
    daemon.adapters.function("f");
    for _ in 0..3 {
        stream.put(1, b"{}");
    }
    let id = daemon.map("stream/orders", "f", 1).await;
    until("all is saved", || is_saved(&daemon, "1", &after("2"))).await;
    pass(10).await;
    stream.recreate(1_000);
    stream.put(0, br#"{"n":0}"#);
    stream.follow(0, 1);
    stream.move_start(1, 1_001);
    stream.put(1, br#"{"n":1}"#);
    until("the child is saved", || {
        let saves = daemon.store.saves();
        let last = saves.last().expect("there are saves");
        last.0.unit.name() == "shard:1" && last.1.position == after("0")
    })
    .await;
    let saves = daemon.store.saves();
    let last = saves.iter().rev().map(|(key, _)| key.unit.name());
    assert_eq!(
        last.take(2).collect::<Vec<_>>(),
        ["shard:1", "shard:0"],
        "the child follows its parent"
    );
    assert_eq!(daemon.status(&id).counts.trimmed_gaps.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_trimmed_position_of_the_same_stream_continues_after_a_listing() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    stream.trims_unknown_positions();
    let function = daemon.adapters.function("f");
    for _ in 0..3 {
        stream.put(0, b"{}");
    }
    let id = daemon.map("stream/orders", "f", 1).await;
    until("all is saved", || is_saved(&daemon, "0", &after("2"))).await;
    stream.lose(0);
    stream.put(0, b"{}");
    pass(90).await;
    assert_eq!(function.n_calls(), 4);
    assert_eq!(daemon.status(&id).counts.trimmed_gaps.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_was_never_listed_is_read_before_its_child() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, br#"{"n":0}"#);
    stream.follow(0, 1);
    stream.put(1, br#"{"n":1}"#);
    stream.hide(0, true);
    let id = daemon.map("stream/orders", "f", 1).await;
    pass(300).await;
    assert_eq!(function.n_calls(), 0, "the child waits");
    let problem = daemon.status(&id).problem.unwrap_or_default();
    assert!(problem.contains("lacks parents"), "{problem}");
    stream.hide(0, false);
    until("both are read", || is_saved(&daemon, "1", &after("0"))).await;
    assert_eq!(daemon.status(&id).problem, None);
    assert_eq!(function.n_calls(), 2);
    let order = daemon.store.saves();
    assert_eq!(order[0].0.unit.name(), "shard:0");
    assert_eq!(daemon.status(&id).counts.lost_shards.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_left_the_stream_before_the_mapping_began_delays_nothing() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    daemon.adapters.function("f");
    stream.follow(0, 1);
    stream.put(1, b"{}");
    stream.remove(0);
    let id = daemon.map("stream/orders", "f", 1).await;
    pass(5).await;
    assert_eq!(daemon.checkpoint(&id, "1"), after("0"));
    let status = daemon.status(&id);
    assert_eq!(status.counts.lost_shards.get(), 0);
    assert_eq!(status.notice, None);
    assert_eq!(daemon.store.leases_of(&id).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_finished_shard_that_listings_lack_is_not_read_again() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, b"{}");
    stream.follow(0, 1);
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it has ended", || {
        is_saved(&daemon, "0", &Position::ShardEnd)
    })
    .await;
    stream.hide(0, true);
    pass(300).await;
    stream.hide(0, false);
    pass(60).await;
    assert_eq!(function.n_calls(), 1);
    stream.remove(0);
    until("its row is gone", || daemon.store.leases_of(&id).len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_before_the_retention_period_is_a_possible_gap() {
    let daemon = Daemon::start();
    let (expired, kept) = (daemon.stream("expired", 2), daemon.stream("kept", 2));
    daemon.adapters.function("f");
    let now = daemon.clock.wall();
    let hours_ago = |hours: u64| now.shifted(-3_600_000 * i64::try_from(hours).unwrap());
    for stream in [&expired, &kept] {
        stream.remove_until(hours_ago(48));
    }
    let first = daemon.map_at("stream/expired", "f", hours_ago(50)).await;
    let second = daemon.map_at("stream/kept", "f", hours_ago(47)).await;
    pass(90).await;
    let status = daemon.status(&first);
    assert_eq!(status.counts.trimmed_gaps.get(), 1);
    let notice = status.notice.unwrap_or_default();
    assert!(notice.contains("7200 s before"), "{notice}");
    let status = daemon.status(&second);
    assert_eq!(status.counts.trimmed_gaps.get(), 0);
    assert_eq!(status.notice, None);
}

/// Whether a checkpoint was ever saved.
fn is_saved(daemon: &Daemon, shard: &str, position: &Position) -> bool {
    let name = format!("shard:{shard}");
    let saves = daemon.store.saves();
    let mut saves = saves.iter();
    saves.any(|(key, saved)| key.unit.name() == name && saved.position == *position)
}
