//! The daemon as a process: started, called, stopped and killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::wait;

/// The daemon logs this and its URL once its API accepts connections.
const LISTENING: &str = "listening on http";

/// Of starting and stopping a daemon.
const TIMEOUT: Duration = Duration::from_secs(60);

const MAPPINGS: &str = "/2015-03-31/event-source-mappings";

/// Local servers accept any value.
const CREDENTIALS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// A running daemon, killed on drop.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// Of its API: `http://127.0.0.1:PORT`, or `https:` with a certificate.
    pub endpoint: String,
    /// Reads the log, so that the daemon never blocks on a full pipe, and returns it at the end.
    log: tokio::task::JoinSet<String>,
}

/// Starts the daemon with a configuration, without waiting for it. It logs to its standard error,
/// which is a pipe, and is killed when the child is dropped.
pub fn spawn(dir: &Path, config: &str) -> anyhow::Result<Child> {
    started(&mut serving(dir, config)?)
}

fn serving(dir: &Path, config: &str) -> anyhow::Result<tokio::process::Command> {
    let file = dir.join("windlass.yaml");
    std::fs::write(&file, config)?;
    let mut command = tokio::process::Command::from(command());
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file);
    Ok(command)
}

fn started(command: &mut tokio::process::Command) -> anyhow::Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", binary().display()))
}

/// The program with fake credentials, isolated from the AWS configuration of the user who runs the
/// tests.
pub fn command() -> Command {
    isolated(Command::new(binary()))
}

fn isolated(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["AWS_", "WINDLASS_"].iter().any(|it| text.starts_with(it)) {
            command.env_remove(&name);
        }
    }
    for variable in CREDENTIALS {
        command.env(variable, "test");
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1");
    command
}

/// The path of the program, which is built if necessary.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let built = Command::new(cargo)
            // There are no examples: the flag makes cargo select the features of a test run of the
            // workspace, so that it reuses those artifacts.
            .args(["build", "--quiet", "--workspace", "--examples"])
            .args(["--bin", "windlass"])
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "cannot build windlass"
        );
        let test = std::env::current_exe().expect("the test has a path");
        let dir = test
            .ancestors()
            .nth(2)
            .expect("tests are in target/PROFILE/deps");
        dir.join("windlass")
    })
}

impl Daemon {
    /// Starts a daemon with a configuration on a free port and waits until it listens. The error
    /// contains its log.
    pub async fn start(dir: &Path, config: &str) -> anyhow::Result<Self> {
        Self::listening(spawn(dir, config)?).await
    }

    /// Starts a daemon that has no AWS credentials.
    pub async fn start_without_credentials(dir: &Path, config: &str) -> anyhow::Result<Self> {
        let mut command = serving(dir, config)?;
        for variable in CREDENTIALS {
            command.env_remove(variable);
        }
        Self::listening(started(&mut command)?).await
    }

    /// Starts a daemon with additional environment variables.
    pub async fn start_with(
        dir: &Path,
        config: &str,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut command = serving(dir, config)?;
        command.envs(variables.iter().copied());
        Self::listening(started(&mut command)?).await
    }

    /// Starts a daemon in a process that a shell has prepared, for example by `ulimit`.
    pub async fn start_after(dir: &Path, config: &str, setup: &str) -> anyhow::Result<Self> {
        let serving = serving(dir, config)?;
        let mut shell = isolated(Command::new("sh"));
        shell
            .args(["-c", &format!("{setup}; exec \"$0\" \"$@\"")])
            .arg(binary())
            .args(serving.as_std().get_args());
        Self::listening(started(&mut shell.into())?).await
    }

