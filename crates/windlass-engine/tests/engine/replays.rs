//! Replays: a stretch of a stream is read once more, next to the mappings, and ends by itself.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::failure::FailureCondition;
use windlass_core::ids::ShardId;
use windlass_core::mapping::{DesiredState, MappingId, Revision};
use windlass_core::outcome::{Fault, Outcome, Swap};
use windlass_core::place::Place;
use windlass_core::position::ReplayCounts;
use windlass_core::replay::{ReplayName, ReplayRow, ReplayState, replay_id};
use windlass_core::spec::MappingSpec;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{DeadLetterReason, Purpose, ReplayStore as _};
use windlass_engine::stop::Stop;
use windlass_testkit::fakes::{Answer, FakeFunction, FakeStream};

use crate::daemon::{Daemon, after, pass, until};
use crate::redrive_letters::all;

const SOURCE: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";

#[tokio::test(start_paused = true)]
async fn a_replay_reads_its_stretch_across_a_split_next_to_the_mapping() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let live = daemon.adapters.function("live");
    let function = daemon.adapters.function("f");
    let mapping = daemon.map("stream/orders", "live", 10).await;
    put(&stream, 0, 0..2);
    pass(5).await;
    let from = daemon.clock.wall();
    put(&stream, 0, 2..4);
    stream.follow(0, 1);
    stream.follow(0, 2);
    pass(5).await;
    put(&stream, 1, 4..6);
    put(&stream, 2, 6..7);
    pass(5).await;
    let to = daemon.clock.wall();
    put(&stream, 1, 7..9);
    until("the mapping is done", || {
        daemon.checkpoint_is(&mapping, "1", &after("3"))
    })
    .await;
    let checkpoints = daemon.store.leases_of(&mapping);
    let n_live = live.n_calls();
    let replay = start(&daemon, "again", |row| {
        row.from = Place::AtTimestamp(from);
        row.to = Place::AtTimestamp(to);
        row.spec.set("BatchSize", 1);
    })
    .await;
    completes(&daemon, &replay).await;
    let delivered = numbers(&function);
    assert_eq!(delivered[..2], [2, 3], "parents are before their children");
    let mut all = delivered.clone();
    all.sort_unstable();
    assert_eq!(all, [2, 3, 4, 5, 6], "{delivered:?}");
    for call in function.calls() {
        assert_eq!(call.purpose, Purpose::Replay("again".into()));
    }
    let row = row(&daemon, &replay);
    let leases = daemon.store.leases_of(&replay);
    assert_eq!(leases.len(), 3);
    assert!((row.fraction(&leases) - 1.0).abs() < f64::EPSILON);
    assert_eq!(counts(&daemon, &replay).delivered, 5);
    assert_eq!(row.reason, None);
    assert!(row.ended.is_some());
    assert_eq!(live.n_calls(), n_live, "the mapping is not concerned");
    assert_eq!(daemon.store.leases_of(&mapping), checkpoints);
}

#[tokio::test(start_paused = true)]
async fn a_replay_runs_for_a_disabled_mapping_and_waits_for_the_end_of_its_stretch() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    let function = daemon.adapters.function("f");
    let mapping = daemon.map("stream/orders", "f", 10).await;
    daemon.set(&mapping, DesiredState::Disabled).await;
    pass(1).await;
    put(&stream, 0, 0..2);
    let to = daemon.clock.wall() + Duration::from_secs(60);
    let replay = start(&daemon, "later", |row| {
        row.to = Place::AtTimestamp(to);
        row.mapping = Some(mapping.clone());
    })
    .await;
    until("what there is arrives", || numbers(&function).len() == 2).await;
    pass(30).await;
    put(&stream, 1, 2..3);
    until("what comes later arrives", || numbers(&function).len() == 3).await;
    assert_eq!(row(&daemon, &replay).state, ReplayState::Running);
    pass(31).await;
    put(&stream, 0, 3..4);
    completes(&daemon, &replay).await;
    assert_eq!(numbers(&function).len(), 3, "one is after its end");
    assert_eq!(daemon.state(&mapping), "Disabled");
}

