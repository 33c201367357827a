//! `/readyz`, as a load balancer or Kubernetes asks for it.

use std::path::Path;

use rusqlite::Connection;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::{TIMEOUT, get};

const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";

async fn start(dir: &Path, more: serde_json::Value) -> Daemon {
    let mut config = json!({"store": format!("sqlite:{}", dir.join("store").display())});
    let members = config.as_object_mut().expect("it is an object");
    members.extend(more.as_object().expect("it is an object").clone());
    let daemon = Daemon::start(dir, &config.to_string()).await;
    daemon.expect("the daemon starts")
}

/// Waits for a response with a status and a text.
async fn wait_for(daemon: &Daemon, status: u16, says: &str) {
    let address = daemon.endpoint.trim_start_matches("http://");
    let mut last = String::new();
    let answers = wait::until_some("the response changes", TIMEOUT, async || {
        last = get(address, "/readyz").await?;
        let is_right = last.starts_with(&format!("HTTP/1.1 {status} ")) && last.contains(says);
        Ok(is_right.then_some(()))
    });
    if let Err(error) = answers.await {
        panic!("{error}; last response: {last}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_written_makes_the_daemon_unready_until_it_can() {
    let dir = TempDir::new("locked");
    let daemon = start(dir.path(), json!({})).await;
    wait_for(&daemon, 200, "ok").await;
    // As a backup that does not end.
    let other = Connection::open(dir.path().join("store/windlass.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    wait_for(&daemon, 503, "the store ").await;
    let address = daemon.endpoint.trim_start_matches("http://");
    let live = get(address, "/livez").await.unwrap();
    assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
    other.execute_batch("ROLLBACK").unwrap();
    wait_for(&daemon, 200, "ok").await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_drains_is_not_ready_and_finishes_its_invocations() {
    let (dir, address) = (TempDir::new("draining"), ([127, 0, 0, 1], 0).into());
    let emulator = Emulator::start(address).await.unwrap();
    emulator.kinesis().create_stream("orders", 1).unwrap();
    emulator.kinesis().put("orders", "key", b"{}").unwrap();
    let function = TcpListener::bind(address).await.unwrap();
    let url = format!("http://{}", function.local_addr().unwrap());
    let daemon = start(
        dir.path(),
        json!({
            "aws": {"endpoints": {"kinesis": emulator.endpoint()}},
            "functions": {"f": {"url": url}},
            "mappings": [{
                "FunctionName": "f",
                "EventSourceArn": STREAM,
                "StartingPosition": "TRIM_HORIZON",
            }],
        }),
    )
    .await;
    let invoked = tokio::time::timeout(TIMEOUT, function.accept()).await;
    let (mut invocation, _) = invoked.expect("it is invoked in time").unwrap();
    wait_for(&daemon, 200, "ok").await;
    daemon.signal("TERM").unwrap();
    wait_for(&daemon, 503, "draining").await;
    let mut request = [0; 4096];
    assert_ne!(invocation.read(&mut request).await.unwrap(), 0);
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    invocation.write_all(response).await.unwrap();
    daemon.ended().await.unwrap();
}
