//! At the memory limit reading stops; it continues when memory is released.

use std::time::Duration;

use windlass_core::mapping::MappingId;
use windlass_core::outcome::Outcome;
use windlass_engine::memory::Reservation;
use windlass_engine::stop::Stop;
use windlass_testkit::fakes::Answer;

use crate::daemon::{Daemon, pass, until};

/// Reserves all memory for another mapping.
fn fill(daemon: &Daemon) -> Reservation {
    let other = daemon.budget.account(&MappingId::new("other"));
    let mut all = other.empty();
    all.set(daemon.budget.total());
    all
}

#[tokio::test(start_paused = true)]
async fn a_queue_receives_only_with_memory() {
    let daemon = Daemon::start();
    let full = fill(&daemon);
    let queue = daemon.queue("jobs");
    let function = daemon.adapters.function("f");
    queue.send(b"{}");
    let id = daemon.map("jobs", "f", 1).await;
    pass(600).await;
    assert_eq!((queue.n_receives(), function.n_calls()), (0, 0));
    assert!(
        daemon
            .waiting_for(&id)
            .unwrap()
            .starts_with("memory limit reached")
    );
    drop(full);
    until("it is deleted", || queue.n_messages() == 0).await;
    assert_eq!(daemon.waiting_for(&id), None);
    assert_eq!(function.n_calls(), 1);
    assert!(queue.dead_letters().is_empty());
    assert_eq!(daemon.status(&id).counts.polled.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_read_only_with_memory() {
    let daemon = Daemon::start();
    let full = fill(&daemon);
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, b"{}");
    let id = daemon.map("stream/orders", "f", 1).await;
    pass(600).await;
    assert_eq!((stream.n_reads(0), function.n_calls()), (0, 0));
    assert!(
        daemon
            .waiting_for(&id)
            .unwrap()
            .starts_with("memory limit reached")
    );
    drop(full);
    until("it is invoked", || function.n_calls() == 1).await;
    assert_eq!(daemon.waiting_for(&id), None);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_waits_for_memory_gives_back_what_its_reader_keeps() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.keep(10_000);
    stream.put(0, b"{}");
    daemon.map("stream/orders", "f", 1).await;
    until("it is invoked", || function.n_calls() == 1).await;
    until("the rest is released", || daemon.budget.used() == 10_000).await;
    let full = fill(&daemon);
    until("it is given back", || daemon.budget.used() == full.amount()).await;
    drop(full);
    stream.put(0, b"{}");
    until("it is invoked", || function.n_calls() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_waits_for_memory_can_be_stopped() {
    let mut daemon = Daemon::start();
    let _full = fill(&daemon);
    daemon.queue("jobs");
    daemon.stream("orders", 1);
    daemon.adapters.function("f");
    let queue = daemon.map("jobs", "f", 1).await;
    let stream = daemon.map("stream/orders", "f", 1).await;
    until("both wait", || {
        daemon.waiting_for(&queue).is_some() && daemon.waiting_for(&stream).is_some()
    })
    .await;
    let before = tokio::time::Instant::now();
    daemon.stop(Stop::Drain);
    daemon.ended().await;
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn queues_that_fill_at_the_same_time_stay_within_the_limit() {
    let daemon = Daemon::start();
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(1), Outcome::Success));
    let queues: Vec<_> = (0..60).map(|n| daemon.queue(&format!("q{n}"))).collect();
    for number in 0..60 {
        daemon.map(&format!("q{number}"), "f", 10).await;
    }
    pass(5).await;
    assert_eq!(daemon.budget.used(), 0, "a long poll reserves nothing");
    let large = vec![b' '; 1024 * 1024 - 100];
    for queue in &queues {
        (0..10).for_each(|_| queue.send(&large));
    }
    let mut most = 0;
    while queues.iter().any(|queue| 0 < queue.n_messages()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        most = most.max(daemon.budget.used());
    }
    let total = daemon.budget.total();
    assert!(total / 2 < most && most <= total + total / 20, "{most}");
    assert!(queues.iter().all(|queue| queue.dead_letters().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn idle_shards_reserve_nothing() {
    let daemon = Daemon::start();
    daemon.adapters.function("f");
    let stream = daemon.stream("orders", 50);
    daemon.map("stream/orders", "f", 100).await;
    pass(5).await;
    assert!((0..50).all(|shard| 2 < stream.n_reads(shard)));
    assert_eq!(daemon.budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn shards_that_start_together_are_not_read_together() {
    let daemon = Daemon::start();
    daemon.adapters.function("f");
    let stream = daemon.stream("orders", 500);
    daemon.map("stream/orders", "f", 100).await;
    let n_read = || (0..500).filter(|shard| 0 < stream.n_reads(*shard)).count();
    until("one is read", || 0 < n_read()).await;
    let mut before = n_read();
    while before < 500 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let after = n_read();
        assert!(after <= before + 20, "{before}, then {after}");
        before = after;
    }
}

#[tokio::test(start_paused = true)]
async fn memory_stays_within_the_limit_while_a_function_is_slow() {
    let daemon = Daemon::with(|settings| settings.buffer_limit = 8 * 1024 * 1024);
    let stream = daemon.stream("orders", 20);
    for shard in 0..20 {
        for _ in 0..200 {
            stream.put(shard, &[b' '; 5_000]);
        }
    }
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(2), Outcome::Success));
    daemon.map("stream/orders", "f", 100).await;
    let mut most = 0;
    while function.n_calls() < 40 {
        pass(1).await;
        most = most.max(daemon.budget.used());
    }
    assert!(most <= daemon.budget.total() * 9 / 8, "{most}");
}
