//! Invocations begin in turn, and what waits for its turn has not begun.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use windlass_core::mapping::{DesiredState, MappingId, MappingRow};
use windlass_core::outcome::Outcome;
use windlass_engine::ports::Purpose;
use windlass_engine::stop::Stop;
use windlass_testkit::fakes::{Answer, FakeFunction, FakeQueue};

use crate::daemon::{Daemon, pass, until};

const SECOND: Duration = Duration::from_secs(1);

/// A queue with a backlog, whose messages may be received often.
fn backlog(daemon: &Daemon, name: &str, n_messages: usize) -> Arc<FakeQueue> {
    let queue = FakeQueue::new(Duration::from_secs(30), 100);
    let queue = daemon.adapters.queue(name, queue);
    for _ in 0..n_messages {
        queue.send(b"{}");
    }
    queue
}

/// A function that runs one invocation at a time.
fn single(daemon: &Daemon, answer: Answer) -> Arc<FakeFunction> {
    let function = daemon.adapters.function("f");
    function.set_concurrency(1);
    function.answers(answer);
    function
}

async fn running_and_waiting(function: &FakeFunction, queue: &FakeQueue, n_messages: usize) {
    until("one runs and one waits", || {
        function.n_running() == 1 && queue.n_in_flight() == n_messages
    })
    .await;
}

async fn holds_one_running_and_one_waiting_batch(batch_size: usize) {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, "jobs", 100);
    let function = single(&daemon, Answer::After(2 * SECOND, Outcome::Success));
    let size = i64::try_from(batch_size).expect("it is small");
    daemon.map("jobs", "f", size).await;
    let mut most = 0;
    while 0 < queue.n_messages() {
        pass(1).await;
        assert!(function.n_running() <= 1);
        most = most.max(queue.n_in_flight());
    }
    assert_eq!(most, 2 * batch_size);
    assert_eq!(function.n_calls(), 100 / batch_size);
}

#[tokio::test(start_paused = true)]
async fn a_queue_holds_one_running_and_one_waiting_message() {
    holds_one_running_and_one_waiting_batch(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_holds_one_running_and_one_waiting_batch() {
    holds_one_running_and_one_waiting_batch(10).await;
}

/// Sets or removes `ScalingConfig` as an update does.
async fn limit(daemon: &Daemon, id: &MappingId, maximum: Option<usize>) {
    let change = |row: &mut MappingRow| match maximum {
        Some(maximum) => row
            .spec
            .set("ScalingConfig", json!({"MaximumConcurrency": maximum})),
        None => drop(row.spec.remove("ScalingConfig")),
    };
    daemon.change(id, change).await;
}

#[tokio::test(start_paused = true)]
async fn the_maximum_concurrency_of_a_queue_is_held_exactly_also_over_updates() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, "jobs", 4_000);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(5 * SECOND, Outcome::Success));
    let id = daemon.map("jobs", "f", 1).await;
    limit(&daemon, &id, Some(60)).await;
    until("it runs at its own limit", || function.n_running() == 60).await;
    let most = async |limit| {
        let mut most = 0;
        for _ in 0..60 {
            tokio::time::sleep(SECOND / 2).await;
            most = most.max(function.n_running());
        }
        assert_eq!(most, limit);
    };
    most(60).await;
    limit(&daemon, &id, Some(2)).await;
    until("those that run have ended", || function.n_running() == 2).await;
    most(2).await;
    limit(&daemon, &id, None).await;
    until("the daemon's limit applies", || function.n_running() == 50).await;
    most(50).await;
    assert!(0 < queue.n_messages(), "there was always work");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_waits_is_filled_until_it_begins() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, "jobs", 1);
    let function = single(&daemon, Answer::After(60 * SECOND, Outcome::Success));
    daemon.map("jobs", "f", 5).await;
    until("one runs", || function.n_running() == 1).await;
    for _ in 0..7 {
        pass(2).await;
        queue.send(b"{}");
    }
    running_and_waiting(&function, &queue, 6).await;
    until("the second runs", || function.n_calls() == 2).await;
    assert_eq!(function.calls()[1].event, "{\"Records\":[{},{},{},{},{}]}");
}

