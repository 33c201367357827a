//! Starts, stops and ends of processes.

use super::*;

#[tokio::test]
async fn a_bash_function_receives_every_message() {
    let keys = "    processes: {minimum: 1, maximum: 2}\n";
    let setup = Setup::start("bash", RECORD, keys).await;
    let bodies: Vec<String> = (0..10).map(|n| format!("message{n}")).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    setup.expect_recorded(&bodies).await;
    let (_, shown) = setup
        .daemon
        .call("GET", "/windlass/v1/functions", None)
        .await
        .unwrap();
    let function = &shown["functions"][0];
    assert_eq!(function["name"], "f");
    assert!(1 <= function["processes"].as_u64().unwrap(), "{shown}");
    assert!(function["last_start_at"].is_string(), "{shown}");
    let metrics = setup.daemon.metrics().await.unwrap();
    for name in ["processes", "busy", "starts_total", "exits_total"] {
        let series = format!("windlass_function_{name}{{function=\"f\"}} ");
        assert!(metrics.contains(&series), "{series} is not in:\n{metrics}");
    }
    let dir = setup.dir.path().to_owned();
    let log = setup.daemon.stop().await.unwrap();
    assert!(processes_in(&dir).is_empty(), "{log}");
    let seen = std::fs::read_to_string(dir.join("seen")).unwrap();
    assert_eq!(seen.lines().count(), bodies.len(), "each of them once");
    for says in ["START", "END", "REPORT", "max_memory_kib"] {
        assert!(log.contains(says), "{says} is not in:\n{log}");
    }
}

#[tokio::test]
async fn a_process_starts_while_a_batch_is_gathered() {
    let dir = TempDir::new("gathered");
    write_function(dir.path(), &format!("echo ready >>started\n{RECORD}"));
    // The window does not end during the test: the batch is sent when it is full.
    let members = "  BatchSize: 2\n  MaximumBatchingWindowInSeconds: 300\n";
    let setup = Setup::start_mapping(dir, "", members, &[]).await;
    assert!(!setup.dir.path().join("started").exists());
    setup.send("first");
    setup.lines("started", 1).await;
    assert!(!setup.dir.path().join("seen").exists());
    setup.send("second");
    setup.lines("seen", 1).await;
    assert_eq!(setup.lines("started", 1).await.len(), 1);
    setup.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_ends_with_its_supervisor_and_is_replaced() {
    let script = format!("echo $PPID >>supervisors\n{RECORD}");
    let setup = Setup::start("supervisor", &script, "").await;
    setup.expect_recorded(&["first"]).await;
    let supervisor = setup.lines("supervisors", 1).await.remove(0);
    let killed = std::process::Command::new("kill")
        .args(["-9", &supervisor])
        .status();
    assert!(killed.unwrap().success());
    setup.expect_recorded(&["second"]).await;
    assert_eq!(setup.lines("supervisors", 2).await.len(), 2);
    setup.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_finishes_the_event_in_hand_and_tells_the_process_nothing_before() {
    let script = r#"
trap 'echo told >>told' TERM
while next; do echo started >>started; sleep 2; echo $body >>seen; answer; done
"#;
    let setup = Setup::start("drain", script, "").await;
    setup.send("slow");
    setup.lines("started", 1).await;
    let dir = setup.dir.path().to_owned();
    let log = setup.daemon.stop().await.unwrap();
    assert_eq!(std::fs::read_to_string(dir.join("seen")).unwrap(), "slow\n");
    assert!(!log.contains("function failed"), "{log}");
    assert!(processes_in(&dir).is_empty());
}

#[tokio::test]
async fn an_idle_process_that_ignores_sigterm_is_killed() {
    let script = format!("trap '' TERM\n{RECORD}");
    let setup = Setup::start("ignores", &script, "").await;
    setup.expect_recorded(&["message"]).await;
    let dir = setup.dir.path().to_owned();
    let stopping = tokio::time::Instant::now();
    setup.daemon.stop().await.unwrap();
    // Far below the drain timeout.
    assert!(stopping.elapsed() < Duration::from_secs(20));
    assert!(processes_in(&dir).is_empty());
}