    async fn listening(mut child: Child) -> anyhow::Result<Self> {
        let stderr = child.stderr.take().context("standard error is piped")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut text = String::new();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                show(&line);
                text.push_str(&line);
                text.push('\n');
                if let Some((_, address)) = line.split_once(LISTENING) {
                    let address = address.split_whitespace().next().unwrap_or_default();
                    return anyhow::Ok(Some(format!("http{address}")));
                }
            }
            Ok(None)
        };
        let endpoint = tokio::time::timeout(TIMEOUT, listening).await;
        let Ok(Some(endpoint)) = endpoint.context("the daemon does not listen in time")? else {
            bail!("the daemon did not start:\n{text}");
        };
        let mut log = tokio::task::JoinSet::new();
        log.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                show(&line);
                text.push_str(&line);
                text.push('\n');
            }
            text
        });
        Ok(Self {
            child,
            endpoint,
            log,
        })
    }

    /// `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Calls the API and returns the status and the JSON.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let (status, body) = self.send(method, path, body).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// The status of a mapping in windlass's own API.
    pub async fn status(&self, uuid: &str) -> anyhow::Result<Value> {
        let path = format!("/windlass/v1/mappings/{uuid}");
        Ok(self.call("GET", &path, None).await?.1)
    }

    /// The UUID of the only mapping.
    pub async fn only_mapping(&self) -> anyhow::Result<String> {
        let (_, list) = self.call("GET", MAPPINGS, None).await?;
        let uuid = list["EventSourceMappings"][0]["UUID"].as_str();
        Ok(uuid
            .with_context(|| format!("no mapping: {list}"))?
            .to_owned())
    }

    /// Changes a mapping.
    pub async fn update_mapping(&self, uuid: &str, members: &Value) -> anyhow::Result<()> {
        let path = format!("{MAPPINGS}/{uuid}");
        let (status, answer) = self.call("PUT", &path, Some(members)).await?;
        ensure!(status == 202, "the update was rejected: {status} {answer}");
        Ok(())
    }

    /// Deletes a mapping and waits until it is gone.
    pub async fn delete_mapping(&self, uuid: &str) -> anyhow::Result<()> {
        let path = format!("{MAPPINGS}/{uuid}");
        let (status, answer) = self.call("DELETE", &path, None).await?;
        ensure!(
            status == 202,
            "the deletion was rejected: {status} {answer}"
        );
        wait::until_some("the mapping is gone", TIMEOUT, async || {
            let (status, _) = self.call("GET", &path, None).await?;
            Ok((status == 404).then_some(()))
        })
        .await
    }

    /// The metrics in the text format of Prometheus.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let (_, body) = self.send("GET", "/metrics", None).await?;
        Ok(String::from_utf8(body.to_vec())?)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Bytes)> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .body(Full::new(Bytes::from(body)))?;
        let response = client.request(request).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Creates a mapping, waits until it is enabled and returns its UUID.
    pub async fn create_mapping(&self, members: &Value) -> anyhow::Result<String> {
        let (status, mapping) = self.call("POST", MAPPINGS, Some(members)).await?;
        let Some(uuid) = mapping["UUID"].as_str().filter(|_| status == 202) else {
            bail!("the mapping was rejected: {status} {mapping}");
        };
        self.wait_for_state(uuid, "Enabled").await?;
        Ok(uuid.to_owned())
    }

    pub async fn wait_for_state(&self, uuid: &str, state: &str) -> anyhow::Result<()> {
        let mut last = Value::Null;
        for _ in 0..600 {
            (_, last) = self
                .call("GET", &format!("{MAPPINGS}/{uuid}"), None)
                .await?;
            if last["State"] == state {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the mapping {uuid} is not {state} after 60 s: {last}")
    }

    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.child.id().context("it runs")?;
        let sent = Command::new("kill")
            .args(["-s", signal, &pid.to_string()])
            .status()?;
        if !sent.success() {
            bail!("cannot send {signal} to process {pid}");
        }
        Ok(())
    }

    /// Sends SIGKILL and returns the log.
    pub async fn kill(mut self) -> anyhow::Result<String> {
        self.child.kill().await?;
        self.rest_of_log().await
    }

    /// Sends SIGTERM, waits until the daemon exits with success and returns the log.
    pub async fn stop(self) -> anyhow::Result<String> {
        self.stop_by("TERM").await
    }

    /// The same with another signal.
    pub async fn stop_by(self, signal: &str) -> anyhow::Result<String> {
        self.signal(signal)?;
        self.ended().await
    }

    /// Waits until the daemon exits with success and returns the log.
    pub async fn ended(mut self) -> anyhow::Result<String> {
        let status = tokio::time::timeout(TIMEOUT, self.child.wait()).await;
        let status = status.context("the daemon does not stop in time")??;
        let log = self.rest_of_log().await?;
        if !status.success() {
            bail!("the daemon failed with {status}:\n{log}");
        }
        Ok(log)
    }

    async fn rest_of_log(&mut self) -> anyhow::Result<String> {
        Ok(self.log.join_next().await.context("it has a log")??)
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the test harness captures it and shows it only on failure"
)]
fn show(line: &str) {
    eprintln!("daemon: {line}");
}
