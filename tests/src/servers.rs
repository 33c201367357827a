//! The servers that others wrote, as `cargo xtask test-servers` has started them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::aws::Aws;

/// A server answers within this, or it does not start at all.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where they are.
#[derive(Clone, Debug)]
pub struct Servers {
    about: Value,
}

/// A server of one test alone, which can be stopped and started again on its port.
#[derive(Debug)]
pub struct OwnServer {
    command: Value,
    port: u16,
    child: Child,
}

impl Servers {
    /// Those that run.
    ///
    /// # Panics
    /// If none run; the message names the command that starts them.
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
                "the test servers do not run ({} is missing); start them with \
                 `cargo xtask test-servers install` and `cargo xtask test-servers start`",
                file.display()
            )
        };
        Self {
            about: serde_json::from_str(&text).expect("it was written as JSON"),
        }
    }

    /// A client of one of them, by its name: `kinesis_mock`, `ferrokinesis`, `ministack`,
    /// `elasticmq` or `fauxqs`.
    ///
    /// # Panics
    /// If it is not among them.
    pub fn aws(&self, name: &str) -> Aws {
        Aws::new(self.text(name))
    }

    /// The Python that has boto3.
    ///
    /// # Panics
    /// If it was not installed.
    pub fn python(&self) -> &str {
        self.text("python")
    }

    /// The AWS CLI.
    ///
    /// # Panics
    /// If it was not installed.
    pub fn aws_cli(&self) -> &str {
        self.text("aws")
    }

    /// The folder with AWS's library for event patterns, and with the program that asks it.
    ///
    /// # Panics
    /// If it was not installed.
    pub fn event_ruler(&self) -> &str {
        self.text("event_ruler")
    }

    /// Starts one of them anew, for this test alone, with arguments besides its usual ones.
    ///
    /// # Errors
    /// It does not answer in time.
    pub async fn own(&self, name: &str, more: &[&str]) -> anyhow::Result<OwnServer> {
        let mut command = self.about["commands"][name].clone();
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
        let text = self.about[name].as_str();
        text.unwrap_or_else(|| panic!("`{name}` is not among the test servers"))
    }
}

impl OwnServer {
    /// A client of it.
    pub fn aws(&self) -> Aws {
        Aws::new(&format!("http://127.0.0.1:{}", self.port))
    }

    /// Ends it without warning.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts it again on its port.
    ///
    /// # Errors
    /// It does not answer in time.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.command, self.port)?;
        self.wait().await
    }

    async fn wait(&self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port))
                .await
                .is_ok()
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the server at port {} does not answer", self.port)
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
        .context("the server's command is known")?;
    let args = command["args"]
        .as_array()
        .context("the server's arguments are known")?;
    let mut process = Command::new(program);
    process.args(args.iter().map(fill));
    for (name, value) in command["env"].as_object().into_iter().flatten() {
        process.env(name, fill(value));
    }
    let quiet = process
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {program}"))
}
