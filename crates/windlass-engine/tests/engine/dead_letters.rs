//! What is given up and kept: when it counts as resolved, what holds a shard, and what ends a letter.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use windlass_core::failure::FailureCondition;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::spec::MappingSpec;
use windlass_engine::dead_letters::{DeadLetterSettings, Keep, OnFull};
use windlass_engine::ports::{
    DeadLetterReason, DeadLetterStore as _, HistoryId, HistoryLine, RedriveLine, What,
};
use windlass_engine::stop::Stop;
use windlass_testkit::fakes::{Answer, FakeFunction};

use crate::daemon::{Daemon, after, pass, until};

/// In seconds.
const RETENTION: u64 = 600;

/// After a second, so that no two records are given up at the same time.
fn failing() -> Answer {
    let error = Outcome::function_error(200, "Unhandled");
    Answer::After(Duration::from_secs(1), error)
}

/// Room for two letters of these records.
const TWO_LETTERS: u64 = 40;

fn daemon(change: impl FnOnce(&mut DeadLetterSettings)) -> Daemon {
    Daemon::with(|settings| change(&mut settings.dead_letters))
}

fn no_retries(spec: &mut MappingSpec) {
    spec.set("MaximumRetryAttempts", 0);
}

/// A mapping of a stream with three records, which are given up one by one.
async fn failing_mapping(daemon: &Daemon) -> (MappingId, Arc<FakeFunction>) {
    let stream = daemon.stream("orders", 1);
    for _ in 0..3 {
        stream.put(0, b"{}");
    }
    let function = daemon.adapters.function("f");
    function.answers(failing());
    let id = daemon.map_with("stream/orders", "f", 1, no_retries).await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    (id, function)
}

