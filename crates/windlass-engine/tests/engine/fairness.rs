//! A function that hangs stops its own mapping and no other.

use std::sync::Arc;

use windlass_core::mapping::MappingId;
use windlass_testkit::fakes::{Answer, FakeStream};

use crate::daemon::{Daemon, pass, until};

const EVENT: [u8; 10_000] = [b' '; 10_000];

/// A mapping on a stream with 60 shards and more records than fit into memory, whose function never
/// answers.
async fn hang(daemon: &Daemon, name: &str) -> (Arc<FakeStream>, MappingId) {
    let stream = daemon.stream(name, 60);
    for shard in 0..60 {
        for _ in 0..100 {
            stream.put(shard, &EVENT);
        }
    }
    let function = format!("{name}-hangs");
    daemon.adapters.function(&function).answers(Answer::Hangs);
    let id = daemon.map(&format!("stream/{name}"), &function, 100).await;
    (stream, id)
}

/// Checks that a queue and a stream, with a hundred events each, are processed.
async fn assert_others_work(daemon: &Daemon, n_shards: usize) {
    let (queue, stream) = (daemon.queue("jobs"), daemon.stream("orders", n_shards));
    let works = daemon.adapters.function("works");
    daemon.map("jobs", "works", 10).await;
    daemon.map("stream/orders", "works", 10).await;
    for number in 0..100 {
        queue.send(&EVENT);
        stream.put(number % n_shards, &EVENT);
    }
    until("all events are processed", || {
        let calls = works.calls();
        let n_events = calls.iter().map(|call| call.event.len() / EVENT.len());
        n_events.sum::<usize>() == 200 && queue.n_messages() == 0
    })
    .await;
    assert!(queue.dead_letters().is_empty());
}

fn small(settings: &mut windlass_engine::settings::EngineSettings) {
    settings.buffer_limit = 32 * 1024 * 1024;
}

#[tokio::test(start_paused = true)]
async fn a_function_that_hangs_leaves_memory_for_the_others() {
    let daemon = Daemon::with(small);
    let (_, hanging) = hang(&daemon, "first").await;
    pass(60).await;
    let full = daemon.budget.used();
    assert!(full <= daemon.budget.total() / 2, "{full}");
    assert!(daemon.budget.total() / 4 < full, "{full}");
    let waiting = daemon.all_waiting_for(&hanging);
    assert!(10 < waiting.len());
    assert!(
        waiting
            .iter()
            .all(|text| text.starts_with("memory limit reached"))
    );

    assert_others_work(&daemon, 4).await;
}

#[tokio::test(start_paused = true)]
async fn many_functions_that_hang_leave_memory_for_the_next() {
    let daemon = Daemon::with(small);
    for number in 0..12 {
        hang(&daemon, &format!("s{number}")).await;
        pass(10).await;
    }
    let full = daemon.budget.used();
    assert!(full <= daemon.budget.total(), "{full}");
    assert_others_work(&daemon, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_function_that_hangs_leaves_invocations_for_the_others() {
    let daemon = Daemon::with(|settings| settings.invocation_limit = 20);
    let (_, hanging) = hang(&daemon, "first").await;
    until("it waits", || {
        let waiting = daemon.all_waiting_for(&hanging);
        waiting
            .iter()
            .any(|text| text.starts_with("the daemon's limit"))
    })
    .await;
    let stream = daemon.stream("orders", 1);
    let works = daemon.adapters.function("works");
    daemon.map("stream/orders", "works", 10).await;
    stream.put(0, b"{}");
    until("it is invoked", || works.n_calls() == 1).await;
}
