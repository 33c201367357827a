//! Exit codes and error messages of the program on bad input: each names the position and the remedy.
//! And what its probes answer when it cannot work, what it does with bad records and responses, and how it
//! shows what holds it back; how commands name mappings.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use windlass_tests::daemon;

mod apply;
mod clients;
mod configuration;
mod dead_letters;
mod doctor;
mod environment;
mod log;
mod names;
mod network;
mod operate;
mod readiness;
mod records;
mod redrive;
mod responses;
mod roles;
mod shards;
mod states;
mod store;
mod tls;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Exit code for wrong usage or configuration.
const USAGE: i32 = 64;

/// Exit code for any other error.
const FAILED: i32 = 1;

/// Result of a run of the program.
#[derive(Debug)]
struct Ended {
    code: i32,
    /// Standard output and standard error.
    text: String,
}

impl Ended {
    /// The exit code is `code`, and the output contains each of `says`.
    #[track_caller]
    fn assert(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text);
        for part in says {
            assert!(
                self.text.contains(part),
                "'{part}' is not in:\n{}",
                self.text
            );
        }
    }
}

/// A configuration with one mapping, of a stream to a function; the store is in the directory.
fn one_mapping(dir: &Path, kinesis: &str, stream: &str, function_url: &str) -> Value {
    json!({
        "store": format!("sqlite:{}", dir.join("store").display()),
        "aws": {"endpoints": {"kinesis": kinesis}},
        "functions": {"f": {"url": function_url}},
        "mappings": [{
            "FunctionName": "f",
            "EventSourceArn": stream,
            "StartingPosition": "TRIM_HORIZON",
        }],
    })
}

/// Runs the program in a directory until it exits.
async fn run(dir: &Path, arguments: &[&str]) -> Ended {
    run_with(dir, &[], arguments).await
}

/// The same with environment variables.
async fn run_with(dir: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = tokio::process::Command::from(daemon::command());
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(TIMEOUT, command.output()).await;
    let output = output
        .expect("the program exits in time")
        .expect("the program starts");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let code = output.status.code().expect("no signal killed it");
    Ended { code, text }
}

/// Writes a configuration and runs a daemon that must exit because of it.
async fn serve(dir: &Path, config: &str) -> Ended {
    std::fs::write(dir.join("windlass.yaml"), config).expect("the directory is writable");
    run(
        dir,
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
            "windlass.yaml",
        ],
    )
    .await
}

/// The response of a daemon as HTTP writes it.
async fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

/// The answer of a daemon that has no such path.
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nx-amzn-errortype: ResourceNotFoundException\r\n\
                            content-type: application/json\r\nconnection: close\r\n\
                            content-length: 2\r\n\r\n{}";

/// A server that sends the same response to every request and counts its connections.
async fn answering(answer: &'static str) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    answering_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), answer).await
}

/// The same at an address.
async fn answering_at(
    address: SocketAddr,
    answer: &'static str,
) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind(address).await.expect("the port is free");
    let address = listener.local_addr().expect("the socket is bound");
    let endpoint = format!("http://{address}");
    let connections = Arc::new(AtomicUsize::new(0));
    let (counted, mut tasks) = (Arc::clone(&connections), JoinSet::new());
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 16 * 1024];
            // A client may disconnect early.
            if let Ok(len) = stream.read(&mut request).await {
                let asks_for = |path: &[u8]| request[..len].starts_with(path);
                let answer = if asks_for(b"GET /windlass/v1/functions ")
                    || asks_for(b"GET /windlass/v1/daemon ")
                {
                    NOT_FOUND
                } else {
                    answer
                };
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    });
    (endpoint, connections, tasks)
}
