//! Skips: what blocks a shard is passed, and becomes dead letters.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass_core::ids::{KeyHash, ShardId};
use windlass_core::mapping::{DesiredState, MappingId};
use windlass_core::outcome::{Fault, Outcome, Response, ReturnedState};
use windlass_core::place::Place;
use windlass_core::position::Position;
use windlass_core::window::WindowState;
use windlass_engine::dead_letters::{Keep, OnFull};
use windlass_engine::ports::{DeadLetterReason, HistoryId, HistoryLine, HistoryStore as _, What};
use windlass_engine::stop::Stop;
use windlass_engine::supervisor::{OperationError, Seek, Skip, SkipRecords, SkipResult};
use windlass_testkit::fakes::{Answer, FakeFunction, FakeStream};

use crate::daemon::{Daemon, after, pass, until};

type Skipped = Result<SkipResult, OperationError>;

impl Daemon {
    async fn skip(&self, id: &MappingId, records: SkipRecords) -> Skipped {
        self.skip_with(id, records, false).await
    }

    async fn skip_with(&self, id: &MappingId, records: SkipRecords, discards: bool) -> Skipped {
        let skip = Skip {
            shard: ShardId::from("0"),
            records,
            discards,
        };
        let (row, mapping) = (self.store.row(id).expect("it exists"), id.clone());
        let time = self.clock.wall();
        let line = move |result: &SkipResult| HistoryLine {
            id: HistoryId(time.as_millis().into()),
            time,
            who: "local".to_owned(),
            what: What::Skip,
            mapping: Some(mapping.clone()),
            before: Value::Null,
            after: json!({"skipped": result.skipped, "to": result.to.describe()}),
        };
        self.operator.skip(&row, skip, line).await
    }

    /// First and last number, number of records and payload of each letter, in the order of the shard.
    fn letters(&self) -> Vec<(String, String, u64, Value)> {
        let letters = self.store.all_dead_letters().into_iter();
        let letters = letters.map(|(letter, payload)| {
            assert_eq!(letter.reason, DeadLetterReason::Skipped);
            assert_eq!((letter.condition(), letter.attempts), (None, 0));
            let payload = serde_json::from_slice(&payload).expect("it is JSON");
            let [first, last] = [letter.first, letter.last].map(|it| it.as_str().to_owned());
            (first, last, letter.records, payload)
        });
        let mut letters: Vec<_> = letters.collect();
        letters.sort_by_key(|(first, ..)| first.parse::<u64>().ok());
        letters
    }

    /// First number and number of records of each letter.
    fn letter_ends(&self) -> Vec<(u64, u64)> {
        let letters = self.letters().into_iter();
        let ends =
            letters.map(|(first, _, records, _)| (first.parse().expect("a number"), records));
        ends.collect()
    }
}

fn failing() -> Answer {
    let error = Outcome::function_error(200, "Unhandled");
    Answer::After(Duration::ZERO, error)
}

fn succeeding() -> Answer {
    Answer::After(Duration::ZERO, Outcome::Success)
}

fn event(number: usize) -> String {
    format!("{{\"n\":{number}}}")
}

/// All numbers that the function has received, in this order.
fn numbers(function: &FakeFunction) -> Vec<u64> {
    let events = function.calls().into_iter().map(|call| {
        let event: Value = serde_json::from_slice(&call.event).expect("it is JSON");
        event["Records"].as_array().cloned().unwrap_or_default()
    });
    let numbers = events.flatten().filter_map(|record| record["n"].as_u64());
    numbers.collect()
}

/// A mapping of a stream with records `{"n": 0}`, `{"n": 1}` and so on, which the function fails.
async fn stuck_on(
    daemon: &Daemon,
    n_records: usize,
    batch_size: i64,
) -> (MappingId, Arc<FakeFunction>, Arc<FakeStream>) {
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(failing());
    for number in 0..n_records {
        stream.put(0, event(number).as_bytes());
    }
    let id = daemon.map("stream/orders", "f", batch_size).await;
    until("it is retried", || 2 < function.n_calls()).await;
    (id, function, stream)
}

async fn stuck(
    daemon: &Daemon,
    n_records: usize,
    batch_size: i64,
) -> (MappingId, Arc<FakeFunction>) {
    let (id, function, _) = stuck_on(daemon, n_records, batch_size).await;
    (id, function)
}

