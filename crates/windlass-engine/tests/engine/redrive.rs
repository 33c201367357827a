//! Documents of failed batches, sent once more.

use std::time::Duration;

use serde_json::{Value, json};
use windlass_core::arn::Arn;
use windlass_core::outcome::{Fault, ItemFailures, Outcome, Response};
use windlass_engine::jobs::{
    NotStarted, RedriveReport, RedriveReports, RedriveRequest, RedriveSource,
};
use windlass_engine::ports::{HistoryId, HistoryLine, HistoryStore as _, Purpose, What};
use windlass_engine::stop::Stop;
use windlass_testkit::fakes::{Answer, FakeFunction, FakeQueue};

use crate::daemon::{Daemon, pass, until};

const SECOND: Duration = Duration::from_secs(1);

fn arn(function: &str) -> Arn {
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}");
    Arn::parse(&arn).expect("the ARN is valid")
}

fn document(shard: usize, first: usize, last: usize, batch_size: usize) -> Value {
    json!({
        "requestContext": {
            "requestId": format!("request-{shard}-{first}"),
            "functionArn": arn("f").as_str(),
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 1,
        },
        "version": "1.0",
        "timestamp": "2026-11-14T00:38:06.021Z",
        "KinesisBatchInfo": {
            "shardId": shard.to_string(),
            "startSequenceNumber": first.to_string(),
            "endSequenceNumber": last.to_string(),
            "approximateArrivalOfFirstRecord": "2026-11-14T00:38:04.835Z",
            "approximateArrivalOfLastRecord": "2026-11-14T00:38:05.580Z",
            "batchSize": batch_size,
            "streamArn": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
        },
    })
}

fn request(documents: &[Value]) -> RedriveRequest {
    let texts = documents.iter().map(|it| it.to_string().into());
    RedriveRequest {
        source: RedriveSource::Given(texts.collect()),
        function: None,
        rate: None,
        dry_run: false,
        whole_range: false,
        delete: false,
        to: None,
        new_ids: false,
    }
}

impl Daemon {
    fn redrive(&self, request: RedriveRequest) -> Result<RedriveReports, NotStarted> {
        let line = HistoryLine {
            id: HistoryId(7),
            time: self.clock.wall(),
            who: "local".to_owned(),
            what: What::Redrive,
            mapping: None,
            before: Value::Null,
            after: Value::Null,
        };
        self.redriver.start(request, line)
    }

    async fn redriven(&self, request: RedriveRequest) -> Vec<RedriveReport> {
        let mut reports = self.redrive(request).expect("it starts");
        let mut all = Vec::new();
        while let Some(report) = reports.recv().await {
            all.push(report);
        }
        all
    }

    /// A stream with records `{"n":0}`, `{"n":1}` and so on in shard 0.
    fn backlog(&self, n_records: usize) -> std::sync::Arc<windlass_testkit::fakes::FakeStream> {
        let stream = self.stream("s", 1);
        for number in 0..n_records {
            stream.put(0, format!("{{\"n\":{number}}}").as_bytes());
        }
        stream
    }
}

fn events(function: &FakeFunction) -> Vec<String> {
    let calls = function.calls();
    let events = calls.iter().map(|call| call.event.to_vec());
    events
        .map(|event| String::from_utf8_lossy(&event).into_owned())
        .collect()
}

fn reasons(reports: &[RedriveReport]) -> Vec<&str> {
    let reasons = reports.iter().map(|it| it.reason.as_deref());
    reasons.map(|reason| reason.unwrap_or_default()).collect()
}

/// Whether the last report says so.
async fn has_ended_early(reports: &mut RedriveReports) -> bool {
    let last = reports.recv().await.and_then(|last| last.reason);
    last.is_some_and(|it| it.contains("ended early")) && reports.recv().await.is_none()
}

