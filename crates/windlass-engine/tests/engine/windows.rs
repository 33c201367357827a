//! Tumbling windows: the state goes from one invocation to the next, also over a crash.

use std::time::Duration;

use serde_json::{Value, json};
use windlass_core::outcome::{Outcome, Response, ReturnedState};
use windlass_core::window::WindowState;
use windlass_testkit::fakes::{Answer, Call};

use crate::daemon::{Daemon, after, pass, until};

fn returns(state: &'static str) -> Answer {
    let state = ReturnedState::Json(WindowState::new(state.into()));
    let outcome = Outcome::returned(true, Some(state), None, Response::default);
    Answer::After(Duration::ZERO, outcome)
}

fn event(call: &Call) -> Value {
    serde_json::from_slice(&call.event).expect("an event is JSON")
}

#[tokio::test(start_paused = true)]
async fn a_window_continues_after_a_crash_and_ends_once() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.answers(returns("{\"n\":1}"));
    stream.put(0, b"{\"a\":1}");
    let id = daemon
        .map_with("stream/orders", "f", 100, |spec| {
            spec.set("TumblingWindowInSeconds", 900);
        })
        .await;
    until("it runs", || daemon.state(&id) == "Enabled").await;
    until("it is saved", || daemon.checkpoint(&id, "0") == after("0")).await;
    let daemon = daemon.restart_after_a_kill().await;
    function.answers(returns("{\"n\":2}"));
    stream.put(0, b"{\"a\":2}");
    until("it is saved", || daemon.checkpoint(&id, "0") == after("1")).await;
    let failed = Outcome::function_error(200, "Unhandled");
    function.answers(Answer::After(Duration::ZERO, failed));
    // The window, two minutes without a record, and some failures.
    pass(1_100).await;
    let waiting = daemon.waiting_for(&id).unwrap();
    let words = "final invocation of a tumbling window: function returns errors, attempt ";
    assert!(waiting.starts_with(words), "{waiting}");
    let n_failed = function.n_calls();
    function.answers(returns("{}"));
    pass(300).await;
    assert_eq!(function.n_calls(), n_failed + 1);
    assert_eq!(daemon.waiting_for(&id), None);
    let calls = function.calls();
    let events: Vec<_> = calls.iter().map(event).collect();
    let of_first = &events[0];
    let expected = |records: Value, state: Value, is_final: bool| {
        json!({
            "Records": records,
            "window": of_first["window"],
            "state": state,
            "shardId": "0",
            "eventSourceARN": of_first["eventSourceARN"],
            "isFinalInvokeForWindow": is_final,
            "isWindowTerminatedEarly": false,
        })
    };
    let n = |n: u64| json!({"n": n});
    assert_eq!(events[0], expected(json!([{"a": 1}]), json!({}), false));
    assert_eq!(events[1], expected(json!([{"a": 2}]), n(1), false));
    let last = expected(json!([]), n(2), true);
    assert!(events[2..].iter().all(|event| *event == last), "{events:?}");
    let last = calls.last().unwrap().origin.as_ref();
    assert!(last.unwrap().sequence_number.is_none());
}
