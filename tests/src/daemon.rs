//! The daemon as a process of its own: started, asked, stopped and killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

/// What the daemon logs once its API can be called, before the address.
const LISTENING: &str = "listening on http://";

/// A daemon starts, answers and ends within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where mappings are created and listed.
const MAPPINGS: &str = "/2015-03-31/event-source-mappings";

/// Any value will do for local servers.
const CREDENTIALS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// A running daemon; it is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// Its API: `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// Reads its log to the end, so that it never waits for us; gives it when the daemon is gone.
    log: tokio::task::JoinSet<String>,
}

/// Starts the daemon with a configuration and does not wait for anything; its log goes to the pipe
/// of its standard error. It is killed when the child is dropped.
///
/// # Errors
/// It cannot be started.
pub fn spawn(folder: &Path, config: &str) -> anyhow::Result<Child> {
    started(&mut serving(folder, config)?)
}

fn serving(folder: &Path, config: &str) -> anyhow::Result<tokio::process::Command> {
    let file = folder.join("windlass.yaml");
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

/// The program, with credentials that every local server takes, and nothing of the AWS account of
/// whoever runs the tests.
pub fn command() -> Command {
    let mut command = Command::new(binary());
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

/// The program, built if need be.
///
/// # Panics
/// If it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let built = Command::new(cargo)
            // Asked for like this, cargo takes the features that a test of the workspace has, and
            // with them what that has built; there are no examples.
            .args(["build", "--quiet", "--workspace", "--examples"])
            .args(["--bin", "windlass"])
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "windlass can be built"
        );
        let test = std::env::current_exe().expect("a test knows where it is");
        let folder = test
            .ancestors()
            .nth(2)
            .expect("tests lie in target/PROFILE/deps");
        folder.join("windlass")
    })
}

impl Daemon {
    /// Starts a daemon with a configuration, whose store should lie in a folder of the test; it
    /// listens on a port of its own.
    ///
    /// # Errors
    /// It ends or says nothing before it listens; its log is in the error.
    pub async fn start(folder: &Path, config: &str) -> anyhow::Result<Self> {
        Self::listening(spawn(folder, config)?).await
    }

    /// Starts a daemon that finds no AWS credentials anywhere.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub async fn start_without_credentials(folder: &Path, config: &str) -> anyhow::Result<Self> {
        let mut command = serving(folder, config)?;
        for variable in CREDENTIALS {
            command.env_remove(variable);
        }
        Self::listening(started(&mut command)?).await
    }

    /// Starts a daemon with variables of the environment besides those that every one has.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub async fn start_with(
        folder: &Path,
        config: &str,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut command = serving(folder, config)?;
        command.envs(variables.iter().copied());
        Self::listening(started(&mut command)?).await
    }

    /// Waits until it listens.
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
                    return anyhow::Ok(Some(format!("http://{address}")));
                }
            }
            Ok(None)
        };
        let endpoint = tokio::time::timeout(PATIENCE, listening).await;
        let Ok(Some(endpoint)) = endpoint.context("the daemon says nothing")? else {
            bail!("the daemon does not start:\n{text}");
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

    /// Its process id; `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// One call of its API: status and JSON.
    ///
    /// # Errors
    /// No answer.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .body(Full::new(Bytes::from(body)))?;
        let response = client.request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// Creates a mapping and waits until it is enabled; gives its UUID.
    ///
    /// # Errors
    /// It is refused, or not enabled in time.
    pub async fn create_mapping(&self, members: &Value) -> anyhow::Result<String> {
        let (status, mapping) = self.call("POST", MAPPINGS, Some(members)).await?;
        let Some(uuid) = mapping["UUID"].as_str().filter(|_| status == 202) else {
            bail!("the mapping is refused: {status} {mapping}");
        };
        self.wait_for_state(uuid, "Enabled").await?;
        Ok(uuid.to_owned())
    }

    /// Waits until a mapping is in a state.
    ///
    /// # Errors
    /// It is not in time.
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

    /// `kill -9`: it has no chance to do anything. Gives its log.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(mut self) -> anyhow::Result<String> {
        self.child.kill().await?;
        self.rest_of_log().await
    }

    /// SIGTERM, and waits for it to end by itself; gives its log.
    ///
    /// # Errors
    /// It does not end in time, or not with success.
    pub async fn stop(mut self) -> anyhow::Result<String> {
        let pid = self.child.id().context("it runs")?;
        Command::new("kill")
            .args(["-TERM", &pid.to_string()])
            .status()?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.context("the daemon does not stop")??;
        let log = self.rest_of_log().await?;
        if !status.success() {
            bail!("the daemon ends with {status}:\n{log}");
        }
        Ok(log)
    }

    async fn rest_of_log(&mut self) -> anyhow::Result<String> {
        Ok(self.log.join_next().await.context("it has a log")??)
    }
}

/// Shows a line of a daemon's log, in case the test fails.
#[expect(
    clippy::print_stderr,
    reason = "the harness keeps it, and shows it only when the test fails"
)]
fn show(line: &str) {
    eprintln!("daemon: {line}");
}