#[tokio::test(start_paused = true)]
async fn what_has_no_destination_is_kept_with_its_event() {
    let daemon = daemon(|_| {});
    let (id, function) = failing_mapping(&daemon).await;
    until("all are resolved", || {
        daemon.checkpoint(&id, "0") == after("2")
    })
    .await;
    let letters = daemon.store.all_dead_letters();
    assert_eq!(letters.len(), 3);
    for ((letter, payload), call) in letters.iter().zip(function.calls()) {
        assert_eq!(*payload, call.event);
        assert_eq!(letter.bytes, payload.len() as u64);
        assert_eq!(
            (letter.first.as_str(), letter.records),
            (letter.last.as_str(), 1)
        );
        assert_eq!(letter.mapping.as_ref(), Some(&id));
        assert_eq!(
            letter.function_arn.as_str(),
            "arn:aws:lambda:us-east-1:000000000000:function:f"
        );
        let reason = DeadLetterReason::GivenUp(FailureCondition::RetryAttemptsExhausted);
        assert_eq!((letter.reason, letter.attempts), (reason, 1));
        assert_eq!(
            letter.last_error.as_deref(),
            Some("function error: Unhandled")
        );
    }
    let counts = daemon.status(&id).counts;
    assert_eq!((counts.dead_letters.get(), counts.dropped.get()), (3, 3));
    let totals = daemon.board.dead_letters().totals();
    assert_eq!(totals.letters, 3);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_written_is_not_resolved() {
    let daemon = daemon(|_| {});
    let (id, function) = failing_mapping(&daemon).await;
    until("the first is kept", || {
        !daemon.store.all_dead_letters().is_empty()
    })
    .await;
    daemon.store.fails(Some(Fault::Transient));
    pass(30).await;
    let (n_letters, n_calls) = (daemon.store.all_dead_letters().len(), function.n_calls());
    assert!(
        n_letters < 3 && n_calls <= n_letters + 1,
        "{n_letters}, {n_calls}"
    );
    let waiting = daemon.waiting_for(&id).unwrap();
    assert!(
        waiting.starts_with("records are given up, and the store of the dead letters cannot be"),
        "{waiting}"
    );
    daemon.store.fails(None);
    until("all are resolved", || {
        daemon.checkpoint(&id, "0") == after("2")
    })
    .await;
    assert_eq!(daemon.store.all_dead_letters().len(), 3);
    assert!(!daemon.errors.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_letter_without_room_holds_its_shard_and_no_drain_waits_for_it() {
    let mut daemon = daemon(|settings| settings.maximum_size = 1);
    let (id, function) = failing_mapping(&daemon).await;
    until("it waits", || daemon.waiting_for(&id).is_some()).await;
    let waiting = daemon.waiting_for(&id).unwrap();
    assert!(
        waiting.starts_with("records are given up, and the dead letters have no room for them"),
        "{waiting}"
    );
    pass(600).await;
    assert_eq!(
        (function.n_calls(), daemon.store.all_dead_letters().len()),
        (1, 0)
    );
    assert_eq!(daemon.status(&id).counts.dropped.get(), 0);
    let begun = tokio::time::Instant::now();
    daemon.stop(Stop::Drain);
    daemon.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_ne!(daemon.checkpoint(&id, "0"), after("0"));
}

#[tokio::test(start_paused = true)]
async fn a_shard_continues_when_there_is_room_again() {
    let daemon = daemon(|settings| settings.maximum_size = TWO_LETTERS);
    let (id, _) = failing_mapping(&daemon).await;
    until("it waits", || daemon.waiting_for(&id).is_some()).await;
    let kept = daemon.store.all_dead_letters();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let ids: Vec<_> = kept.iter().map(|(letter, _)| letter.id).collect();
    daemon.store.claim_dead_letters(&ids).await.unwrap();
    for (letter, _) in kept {
        let line = RedriveLine {
            line: HistoryLine {
                id: HistoryId(1),
                time: letter.given_up,
                who: "local".to_owned(),
                what: What::Redrive,
                mapping: None,
                before: serde_json::Value::Null,
                after: json!({}),
            },
            redriven: Vec::new(),
            failed: 0,
        };
        let deleted = daemon.store.delete_redriven(letter.marker(), &line).await;
        deleted.unwrap();
    }
    until("all are resolved", || {
        daemon.checkpoint(&id, "0") == after("2")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_oldest_letters_make_room_where_that_is_wanted() {
    let daemon = daemon(|settings| {
        settings.maximum_size = TWO_LETTERS;
        settings.on_full = OnFull::DropOldest;
    });
    let (id, _) = failing_mapping(&daemon).await;
    until("all are resolved", || {
        daemon.checkpoint(&id, "0") == after("2")
    })
    .await;
    let kept = daemon.store.all_dead_letters();
    assert_eq!(kept.last().unwrap().0.last.as_str(), "2");
    let dropped = daemon.board.dead_letters().dropped_oldest.get();
    assert_eq!((kept.len(), dropped), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn letters_are_deleted_within_30_s_after_their_retention() {
    let daemon = daemon(|settings| settings.retention = Duration::from_secs(RETENTION));
    failing_mapping(&daemon).await;
    until("all are kept", || {
        daemon.store.all_dead_letters().len() == 3
    })
    .await;
    pass(RETENTION - 60).await;
    assert_eq!(daemon.store.all_dead_letters().len(), 3);
    pass(90).await;
    assert_eq!(daemon.store.all_dead_letters().len(), 0);
    let counts = daemon.board.dead_letters();
    assert_eq!((counts.expired.get(), counts.totals().letters), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_where_that_is_not_wanted() {
    let daemon = daemon(|settings| settings.keep = Keep::Never);
    let (id, _) = failing_mapping(&daemon).await;
    until("all are resolved", || {
        daemon.checkpoint(&id, "0") == after("2")
    })
    .await;
    let counts = daemon.status(&id).counts;
    assert_eq!((counts.dead_letters.get(), counts.dropped.get()), (0, 3));
    assert!(daemon.store.all_dead_letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn letters_are_kept_in_addition_to_a_destination_where_that_is_wanted() {
    for (keep, n_letters) in [(Keep::NoDestination, 0), (Keep::Always, 1)] {
        let daemon = daemon(|settings| settings.keep = keep);
        let destination = daemon.adapters.destination("failed");
        destination.fail_with(Some(Fault::Transient));
        let stream = daemon.stream("orders", 1);
        stream.put(0, b"{}");
        let function = daemon.adapters.function("f");
        function.answers(failing());
        let map = daemon.map_with("stream/orders", "f", 1, |spec| {
            no_retries(spec);
            let arn = "arn:aws:sqs:us-east-1:000000000000:failed";
            spec.set(
                "DestinationConfig",
                json!({"OnFailure": {"Destination": arn}}),
            );
        });
        let id = map.await;
        until("it was tried", || 2 < destination.tries().len()).await;
        assert_ne!(daemon.checkpoint(&id, "0"), after("0"));
        destination.fail_with(None);
        until("it is saved", || daemon.checkpoint(&id, "0") == after("0")).await;
        assert_eq!(daemon.store.all_dead_letters().len(), n_letters);
        let counts = daemon.status(&id).counts;
        assert_eq!(counts.dead_letters.get(), n_letters as u64);
        assert_eq!(
            (counts.dropped.get(), counts.on_failure_delivered.get()),
            (0, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_again_after_a_crash_replaces_its_letter() {
    let daemon = daemon(|_| {});
    let (id, function) = failing_mapping(&daemon).await;
    until("all are kept", || {
        daemon.store.all_dead_letters().len() == 3
    })
    .await;
    let n_calls = function.n_calls();
    let former = daemon.store.all_dead_letters();
    daemon.store.forget_checkpoints(&id);
    let daemon = daemon.restart_after_a_kill().await;
    until("all are given up again", || {
        n_calls + 3 <= function.n_calls()
    })
    .await;
    until("all are resolved", || {
        daemon.checkpoint(&id, "0") == after("2")
    })
    .await;
    let ids = |letters: Vec<_>| {
        let mut ids: Vec<_> = letters
            .into_iter()
            .map(|(letter, _): (windlass_engine::ports::DeadLetter, _)| letter.id)
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(daemon.store.all_dead_letters()), ids(former));
}
