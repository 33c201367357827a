//! Pollers of queues and what they cost, and queues that change.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::{Fault, ItemFailures, Outcome, Response};
use windlass_core::queue::QueueView;
use windlass_engine::requests::QueueOperation;
use windlass_engine::status::UnitView;
use windlass_testkit::fakes::{Answer, FakeQueue};

use crate::daemon::{Daemon, pass, until};

const SECOND: Duration = Duration::from_secs(1);

fn view(daemon: &Daemon, id: &MappingId) -> QueueView {
    let status = daemon.status(id);
    let views = status.units.values().map(|unit| unit.view.clone());
    let view = views.last().expect("it has a consumer");
    let UnitView::Queue(view) = view else {
        panic!("not a queue: {view:?}");
    };
    view
}

/// Requests a minute of each operation that the queue got.
fn requests(daemon: &Daemon, id: &MappingId) -> Vec<(QueueOperation, f64)> {
    let requests = &daemon.status(id).counts.requests;
    let all = QueueOperation::ALL.map(|operation| (operation, requests.per_minute(operation)));
    all.into_iter().filter(|it| 0.0 < it.1).collect()
}

/// A queue whose messages may be received often, with some in it.
fn backlog(daemon: &Daemon, n_messages: usize, max_receives: u32) -> Arc<FakeQueue> {
    let queue = FakeQueue::new(Duration::from_secs(30), max_receives);
    let queue = daemon.adapters.queue("jobs", queue);
    for _ in 0..n_messages {
        queue.send(b"{}");
    }
    queue
}

async fn provisioned(daemon: &Daemon, minimum: i64, maximum: i64, batch_size: i64) -> MappingId {
    let pollers = json!({"MinimumPollers": minimum, "MaximumPollers": maximum});
    let change = |spec: &mut windlass_core::spec::MappingSpec| {
        spec.set("ProvisionedPollerConfig", pollers);
    };
    daemon.map_with("jobs", "f", batch_size, change).await
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_costs_one_long_poll() {
    let daemon = Daemon::start();
    backlog(&daemon, 0, 1);
    daemon.adapters.function("f");
    let id = daemon.map("jobs", "f", 10).await;
    pass(600).await;
    let expected = [(QueueOperation::ReceiveMessage, 3.0)];
    assert_eq!(requests(&daemon, &id), expected);
    assert_eq!(view(&daemon, &id).pollers, 1);
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_idle_again_after_its_backlog() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, 2_000, 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(SECOND, Outcome::Success));
    let id = daemon.map("jobs", "f", 10).await;
    until("it receives in parallel", || {
        0 < function.n_running() && view(&daemon, &id).pollers == 5
    })
    .await;
    until("all are processed", || queue.n_messages() == 0).await;
    pass(300).await;
    let expected = [(QueueOperation::ReceiveMessage, 3.0)];
    assert_eq!(requests(&daemon, &id), expected);
}

#[tokio::test(start_paused = true)]
async fn deletions_and_visibility_changes_are_counted_by_ten() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, 100, 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(20 * SECOND, Outcome::Success));
    let id = daemon
        .map_with("jobs", "f", 100, |spec| {
            spec.set("MaximumBatchingWindowInSeconds", 1);
        })
        .await;
    until("all are processed", || queue.n_messages() == 0).await;
    assert_eq!(function.n_calls(), 1);
    let counts = daemon.status(&id).counts;
    let n_requests = |operation| counts.requests.get(operation);
    assert_eq!(n_requests(QueueOperation::DeleteMessageBatch), 10);
    assert_eq!(n_requests(QueueOperation::ChangeMessageVisibilityBatch), 10);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_halved_is_not_a_failed_invocation() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, 4, 1);
    let function = daemon.adapters.function("f");
    let too_large = Outcome::function_error(413, "HTTP 413");
    function.answers(Answer::After(SECOND, too_large));
    let id = daemon.map("jobs", "f", 10).await;
    until("the batch is sent", || function.n_calls() == 1).await;
    function.answers(Answer::After(SECOND, Outcome::Success));
    until("all are processed", || queue.n_messages() == 0).await;
    let events: Vec<_> = function.calls().iter().map(|it| it.event.len()).collect();
    assert_eq!(events.len(), 3);
    assert_eq!(events[1], events[2]);
    assert_eq!(daemon.status(&id).counts.failed_invocations.get(), 0);
    assert!(queue.dead_letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn provisioned_pollers_run_while_the_queue_is_idle() {
    let daemon = Daemon::start();
    backlog(&daemon, 0, 1);
    daemon.adapters.function("f");
    let id = provisioned(&daemon, 4, 8, 10).await;
    pass(600).await;
    let expected = [(QueueOperation::ReceiveMessage, 12.0)];
    assert_eq!(requests(&daemon, &id), expected);
}

#[tokio::test(start_paused = true)]
async fn provisioned_pollers_grow_to_their_maximum_with_ten_invocations_each() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, 10_000, 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(5 * SECOND, Outcome::Success));
    let id = provisioned(&daemon, 2, 7, 1).await;
    until("seven run", || function.n_running() == 70).await;
    for _ in 0..100 {
        tokio::time::sleep(SECOND / 3).await;
        assert!(function.n_running() <= 70);
        assert_eq!(view(&daemon, &id).pollers, 7);
    }
    assert!(0 < queue.n_messages(), "there was always work");
}