#[tokio::test(start_paused = true)]
async fn the_next_records_become_letters_and_the_mapping_continues_after_them() {
    let daemon = Daemon::start();
    let (id, function) = stuck(&daemon, 5, 2).await;
    let epoch = daemon.store.leases_of(&id)[0].epoch;
    let result = daemon.skip(&id, SkipRecords::Next(3)).await.unwrap();
    assert_eq!(
        (result.from, result.to, result.skipped, result.discarded),
        (Position::TrimHorizon, after("2"), 3, 0)
    );
    let n_failed = function.n_calls();
    function.answers(succeeding());
    until("it continues", || daemon.checkpoint(&id, "0") == after("4")).await;
    let received = numbers(&function);
    assert_eq!(received[received.len() - 2..], [3, 4]);
    assert_eq!(function.n_calls(), n_failed + 1);
    assert!(epoch + 2 <= daemon.store.leases_of(&id)[0].epoch);
    let letters = daemon.letters();
    let expected = [
        (
            "0".to_owned(),
            "1".to_owned(),
            2,
            json!({"Records": [{"n": 0}, {"n": 1}]}),
        ),
        (
            "2".to_owned(),
            "2".to_owned(),
            1,
            json!({"Records": [{"n": 2}]}),
        ),
    ];
    assert_eq!(letters, expected);
    let counts = daemon.status(&id).counts;
    assert_eq!((counts.skipped.get(), counts.dead_letters.get()), (3, 3));
    assert_eq!(counts.dropped.get(), 0);
    let history = daemon.store.history(Some(&id), None, 10).await.unwrap();
    let lines: Vec<_> = history.lines.iter().map(|line| &line.after).collect();
    assert_eq!(lines, [&json!({"skipped": 3, "to": "sequence number 2"})]);
    assert_eq!(daemon.state(&id), "Enabled");
}

#[tokio::test(start_paused = true)]
async fn fewer_records_are_skipped_where_fewer_are_left_and_none_is_a_conflict() {
    let daemon = Daemon::start();
    let (id, function) = stuck(&daemon, 3, 10).await;
    let result = daemon.skip(&id, SkipRecords::Next(10)).await.unwrap();
    assert_eq!((result.skipped, result.unreadable), (3, None));
    assert_eq!(daemon.letter_ends(), [(0, 3)]);
    let n_calls = function.n_calls();
    let again = daemon.skip(&id, SkipRecords::Next(1)).await;
    assert!(
        matches!(again, Err(OperationError::NothingToSkip)),
        "{again:?}"
    );
    let batch = daemon.skip(&id, SkipRecords::RetriedBatches).await;
    assert!(
        matches!(batch, Err(OperationError::NothingRetried(_))),
        "{batch:?}"
    );
    pass(60).await;
    assert_eq!(function.n_calls(), n_calls);
    let history = daemon.store.history(Some(&id), None, 10).await.unwrap();
    assert_eq!(history.lines.len(), 1, "refusals leave no line");
}

#[tokio::test(start_paused = true)]
async fn everything_through_a_number_is_skipped() {
    let daemon = Daemon::start();
    let (id, function) = stuck(&daemon, 6, 2).await;
    let beyond = daemon.skip(&id, SkipRecords::Through("6".into())).await;
    assert!(
        matches!(beyond, Err(OperationError::UnknownNumber { .. })),
        "{beyond:?}"
    );
    let result = daemon
        .skip(&id, SkipRecords::Through("4".into()))
        .await
        .unwrap();
    assert_eq!((result.to, result.skipped), (after("4"), 5));
    assert_eq!(daemon.letter_ends(), [(0, 2), (2, 2), (4, 1)]);
    let passed = daemon.skip(&id, SkipRecords::Through("4".into())).await;
    assert!(
        matches!(passed, Err(OperationError::Passed { .. })),
        "{passed:?}"
    );
    function.answers(succeeding());
    until("it continues", || daemon.checkpoint(&id, "0") == after("5")).await;
}

