//! The third-party servers that `cargo xtask test-servers` has started.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::aws::Aws;

/// Of starting a server.
const TIMEOUT: Duration = Duration::from_secs(90);

#[derive(Clone, Debug)]
pub struct Servers {
    /// `running.json`.
    running: Value,
}

/// A server for one test, which can be killed and restarted on its port.
#[derive(Debug)]
pub struct OwnServer {
    command: Value,
    port: u16,
    child: Child,
}

impl Servers {
    /// The running servers; panics, with the command that starts them, if there are none.
    pub fn running() -> Self {
        let file = std::env::var("WINDLASS_TEST_SERVERS_JSON").map_or_else(
            |_| {
                let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/test-servers");
                PathBuf::from(root).join("running.json")
            },
            PathBuf::from,
        );
        let Ok(text) = std::fs::read_to_string(&file) else {
            panic!(
                "the test servers are not running ({} does not exist); start them with \
                 `cargo xtask test-servers install` and `cargo xtask test-servers start`",
                file.display()
            )
        };
        Self {
            running: serde_json::from_str(&text).expect("running.json is valid JSON"),
        }
    }

    /// A client of a server: `kinesis_mock`, `ferrokinesis`, `ministack`, `elasticmq` or `fauxqs`.
    pub fn aws(&self, name: &str) -> Aws {
        Aws::new(self.text(name))
    }

    /// The Python that has boto3.
    pub fn python(&self) -> &str {
        self.text("python")
    }

    /// The directory of npm packages, with those of the functions and with Node itself.
    pub fn node_modules(&self) -> &str {
        self.text("node_modules")
    }

    pub fn aws_cli(&self) -> &str {
        self.text("aws")
    }

    /// The directory of AWS's library for event patterns and of the program that calls it.
    pub fn event_ruler(&self) -> &str {
        self.text("event_ruler")
    }

    /// The target directory of `config/examples/rust`.
    pub fn rust_example(&self) -> &str {
        self.text("rust_example")
    }

    /// The program of `config/examples/go`.
    pub fn go_example(&self) -> &str {
        self.text("go_example")
    }

    /// Starts a server for this test, with additional arguments.
    pub async fn start_own(&self, name: &str, more: &[&str]) -> anyhow::Result<OwnServer> {
        let mut command = self.running["commands"][name].clone();
        let arguments = command["args"].as_array_mut();
        let arguments = arguments.with_context(|| format!("`{name}` is not installed"))?;
        arguments.extend(more.iter().map(|it| Value::from(*it)));
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let child = spawn(&command, port)?;
        let server = OwnServer {
            command,
            port,
            child,
        };
        server.wait().await?;
        Ok(server)
    }

    fn text(&self, name: &str) -> &str {
        let text = self.running[name].as_str();
        text.unwrap_or_else(|| panic!("running.json has no `{name}`"))
    }
}

impl OwnServer {
    pub fn aws(&self) -> Aws {
        Aws::new(&format!("http://127.0.0.1:{}", self.port))
    }

    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts it again on the same port.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.command, self.port)?;
        self.wait().await
    }

    async fn wait(&self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        while tokio::time::Instant::now() < deadline {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port))
                .await
                .is_ok()
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the server on port {} is not ready in time", self.port)
    }
}

fn spawn(command: &Value, port: u16) -> anyhow::Result<Child> {
    let fill = |text: &Value| {
        text.as_str()
            .map(|text| text.replace("{port}", &port.to_string()))
            .unwrap_or_default()
    };
    let program = command["program"]
        .as_str()
        .context("running.json has no command of the server")?;
    let args = command["args"]
        .as_array()
        .context("running.json has no arguments of the server")?;
    let mut process = Command::new(program);
    process.args(args.iter().map(fill));
    for (name, value) in command["env"].as_object().into_iter().flatten() {
        process.env(name, fill(value));
    }
    process
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {program}"))
}