#[tokio::test(start_paused = true)]
async fn a_disabled_mapping_begins_nothing_that_waits() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, "jobs", 100);
    let function = single(&daemon, Answer::After(20 * SECOND, Outcome::Success));
    let id = daemon.map("jobs", "f", 1).await;
    running_and_waiting(&function, &queue, 2).await;
    let before = Instant::now();
    daemon
        .change(&id, |row| row.desired = DesiredState::Disabled)
        .await;
    until("what waits goes back", || queue.n_in_flight() == 1).await;
    assert!(before.elapsed() < 2 * SECOND);
    until("it has stopped", || daemon.state(&id) == "Disabled").await;
    assert_eq!((function.n_calls(), queue.n_messages()), (1, 99));
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_back_what_waits_for_a_function_that_hangs() {
    let mut daemon = Daemon::start();
    let queue = backlog(&daemon, "jobs", 100);
    let function = single(&daemon, Answer::Hangs);
    daemon.map("jobs", "f", 10).await;
    running_and_waiting(&function, &queue, 20).await;
    let before = Instant::now();
    daemon.stop(Stop::Drain);
    until("what waits goes back", || queue.n_in_flight() == 10).await;
    assert!(before.elapsed() < SECOND);
    pass(600).await;
    assert_eq!((function.n_calls(), queue.n_in_flight()), (1, 10));
    daemon.stop(Stop::Now);
    daemon.ended().await;
}

#[tokio::test(start_paused = true)]
async fn mappings_of_one_function_take_turns() {
    let daemon = Daemon::start();
    backlog(&daemon, "first", 100);
    backlog(&daemon, "second", 20);
    let function = single(&daemon, Answer::After(SECOND, Outcome::Success));
    daemon.map("first", "f", 1).await;
    until("the first runs", || 3 < function.n_calls()).await;
    daemon.map("second", "f", 1).await;
    let second = Purpose::Mapping(MappingId::new("second to f"));
    let of_second = |call: &windlass_testkit::fakes::Call| call.purpose == second;
    until("the second is done", || {
        function.calls().iter().filter(|it| of_second(it)).count() == 20
    })
    .await;
    let calls = function.calls();
    let start = calls.iter().position(of_second).unwrap();
    let alternates = calls[start..]
        .windows(2)
        .all(|it| it[0].purpose != it[1].purpose);
    assert!(
        alternates,
        "{:?}",
        calls[start..].iter().map(of_second).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_waits_for_a_slot_is_not_invoked_after_a_drain() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    let function = single(&daemon, Answer::After(20 * SECOND, Outcome::Success));
    stream.put(0, b"{}");
    stream.put(1, b"{}");
    let id = daemon.map("stream/orders", "f", 10).await;
    until("one runs and one waits", || {
        let waiting = daemon.waiting_for(&id);
        waiting.is_some_and(|text| text.starts_with("the function's maximum concurrency"))
    })
    .await;
    daemon
        .change(&id, |row| row.desired = DesiredState::Disabled)
        .await;
    until("it has stopped", || daemon.state(&id) == "Disabled").await;
    assert_eq!(function.n_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_queue_does_not_exceed_its_own_concurrency() {
    let daemon = Daemon::with(|settings| settings.queue_concurrency = 3);
    let queue = backlog(&daemon, "jobs", 100);
    let function = daemon.adapters.function("f");
    function.answers(Answer::Hangs);
    let id = daemon.map("jobs", "f", 1).await;
    until("three run", || function.n_running() == 3).await;
    pass(60).await;
    assert_eq!((function.n_calls(), queue.n_in_flight()), (3, 4));
    let waiting = daemon.waiting_for(&id).unwrap();
    assert!(
        waiting.starts_with("the mapping's maximum concurrency"),
        "{waiting}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_free_again_after_a_driver_has_panicked() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = single(&daemon, Answer::Panics);
    stream.put(0, b"{}");
    daemon.map("stream/orders", "f", 10).await;
    until("it panics", || function.n_calls() == 1).await;
    function.answers(Answer::After(SECOND, Outcome::Success));
    until("it is invoked again", || function.n_calls() == 2).await;
    assert!(!daemon.errors.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn functions_are_closed_once_after_all_consumers_have_ended() {
    let mut daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    daemon.queue("jobs");
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(20 * SECOND, Outcome::Success));
    stream.put(0, b"{}");
    daemon.map("stream/orders", "f", 10).await;
    daemon.map("jobs", "f", 10).await;
    until("it runs", || function.n_running() == 1).await;
    daemon.stop(Stop::Drain);
    pass(10).await;
    assert_eq!((function.n_running(), function.n_closed()), (1, 0));
    daemon.ended().await;
    assert_eq!((function.n_running(), function.n_closed()), (0, 1));
}
