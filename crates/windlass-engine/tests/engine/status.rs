//! What holds a shard back, in the words of the status and of `LastProcessingResult`.

use std::time::Duration;

use windlass_core::outcome::{Fault, Outcome};
use windlass_core::position::Position;
use windlass_engine::status::{describe_blocked, describe_lag};
use windlass_testkit::fakes::Answer;

use crate::daemon::{Daemon, after, pass, until};

/// The words of a fault in the status, and those of the API.
const OF_THE_STREAM: [(Fault, &str, &str); 5] = [
    (
        Fault::Throttled { retry_after: None },
        "the stream throttles requests (GetRecords: injected by the test), next in ",
        "PROBLEM: Stream throttles requests",
    ),
    (
        Fault::Denied,
        "the stream denies access (GetRecords: injected by the test), next in ",
        "PROBLEM: Stream may not be read",
    ),
    (
        Fault::Gone,
        "the stream does not exist (GetRecords: injected by the test), next in ",
        "PROBLEM: Stream does not exist",
    ),
    (
        Fault::Transient,
        "the stream cannot be reached (GetRecords: injected by the test), next in ",
        "PROBLEM: Stream could not be reached",
    ),
    (
        Fault::TimedOut,
        "the stream does not send records in time (GetRecords: injected by the test), next in ",
        "PROBLEM: Stream does not send records in time",
    ),
];

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_read_shows_until_it_can() {
    for (fault, words, result) in OF_THE_STREAM {
        let daemon = Daemon::start();
        let stream = daemon.stream("orders", 1);
        daemon.adapters.function("f");
        let id = daemon.map("stream/orders", "f", 1).await;
        stream.put(0, b"{}");
        until("it is saved", || {
            daemon.checkpoint_is(&id, "0", &after("0"))
        })
        .await;
        assert_eq!(daemon.status(&id).last_processing_result, "OK");
        stream.set_fault(Some(fault));
        until("it shows", || {
            let waiting = daemon.waiting_for(&id).unwrap_or_default();
            waiting.starts_with(words)
        })
        .await;
        assert_eq!(daemon.status(&id).last_processing_result, result);
        assert_eq!(daemon.state(&id), "Enabled");
        stream.set_fault(None);
        stream.put(0, b"{}");
        until("it continues", || {
            daemon.checkpoint_is(&id, "0", &after("1"))
        })
        .await;
        assert_eq!(daemon.waiting_for(&id), None);
        until("its listings succeed", || {
            daemon.status(&id).last_processing_result == "OK"
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_listed_shows_in_the_api() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    daemon.adapters.function("f");
    stream.set_fault(Some(Fault::Gone));
    let id = daemon.map("stream/orders", "f", 1).await;
    let expected = "PROBLEM: ListShards failed (Gone): injected by the test";
    until("it shows", || {
        daemon.status(&id).last_processing_result == expected
    })
    .await;
    stream.set_fault(None);
    until("it runs", || daemon.state(&id) == "Enabled").await;
    let result = daemon.status(&id).last_processing_result;
    assert_eq!(result, "No records processed");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_cannot_be_invoked_shows_with_its_action() {
    for (fault, words, result) in [
        (
            Fault::Denied,
            "function denies access (lambda:InvokeFunction), next in ",
            "PROBLEM: Function may not be invoked",
        ),
        (
            Fault::Gone,
            "function does not exist, next in ",
            "PROBLEM: Function does not exist",
        ),
        (
            Fault::Throttled { retry_after: None },
            "function throttles requests, next in ",
            "PROBLEM: Function throttles requests",
        ),
        (
            Fault::Transient,
            "function cannot be reached, next in ",
            "PROBLEM: Function could not be reached",
        ),
    ] {
        let daemon = Daemon::start();
        let stream = daemon.stream("orders", 1);
        let function = daemon.adapters.function("f");
        let outcome = Outcome::NotInvoked { cause: fault };
        function.answers(Answer::After(Duration::ZERO, outcome));
        stream.put(0, b"{}");
        let id = daemon.map("stream/orders", "f", 1).await;
        until("it waits", || daemon.waiting_for(&id).is_some()).await;
        let waiting = daemon.waiting_for(&id).unwrap_or_default();
        assert!(waiting.starts_with(words), "{waiting}");
        assert_eq!(daemon.status(&id).last_processing_result, result);
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_is_blocked_on_its_parent_until_that_is_resolved() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    let function = daemon.adapters.function("f");
    function.fails_on(Some("stuck"));
    stream.put(0, b"\"stuck\"");
    stream.follow(0, 2);
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it is tried", || 0 < function.n_calls()).await;
    let blocked = daemon.status(&id).blocked;
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    let child = &blocked[&"2".into()];
    assert_eq!(child.start, Position::TrimHorizon);
    assert_eq!(
        describe_blocked(child),
        "blocked on its parent 0: the records of a shard come after all of its parents'"
    );
    function.fails_on(None);
    until("the child runs", || {
        daemon.checkpoint_is(&id, "0", &Position::ShardEnd) && daemon.status(&id).units.len() == 2
    })
    .await;
    until("it is not blocked", || {
        daemon.status(&id).blocked.is_empty()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_switched_off_is_finished_and_says_so() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    let function = daemon.adapters.function("f");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    assert_eq!(daemon.status(&id).notice, None);
    stream.put(0, b"{}");
    stream.put(1, b"{}");
    stream.switch_off();
    for shard in ["0", "1"] {
        until("it is finished", || {
            daemon.checkpoint_is(&id, shard, &Position::ShardEnd)
        })
        .await;
    }
    assert_eq!(function.n_calls(), 2);
    until("it says so", || daemon.status(&id).notice.is_some()).await;
    let notice = daemon.status(&id).notice.unwrap_or_default();
    assert!(
        notice.starts_with("the stream was switched off"),
        "{notice}"
    );
    assert_eq!(daemon.state(&id), "Enabled");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_far_behind_tells_whether_it_catches_up() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    // An invocation a second, of one record.
    function.answers(Answer::After(Duration::from_secs(1), Outcome::Success));
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    let lag = || {
        let status = daemon.status(&id);
        let unit = status.units.values().next()?;
        describe_lag(unit, daemon.clock.wall())
    };
    assert_eq!(lag(), None);
    // Two records a second arrive.
    for _ in 0..200 {
        stream.put(0, b"{}");
        stream.put(0, b"{}");
        pass(1).await;
    }
    let slow = lag().unwrap_or_default();
    assert!(slow.ends_with(" s, and falling further behind"), "{slow}");
    function.answers(Answer::After(Duration::from_millis(200), Outcome::Success));
    pass(21).await;
    let fast = lag().unwrap_or_default();
    assert!(fast.ends_with(" s, and catching up"), "{fast}");
    until("it has caught up", || lag().is_none()).await;
}
