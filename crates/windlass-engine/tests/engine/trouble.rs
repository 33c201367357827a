//! Failures of everything but the function.

use std::time::Duration;

use windlass_core::outcome::{Fault, Outcome};
use windlass_testkit::fakes::{Answer, FakeQueue};

use crate::daemon::{Daemon, after, pass, until};

#[tokio::test(start_paused = true)]
async fn a_driver_that_panics_is_restarted_later_and_stops_nothing_else() {
    let daemon = Daemon::start();
    let (sick, sound) = (daemon.stream("sick", 1), daemon.stream("sound", 1));
    let panics = daemon.adapters.function("panics");
    daemon.adapters.function("works");
    panics.answers(Answer::Panics);
    sick.put(0, b"{}");
    let first = daemon.map("stream/sick", "panics", 1).await;
    let second = daemon.map("stream/sound", "works", 1).await;
    // Delays of about 1 s, 2 s, 4 s, 8 s: together at most 18 s, and with the next at least 24.8 s.
    for _ in 0..24 {
        sound.put(0, b"{}");
        pass(1).await;
    }
    assert_eq!(daemon.checkpoint(&second, "0"), after("23"));
    assert_eq!(panics.n_calls(), 5);
    let calls = panics.calls();
    assert!(calls[2].at - calls[1].at < calls[4].at - calls[3].at);
    let errors = daemon.errors.take();
    assert_eq!(errors.len(), 5);
    assert!(
        errors.iter().all(|it| it.contains("driver panicked")),
        "{errors:?}"
    );
    assert_eq!(daemon.board.leases().unwrap().waiting, 1);
    panics.answers(Answer::After(Duration::ZERO, Outcome::Success));
    until("it is saved", || {
        daemon.checkpoint(&first, "0") == after("0")
    })
    .await;
    assert!(daemon.errors.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_panics_is_repeated_and_stops_nothing_else() {
    let daemon = Daemon::start();
    let (sick, sound) = (daemon.stream("sick", 1), daemon.stream("sound", 1));
    let function = daemon.adapters.function("f");
    sick.let_listings_panic(true);
    daemon.map("stream/sick", "f", 1).await;
    let second = daemon.map("stream/sound", "f", 1).await;
    sound.put(0, b"{}");
    pass(10).await;
    assert_eq!(daemon.checkpoint(&second, "0"), after("0"));
    let errors = daemon.errors.take();
    assert!((2..=6).contains(&errors.len()), "{errors:?}");
    assert!(
        errors.iter().all(|it| it.contains("listing panicked")),
        "{errors:?}"
    );
    sick.let_listings_panic(false);
    sick.put(0, b"{}");
    until("it is read", || function.n_calls() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_has_run_well_is_restarted_soon_after_a_panic() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    for n_records in 1..10 {
        function.answers(Answer::Panics);
        let n_calls = function.n_calls();
        stream.put(0, b"{}");
        until("it panics", || n_calls < function.n_calls()).await;
        function.answers(Answer::After(Duration::ZERO, Outcome::Success));
        let failed = daemon.clock.now();
        let position = after(&(n_records - 1).to_string());
        until("it is saved", || daemon.checkpoint(&id, "0") == position).await;
        let delay = daemon.clock.now().since(failed);
        assert!(delay < Duration::from_secs(3), "{delay:?}");
        pass(100).await;
    }
    assert_eq!(daemon.errors.take().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_after_a_lease_is_lost() {
    let daemon = Daemon::with(|settings| {
        // The next regular round comes after the end of the test.
        settings.reconcile_interval = Duration::from_secs(3_000);
        settings.discovery_interval = Duration::from_secs(3_000);
    });
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    stream.put(0, b"{}");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it is saved", || daemon.store.saves().len() == 1).await;
    // The rounds that follow the start are over.
    pass(1).await;
    daemon.store.steal(&id);
    stream.put(0, b"{}");
    until("the consumer has ended", || daemon.board.n_units() == 0).await;
    assert_eq!(daemon.checkpoint(&id, "0"), after("0"));
    assert_eq!((daemon.store.saves().len(), function.n_calls()), (1, 2));
}

/// What `/readyz` reports: no round has finished for three reconcile intervals.
#[tokio::test(start_paused = true)]
async fn a_supervisor_is_stalled_while_it_finishes_no_round() {
    let daemon = Daemon::start();
    daemon.stream("orders", 1);
    daemon.adapters.function("f");
    assert_eq!(daemon.board.stalled_for(), None, "it has not begun");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    for _ in 0..600 {
        pass(1).await;
        assert_eq!(daemon.board.stalled_for(), None);
    }
    daemon.store.fails(Some(Fault::Transient));
    pass(9).await;
    assert_eq!(daemon.board.stalled_for(), None);
    pass(10).await;
    let stalled = daemon.board.stalled_for().expect("it has missed three");
    assert!(Duration::from_secs(15) < stalled, "{stalled:?}");
    daemon.store.fails(None);
    until("a round finishes", || daemon.board.stalled_for().is_none()).await;
    assert!(!daemon.errors.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_stops_no_driver_and_is_written_when_it_is_back() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    daemon.store.fails(Some(Fault::Transient));
    for _ in 0..10 {
        stream.put(0, b"{}");
        pass(1).await;
    }
    assert_eq!(function.n_calls(), 10);
    assert_eq!(daemon.board.leases(), None);
    assert_eq!(
        daemon.waiting_for(&id).unwrap().split(',').next(),
        Some("the store cannot be reached")
    );
    daemon.store.fails(None);
    until("it is saved", || daemon.checkpoint(&id, "0") == after("9")).await;
    until("leases are known again", || daemon.board.leases().is_some()).await;
    assert!(!daemon.errors.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_cannot_be_described_is_asked_ever_more_rarely() {
    let daemon = Daemon::start();
    let queue = daemon.queue("jobs");
    daemon.adapters.function("f");
    queue.set_fault(Some(Fault::Gone));
    let id = daemon.map("jobs", "f", 1).await;
    pass(40).await;
    let waiting = daemon.waiting_for(&id);
    let cause = "GetQueueAttributes: injected by the test";
    let expected = format!("the source does not exist ({cause})");
    assert_eq!(waiting.as_deref(), Some(expected.as_str()));
    assert!(queue.n_descriptions() <= 7, "{}", queue.n_descriptions());
    queue.set_fault(None);
    queue.send(b"{}");
    until("it is deleted", || queue.n_messages() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_visibility_timeout_of_a_queue_is_noticed() {
    let daemon = Daemon::start();
    let queue = daemon
        .adapters
        .queue("jobs", FakeQueue::new(Duration::from_secs(2), 1_000));
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(
        Duration::ZERO,
        Outcome::function_error(500, "broken"),
    ));
    queue.send(b"{}");
    daemon.map("jobs", "f", 1).await;
    until("it is retried", || 10 <= function.n_calls()).await;
    queue.set_visibility(Duration::from_secs(60));
    pass(15).await;
    let n_calls = function.n_calls();
    pass(45).await;
    assert!(function.n_calls() <= n_calls + 1);
    // Without failures the attributes are read once an hour.
    function.answers(Answer::After(Duration::ZERO, Outcome::Success));
    until("it is deleted", || queue.n_messages() == 0).await;
    let n_descriptions = queue.n_descriptions();
    pass(3_600 + 60).await;
    assert_eq!(queue.n_descriptions(), n_descriptions + 1);
}
