//! A mapping is created, updated, disabled and deleted; a daemon starts and stops.

use std::time::Duration;

use windlass_core::mapping::{Change, DesiredState};
use windlass_core::outcome::Outcome;
use windlass_core::position::Position;
use windlass_engine::ports::ShardOrigin;
use windlass_engine::status::LeaseCounts;
use windlass_engine::stop::Stop;
use windlass_testkit::fakes::Answer;

use crate::daemon::{Daemon, after, pass, until};

#[tokio::test(start_paused = true)]
async fn a_mapping_runs_from_creation_to_invocation_to_checkpoint() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    let function = daemon.adapters.function("f");
    stream.put(0, b"{\"n\":0}");
    stream.put(0, b"{\"n\":1}");
    stream.put(1, b"{\"n\":2}");
    let id = daemon.map("stream/orders", "f", 100).await;
    assert_eq!(daemon.state(&id), "Creating");
    until("both shards are saved", || {
        daemon.store.leases_of(&id).len() == 2
            && daemon.checkpoint(&id, "0") == after("1")
            && daemon.checkpoint(&id, "1") == after("0")
    })
    .await;
    assert_eq!(daemon.state(&id), "Enabled");
    let mut events: Vec<_> = function
        .calls()
        .into_iter()
        .map(|call| call.event)
        .collect();
    events.sort();
    assert_eq!(
        events,
        [
            "{\"Records\":[{\"n\":0},{\"n\":1}]}",
            "{\"Records\":[{\"n\":2}]}"
        ]
    );
    let status = daemon.status(&id);
    assert_eq!(status.last_processing_result, "OK");
    assert_eq!(
        (status.counts.polled.get(), status.counts.invoked.get()),
        (3, 3)
    );
    let running = LeaseCounts {
        running: 2,
        ..LeaseCounts::default()
    };
    assert_eq!(daemon.board.leases(), Some(running));
    until("memory is free", || daemon.budget.used() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_is_deleted_after_success() {
    let daemon = Daemon::start();
    let queue = daemon.queue("jobs");
    let function = daemon.adapters.function("f");
    let id = daemon.map("jobs", "f", 10).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    queue.send(b"{}");
    until("it is deleted", || queue.n_messages() == 0).await;
    assert_eq!(function.n_calls(), 1);
    assert_eq!(function.calls()[0].origin, None);
    assert!(queue.dead_letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_update_continues_at_the_checkpoint() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, b"{\"n\":0}");
    let id = daemon.map("stream/orders", "f", 100).await;
    until("it is saved", || {
        !daemon.store.leases_of(&id).is_empty() && daemon.checkpoint(&id, "0") == after("0")
    })
    .await;
    daemon
        .change(&id, |row| {
            row.spec.set("BatchSize", 1);
            row.change = Change::Updated;
        })
        .await;
    assert_eq!(daemon.state(&id), "Updating");
    stream.put(0, b"{\"n\":1}");
    stream.put(0, b"{\"n\":2}");
    until("the rest is saved", || {
        daemon.checkpoint(&id, "0") == after("2")
    })
    .await;
    assert_eq!(daemon.state(&id), "Enabled");
    let events: Vec<_> = function
        .calls()
        .into_iter()
        .map(|call| call.event)
        .collect();
    let each = [0, 1, 2].map(|n| format!("{{\"Records\":[{{\"n\":{n}}}]}}"));
    assert_eq!(events, each);
    assert_eq!(daemon.store.leases_of(&id)[0].epoch, 2);
    let origins = function.calls().into_iter().map(|call| call.origin);
    let origin = |epoch, sequence_number: &str| {
        Some(ShardOrigin {
            shard: "0".into(),
            epoch,
            sequence_number: Some(sequence_number.into()),
        })
    };
    let expected = [origin(1, "0"), origin(2, "1"), origin(2, "2")];
    assert_eq!(origins.collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_mapping_stops_and_continues_at_its_checkpoint() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, b"{\"n\":0}");
    let id = daemon.map("stream/orders", "f", 100).await;
    until("it is invoked", || function.n_calls() == 1).await;
    daemon.set(&id, DesiredState::Disabled).await;
    until("it is disabled", || daemon.state(&id) == "Disabled").await;
    stream.put(0, b"{\"n\":1}");
    let reads = stream.n_reads(0);
    pass(60).await;
    assert_eq!((function.n_calls(), stream.n_reads(0)), (1, reads));
    daemon.set(&id, DesiredState::Enabled).await;
    until("it continues", || function.n_calls() == 2).await;
    assert_eq!(function.calls()[1].event, "{\"Records\":[{\"n\":1}]}");
}

/// With one lane, and with several that each have a batch in flight.
#[tokio::test(start_paused = true)]
async fn a_mapping_is_disabled_when_its_invocations_have_ended_and_repeats_none() {
    for n_lanes in [1, 4] {
        let daemon = Daemon::start();
        let stream = daemon.stream("orders", 1);
        let function = daemon.adapters.function("f");
        function.answers(Answer::After(Duration::from_secs(10), Outcome::Success));
        for number in 0..40 {
            stream.put(0, format!("{number}").as_bytes());
        }
        let id = daemon
            .map_with("stream/orders", "f", 1, |spec| {
                spec.set("ParallelizationFactor", n_lanes);
            })
            .await;
        let n_lanes = usize::try_from(n_lanes).unwrap();
        until("all lanes run", || function.n_running() == n_lanes).await;
        daemon.set(&id, DesiredState::Disabled).await;
        pass(5).await;
        assert_eq!(daemon.state(&id), "Disabling");
        until("it is disabled", || daemon.state(&id) == "Disabled").await;
        assert_eq!((function.n_running(), function.n_calls()), (0, n_lanes));
        pass(600).await;
        assert_eq!(function.n_calls(), n_lanes, "nothing is invoked");
        assert_eq!(daemon.state(&id), "Disabled");
        daemon.set(&id, DesiredState::Enabled).await;
        until("the rest is saved", || {
            daemon.checkpoint(&id, "0") == after("39")
        })
        .await;
        assert_eq!(function.n_calls(), 40, "nothing is repeated");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_is_enabled_while_it_is_being_disabled_continues_without_repeats() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(10), Outcome::Success));
    for _ in 0..3 {
        stream.put(0, b"{}");
    }
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || function.n_running() == 1).await;
    for desired in [DesiredState::Disabled, DesiredState::Enabled] {
        daemon.set(&id, desired).await;
        pass(2).await;
        assert_eq!(function.n_running(), 1);
    }
    assert_eq!(daemon.state(&id), "Enabling");
    until("it is enabled", || daemon.state(&id) == "Enabled").await;
    until("all is saved", || daemon.checkpoint(&id, "0") == after("2")).await;
    assert_eq!(function.n_calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_update_waits_for_the_invocation_and_repeats_nothing() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(10), Outcome::Success));
    for number in 0..3 {
        stream.put(0, format!("{number}").as_bytes());
    }
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || function.n_running() == 1).await;
    daemon
        .change(&id, |row| {
            row.spec.set("BatchSize", 10);
            row.change = Change::Updated;
        })
        .await;
    pass(5).await;
    assert_eq!(daemon.state(&id), "Updating");
    until("all is saved", || daemon.checkpoint(&id, "0") == after("2")).await;
    let calls = function.calls().into_iter();
    let events: Vec<_> = calls.map(|call| call.event).collect();
    assert_eq!(events, ["{\"Records\":[0]}", "{\"Records\":[1,2]}"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_its_backoff_holds_up_no_disable_and_begins_anew() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.fails_on(Some("bad"));
    stream.put(0, b"\"bad\"");
    let id = daemon.map("stream/orders", "f", 1).await;
    // Its next try is half a minute away.
    until("it was tried often", || function.n_calls() == 7).await;
    pass(1).await;
    let asked = daemon.clock.now();
    daemon.set(&id, DesiredState::Disabled).await;
    until("it is disabled", || daemon.state(&id) == "Disabled").await;
    assert!(daemon.clock.now().since(asked) < Duration::from_secs(2));
    pass(600).await;
    assert_eq!(function.n_calls(), 7, "nothing is invoked");
    function.fails_on(None);
    daemon.set(&id, DesiredState::Enabled).await;
    until("it is saved", || daemon.checkpoint(&id, "0") == after("0")).await;
    let attempts: Vec<_> = function.calls().iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6, 7, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_mapping_finishes_its_invocation_and_leaves_nothing() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(10), Outcome::Success));
    stream.put(0, b"{}");
    let id = daemon.map("stream/orders", "f", 100).await;
    until("it runs", || function.n_running() == 1).await;
    daemon
        .change(&id, |row| row.desired = DesiredState::Deleted)
        .await;
    pass(5).await;
    assert_eq!(daemon.state(&id), "Deleting");
    until("it is removed", || daemon.store.row(&id).is_none()).await;
    assert_eq!(daemon.store.saves().last().unwrap().1.position, after("0"));
    assert_eq!(daemon.board.n_units(), 0);
    until("memory is free", || daemon.budget.used() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_starts_when_its_parent_is_resolved() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, b"{\"n\":0}");
    stream.follow(0, 1);
    stream.put(1, b"{\"n\":1}");
    let id = daemon.map("stream/orders", "f", 100).await;
    until("the child is invoked", || function.n_calls() == 2).await;
    assert_eq!(daemon.checkpoint(&id, "0"), Position::ShardEnd);
    assert_eq!(function.calls()[1].event, "{\"Records\":[{\"n\":1}]}");
    assert_eq!(daemon.board.leases().unwrap().ended, 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_invocations_saves_and_releases_the_leases() {
    let mut daemon = Daemon::start();
    let (stream, queue) = (daemon.stream("orders", 1), daemon.queue("jobs"));
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(10), Outcome::Success));
    stream.put(0, b"{\"n\":0}");
    queue.send(b"{\"n\":1}");
    let on_stream = daemon.map("stream/orders", "f", 1).await;
    daemon.map("jobs", "f", 1).await;
    until("both run", || function.n_running() == 2).await;
    stream.put(0, b"{\"n\":2}");
    daemon.stop(Stop::Drain);
    daemon.ended().await;
    assert_eq!(function.n_calls(), 2);
    assert_eq!(daemon.checkpoint(&on_stream, "0"), after("0"));
    assert_eq!(queue.n_messages(), 0);
    assert_eq!(daemon.store.leases_of(&on_stream)[0].owner, None);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_long_poll() {
    let mut daemon = Daemon::start();
    daemon.queue("jobs");
    daemon.adapters.function("f");
    let id = daemon.map("jobs", "f", 10).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    pass(5).await;
    let asked = daemon.clock.now();
    daemon.stop(Stop::Drain);
    daemon.ended().await;
    let waited = daemon.clock.now().since(asked);
    assert!(waited <= Duration::from_secs(2), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_disabled_queue_does_not_wait_for_a_long_poll() {
    let daemon = Daemon::start();
    daemon.queue("jobs");
    daemon.adapters.function("f");
    let id = daemon.map("jobs", "f", 10).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    pass(5).await;
    let asked = daemon.clock.now();
    daemon.set(&id, DesiredState::Disabled).await;
    until("it is disabled", || daemon.state(&id) == "Disabled").await;
    let waited = daemon.clock.now().since(asked);
    assert!(waited <= Duration::from_secs(2), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_immediate_stop_writes_nothing_more() {
    let mut daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(10), Outcome::Success));
    stream.put(0, b"{}");
    daemon.map("stream/orders", "f", 1).await;
    until("it runs", || function.n_running() == 1).await;
    daemon.stop(Stop::Drain);
    pass(1).await;
    daemon.stop(Stop::Now);
    daemon.ended().await;
    assert_eq!(function.n_running(), 0);
    pass(60).await;
    assert!(daemon.store.saves().is_empty());
    assert_eq!(daemon.budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_mappings_on_one_stream_do_not_disturb_each_other() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let (broken, works) = (
        daemon.adapters.function("broken"),
        daemon.adapters.function("works"),
    );
    broken.answers(Answer::After(
        Duration::ZERO,
        Outcome::function_error(500, "broken"),
    ));
    let first = daemon.map("stream/orders", "broken", 1).await;
    let second = daemon.map("stream/orders", "works", 1).await;
    for _ in 0..50 {
        stream.put(0, b"{}");
        pass(1).await;
    }
    until("the second is saved", || {
        daemon.checkpoint(&second, "0") == after("49")
    })
    .await;
    assert_eq!(works.n_calls(), 50);
    assert_eq!(daemon.checkpoint(&first, "0"), Position::TrimHorizon);
    let waiting = daemon.waiting_for(&first).unwrap();
    assert!(waiting.starts_with("function returns errors"), "{waiting}");
    assert_eq!(daemon.waiting_for(&second), None);
}

#[tokio::test(start_paused = true)]
async fn two_mappings_on_one_stream_do_not_share_their_jitter() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let functions = ["f", "g"].map(|name| daemon.adapters.function(name));
    for function in &functions {
        function.answers(Answer::After(
            Duration::ZERO,
            Outcome::function_error(500, "broken"),
        ));
    }
    stream.put(0, b"{}");
    daemon.map("stream/orders", "f", 1).await;
    daemon.map("stream/orders", "g", 1).await;
    pass(300).await;
    let pauses = functions.map(|function| {
        let calls = function.calls();
        let pairs = calls.iter().zip(&calls[1..]);
        pairs
            .map(|(one, next)| next.at - one.at)
            .collect::<Vec<_>>()
    });
    assert!(5 < pauses[0].len());
    assert_ne!(pauses[0][..5], pauses[1][..5]);
}
