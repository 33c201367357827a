//! A shard with several lanes.

use windlass_core::ids::KeyHash;

use crate::daemon::{Daemon, pass, until};

#[tokio::test(start_paused = true)]
async fn a_stuck_lane_repeats_nothing_of_the_others_after_a_kill() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    function.fails_on(Some("stuck"));
    let events: Vec<_> = (0..300)
        .map(|number| format!("{{\"n\":{number}}}"))
        .collect();
    stream.put(0, b"\"stuck\"");
    for event in &events {
        stream.put(0, event.as_bytes());
    }
    // The fake stream uses the event as the key.
    let lane = |event: &str| KeyHash::of(event.as_bytes()).0 % 10;
    let stuck = lane("\"stuck\"");
    let (waiting, free): (Vec<_>, Vec<_>) = events.iter().partition(|it| lane(it) == stuck);
    assert!(!waiting.is_empty() && !free.is_empty());
    daemon
        .map_with("stream/orders", "f", 1, |spec| {
            spec.set("ParallelizationFactor", 10);
        })
        .await;
    let n_calls = |text: &str| {
        let calls = function.calls();
        let event = format!("{{\"Records\":[{text}]}}");
        calls.iter().filter(|call| call.event == event).count()
    };
    until("the other lanes continue", || {
        free.iter().all(|it| n_calls(it) == 1)
    })
    .await;
    pass(5).await;
    assert!(waiting.iter().all(|it| n_calls(it) == 0));

    let daemon = daemon.restart_after_a_kill().await;
    let before = n_calls("\"stuck\"");
    until("the stuck lane is tried", || before < n_calls("\"stuck\"")).await;
    function.fails_on(None);
    until("it continues", || waiting.iter().all(|it| n_calls(it) == 1)).await;
    pass(5).await;
    assert!(free.iter().all(|it| n_calls(it) == 1));
    drop(daemon);
}