#[tokio::test(start_paused = true)]
async fn the_batches_that_are_retried_are_skipped_and_no_other_record() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    // The fake stream uses the event as the key.
    let lane = |number: usize| KeyHash::of(event(number).as_bytes()).0 % 10;
    let stuck_lane = lane(0);
    let others: Vec<_> = (1..)
        .filter(|it| lane(*it) != stuck_lane)
        .take(30)
        .collect();
    let same: Vec<_> = (1..).filter(|it| lane(*it) == stuck_lane).take(4).collect();
    function.fails_on(Some("\"n\":0}"));
    let mut order = vec![0, same[0]];
    order.extend(&others);
    order.extend(&same[1..]);
    for number in &order {
        stream.put(0, event(*number).as_bytes());
    }
    let id = daemon
        .map_with("stream/orders", "f", 2, |spec| {
            spec.set("ParallelizationFactor", 10);
        })
        .await;
    until("the other lanes are done", || {
        let received = numbers(&function);
        others.iter().all(|it| received.contains(&(*it as u64)))
    })
    .await;
    until("it is retried", || {
        daemon
            .waiting_for(&id)
            .is_some_and(|text| text.contains("attempt 3"))
    })
    .await;
    let result = daemon.skip(&id, SkipRecords::RetriedBatches).await.unwrap();
    assert_eq!(result.skipped, 2);
    let records = json!({"Records": [{"n": 0}, {"n": same[0]}]});
    let letters = daemon.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].3, records);
    let last = (order.len() - 1).to_string();
    until("all is done", || {
        daemon.checkpoint(&id, "0") == after(&last)
    })
    .await;
    let received = numbers(&function);
    let n_received = |number: &usize| received.iter().filter(|it| **it == *number as u64).count();
    assert!(others.iter().all(|it| n_received(it) == 1), "{received:?}");
    assert!(
        same[1..].iter().all(|it| n_received(it) == 1),
        "{received:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn records_that_other_lanes_have_resolved_do_not_count() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    let lane = |number: usize| KeyHash::of(event(number).as_bytes()).0 % 2;
    let others: Vec<_> = (1..).filter(|it| lane(*it) != lane(0)).take(3).collect();
    let same: Vec<_> = (1..).filter(|it| lane(*it) == lane(0)).take(2).collect();
    function.fails_on(Some("\"n\":0}"));
    let order = [0, others[0], others[1], same[0], others[2], same[1]];
    for number in order {
        stream.put(0, event(number).as_bytes());
    }
    let id = daemon
        .map_with("stream/orders", "f", 1, |spec| {
            spec.set("ParallelizationFactor", 2);
        })
        .await;
    until("the other lane is done", || {
        numbers(&function).contains(&(others[2] as u64))
    })
    .await;
    pass(3).await;
    let result = daemon.skip(&id, SkipRecords::Next(2)).await.unwrap();
    assert_eq!((result.skipped, result.to), (2, after("4")));
    assert_eq!(daemon.letter_ends(), [(0, 1), (3, 1)]);
    until("all is done", || daemon.checkpoint(&id, "0") == after("5")).await;
    let received = numbers(&function);
    for number in [others[0], others[1], others[2], same[1]] {
        let n_received = received.iter().filter(|it| **it == number as u64).count();
        assert_eq!(n_received, 1, "{number}: {received:?}");
    }
    assert!(!received.contains(&(same[0] as u64)));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_ends_first_and_one_operation_runs_at_a_time() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(5), Outcome::Success));
    for number in 0..4 {
        stream.put(0, event(number).as_bytes());
    }
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it is in flight", || function.n_running() == 1).await;
    let row = daemon.store.row(&id).unwrap();
    let other = async {
        pass(1).await;
        let seek = Seek {
            shard: None,
            to: Place::TrimHorizon,
            is_dry_run: false,
        };
        let line = |_: &[_]| panic!("nothing is moved");
        let seek = daemon.operator.seek(&row, &seek, line).await;
        assert!(matches!(seek, Err(OperationError::Busy)), "{seek:?}");
        let skip = daemon.skip(&id, SkipRecords::Next(1)).await;
        assert!(matches!(skip, Err(OperationError::Busy)), "{skip:?}");
    };
    let (result, ()) = tokio::join!(daemon.skip(&id, SkipRecords::Next(1)), other);
    let result = result.unwrap();
    assert_eq!((result.from, result.to), (after("0"), after("1")));
    until("all is done", || daemon.checkpoint(&id, "0") == after("3")).await;
    assert_eq!(numbers(&function), [0, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_mapping_continues_there_later() {
    let daemon = Daemon::start();
    let (id, function) = stuck(&daemon, 3, 1).await;
    daemon.set(&id, DesiredState::Disabled).await;
    until("it is disabled", || daemon.state(&id) == "Disabled").await;
    let result = daemon.skip(&id, SkipRecords::Next(2)).await.unwrap();
    assert_eq!(result.to, after("1"));
    pass(60).await;
    let n_calls = function.n_calls();
    function.answers(succeeding());
    daemon.set(&id, DesiredState::Enabled).await;
    until("it continues", || daemon.checkpoint(&id, "0") == after("2")).await;
    assert_eq!(function.n_calls(), n_calls + 1);
}

#[tokio::test(start_paused = true)]
async fn without_room_nothing_is_skipped_unless_it_is_discarded() {
    let daemon = Daemon::with(|settings| settings.dead_letters.maximum_size = 30);
    let (id, _) = stuck(&daemon, 3, 1).await;
    let full = daemon.skip(&id, SkipRecords::Next(2)).await;
    assert!(
        matches!(full, Err(OperationError::NoRoom { skipped: 1 })),
        "{full:?}"
    );
    assert_eq!(daemon.letter_ends(), [(0, 1)]);
    assert_eq!(daemon.checkpoint(&id, "0"), after("0"));
    let result = daemon
        .skip_with(&id, SkipRecords::Next(2), true)
        .await
        .unwrap();
    assert_eq!(
        (result.skipped, result.discarded, result.to),
        (2, 2, after("2"))
    );
    assert_eq!(daemon.letter_ends(), [(0, 1)]);
    let counts = daemon.status(&id).counts;
    assert_eq!((counts.skipped.get(), counts.dead_letters.get()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_letters_make_room_for_what_is_skipped() {
    let daemon = Daemon::with(|settings| {
        settings.dead_letters.maximum_size = 30;
        settings.dead_letters.on_full = OnFull::DropOldest;
    });
    let (id, _) = stuck(&daemon, 3, 1).await;
    let result = daemon.skip(&id, SkipRecords::Next(1)).await.unwrap();
    assert_eq!(result.discarded, 0);
    pass(1).await;
    daemon.skip(&id, SkipRecords::Next(1)).await.unwrap();
    assert_eq!(daemon.letter_ends(), [(1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn where_letters_are_never_kept_a_skip_discards_or_is_refused() {
    let daemon = Daemon::with(|settings| settings.dead_letters.keep = Keep::Never);
    let (id, function) = stuck(&daemon, 3, 1).await;
    let refused = daemon.skip(&id, SkipRecords::Next(1)).await;
    assert!(
        matches!(refused, Err(OperationError::NotKept)),
        "{refused:?}"
    );
    let result = daemon
        .skip_with(&id, SkipRecords::Next(1), true)
        .await
        .unwrap();
    assert_eq!((result.skipped, result.discarded), (1, 1));
    assert_eq!(daemon.letter_ends(), []);
    function.answers(succeeding());
    until("it continues", || daemon.checkpoint(&id, "0") == after("2")).await;
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_window_is_kept_unless_its_final_invocation_is_skipped() {
    let returns = |state: &'static str| {
        let state = ReturnedState::Json(WindowState::new(state.into()));
        let outcome = Outcome::returned(true, Some(state), None, Response::default);
        Answer::After(Duration::ZERO, outcome)
    };
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(returns("{\"sum\":1}"));
    stream.put(0, event(0).as_bytes());
    let id = daemon
        .map_with("stream/orders", "f", 1, |spec| {
            spec.set("TumblingWindowInSeconds", 900);
        })
        .await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    until("it is done", || daemon.checkpoint(&id, "0") == after("0")).await;
    function.answers(failing());
    stream.put(0, event(1).as_bytes());
    stream.put(0, event(2).as_bytes());
    until("it is retried", || 3 < function.n_calls()).await;
    daemon.skip(&id, SkipRecords::RetriedBatches).await.unwrap();
    let letters = daemon.letters();
    assert_eq!(letters.len(), 1);
    let skipped = &letters[0].3;
    assert_eq!(skipped["state"], json!({"sum": 1}), "{skipped}");
    assert_eq!(skipped["Records"], json!([{"n": 1}]));
    assert_eq!(skipped["isFinalInvokeForWindow"], json!(false));
    function.answers(returns("{\"sum\":3}"));
    until("it is done", || daemon.checkpoint(&id, "0") == after("2")).await;
    let call = function.calls().pop().unwrap();
    let call: Value = serde_json::from_slice(&call.event).unwrap();
    assert_eq!(call["state"], json!({"sum": 1}));
    function.answers(failing());
    // The window, and two minutes without a record.
    until("its end is retried", || {
        let waiting = daemon.waiting_for(&id);
        waiting.is_some_and(|it| it.starts_with("final invocation of a tumbling window"))
    })
    .await;
    let result = daemon.skip(&id, SkipRecords::RetriedBatches).await.unwrap();
    assert_eq!((result.skipped, result.to), (0, after("2")));
    let letters = daemon.letters();
    assert_eq!(letters.len(), 2);
    let (first, last, n_records, last_call) = &letters[1];
    assert_eq!((first.as_str(), last.as_str(), *n_records), ("2", "2", 0));
    assert_eq!(last_call["isFinalInvokeForWindow"], json!(true));
    assert_eq!(last_call["state"], json!({"sum": 3}));
    let n_calls = function.n_calls();
    pass(300).await;
    assert_eq!(function.n_calls(), n_calls);
    assert_eq!(daemon.waiting_for(&id), None);
    function.answers(returns("{}"));
    stream.put(0, event(3).as_bytes());
    until("it continues", || n_calls < function.n_calls()).await;
    let call = function.calls().pop().unwrap();
    let call: Value = serde_json::from_slice(&call.event).unwrap();
    assert_eq!(call["state"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_skip_that_is_broken_off_has_done_what_the_history_says() {
    let daemon = Daemon::start();
    let (id, function) = stuck(&daemon, 40, 1).await;
    daemon.store.fails_after_letters(Some(10));
    let failed = daemon.skip(&id, SkipRecords::Next(30)).await;
    assert!(matches!(failed, Err(OperationError::Port(_))), "{failed:?}");
    daemon.store.fails_after_letters(None);
    let n_letters = daemon.letters().len() as u64;
    assert_eq!(n_letters, 10);
    let last = (n_letters - 1).to_string();
    assert_eq!(daemon.checkpoint(&id, "0"), after(&last));
    let history = daemon.store.history(Some(&id), None, 10).await.unwrap();
    assert_eq!(history.lines[0].after["skipped"], json!(n_letters));
    let daemon = daemon.restart_after_a_kill().await;
    until("it is retried", || daemon.waiting_for(&id).is_some()).await;
    daemon
        .skip(&id, SkipRecords::Next(30 - n_letters))
        .await
        .unwrap();
    assert_eq!(daemon.letters().len(), 30);
    let n_calls = function.n_calls();
    function.answers(succeeding());
    until("it continues", || {
        daemon.checkpoint(&id, "0") == after("39")
    })
    .await;
    let received = numbers(&function).split_off(n_calls);
    assert_eq!(received, (30..40).collect::<Vec<_>>());
    daemon.errors.take();
}

#[tokio::test(start_paused = true)]
async fn a_skip_ends_with_the_daemon_and_with_its_caller() {
    let mut daemon = Daemon::start();
    let (id, function) = stuck(&daemon, 3, 1).await;
    function.answers(Answer::Hangs);
    until("it hangs", || function.n_running() == 1).await;
    let caller = daemon.skip(&id, SkipRecords::Next(1));
    let left = tokio::time::timeout(Duration::from_secs(3), caller).await;
    assert!(left.is_err(), "it waits for what is in flight");
    pass(30).await;
    assert_eq!(daemon.letter_ends(), []);
    until("it continues", || function.n_running() == 1).await;
    let skip = daemon.skip(&id, SkipRecords::Next(1));
    let stop = async {
        pass(1).await;
        daemon.stop(Stop::Drain);
        function.answers(succeeding());
        pass(1).await;
    };
    let (result, ()) = tokio::join!(skip, stop);
    assert!(
        matches!(result, Err(OperationError::Draining)),
        "{result:?}"
    );
    daemon.stop(Stop::Now);
    daemon.ended().await;
    assert_eq!(daemon.letter_ends(), []);
}

#[tokio::test(start_paused = true)]
async fn a_skip_says_that_it_ends_at_a_record_without_a_number() {
    let daemon = Daemon::start();
    let (id, _, stream) = stuck_on(&daemon, 5, 1).await;
    stream.set_unreadable(0, 2);
    let result = daemon.skip(&id, SkipRecords::Next(4)).await.unwrap();
    assert_eq!((result.skipped, result.to), (2, after("1")));
    assert!(result.unreadable.is_some());
    let again = daemon.skip(&id, SkipRecords::Next(4)).await;
    assert!(
        matches!(again, Err(OperationError::Unreadable { .. })),
        "{again:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_cannot_be_read_is_not_skipped() {
    let daemon = Daemon::start();
    let (id, function, stream) = stuck_on(&daemon, 3, 1).await;
    stream.set_fault(Some(Fault::Denied));
    let denied = daemon.skip(&id, SkipRecords::Next(1)).await;
    let Err(OperationError::Unread { fault, skipped, .. }) = denied else {
        panic!("{denied:?}");
    };
    assert_eq!((fault, skipped), (Fault::Denied, 0));
    stream.set_fault(None);
    function.answers(succeeding());
    until("it continues", || daemon.checkpoint(&id, "0") == after("2")).await;
    assert_eq!(daemon.letter_ends(), []);
}
