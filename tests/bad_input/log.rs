//! A log that cannot be written loses lines, and the daemon continues.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use windlass_emulator::Emulator;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::{daemon, wait};

use crate::{TIMEOUT, get, one_mapping};

const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";

async fn emulator() -> Emulator {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let emulator = Emulator::start(address).await.expect("a port is free");
    let created = emulator.kinesis().create_stream("orders", 1);
    created.expect("there is no stream yet");
    emulator
}

/// Starts a daemon that reads the stream and logs as much as it can.
fn start(dir: &Path, emulator: &Emulator, listen: &str, stderr: Stdio) -> Child {
    let url = emulator.function_url("f");
    let mut config = one_mapping(dir, &emulator.endpoint(), STREAM, &url);
    config["kinesis"] = json!({"poll_interval": "50ms"});
    let file = dir.join("windlass.yaml");
    std::fs::write(&file, config.to_string()).expect("the directory is writable");
    let mut command = tokio::process::Command::from(daemon::command());
    command
        .args(["serve", "--listen", listen, "--config"])
        .arg(&file)
        .env("RUST_LOG", "trace")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .kill_on_drop(true);
    command.spawn().expect("the program starts")
}

/// Reads the log until it names the address of the API.
async fn address(log: &mut BufReader<ChildStderr>) -> String {
    let found = async {
        let mut line = String::new();
        while log.read_line(&mut line).await.expect("the log is text") != 0 {
            if let Some((_, address)) = line.split_once("listening on http://") {
                return address.trim().to_owned();
            }
            line.clear();
        }
        panic!("the daemon has ended");
    };
    tokio::time::timeout(TIMEOUT, found)
        .await
        .expect("it listens in time")
}

/// The daemon loses lines, delivers records, is ready, and stops with success.
async fn assert_works(mut daemon: Child, address: &str, emulator: &Emulator) {
    let dropped = async || {
        let metrics = get(address, "/metrics").await.unwrap_or_default();
        let name = "windlass_log_lines_dropped_total ";
        let mut counts = metrics.lines().filter_map(|line| line.strip_prefix(name));
        Ok(counts.next().filter(|count| *count != "0").map(drop))
    };
    wait::until_some("lines are dropped", TIMEOUT, dropped)
        .await
        .expect("it counts them");
    for number in 1..=5 {
        let payload = emulator.ledger().put_payload(STREAM, "key", number);
        let put = emulator.kinesis().put("orders", "key", payload.as_bytes());
        put.expect("the stream exists");
    }
    let delivered = || emulator.ledger().counts().delivered == 5;
    wait::until("the records arrive", TIMEOUT, delivered)
        .await
        .expect("it delivers them");
    let ready = get(address, "/readyz").await.expect("it answers");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let pid = daemon.id().expect("it runs").to_string();
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
    let ended = tokio::time::timeout(TIMEOUT, daemon.wait()).await;
    let status = ended.expect("it stops in time").expect("it was running");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_log_whose_reader_has_gone() {
    let (dir, emulator) = (TempDir::new("log-closed"), emulator().await);
    let mut daemon = start(dir.path(), &emulator, "127.0.0.1:0", Stdio::piped());
    let mut log = BufReader::new(daemon.stderr.take().unwrap());
    let address = address(&mut log).await;
    drop(log);
    assert_works(daemon, &address, &emulator).await;
}

#[tokio::test]
async fn a_log_whose_reader_stalls() {
    let (dir, emulator) = (TempDir::new("log-stalled"), emulator().await);
    let mut daemon = start(dir.path(), &emulator, "127.0.0.1:0", Stdio::piped());
    let mut log = BufReader::new(daemon.stderr.take().unwrap());
    let address = address(&mut log).await;
    assert_works(daemon, &address, &emulator).await;
    drop(log);
}

#[tokio::test]
async fn a_log_on_a_full_disk() {
    let (dir, emulator) = (TempDir::new("log-full"), emulator().await);
    let full = File::options().write(true).open("/dev/full").unwrap();
    // Its log cannot name the port.
    let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = port.local_addr().unwrap().to_string();
    drop(port);
    let daemon = start(dir.path(), &emulator, &address, full.into());
    assert_works(daemon, &address, &emulator).await;
}
