//! A round of the supervisor looks only at what has changed.

use std::time::Duration;

use windlass_core::mapping::{Change, DesiredState, MappingId};
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::position::Position;
use windlass_engine::stop::Stop;
use windlass_testkit::fakes::Answer;

use crate::daemon::{Daemon, after, pass, until};

const N_MAPPINGS: usize = 50;

/// A daemon with mappings of one stream each, which run and rest.
async fn daemon_at_rest() -> (Daemon, Vec<MappingId>) {
    let daemon = Daemon::with(|settings| {
        // Listings are work of their own, for each mapping.
        settings.discovery_interval = Duration::from_secs(3_000);
    });
    daemon.adapters.function("f");
    let mut ids = Vec::new();
    for number in 0..N_MAPPINGS {
        daemon.stream(&format!("s{number}"), 1);
        ids.push(daemon.map(&format!("stream/s{number}"), "f", 1).await);
    }
    until("all run", || {
        ids.iter().all(|id| daemon.state(id) == "Enabled")
    })
    .await;
    pass(60).await;
    daemon.store.take_changes_read();
    (daemon, ids)
}

#[tokio::test(start_paused = true)]
async fn a_round_without_changes_is_one_call_that_returns_nothing() {
    let (daemon, _) = daemon_at_rest().await;
    // Expired dead letters are looked for at their own interval.
    let n_calls = || {
        let of_letters = ["deleting expired dead letters", "counting dead letters"];
        let n_calls = of_letters.map(|it| daemon.store.n_calls(it));
        daemon.store.n_all_calls() - n_calls.iter().sum::<usize>()
    };
    let before = (n_calls(), n_rounds(&daemon));
    pass(60).await;
    let rounds = n_rounds(&daemon) - before.1;
    assert_eq!(rounds, 60 / 5);
    assert_eq!(n_calls() - before.0, rounds);
    assert!(daemon.store.take_changes_read().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_round_touches_only_the_mapping_that_has_changed() {
    let (daemon, ids) = daemon_at_rest().await;
    let changed = &ids[7];
    daemon
        .change(changed, |row| {
            row.spec.set("BatchSize", 2);
            row.change = Change::Updated;
        })
        .await;
    until("it is updated", || daemon.state(changed) == "Enabled").await;
    pass(60).await;
    let read = daemon.store.take_changes_read();
    assert!(!read.is_empty() && read.len() <= 3, "{read:?}");
    assert!(read.iter().all(|id| id == changed), "{read:?}");
    let epoch = |id: &MappingId| daemon.store.leases_of(id)[0].epoch;
    for id in &ids {
        let expected = if id == changed { 2 } else { 1 };
        assert_eq!(epoch(id), expected, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn saved_checkpoints_cause_no_rounds() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    daemon.adapters.function("f");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    pass(10).await;
    daemon.store.take_changes_read();
    for _ in 0..60 {
        stream.put(0, b"{}");
        pass(1).await;
    }
    until("all is saved", || {
        daemon.checkpoint(&id, "0") == after("59")
    })
    .await;
    assert!(daemon.store.take_changes_read().is_empty());
}

#[tokio::test(start_paused = true)]
async fn at_most_ten_rounds_a_second_gather_the_wakeups() {
    let (daemon, ids) = daemon_at_rest().await;
    let (before, start) = (n_rounds(&daemon), daemon.clock.now());
    let mut disabled = true;
    while daemon.clock.now().since(start) < Duration::from_secs(10) {
        for id in &ids {
            daemon
                .change(id, |row| {
                    let states = [
                        (DesiredState::Enabled, Change::Enabled),
                        (DesiredState::Disabled, Change::Disabled),
                    ];
                    (row.desired, row.change) = states[usize::from(disabled)];
                })
                .await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        disabled = !disabled;
    }
    let rounds = n_rounds(&daemon) - before;
    assert!((90..=101).contains(&rounds), "{rounds}");
    for id in &ids {
        daemon
            .change(id, |row| row.desired = DesiredState::Enabled)
            .await;
    }
    until("all run", || {
        ids.iter().all(|id| daemon.state(id) == "Enabled")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn leases_are_taken_and_released_together() {
    let mut daemon = Daemon::start();
    daemon.stream("orders", 100);
    daemon.adapters.function("f");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    let calls = |operation: &str| daemon.store.n_calls(operation);
    assert_eq!((calls("adding leases"), calls("taking leases")), (1, 1));
    assert_eq!(calls("removing leases"), 0);
    let leases = daemon.store.leases_of(&id);
    assert!(leases.iter().all(|lease| lease.owner.is_some()));
    daemon.stop(Stop::Drain);
    daemon.ended().await;
    assert_eq!(daemon.store.n_calls("releasing leases"), 1);
    let leases = daemon.store.leases_of(&id);
    assert!(leases.iter().all(|lease| lease.owner.is_none()));
}

#[tokio::test(start_paused = true)]
async fn checkpoints_of_many_shards_are_saved_together() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 100);
    daemon.adapters.function("f");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    for _ in 0..10 {
        for shard in 0..100 {
            stream.put(shard, b"{}");
        }
        pass(1).await;
    }
    until("all is saved", || {
        (0..100).all(|shard| daemon.checkpoint(&id, &shard.to_string()) == after("9"))
    })
    .await;
    let calls = daemon.store.n_calls("saving checkpoints");
    assert_eq!(daemon.store.saves().len(), 1_000);
    assert!(calls <= 10 * 11, "{calls}");
}

/// The checkpoint is saved by the drain, after the lease was read with an earlier one.
#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_started_again_begins_at_the_last_checkpoint() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(2), Outcome::Success));
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    pass(10).await;
    for n_records in 1..10 {
        stream.put(0, b"{}");
        until("it is invoked", || function.n_running() == 1).await;
        daemon.change(&id, |row| row.change = Change::Updated).await;
        until("it is updated", || daemon.state(&id) == "Enabled").await;
        pass(10).await;
        assert_eq!(function.n_calls(), n_records, "nothing is repeated");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_cannot_be_read_stops_alone_and_is_shown() {
    let (daemon, ids) = daemon_at_rest().await;
    let (sick, sound) = (&ids[3], &ids[4]);
    daemon
        .store
        .cannot_read(sick, Some("unsupported source ARN 'x'"));
    daemon
        .change(sound, |row| row.change = Change::Updated)
        .await;
    until("the other one is updated", || {
        daemon.state(sound) == "Enabled" && daemon.store.leases_of(sound)[0].epoch == 2
    })
    .await;
    until("it has stopped", || {
        daemon.board.n_units() == N_MAPPINGS - 1
    })
    .await;
    let unreadable = daemon.board.unreadable();
    assert_eq!(unreadable.keys().collect::<Vec<_>>(), [sick]);
    assert_eq!(unreadable[sick].reason, "unsupported source ARN 'x'");
    assert_eq!(daemon.board.leases().unwrap().running, N_MAPPINGS - 1);
    assert_eq!(daemon.store.leases_of(sick).len(), 1, "its lease is kept");
    daemon.store.cannot_read(sick, None);
    until("it runs", || daemon.state(sick) == "Enabled").await;
    assert!(daemon.board.unreadable().is_empty());
    let errors = daemon.errors.take();
    assert_eq!(errors.len(), 1, "{errors:?}");
}

/// What a failed round was to do is done by the next one.
#[tokio::test(start_paused = true)]
async fn a_change_survives_rounds_that_fail() {
    let (daemon, ids) = daemon_at_rest().await;
    for id in &ids[..5] {
        daemon
            .change(id, |row| {
                (row.desired, row.change) = (DesiredState::Deleted, Change::Deleted);
            })
            .await;
    }
    // The consumers stop in the first round, and the mappings are to be removed in the next.
    until("they stop", || daemon.board.n_units() == N_MAPPINGS - 5).await;
    daemon.store.fails(Some(Fault::Transient));
    pass(30).await;
    assert!(daemon.store.row(&ids[0]).is_some());
    daemon.store.fails(None);
    until("they are removed", || {
        ids[..5].iter().all(|id| daemon.store.row(id).is_none())
    })
    .await;
    pass(10).await;
    let counts = daemon.board.leases().unwrap();
    assert_eq!((counts.running, counts.waiting), (N_MAPPINGS - 5, 0));
    assert!(!daemon.errors.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_ends_is_counted_and_its_child_runs() {
    let (daemon, ids) = daemon_at_rest().await;
    let stream = daemon.stream("splits", 1);
    stream.follow(0, 1);
    let id = daemon.map("stream/splits", "f", 1).await;
    until("its child runs", || daemon.store.leases_of(&id).len() == 2).await;
    pass(10).await;
    assert_eq!(daemon.checkpoint(&id, "0"), Position::ShardEnd);
    let counts = daemon.board.leases().unwrap();
    assert_eq!((counts.running, counts.ended), (N_MAPPINGS + 1, 1));
    let read = daemon.store.take_changes_read();
    assert!(!ids.iter().any(|id| read.contains(id)), "{read:?}");
}

fn n_rounds(daemon: &Daemon) -> usize {
    daemon.store.n_calls("reading changes")
}
