//! Dead letters that are redriven.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use windlass_core::arn::Arn;
use windlass_core::failure::FailureCondition;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::{Fault, ItemFailures, Outcome, Response};
use windlass_engine::jobs::{Letters, LettersRequest, LettersResult};
use windlass_engine::ports::{
    DeadLetter, DeadLetterId, DeadLetterLimit, DeadLetterReason, DeadLetterStore as _, HistoryId,
    HistoryLine, HistoryStore as _, NewDeadLetter, Purpose, What,
};
use windlass_engine::stop::Stop;
use windlass_testkit::fakes::Answer;

use crate::daemon::{Daemon, pass, until};

const SECOND: Duration = Duration::from_secs(1);

const LIMIT: DeadLetterLimit = DeadLetterLimit {
    maximum_size: 1 << 30,
    drops_oldest: false,
};

fn arn(function: &str) -> Arn {
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}");
    Arn::parse(&arn).expect("the ARN is valid")
}

fn payload(shard: usize, number: usize) -> Bytes {
    format!("{{\"Records\": [ {{\"shard\":{shard},\"n\":{number}}} ]}}").into()
}

pub(crate) fn all() -> LettersRequest {
    LettersRequest {
        letters: Letters::All,
        function: None,
        event: None,
        rate: None,
    }
}

impl Daemon {
    /// Keeps a letter of the function `f`.
    async fn keep(&self, shard: usize, number: usize) -> DeadLetterId {
        let payload = payload(shard, number);
        let shard = shard.to_string().as_str().into();
        let number = number.to_string();
        let letter = DeadLetter {
            id: DeadLetterId::of("m", &shard, &number),
            mapping: Some(MappingId::new("m")),
            replay: None,
            function_arn: arn("f"),
            event_source_arn: Arn::parse("arn:aws:kinesis:us-east-1:0:stream/s")
                .expect("the ARN is valid"),
            shard,
            first: number.as_str().into(),
            last: number.as_str().into(),
            records: 1,
            reason: DeadLetterReason::GivenUp(FailureCondition::RetryAttemptsExhausted),
            attempts: 1,
            last_error: None,
            first_arrival: None,
            given_up: self.clock.wall(),
            bytes: payload.len() as u64,
            redrives: 0,
        };
        let id = letter.id;
        let letter = NewDeadLetter { letter, payload };
        let kept = self.store.keep(vec![letter], LIMIT, None).await;
        kept.expect("the store works");
        id
    }

    pub(crate) async fn redrive_letters(&self, request: LettersRequest) -> LettersResult {
        let line = HistoryLine {
            id: HistoryId(7),
            time: self.clock.wall(),
            who: "local".to_owned(),
            what: What::Redrive,
            mapping: None,
            before: Value::Null,
            after: Value::Null,
        };
        let result = self.redriver.start_letters(request, line);
        let result = result.expect("it starts").recv().await;
        result.expect("a result").expect("the store works")
    }

    /// How often the letters that are left were redriven.
    fn redrives(&self) -> Vec<u32> {
        let letters = self.store.all_dead_letters();
        letters.iter().map(|(letter, _)| letter.redrives).collect()
    }
}

const fn result(redriven: u64, failed: u64) -> LettersResult {
    LettersResult { redriven, failed }
}