#[tokio::test(start_paused = true)]
async fn the_records_of_documents_are_sent_in_order_as_they_were() {
    let daemon = Daemon::start();
    let stream = daemon.backlog(9);
    stream.follow(0, 1);
    stream.put(1, b"{\"n\":\"child\"}");
    let function = daemon.adapters.function("f");
    let documents = [
        document(1, 0, 0, 1),
        document(0, 5, 6, 2),
        document(0, 2, 4, 3),
    ];
    let reports = daemon.redriven(request(&documents)).await;
    assert_eq!(
        events(&function),
        [
            "{\"Records\":[{\"n\":2},{\"n\":3},{\"n\":4}]}",
            "{\"Records\":[{\"n\":5},{\"n\":6}]}",
            "{\"Records\":[{\"n\":\"child\"}]}",
        ]
    );
    let calls = function.calls();
    assert_eq!(calls[0].purpose, Purpose::Redrive("request-0-2".into()));
    assert_eq!((calls[0].attempt, &calls[0].origin), (1, &None));
    let records: Vec<_> = reports.iter().map(|it| (it.records, it.redriven)).collect();
    assert_eq!(records, [(3, true), (2, true), (1, true)]);
    let history = daemon.store.history(None, None, 10).await.unwrap();
    let [line] = history.lines.try_into().unwrap();
    assert_eq!(
        line.after,
        json!({
            "from": null, "function_arn": null, "to": null, "redriven": 3, "failed": 0,
            "ids": ["request-0-2", "request-0-5", "request-1-0"],
        })
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_reported_and_the_others_are_sent() {
    let daemon = Daemon::start();
    daemon.backlog(4);
    let function = daemon.adapters.function("f");
    let mut other = document(0, 0, 0, 1);
    other["requestContext"]["functionArn"] = arn("other").as_str().into();
    let mut other_stream = document(0, 0, 0, 1);
    other_stream["KinesisBatchInfo"]["streamArn"] =
        "arn:aws:kinesis:us-east-1:000000000000:stream/gone".into();
    let documents = [
        json!({"hello": "world"}),
        document(7, 0, 0, 1),
        document(0, 0, 3, 2),
        document(0, 2, 9, 8),
        document(0, 9, 9, 1),
        document(0, 1, 2, 2),
        other,
        other_stream,
    ];
    let reports = daemon.redriven(request(&documents)).await;
    assert_eq!(events(&function), ["{\"Records\":[{\"n\":1},{\"n\":2}]}"]);
    let reasons = reasons(&reports);
    let n_redriven = reports.iter().filter(|it| it.redriven).count();
    assert_eq!((reports.len(), n_redriven), (8, 1), "{reasons:?}");
    for text in [
        "document 1: not an on-failure document",
        "the stream or the shard no longer exists",
        "4 records lie between the numbers, not 2",
        "the shard ends before the last number",
        "have passed the retention",
        "is neither under 'functions'",
        "looking for arn:aws:kinesis:us-east-1:000000000000:stream/gone",
    ] {
        assert!(
            reasons.iter().any(|it| it.contains(text)),
            "{text}: {reasons:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn filter_and_lane_of_the_mapping_tell_which_records_were_meant() {
    let daemon = Daemon::start();
    daemon.backlog(4);
    let function = daemon.adapters.function("f");
    let id = daemon
        .map_with("stream/s", "f", 10, |spec| {
            let filters = json!({"Filters": [{"Pattern": "{\"n\":[1,3]}"}]});
            spec.set("FilterCriteria", filters);
        })
        .await;
    daemon
        .set(&id, windlass_core::mapping::DesiredState::Disabled)
        .await;
    pass(10).await;
    let before = function.n_calls();
    let whole = RedriveRequest {
        whole_range: true,
        ..request(&[document(0, 1, 3, 1)])
    };
    let reports = daemon.redriven(request(&[document(0, 1, 3, 2)])).await;
    assert!(reports[0].redriven, "{reports:?}");
    let reports = daemon.redriven(whole).await;
    assert_eq!((reports[0].records, reports[0].redriven), (3, true));
    assert_eq!(
        events(&function)[before..],
        [
            "{\"Records\":[{\"n\":1},{\"n\":3}]}",
            "{\"Records\":[{\"n\":1},{\"n\":2},{\"n\":3}]}",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_payload_is_sent_byte_for_byte_without_its_stream() {
    let daemon = Daemon::start();
    daemon.stream("s", 1);
    let function = daemon.adapters.function("f");
    let mut with_payload = document(3, 5, 6, 2);
    let payload = "{ \"Records\":[ {\"a\":\"\\u00e9\"}, {} ] }";
    with_payload["payload"] = payload.into();
    let reports = daemon.redriven(request(&[with_payload])).await;
    assert!(reports[0].redriven, "{reports:?}");
    assert_eq!(events(&function), [payload]);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_reads_and_changes_nothing() {
    let daemon = Daemon::start();
    daemon.backlog(4);
    let function = daemon.adapters.function("f");
    let dry = RedriveRequest {
        dry_run: true,
        ..request(&[document(0, 0, 1, 2), document(0, 0, 3, 2)])
    };
    let reports = daemon.redriven(dry).await;
    assert_eq!((reports[0].records, reports[0].redriven), (2, false));
    assert!(reasons(&reports)[0].is_empty());
    assert!(!reasons(&reports)[1].is_empty());
    assert_eq!(function.n_calls(), 0);
    let history = daemon.store.history(None, None, 10).await.unwrap();
    assert!(history.lines.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_function_is_waited_for_and_one_that_is_not_reached_ends_the_run() {
    let daemon = Daemon::start();
    daemon.backlog(4);
    let function = daemon.adapters.function("f");
    let not_invoked = |cause| Answer::After(Duration::ZERO, Outcome::NotInvoked { cause });
    let documents = [document(0, 0, 0, 1), document(0, 1, 1, 1)];
    function.answers(not_invoked(Fault::Throttled { retry_after: None }));
    let begun = tokio::time::Instant::now();
    let reports = daemon.redriven(request(&documents)).await;
    let waited = begun.elapsed();
    assert!(60 * SECOND <= waited && waited < 65 * SECOND, "{waited:?}");
    assert!(reasons(&reports)[0].contains("throttled"), "{reports:?}");
    assert!(reasons(&reports)[1].contains("not sent"), "{reports:?}");
    assert_eq!(function.n_calls(), 7);
    function.answers(not_invoked(Fault::Transient));
    let reports = daemon.redriven(request(&documents)).await;
    assert!(reasons(&reports)[0].contains("not reached"), "{reports:?}");
    assert_eq!(function.n_calls(), 8);
    // A failure is one of its document alone.
    function.answers(Answer::After(
        Duration::ZERO,
        Outcome::ItemFailures {
            failures: ItemFailures::of_ids(["0"]),
            response: Box::new(Response::default()),
        },
    ));
    let reports = daemon.redriven(request(&documents)).await;
    assert!(reports.iter().all(|it| !it.redriven), "{reports:?}");
    assert_eq!(function.n_calls(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept() {
    let daemon = Daemon::start();
    daemon.backlog(30);
    let function = daemon.adapters.function("f");
    let paced = RedriveRequest {
        rate: Some(10),
        ..request(&[
            document(0, 0, 19, 20),
            document(0, 20, 24, 5),
            document(0, 25, 29, 5),
        ])
    };
    daemon.redriven(paced).await;
    let calls = function.calls();
    assert!(2 * SECOND <= calls[1].at - calls[0].at);
    assert!(SECOND / 2 <= calls[2].at - calls[1].at);
}

#[tokio::test(start_paused = true)]
async fn a_redrive_ends_with_its_caller_after_what_it_has_begun() {
    let daemon = Daemon::start();
    daemon.backlog(4);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(10 * SECOND, Outcome::Success));
    let documents = [document(0, 0, 0, 1), document(0, 1, 1, 1)];
    let reports = daemon.redrive(request(&documents)).unwrap();
    until("the first is sent", || function.n_running() == 1).await;
    drop(reports);
    pass(5).await;
    assert_eq!(function.n_running(), 1);
    pass(60).await;
    assert_eq!((function.n_calls(), function.n_running()), (1, 0));
    let history = daemon.store.history(None, None, 10).await.unwrap();
    assert_eq!(history.lines[0].after["redriven"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_has_begun_and_starts_nothing() {
    let mut daemon = Daemon::start();
    daemon.backlog(4);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(10 * SECOND, Outcome::Success));
    let documents = [document(0, 0, 0, 1), document(0, 1, 1, 1)];
    let mut reports = daemon.redrive(request(&documents)).unwrap();
    until("the first is sent", || function.n_running() == 1).await;
    daemon.stop(Stop::Drain);
    pass(1).await;
    let refused = daemon.redrive(request(&documents)).map(drop);
    assert_eq!(refused, Err(NotStarted::Draining));
    daemon.ended().await;
    assert_eq!((function.n_calls(), function.n_running()), (1, 0));
    assert!(reports.recv().await.unwrap().redriven);
    assert!(has_ended_early(&mut reports).await);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_grace_period_breaks_it_off() {
    let mut daemon = Daemon::start();
    daemon.backlog(4);
    let function = daemon.adapters.function("f");
    function.answers(Answer::Hangs);
    let mut reports = daemon.redrive(request(&[document(0, 0, 0, 1)])).unwrap();
    until("it is sent", || function.n_running() == 1).await;
    daemon.stop(Stop::Drain);
    pass(5).await;
    daemon.stop(Stop::Now);
    daemon.ended().await;
    assert!(has_ended_early(&mut reports).await);
    assert_eq!(function.n_running(), 0);
}

fn queue(name: &str) -> Arn {
    let arn = format!("arn:aws:sqs:us-east-1:000000000000:{name}");
    Arn::parse(&arn).expect("the ARN is valid")
}

fn from_queue(name: &str) -> RedriveRequest {
    RedriveRequest {
        source: RedriveSource::Queue(queue(name)),
        ..request(&[])
    }
}

/// A queue whose messages do not become dead letters.
fn fake_queue(daemon: &Daemon, name: &str) -> std::sync::Arc<FakeQueue> {
    let queue = FakeQueue::new(30 * SECOND, 1_000);
    daemon.adapters.queue(name, queue)
}

#[tokio::test(start_paused = true)]
async fn documents_of_a_queue_are_deleted_after_success_and_given_back_otherwise() {
    let daemon = Daemon::start();
    daemon.backlog(40);
    let function = daemon.adapters.function("f");
    function.fails_on(Some("{\"n\":7}"));
    let failed = fake_queue(&daemon, "failed");
    for number in (0..30).rev() {
        let document = document(0, number, number, 1);
        failed.send_message(&document.to_string(), None, daemon.clock.wall());
    }
    failed.send_message("hello", None, daemon.clock.wall());
    let reports = daemon.redriven(from_queue("failed")).await;
    assert_eq!((reports.len(), function.n_calls()), (31, 30));
    assert_eq!((failed.n_messages(), failed.n_in_flight()), (31, 0));
    let in_order = (0..30).map(|number| format!("{{\"Records\":[{{\"n\":{number}}}]}}"));
    assert_eq!(events(&function), in_order.collect::<Vec<_>>());
    let deleting = RedriveRequest {
        delete: true,
        ..from_queue("failed")
    };
    let reports = daemon.redriven(deleting.clone()).await;
    let n_redriven = reports.iter().filter(|it| it.redriven).count();
    assert_eq!((reports.len(), n_redriven), (31, 29));
    assert_eq!((failed.n_messages(), failed.n_in_flight()), (2, 0));
    function.fails_on(None);
    daemon.redriven(deleting).await;
    assert_eq!((failed.n_messages(), failed.n_in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn documents_of_a_bucket_are_deleted_after_success() {
    let daemon = Daemon::start();
    daemon.backlog(4);
    let function = daemon.adapters.function("f");
    let bucket = daemon.adapters.bucket("failed");
    for number in 0..4 {
        let mut document = document(0, number, number, 1);
        document["payload"] = format!("{{\"Records\":[\"{number}\"]}}").into();
        if number == 3 {
            document["payload"] = Value::Null;
        }
        bucket.put(&format!("aws/lambda/{}", 9 - number), document.to_string());
    }
    bucket.put("aws/lambda/readme", "hello");
    bucket.put("other/1", document(0, 0, 0, 1).to_string());
    let reports = daemon
        .redriven(RedriveRequest {
            source: RedriveSource::Bucket {
                name: "failed".to_owned(),
                prefix: "aws/".to_owned(),
            },
            delete: true,
            ..request(&[])
        })
        .await;
    assert_eq!(reports.len(), 5);
    assert_eq!(
        events(&function),
        [
            "{\"Records\":[\"0\"]}",
            "{\"Records\":[\"1\"]}",
            "{\"Records\":[\"2\"]}",
            "{\"Records\":[{\"n\":3}]}",
        ]
    );
    assert_eq!(bucket.all_keys(), ["aws/lambda/readme", "other/1"]);
}

#[tokio::test(start_paused = true)]
async fn messages_that_a_function_has_processed_are_deleted_one_by_one() {
    let daemon = Daemon::start();
    let function = daemon.adapters.function("g");
    let dead = fake_queue(&daemon, "dead");
    for number in 0..25 {
        dead.send_message(&format!("m{number}"), None, daemon.clock.wall());
    }
    // The fake numbers messages from 0, also as their ids.
    function.answers(Answer::After(
        Duration::ZERO,
        Outcome::ItemFailures {
            failures: ItemFailures::of_ids(["3"]),
            response: Box::new(Response::default()),
        },
    ));
    let to_function = RedriveRequest {
        function: Some(arn("g")),
        ..from_queue("dead")
    };
    let reports = daemon.redriven(to_function.clone()).await;
    // An id that is not in the batch fails all of it.
    let n_redriven = reports.iter().filter(|it| it.redriven).count();
    assert_eq!((reports.len(), n_redriven), (25, 9));
    let n_calls = function.n_calls();
    assert_eq!((dead.n_messages(), dead.n_in_flight()), (16, 0));
    assert_eq!(function.calls()[0].purpose, Purpose::Redrive("0".into()));
    function.answers(Answer::After(
        Duration::ZERO,
        Outcome::NotInvoked {
            cause: Fault::Transient,
        },
    ));
    let reports = daemon.redriven(to_function.clone()).await;
    assert_eq!((reports.len(), function.n_calls()), (10, n_calls + 1));
    assert_eq!((dead.n_messages(), dead.n_in_flight()), (16, 0));
    function.answers(Answer::After(Duration::ZERO, Outcome::Success));
    daemon.redriven(to_function).await;
    assert_eq!(dead.n_messages(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_read_is_a_failure_where_a_mapping_asks_for_failed_items() {
    let daemon = Daemon::start();
    daemon.backlog(1);
    let function = daemon.adapters.function("g");
    daemon.queue("q");
    let dead = fake_queue(&daemon, "dead");
    let malformed = Outcome::ItemFailures {
        failures: ItemFailures::Malformed,
        response: Box::new(Response::default()),
    };
    function.answers(Answer::After(Duration::ZERO, malformed));
    let to_function = |request| RedriveRequest {
        function: Some(arn("g")),
        ..request
    };
    for (asks, n_redriven) in [(false, 1), (true, 0)] {
        if asks {
            let types = json!(["ReportBatchItemFailures"]);
            daemon
                .map_with("q", "g", 10, |spec| {
                    spec.set("FunctionResponseTypes", types.clone());
                })
                .await;
        }
        dead.send_message("m", None, daemon.clock.wall());
        for request in [from_queue("dead"), request(&[document(0, 0, 0, 1)])] {
            let reports = daemon.redriven(to_function(request)).await;
            let n = reports.iter().filter(|it| it.redriven).count();
            assert_eq!((reports.len(), n), (1, n_redriven), "{reports:?}");
        }
        assert_eq!(dead.n_messages(), 1 - n_redriven);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_stay_invisible_while_a_function_works_and_come_back_after_a_kill() {
    let mut daemon = Daemon::start();
    let function = daemon.adapters.function("g");
    function.answers(Answer::Hangs);
    let dead = fake_queue(&daemon, "dead");
    dead.send_message("m", None, daemon.clock.wall());
    let to_function = RedriveRequest {
        function: Some(arn("g")),
        ..from_queue("dead")
    };
    let reports = daemon.redrive(to_function).unwrap();
    until("it is sent", || function.n_running() == 1).await;
    pass(900).await;
    assert_eq!((dead.n_in_flight(), dead.n_receives()), (1, 1));
    daemon.stop(Stop::Now);
    daemon.ended().await;
    drop(reports);
    pass(121).await;
    assert_eq!((dead.n_messages(), dead.n_in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn messages_go_back_to_their_queue_after_it_has_forgotten_their_ids() {
    let daemon = Daemon::start();
    let (dead, jobs) = (
        fake_queue(&daemon, "dead.fifo"),
        fake_queue(&daemon, "jobs.fifo"),
    );
    jobs.set_dead_letter_queue(&queue("dead.fifo"));
    let now = daemon.clock.wall();
    for number in 0..3 {
        let sent = now.shifted(-400_000 + 150_000 * number);
        dead.send_message(&format!("m{number}"), Some("a"), sent);
    }
    let move_back = RedriveRequest {
        to: Some(queue("jobs.fifo")),
        ..from_queue("dead.fifo")
    };
    let begun = tokio::time::Instant::now();
    let reports = daemon.redriven(move_back.clone()).await;
    let waits: Vec<_> = reports.iter().filter_map(|it| it.waits).collect();
    assert_eq!(waits.len(), 2, "{reports:?}");
    // The last one was sent 100 s ago.
    assert!(200 * SECOND <= begun.elapsed() && begun.elapsed() < 250 * SECOND);
    let forwarded = jobs.forwarded();
    let bodies: Vec<_> = forwarded
        .iter()
        .map(|(message, _)| &*message.body)
        .collect();
    assert_eq!(bodies, ["m0", "m1", "m2"]);
    let (first, is_new) = &forwarded[0];
    assert_eq!((first.group.as_deref(), *is_new), (Some("a"), false));
    assert!(first.deduplication_id.is_some());
    assert_eq!(dead.n_messages(), 0);
    // With ids of its own, a message goes at once.
    dead.send_message("m3", Some("a"), daemon.clock.wall());
    let begun = tokio::time::Instant::now();
    let reports = daemon
        .redriven(RedriveRequest {
            new_ids: true,
            ..move_back
        })
        .await;
    assert!(reports.iter().all(|it| it.waits.is_none()), "{reports:?}");
    assert!(begun.elapsed() < 60 * SECOND);
    assert!(jobs.forwarded()[3].1);
    assert_eq!(dead.n_messages(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_sent_keeps_its_group() {
    let daemon = Daemon::start();
    let (dead, jobs) = (
        fake_queue(&daemon, "dead.fifo"),
        fake_queue(&daemon, "jobs.fifo"),
    );
    for number in 0..3 {
        dead.send_message(&format!("m{number}"), Some("a"), daemon.clock.wall());
    }
    let to_queue = RedriveRequest {
        to: Some(queue("jobs.fifo")),
        ..from_queue("dead.fifo")
    };
    jobs.set_fault(Some(Fault::Denied));
    let reports = daemon.redriven(to_queue.clone()).await;
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!((dead.n_messages(), dead.n_in_flight()), (3, 0));
    jobs.set_fault(None);
    let reports = daemon.redriven(to_queue).await;
    assert!(reports.iter().all(|it| it.redriven), "{reports:?}");
    assert_eq!((dead.n_messages(), jobs.forwarded().len()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_the_queue_tells_how_long_a_message_waits() {
    let daemon = Daemon::start();
    let (dead, jobs) = (
        fake_queue(&daemon, "dead.fifo"),
        fake_queue(&daemon, "jobs.fifo"),
    );
    jobs.set_dead_letter_queue(&queue("dead.fifo"));
    // The daemon's clock is ten minutes ahead: by it, the ids are forgotten already.
    jobs.set_clock_difference(-600_000);
    let sent = daemon.clock.wall().shifted(-600_000);
    dead.send_message("m", Some("a"), sent);
    let move_back = RedriveRequest {
        to: Some(queue("jobs.fifo")),
        ..from_queue("dead.fifo")
    };
    let begun = tokio::time::Instant::now();
    daemon.redriven(move_back).await;
    assert!(300 * SECOND <= begun.elapsed(), "{:?}", begun.elapsed());
    assert_eq!((dead.n_messages(), jobs.forwarded().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_function_gets_either_the_messages_or_the_documents_of_a_queue() {
    let daemon = Daemon::start();
    let function = daemon.adapters.function("g");
    daemon.backlog(3);
    let document = document(0, 1, 2, 2).to_string();
    let to_function = |name| RedriveRequest {
        function: Some(arn("g")),
        delete: true,
        ..from_queue(name)
    };
    let (plain, documents) = (
        fake_queue(&daemon, "plain"),
        fake_queue(&daemon, "documents"),
    );
    for number in 0..12 {
        plain.send_message(&format!("m{number}"), None, daemon.clock.wall());
        documents.send_message(&document, None, daemon.clock.wall());
    }
    plain.send_message(&document, None, daemon.clock.wall());
    documents.send_message("m", None, daemon.clock.wall());
    let reports = daemon.redriven(to_function("plain")).await;
    let n_redriven = reports.iter().filter(|it| it.redriven).count();
    assert_eq!((n_redriven, plain.n_messages()), (12, 1));
    let reason = reports.iter().find_map(|it| it.reason.clone());
    assert!(reason.is_some_and(|it| it.contains("on-failure document")));
    assert!(function.calls().iter().all(|call| call.event.len() < 2_000));
    let reports = daemon.redriven(to_function("documents")).await;
    let n_redriven = reports.iter().filter(|it| it.redriven).count();
    assert_eq!((n_redriven, documents.n_messages()), (12, 1));
}

#[tokio::test(start_paused = true)]
async fn a_function_gets_nothing_of_a_group_after_a_message_that_it_has_failed() {
    let daemon = Daemon::start();
    let function = daemon.adapters.function("g");
    let dead = fake_queue(&daemon, "dead.fifo");
    for number in 0..30 {
        let group = if number % 2 == 0 { "a" } else { "b" };
        dead.send_message(&format!("m{number}:"), Some(group), daemon.clock.wall());
    }
    function.fails_on(Some("m2:"));
    let to_function = RedriveRequest {
        function: Some(arn("g")),
        ..from_queue("dead.fifo")
    };
    let reports = daemon.redriven(to_function.clone()).await;
    let n_redriven = reports.iter().filter(|it| it.redriven).count();
    assert_eq!(n_redriven + dead.n_messages(), 30);
    // Both groups were in the first batch.
    assert_eq!(function.n_calls(), 1, "{reports:?}");
    function.fails_on(None);
    daemon.redriven(to_function).await;
    assert_eq!(dead.n_messages(), 0);
}
