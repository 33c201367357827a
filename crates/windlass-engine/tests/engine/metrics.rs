//! The output of a scrape.

use metrics_exporter_prometheus::PrometheusBuilder;
use windlass_core::mapping::DesiredState;
use windlass_engine::metrics::{publish, render_histograms, render_shards};
use windlass_testkit::fakes::Answer;

use crate::daemon::{Daemon, pass, until};

#[tokio::test(start_paused = true)]
async fn metrics_name_the_mapping_and_its_function_and_every_limit() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let daemon = Daemon::start();
    let (stream, queue) = (daemon.stream("orders", 2), daemon.queue("jobs"));
    let function = daemon.adapters.function("f");
    function.answers(Answer::Hangs);
    stream.put(0, b"{}");
    queue.send(b"{}");
    daemon.map("stream/orders", "f", 1).await;
    daemon.map("jobs", "f", 1).await;
    until("both hang", || function.n_running() == 2).await;
    publish(&daemon.board, &daemon.budget);
    let text = handle.render() + &render_histograms(&daemon.board);
    for line in [
        "windlass_polled_events_total{mapping=\"stream/orders to f\",function=\"f\"} 1",
        "windlass_leases{state=\"running\"} 3",
        "windlass_leases{state=\"waiting\"} 0",
        "windlass_concurrent_invocations 2",
        "windlass_queue_concurrent_invocations{mapping=\"jobs to f\",function=\"f\"} 1",
        "windlass_limit{limit=\"concurrent_invocations\"} 1000",
        "windlass_limit{limit=\"concurrent_invocations_per_queue\"} 50",
        "windlass_limit{limit=\"buffered_bytes\"} 536870912",
        "windlass_iterator_age_seconds_count{mapping=\"jobs to f\",function=\"f\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

/// Counts and durations go on where they were, however long nothing was invoked.
#[tokio::test(start_paused = true)]
async fn an_idle_mapping_keeps_its_series_over_idle_hours_and_restarts() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    let id = daemon.map("stream/orders", "f", 1).await;
    for n_invocations in 1..=3 {
        stream.put(0, b"{}");
        until("it is invoked", || function.n_calls() == n_invocations).await;
        pass(2 * 60 * 60).await;
        let count = format!(
            "windlass_invocation_seconds_count{{mapping=\"stream/orders to f\",function=\"f\",\
             result=\"success\"}} {n_invocations}"
        );
        let text = render_histograms(&daemon.board);
        assert!(text.contains(&count), "{count} is not in\n{text}");
        // Its driver ends, and another one begins.
        for desired in [DesiredState::Disabled, DesiredState::Enabled] {
            daemon.change(&id, |row| row.desired = desired).await;
            pass(10).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_mapping_has_no_series() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    daemon.adapters.function("f");
    let id = daemon.map("stream/orders", "f", 1).await;
    stream.put(0, b"{}");
    until("it is invoked", || {
        render_histograms(&daemon.board).contains("mapping=")
    })
    .await;
    daemon
        .change(&id, |row| row.desired = DesiredState::Deleted)
        .await;
    until("it is removed", || daemon.store.row(&id).is_none()).await;
    pass(10).await;
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || publish(&daemon.board, &daemon.budget));
    assert!(!handle.render().contains("mapping="));
    assert!(!render_histograms(&daemon.board).contains("mapping="));
}

#[tokio::test(start_paused = true)]
async fn a_shard_has_a_series_of_its_lag_while_it_runs() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    let function = daemon.adapters.function("f");
    function.fails_on(Some("stuck"));
    // Records are stamped by the clock of the source.
    stream.set_clock_difference(-60_000);
    stream.put(0, b"\"stuck\"");
    let id = daemon.map("stream/orders", "f", 1).await;
    let lag = |shard: &str| {
        let labels =
            format!("{{mapping=\"stream/orders to f\",function=\"f\",shard=\"{shard}\"}} ");
        let text = render_shards(&daemon.board, daemon.clock.wall());
        let mut lines = text.lines();
        let prefix = format!("windlass_shard_behind_seconds{labels}");
        lines.find_map(|line| line.strip_prefix(&prefix)?.parse::<f64>().ok())
    };
    until("both run", || function.n_calls() == 1 && lag("1").is_some()).await;
    pass(60).await;
    let stuck = lag("0").expect("it runs");
    assert!((60.0..90.0).contains(&stuck), "{stuck}");
    assert_eq!(lag("1"), Some(0.0));
    function.fails_on(None);
    until("it has caught up", || lag("0") == Some(0.0)).await;
    // Its end is the end of its series.
    stream.follow(1, 2);
    until("the child runs", || lag("2").is_some()).await;
    assert_eq!((lag("0"), lag("1")), (Some(0.0), None));
    daemon
        .change(&id, |row| row.desired = DesiredState::Disabled)
        .await;
    until("it is disabled", || daemon.state(&id) == "Disabled").await;
    assert_eq!(lag("0").or(lag("2")), None);
}