#[tokio::test(start_paused = true)]
async fn a_pause_lets_what_is_in_flight_end_and_repeats_nothing() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(10), Outcome::Success));
    put(&stream, 0, 0..6);
    let replay = start(&daemon, "again", |row| row.spec.set("BatchSize", 2)).await;
    until("the first batch is sent", || function.n_calls() == 1).await;
    change(&daemon, &replay, |row| row.state = ReplayState::Paused).await;
    pass(60).await;
    assert_eq!(function.n_calls(), 1);
    assert_eq!(counts(&daemon, &replay).delivered, 2);
    assert_eq!(daemon.checkpoint(&replay, "0"), after("1"));
    put(&stream, 0, 6..7);
    change(&daemon, &replay, |row| row.state = ReplayState::Running).await;
    completes(&daemon, &replay).await;
    assert_eq!(
        numbers(&function),
        [0, 1, 2, 3, 4, 5],
        "{:?}",
        numbers(&function)
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_replay_breaks_off_what_is_in_flight() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::Hangs);
    put(&stream, 0, 0..2);
    for end in [true, false] {
        let replay = start(&daemon, "again", |_| {}).await;
        until("it is sent", || function.n_running() == 1).await;
        if end {
            change(&daemon, &replay, |row| row.state = ReplayState::Cancelled).await;
        }
        if !end {
            remove(&daemon, &replay).await;
        }
        until("it is broken off", || function.n_running() == 0).await;
        pass(60).await;
        assert_eq!(daemon.board.n_units(), 0);
        if end {
            assert_eq!(row(&daemon, &replay).state, ReplayState::Cancelled);
            assert_eq!(
                counts(&daemon, &replay),
                ReplayCounts {
                    first_arrival: counts(&daemon, &replay).first_arrival,
                    ..ReplayCounts::default()
                }
            );
            remove(&daemon, &replay).await;
        }
    }
    assert_eq!(function.n_calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_replay_saves_nothing_into_another_one_of_its_name() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(5), Outcome::Success));
    put(&stream, 0, 0..4);
    let first = start(&daemon, "again", |row| row.spec.set("BatchSize", 1)).await;
    until("it is sent", || function.n_calls() == 2).await;
    remove(&daemon, &first).await;
    let second = start(&daemon, "again", |row| row.spec.set("BatchSize", 1)).await;
    completes(&daemon, &second).await;
    assert_eq!(numbers(&function)[2..], [0, 1, 2, 3]);
    assert_eq!(counts(&daemon, &second).delivered, 4);
    assert!(daemon.store.leases_of(&first).is_empty());
}