#[tokio::test(start_paused = true)]
async fn provisioned_pollers_keep_the_maximum_concurrency_of_the_function() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, 100, 1);
    let function = daemon.adapters.function("f");
    function.set_concurrency(3);
    function.answers(Answer::After(SECOND, Outcome::Success));
    provisioned(&daemon, 5, 50, 1).await;
    while 0 < queue.n_messages() {
        tokio::time::sleep(SECOND / 4).await;
        assert!(function.n_running() <= 3);
        assert!(queue.n_in_flight() <= 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_fails_gets_fewer_invocations_until_it_recovers() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, 5_000, 1_000);
    let function = daemon.adapters.function("f");
    let failure = Outcome::function_error(200, "Unhandled");
    function.answers(Answer::After(SECOND, failure));
    let id = daemon.map("jobs", "f", 1).await;
    until("all slots are used", || function.n_running() == 50).await;
    pass(10).await;
    assert_eq!(function.n_running(), 5);
    assert_eq!(view(&daemon, &id).reduced_concurrency, Some(5));
    function.answers(Answer::After(SECOND, Outcome::Success));
    until("it has recovered", || function.n_running() == 50).await;
    assert_eq!(view(&daemon, &id).reduced_concurrency, None);
    assert!(0 < queue.n_messages(), "there was always work");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_item_counts_the_whole_batch_as_failed() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, 5, 100);
    let function = daemon.adapters.function("f");
    let reported = |id: &str| Outcome::ItemFailures {
        failures: ItemFailures::of_ids([id]),
        response: Box::new(Response::default()),
    };
    function.answers(Answer::After(Duration::ZERO, reported("not in the batch")));
    let id = daemon.map("jobs", "f", 10).await;
    let failed = || daemon.status(&id).counts.failed_events.get();
    until("it has failed", || 0 < failed()).await;
    assert_eq!((failed(), queue.n_messages()), (5, 5));
    function.answers(Answer::After(Duration::ZERO, reported("3")));
    until("all others are deleted", || queue.n_messages() == 1).await;
    assert_eq!(failed(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_deleted_and_created_again_continues() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, 1, 1);
    let function = daemon.adapters.function("f");
    let id = daemon.map("jobs", "f", 10).await;
    until("the first is processed", || queue.n_messages() == 0).await;
    queue.set_fault(Some(Fault::Gone));
    until("the status says so", || {
        let waiting = daemon.waiting_for(&id);
        waiting.is_some_and(|text| text.contains("does not exist"))
    })
    .await;
    assert_eq!(daemon.state(&id), "Enabled");
    pass(300).await;
    queue.set_fault(None);
    queue.send(b"{}");
    until("the second is processed", || queue.n_messages() == 0).await;
    assert_eq!((function.n_calls(), daemon.waiting_for(&id)), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_permissions_are_taken_and_given_loses_nothing() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, 20, 3);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(5 * SECOND, Outcome::Success));
    let id = daemon.map("jobs", "f", 10).await;
    until("two run", || function.n_running() == 2).await;
    queue.set_fault(Some(Fault::Denied));
    pass(30).await;
    assert_eq!(daemon.state(&id), "Enabled");
    let waiting = daemon.waiting_for(&id).expect("it says why");
    assert!(waiting.contains("denies access"), "{waiting}");
    queue.set_fault(None);
    until("all are deleted", || queue.n_messages() == 0).await;
    assert_eq!(queue.dead_letters().len(), 0);
    queue.send(b"{}");
    until("it continues", || queue.n_messages() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_is_redriven_after_its_last_receive() {
    let daemon = Daemon::start();
    let queue = backlog(&daemon, 1, 3);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(SECOND, Outcome::function_error(200, "no")));
    daemon.map("jobs", "f", 10).await;
    until("it is redriven", || queue.dead_letters().len() == 1).await;
    assert_eq!((function.n_calls(), queue.n_messages()), (3, 0));
}
