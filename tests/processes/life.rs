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
    let dir = setup.dir.path().to_owned();
    let log = setup.daemon.stop().await.unwrap();
    assert!(processes_in(&dir).is_empty(), "{log}");
    let seen = std::fs::read_to_string(dir.join("seen")).unwrap();
    assert_eq!(seen.lines().count(), bodies.len(), "each of them once");
    for says in ["START", "END", "REPORT", "max_memory_kib"] {
        assert!(log.contains(says), "{says} is not in:\n{log}");
    }
}

/// Leaves descendants in sessions of their own, some of them without a parent.
const ORPHANS: &str = r#"
setsid sleep 1000 &
(setsid bash -c 'sleep 1000 & setsid sleep 1000 & disown -a' &)
trap '' TERM HUP INT
echo ready >>started
while next; do echo $body >>seen; sleep 1000; done
"#;

#[tokio::test]
async fn no_process_outlives_a_daemon_that_is_killed() {
    for round in 0..3 {
        let keys = "    processes: {minimum: 2, maximum: 2}\n";
        let setup = Setup::start("killed", ORPHANS, keys).await;
        setup.lines("started", 2).await;
        if round == 1 {
            setup.expect_recorded(&["busy"]).await;
        }
        assert!(6 <= setup.processes().len());
        let Setup { dir, daemon, .. } = setup;
        daemon.kill().await.unwrap();
        wait_for_no_processes(dir.path()).await;
    }
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
async fn descendants_end_with_the_supervisor_too() {
    let script = format!("echo $PPID >>supervisors\n{ORPHANS}");
    let keys = "    processes: {minimum: 1, maximum: 1}\n";
    let setup = Setup::start("orphans", &script, keys).await;
    setup.lines("started", 1).await;
    let before = setup.processes();
    // With the supervisor, and descendants in sessions of their own.
    assert!(4 <= before.len(), "{before:?}");
    let supervisor = setup.lines("supervisors", 1).await.remove(0);
    let killed = std::process::Command::new("kill")
        .args(["-9", &supervisor])
        .status();
    assert!(killed.unwrap().success());
    until_some("its processes have ended", TIMEOUT, async || {
        let left = setup.processes();
        let ended = before.iter().all(|pid| !left.contains(pid));
        Ok(ended.then_some(()))
    })
    .await
    .unwrap();
    setup.lines("started", 2).await;
    let Setup { dir, daemon, .. } = setup;
    daemon.kill().await.unwrap();
    wait_for_no_processes(dir.path()).await;
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