#[tokio::test(start_paused = true)]
async fn counts_live_through_a_drain_and_a_kill() {
    let mut daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    for number in 0..40 {
        let kind = if number % 4 == 3 { "other" } else { "wanted" };
        let event = format!(r#"{{"n":{number},"kind":"{kind}"}}"#);
        stream.put(0, event.as_bytes());
    }
    let (filter, work) = (r#"{"kind":["wanted"]}"#, Duration::from_secs(1));
    function.answers(Answer::After(work, Outcome::Success));
    let replay = start(&daemon, "again", |row| {
        row.spec.set("BatchSize", 3);
        let filters = serde_json::json!({"Filters": [{"Pattern": filter}]});
        row.spec.set("FilterCriteria", filters);
    })
    .await;
    for restart in 0..2 {
        let n_calls = function.n_calls() + 3;
        until("it works", || n_calls <= function.n_calls()).await;
        if restart == 0 {
            change(&daemon, &replay, |row| row.state = ReplayState::Paused).await;
            pass(5).await;
            change(&daemon, &replay, |row| row.state = ReplayState::Running).await;
        } else {
            daemon = daemon.restart_after_a_kill().await;
        }
    }
    completes(&daemon, &replay).await;
    let counts = counts(&daemon, &replay);
    assert_eq!((counts.delivered, counts.filtered_out), (30, 10));
    assert_eq!(
        counts.first_arrival,
        Some(Timestamp::from_millis(1_700_000_000_000))
    );
    let delivered = numbers(&function);
    assert!(
        delivered.len() <= 33,
        "a batch is repeated at most: {delivered:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn failed_invocations_and_records_that_are_given_up_are_counted() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    let destination = daemon.adapters.destination("failed");
    put(&stream, 0, 0..3);
    function.fails_on(Some(r#""n":1}"#));
    let replay = start(&daemon, "again", |row| {
        row.spec.set("BatchSize", 1);
        row.spec.set("MaximumRetryAttempts", 1);
        let queue = "arn:aws:sqs:us-east-1:000000000000:failed";
        let config = serde_json::json!({"OnFailure": {"Destination": queue}});
        row.spec.set("DestinationConfig", config);
    })
    .await;
    completes(&daemon, &replay).await;
    let counts = counts(&daemon, &replay);
    assert_eq!(
        (counts.delivered, counts.given_up, counts.failed_invocations),
        (2, 1, 2)
    );
    assert_eq!(destination.delivered().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_replay_gives_up_is_a_letter_with_its_name_that_outlives_it() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    put(&stream, 0, 0..3);
    function.fails_on(Some(r#""n":1}"#));
    let mapping = MappingId::new("m");
    let replay = start(&daemon, "again", |row| {
        row.mapping = Some(mapping.clone());
        row.spec.set("BatchSize", 1);
        row.spec.set("MaximumRetryAttempts", 1);
    })
    .await;
    completes(&daemon, &replay).await;
    assert_eq!(counts(&daemon, &replay).given_up, 1);
    remove(&daemon, &replay).await;
    let letters = daemon.store.all_dead_letters();
    let [(letter, payload)] = &letters[..] else {
        panic!("{letters:?}");
    };
    assert_eq!(letter.replay.as_deref(), Some("again"));
    assert_eq!(letter.mapping, Some(mapping));
    let reason = DeadLetterReason::GivenUp(FailureCondition::RetryAttemptsExhausted);
    assert_eq!((letter.reason, letter.attempts), (reason, 2));
    assert_eq!((letter.first.as_str(), letter.records), ("1", 1));
    assert_eq!(of_event(payload), [1]);
    function.fails_on(None);
    let result = daemon.redrive_letters(all()).await;
    assert_eq!((result.redriven, result.failed), (1, 0));
    let last = function.calls().pop().expect("it was sent");
    assert_eq!(last.event, *payload);
    assert_eq!(last.purpose, Purpose::Redrive(letter.id.to_string().into()));
    assert!(daemon.store.all_dead_letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rate_spreads_the_records_of_all_shards_and_can_be_changed() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 4);
    let function = daemon.adapters.function("f");
    for shard in 0..4 {
        put(&stream, shard, 0..25);
    }
    let replay = start(&daemon, "again", |row| {
        row.rate = NonZeroU32::new(10);
        row.spec.set("BatchSize", 100);
    })
    .await;
    let begun = Instant::now();
    until("half is sent", || 50 <= numbers(&function).len()).await;
    let elapsed = begun.elapsed().as_secs_f64();
    assert!(
        (3.5..6.5).contains(&elapsed),
        "50 of 10 a second: {elapsed} s"
    );
    change(&daemon, &replay, |row| row.rate = None).await;
    completes(&daemon, &replay).await;
    assert!(begun.elapsed().as_secs_f64() < elapsed + 5.0);
    assert_eq!(counts(&daemon, &replay).delivered, 100);
    let calls = function.calls();
    let most = calls.iter().map(|call| of_event(&call.event).len()).max();
    assert!(most <= Some(25), "{most:?}");
}

#[tokio::test(start_paused = true)]
async fn chosen_shards_are_read_and_no_others() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 3);
    let function = daemon.adapters.function("f");
    for (shard, first) in [(0, 0), (1, 10), (2, 20)] {
        put(&stream, shard, first..first + 4);
    }
    let replay = start(&daemon, "again", |row| {
        row.shards = vec![ShardId::from("1")];
        row.from = Place::AtSequenceNumber("1".into());
        row.to = Place::AtSequenceNumber("2".into());
    })
    .await;
    completes(&daemon, &replay).await;
    assert_eq!(numbers(&function), [11, 12]);
    assert_eq!(daemon.store.leases_of(&replay).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_a_stream_that_is_gone_has_failed() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::Hangs);
    put(&stream, 0, 0..1);
    let replay = start(&daemon, "again", |_| {}).await;
    until("it is sent", || function.n_running() == 1).await;
    stream.set_fault(Some(Fault::Gone));
    until("it has failed", || {
        row(&daemon, &replay).state == ReplayState::Failed
    })
    .await;
    let reason = row(&daemon, &replay).reason.expect("it says why");
    assert!(reason.starts_with("its stream is gone"), "{reason}");
    until("it is broken off", || function.n_running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_the_daemon_repeats_nothing_of_a_replay() {
    let mut daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(1), Outcome::Success));
    put(&stream, 0, 0..9);
    let replay = start(&daemon, "again", |row| row.spec.set("BatchSize", 3)).await;
    until("it works", || function.n_calls() == 2).await;
    daemon.stop(Stop::Drain);
    daemon.ended().await;
    assert_eq!(counts(&daemon, &replay).delivered, 6);
    let daemon = daemon.restart_after_a_kill().await;
    completes(&daemon, &replay).await;
    assert_eq!(numbers(&function), (0..9).collect::<Vec<_>>());
}

fn put(stream: &FakeStream, shard: usize, numbers: std::ops::Range<u64>) {
    for number in numbers {
        stream.put(shard, format!(r#"{{"n":{number}}}"#).as_bytes());
    }
}

/// The numbers of the records that the function got, in order.
fn numbers(function: &FakeFunction) -> Vec<u64> {
    let calls = function.calls();
    calls
        .iter()
        .flat_map(|call| of_event(&call.event))
        .collect()
}

fn of_event(event: &[u8]) -> Vec<u64> {
    let event: serde_json::Value = serde_json::from_slice(event).expect("an event is JSON");
    let records = event["Records"].as_array().expect("it has records");
    let number = |record: &serde_json::Value| record["n"].as_u64().expect("it has a number");
    records.iter().map(number).collect()
}

/// Starts a replay of all that the stream has now, with AWS's defaults.
async fn start(daemon: &Daemon, name: &str, change: impl FnOnce(&mut ReplayRow)) -> MappingId {
    let row = new_row(daemon, name, change);
    store(daemon, &row).await;
    row.id
}

pub(crate) async fn store(daemon: &Daemon, row: &ReplayRow) {
    let put = daemon.store.put_replay(row, None, None).await;
    assert_eq!(put.expect("the store works"), Swap::Done);
    daemon.wake();
}

pub(crate) fn new_row(
    daemon: &Daemon,
    name: &str,
    change: impl FnOnce(&mut ReplayRow),
) -> ReplayRow {
    let now = daemon.clock.wall();
    let function = "arn:aws:lambda:us-east-1:000000000000:function:f";
    let mut spec = MappingSpec::default();
    spec.set("EventSourceArn", SOURCE);
    spec.set("FunctionName", "f");
    spec.set("StartingPosition", "TRIM_HORIZON");
    let mut row = ReplayRow {
        id: replay_id(&format!("{name}-{}", daemon.clock.now().as_millis())),
        name: ReplayName::parse(name).expect("it is a name"),
        revision: Revision(1),
        settings_revision: Revision(1),
        spec,
        source: SourceArn::parse(SOURCE).expect("it is a stream's ARN"),
        function_arn: Arn::parse(function).expect("it is an ARN"),
        mapping: None,
        from: Place::TrimHorizon,
        to: Place::AtTimestamp(now + Duration::from_millis(1)),
        shards: Vec::new(),
        rate: None,
        state: ReplayState::Running,
        reason: None,
        created: now,
        ended: None,
        resumed: now,
        resumed_fraction: 0.0,
    };
    change(&mut row);
    row
}

/// Changes a replay as the API does.
async fn change(daemon: &Daemon, id: &MappingId, change: impl FnOnce(&mut ReplayRow)) {
    let current = row(daemon, id);
    let mut next = current.next_revision();
    change(&mut next);
    let put = daemon.store.put_replay(&next, Some(current.revision), None);
    assert_eq!(put.await.expect("the store works"), Swap::Done);
    daemon.wake();
}

async fn remove(daemon: &Daemon, id: &MappingId) {
    let seen = row(daemon, id).revision;
    let removed = daemon.store.remove_replay(id, seen, None).await;
    assert_eq!(removed.expect("the store works"), Swap::Done);
    daemon.wake();
}

#[track_caller]
pub(crate) fn completes(daemon: &Daemon, id: &MappingId) -> impl Future<Output = ()> {
    until("it completes", || {
        row(daemon, id).state == ReplayState::Completed
    })
}

fn row(daemon: &Daemon, id: &MappingId) -> ReplayRow {
    let row = daemon.store.replay_row(id);
    row.expect("the replay exists")
}

/// The counts of all shards.
fn counts(daemon: &Daemon, id: &MappingId) -> ReplayCounts {
    let leases = daemon.store.leases_of(id);
    let counts = leases.iter().map(|lease| lease.checkpoint.counts);
    let counts = counts.map(|counts| counts.expect("a replay counts"));
    counts.fold(ReplayCounts::default(), |sum, more| sum + more)
}
