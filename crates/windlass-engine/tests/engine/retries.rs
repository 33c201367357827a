//! Failed invocations: retries, what is given up, where it goes, and when messages come again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use windlass_core::failure::FailureCondition;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::{Fault, ItemFailures, Outcome, RetryAfter};
use windlass_core::spec::MappingSpec;
use windlass_engine::stop::Stop;
use windlass_testkit::fakes::{Answer, FakeDestination, FakeFunction, FakeQueue};

use crate::daemon::{Daemon, after, pass, until};

fn failing() -> Answer {
    Answer::After(Duration::ZERO, Outcome::function_error(200, "Unhandled"))
}

/// A mapping of the stream `orders` whose function fails.
struct Failing {
    id: MappingId,
    function: Arc<FakeFunction>,
    destination: Arc<FakeDestination>,
}

impl Failing {
    /// `fault` is that of the destination.
    async fn map(daemon: &Daemon, fault: Option<Fault>, member: &str, value: i64) -> Self {
        let destination = daemon.adapters.destination("failed");
        destination.fail_with(fault);
        let function = daemon.adapters.function("f");
        function.answers(failing());
        let map = daemon.map_with("stream/orders", "f", 1, |spec| {
            let arn = "arn:aws:sqs:us-east-1:000000000000:failed";
            let config = json!({"OnFailure": {"Destination": arn}});
            spec.set("DestinationConfig", config);
            spec.set(member, value);
        });
        let id = map.await;
        until("it runs", || daemon.state(&id) == "Enabled").await;
        Self {
            id,
            function,
            destination,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn records_whose_retries_are_exhausted_are_delivered_and_the_shard_continues() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    stream.put(0, b"{}");
    stream.put(0, b"{}");
    let Failing {
        id,
        function,
        destination,
    } = Failing::map(&daemon, None, "MaximumRetryAttempts", 2).await;
    until("both are resolved", || {
        daemon.checkpoint(&id, "0") == after("1")
    })
    .await;
    assert_eq!(function.n_calls(), 6);
    let delivered = destination.delivered();
    let numbers = delivered.iter().map(|it| {
        let failure = &it.record;
        assert_eq!(failure.condition, FailureCondition::RetryAttemptsExhausted);
        assert_eq!(failure.attempts, 3);
        assert_eq!(it.shard.as_str(), "0");
        failure.records[0].sequence_number().to_owned()
    });
    assert_eq!(numbers.collect::<Vec<_>>(), ["0", "1"]);
    let counts = daemon.status(&id).counts;
    assert_eq!(counts.on_failure_delivered.get(), 2);
    assert_eq!(
        (counts.dropped.get(), counts.failed_invocations.get()),
        (0, 6)
    );
}

#[tokio::test(start_paused = true)]
async fn records_before_the_first_that_failed_are_resolved_and_the_rest_is_retried() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    for _ in 0..3 {
        stream.put(0, b"{}");
    }
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(
        Duration::ZERO,
        Outcome::ItemFailures {
            failures: ItemFailures::of_ids(["1"]),
            response: Box::default(),
        },
    ));
    let retries = |spec: &mut MappingSpec| spec.set("MaximumRetryAttempts", 1);
    let id = daemon.map_with("stream/orders", "f", 3, retries).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    until("it is saved", || daemon.checkpoint(&id, "0") == after("2")).await;
    let attempts: Vec<_> = function.calls().iter().map(|call| call.attempt).collect();
    assert_eq!(attempts, [1, 1, 2]);
    assert_eq!(daemon.status(&id).counts.dropped.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_down_holds_the_shard_and_shows() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    stream.put(0, b"{}");
    let fault = Some(Fault::Denied);
    let Failing {
        id,
        function,
        destination,
    } = Failing::map(&daemon, fault, "MaximumRetryAttempts", 0).await;
    until("it was tried", || 3 < destination.tries().len()).await;
    let waiting = daemon.waiting_for(&id).unwrap();
    assert!(
        waiting.starts_with(
            "records are given up, and the on-failure destination denies access (delivering to the \
             destination"
        ),
        "{waiting}"
    );
    assert_eq!(function.n_calls(), 1);
    assert_eq!(daemon.status(&id).counts.on_failure_delivered.get(), 0);
    destination.fail_with(None);
    until("it is saved", || daemon.checkpoint(&id, "0") == after("0")).await;
    // What is stored under a name must be replaced by a repeated delivery.
    let tries = destination.tries();
    assert!(tries.iter().all(|it| it.given_up == tries[0].given_up));
    assert_eq!(destination.delivered().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_destination_that_is_down() {
    let mut daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    stream.put(0, b"{}");
    let fault = Some(Fault::Transient);
    let mapping = Failing::map(&daemon, fault, "MaximumRetryAttempts", 0).await;
    let Failing {
        id, destination, ..
    } = mapping;
    until("it was tried", || 1 < destination.tries().len()).await;
    let begun = tokio::time::Instant::now();
    daemon.stop(Stop::Drain);
    daemon.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_ne!(daemon.checkpoint(&id, "0"), after("0"));
}

#[tokio::test(start_paused = true)]
async fn records_are_dropped_and_counted_without_a_destination() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    stream.put(0, b"{}");
    let function = daemon.adapters.function("f");
    function.answers(failing());
    let retries = |spec: &mut MappingSpec| spec.set("MaximumRetryAttempts", 0);
    let id = daemon.map_with("stream/orders", "f", 1, retries).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    until("it is saved", || daemon.checkpoint(&id, "0") == after("0")).await;
    assert_eq!(daemon.status(&id).counts.dropped.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn record_age_is_measured_by_the_clock_of_the_source() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    stream.set_clock_difference(3_600_000);
    stream.put(0, b"{}");
    let mapping = Failing::map(&daemon, None, "MaximumRecordAgeInSeconds", 60).await;
    let Failing {
        id, destination, ..
    } = mapping;
    pass(55).await;
    assert!(destination.tries().is_empty());
    let waiting = daemon.waiting_for(&id).unwrap();
    assert!(waiting.starts_with("function returns errors"), "{waiting}");
    pass(8).await;
    let delivered = destination.delivered();
    assert_eq!(delivered.len(), 1);
    let failure = &delivered[0].record;
    assert_eq!(failure.condition, FailureCondition::RecordAgeExceeded);
    assert!(5 < failure.attempts);
    assert_eq!(failure.response, None);
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_daemons_clock_makes_no_record_too_old() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    stream.put(0, b"{}");
    let mapping = Failing::map(&daemon, None, "MaximumRecordAgeInSeconds", 60).await;
    pass(10).await;
    daemon.clock.step_wall(3_600_000);
    stream.set_clock_difference(-3_600_000);
    pass(45).await;
    assert!(mapping.destination.tries().is_empty());
    pass(8).await;
    assert_eq!(mapping.destination.delivered().len(), 1);
}

/// The times between the calls of a function, in whole seconds.
fn gaps(function: &FakeFunction) -> Vec<u64> {
    let calls = function.calls();
    let gaps = calls
        .windows(2)
        .map(|pair| (pair[1].at - pair[0].at).as_secs());
    gaps.collect()
}

#[tokio::test(start_paused = true)]
async fn a_failed_message_comes_again_after_the_backoff_of_its_mapping() {
    let daemon = Daemon::start();
    let queue = FakeQueue::new(Duration::from_secs(30), 1_000);
    let queue = daemon.adapters.queue("jobs", queue);
    let function = daemon.adapters.function("f");
    function.answers(failing());
    queue.send(b"{}");
    let backoff = json!({"RetryBackoff": {"First": "7s", "Factor": 3, "Maximum": "1m"}});
    let set = |spec: &mut MappingSpec| spec.set("Windlass", backoff);
    daemon.map_with("jobs", "f", 1, set).await;
    until("it is retried", || 5 <= function.n_calls()).await;
    assert_eq!(gaps(&function), [7, 21, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn a_function_can_say_when_its_messages_come_again() {
    let daemon = Daemon::start();
    let queue = FakeQueue::new(Duration::from_secs(30), 1_000);
    let queue = daemon.adapters.queue("jobs", queue);
    let function = daemon.adapters.function("f");
    let answer = |retry_after| {
        let items = [("0".into(), retry_after)].into();
        let failures = ItemFailures::Items(items);
        let response = Box::default();
        Answer::After(Duration::ZERO, Outcome::ItemFailures { failures, response })
    };
    function.answers(answer(RetryAfter::Seconds(90)));
    queue.send(b"{}");
    let id = daemon.map("jobs", "f", 1).await;
    until("it comes again", || 2 <= function.n_calls()).await;
    assert_eq!(gaps(&function), [90]);
    assert_eq!(daemon.status(&id).counts.ignored_retry_after.get(), 0);
    function.answers(answer(RetryAfter::Invalid));
    until("it is ignored", || 5 <= function.n_calls()).await;
    assert_eq!(gaps(&function), [90, 90, 30, 30]);
    assert_eq!(daemon.status(&id).counts.ignored_retry_after.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ignores_when_its_records_should_come_again() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    stream.put(0, b"{}");
    let function = daemon.adapters.function("f");
    let failures = ItemFailures::Items([("0".into(), RetryAfter::Seconds(90))].into());
    let response = Box::default();
    let answer = Answer::After(Duration::ZERO, Outcome::ItemFailures { failures, response });
    function.answers(answer);
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it is retried", || 3 <= function.n_calls()).await;
    assert!(
        gaps(&function).iter().all(|gap| *gap < 5),
        "{:?}",
        gaps(&function)
    );
    assert_eq!(daemon.status(&id).counts.ignored_retry_after.get(), 3);
}