#[tokio::test(start_paused = true)]
async fn letters_are_sent_byte_for_byte_in_the_order_of_their_shard_and_deleted() {
    let daemon = Daemon::start();
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(SECOND, Outcome::Success));
    for number in [100, 9, 20] {
        for shard in 0..3 {
            daemon.keep(shard, number).await;
        }
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(daemon.redrive_letters(all()).await, result(9, 0));
    // Shards side by side.
    assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());
    let calls = function.calls();
    for shard in 0..3 {
        let of_shard = format!("\"shard\":{shard}");
        let events = calls.iter().map(|call| &call.event);
        let events: Vec<_> = events
            .filter(|event| String::from_utf8_lossy(event).contains(&of_shard))
            .cloned()
            .collect();
        assert_eq!(events, [9, 20, 100].map(|number| payload(shard, number)));
    }
    assert!(matches!(calls[0].purpose, Purpose::Redrive(_)));
    assert!(daemon.redrives().is_empty());
    let history = daemon.store.history(None, None, 10).await.unwrap();
    assert_eq!(history.lines[0].after["redriven"], 9);
    assert_eq!(history.lines[0].after["ids"].as_array().unwrap().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_fails_stays_with_its_count_and_the_others_are_tried() {
    let daemon = Daemon::start();
    let function = daemon.adapters.function("f");
    function.fails_on(Some("\"n\":2}"));
    let mut ids = Vec::new();
    for number in 1..4 {
        ids.push(daemon.keep(0, number).await);
    }
    assert_eq!(daemon.redrive_letters(all()).await, result(2, 1));
    assert_eq!(daemon.redrives(), [1]);
    function.fails_on(None);
    function.answers(Answer::After(
        Duration::ZERO,
        Outcome::ItemFailures {
            failures: ItemFailures::of_ids(["2"]),
            response: Box::new(Response::default()),
        },
    ));
    assert_eq!(daemon.redrive_letters(all()).await, result(0, 1));
    assert_eq!(daemon.redrives(), [2]);
    // An edited event, to another function.
    let other = daemon.adapters.function("g");
    let edited = LettersRequest {
        letters: Letters::Ids(vec![ids[1]]),
        function: Some(arn("g")),
        event: Some(Bytes::from_static(b"{ \"Records\": [] }")),
        ..all()
    };
    assert_eq!(daemon.redrive_letters(edited).await, result(1, 0));
    assert_eq!(&other.calls()[0].event[..], b"{ \"Records\": [] }");
    let id: std::sync::Arc<str> = ids[1].to_string().into();
    assert_eq!(other.calls()[0].purpose, Purpose::Redrive(id));
    assert!(daemon.redrives().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_not_reached_ends_the_run_for_its_letters() {
    let daemon = Daemon::start();
    let function = daemon.adapters.function("f");
    for number in 0..5 {
        daemon.keep(0, number).await;
    }
    let not_invoked = |cause| Answer::After(Duration::ZERO, Outcome::NotInvoked { cause });
    function.answers(not_invoked(Fault::Transient));
    assert_eq!(daemon.redrive_letters(all()).await, result(0, 5));
    assert_eq!((function.n_calls(), daemon.redrives()), (1, vec![0; 5]));
    function.answers(not_invoked(Fault::Throttled { retry_after: None }));
    let begun = tokio::time::Instant::now();
    assert_eq!(daemon.redrive_letters(all()).await, result(0, 5));
    assert!(60 * SECOND <= begun.elapsed() && begun.elapsed() < 65 * SECOND);
    assert_eq!(daemon.redrives(), [0; 5]);
    // Their claims have ended.
    function.answers(Answer::After(Duration::ZERO, Outcome::Success));
    assert_eq!(daemon.redrive_letters(all()).await, result(5, 0));
}

#[tokio::test(start_paused = true)]
async fn two_redrives_at_once_send_each_letter_once() {
    let daemon = Daemon::start();
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(SECOND, Outcome::Success));
    for number in 0..6 {
        daemon.keep(number % 2, number).await;
    }
    let (one, other) = tokio::join!(daemon.redrive_letters(all()), daemon.redrive_letters(all()));
    assert_eq!(
        (one.redriven + other.redriven, one.failed + other.failed),
        (6, 0)
    );
    assert_eq!(function.n_calls(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_over_all_shards() {
    let daemon = Daemon::start();
    let function = daemon.adapters.function("f");
    for shard in 0..6 {
        daemon.keep(shard, 1).await;
    }
    let paced = LettersRequest {
        rate: Some(2),
        ..all()
    };
    assert_eq!(daemon.redrive_letters(paced).await, result(6, 0));
    let calls = function.calls();
    let intervals = calls.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(intervals.min().is_some_and(|least| SECOND / 2 <= least));
}

#[tokio::test(start_paused = true)]
async fn a_drain_leaves_what_was_not_begun() {
    let mut daemon = Daemon::start();
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(10 * SECOND, Outcome::Success));
    for number in 0..3 {
        daemon.keep(0, number).await;
    }
    let redrive = async {
        let result = daemon.redrive_letters(all()).await;
        assert_eq!(result, self::result(1, 2));
    };
    let stop = async {
        until("the first is sent", || function.n_running() == 1).await;
        pass(1).await;
        daemon.stop(Stop::Drain);
    };
    tokio::join!(redrive, stop);
    daemon.ended().await;
    assert_eq!((function.n_calls(), daemon.redrives()), (1, vec![0; 2]));
}
