//! The programs of a measurement: the source, and windlass or the floor between it and the function.
//!
//! The source and the function are one process, so that it can count what arrives. It is told by
//! HTTP how many records there are to be read, which lets a measurement begin when everybody is
//! warm. Each process ends with this one, however that ends.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::{last_lines, program};
use crate::http;
use crate::process::sleep;
use crate::watchdog::Watchdog;

/// How long a program may take until it answers.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Windlass reads a shard that has more no sooner after the read before: Kinesis allows five a
/// second.
const READ_INTERVAL: Duration = Duration::from_millis(200);

const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/bench";

/// Where the programs are and where they write.
pub(super) struct Launcher<'a> {
    pub(super) programs_dir: &'a Path,
    pub(super) work_dir: &'a Path,
    pub(super) watchdog: &'a Watchdog,
}

/// What is between source and function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Windlass,
    /// The same bytes at the same pace through the same sockets, and nothing done to them but the
    /// copy.
    Floor,
    /// The same without pauses between reads.
    UnpacedFloor,
}

/// What the source offers and how it is taken.
pub(super) struct Load {
    pub(super) shards: u32,
    pub(super) record_bytes: u32,
    /// Records of one call of a function.
    pub(super) batch_size: u32,
    /// Mappings of windlass on the one stream, each with a function of its own.
    pub(super) mappings: u32,
    pub(super) function: Function,
}

/// What a function does with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Answers,
    /// Takes the request and never answers.
    Hangs,
}

/// What the source has seen since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SourceStatus {
    /// Records handed out.
    pub(super) read: u64,
    /// Records that reached the function.
    pub(super) delivered: u64,
    /// Shards that were read at least once.
    pub(super) shards_read: u64,
}

/// A program that runs until this is dropped.
pub(super) struct Program {
    child: Child,
    log: PathBuf,
    /// Where its API is, if it has one.
    api: Option<u16>,
}

/// The source and the function.
pub(super) struct Source {
    _program: Program,
    port: u16,
}

impl Launcher<'_> {
    /// Starts a source without records.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub(super) fn start_source(&self, load: &Load) -> Result<Source> {
        let port = http::free_port()?;
        let mut command = program(self.programs_dir.join("windlass-emulator"));
        command.arg("bench-source");
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--shards", &load.shards.to_string()]);
        command.args(["--record-bytes", &load.record_bytes.to_string()]);
        let mut program = self.spawn("bench-source", &mut command)?;
        program.wait_until("bench-source", || {
            http::send(port, "GET", "/bench/status", &[], "").map(|answer| answer.status == 200)
        })?;
        Ok(Source {
            _program: program,
            port,
        })
    }

    /// Starts what reads the source, and waits until it has asked each shard.
    ///
    /// # Errors
    /// If it ends, or does not read in time.
    pub(super) fn start_client(
        &self,
        client: Client,
        load: &Load,
        source: &Source,
    ) -> Result<Program> {
        let (name, mut command, api) = match client {
            Client::Windlass => {
                let port = http::free_port()?;
                ("windlass", self.windlass(load, source, port)?, Some(port))
            }
            Client::Floor => ("floor", self.floor(load, source, READ_INTERVAL), None),
            Client::UnpacedFloor => ("floor", self.floor(load, source, Duration::ZERO), None),
        };
        let mut program = self.spawn(name, &mut command)?;
        program.api = api;
        program.wait_until(name, || {
            Ok(source.status()?.shards_read >= u64::from(load.shards))
        })?;
        Ok(program)
    }

    fn windlass(&self, load: &Load, source: &Source, port: u16) -> Result<Command> {
        let store = self.work_dir.join("store");
        if store.exists() {
            fs::remove_dir_all(&store).with_context(|| format!("removing {}", store.display()))?;
        }
        let file = self.work_dir.join("windlass.yaml");
        fs::write(&file, configuration(load, source, &store, port))
            .with_context(|| format!("writing {}", file.display()))?;
        let mut command = program(self.programs_dir.join("windlass"));
        command.args(["serve", "--config"]).arg(file);
        command.env("AWS_ACCESS_KEY_ID", "bench");
        command.env("AWS_SECRET_ACCESS_KEY", "bench");
        // As the service's files in deploy/ say.
        command.env("MIMALLOC_PURGE_DELAY", "10000");
        Ok(command)
    }

    fn floor(&self, load: &Load, source: &Source, read_interval: Duration) -> Command {
        let mut command = program(self.programs_dir.join("windlass-emulator"));
        command.args(["floor", "--source", &source.endpoint()]);
        command.args(["--shards", &load.shards.to_string()]);
        command.args(["--batch-size", &load.batch_size.to_string()]);
        let read_interval = read_interval.as_millis().to_string();
        command.args(["--read-interval", &read_interval]);
        command
    }

    fn spawn(&self, name: &str, command: &mut Command) -> Result<Program> {
        let log = self.work_dir.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let errors = output.try_clone().context("sharing a log")?;
        let child = command
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors))
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let program = Program {
            child,
            log,
            api: None,
        };
        self.watchdog.watch_process(program.pid())?;
        Ok(program)
    }
}

impl Source {
    /// Adds records to be read, spread evenly over the shards.
    ///
    /// # Errors
    /// If the source refuses.
    pub(super) fn release(&self, records: u64) -> Result<()> {
        let path = format!("/bench/release?records={records}");
        let answer = http::send(self.port, "POST", &path, &[], "")?;
        if answer.status != 200 {
            bail!(
                "the source answers {} to {path}: {}",
                answer.status,
                answer.body
            );
        }
        Ok(())
    }

    /// What has been read and delivered so far.
    ///
    /// # Errors
    /// If the source does not answer in the form of a status.
    pub(super) fn status(&self) -> Result<SourceStatus> {
        let answer = http::send(self.port, "GET", "/bench/status", &[], "")?;
        parse_status(&answer.body).with_context(|| format!("the source's status: {}", answer.body))
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Program {
    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A metric without labels that is a whole number, by its name.
    ///
    /// # Errors
    /// If the program has none of that name, or does not answer.
    pub(super) fn metric(&self, name: &str) -> Result<u64> {
        let port = self.api.context("the program has no metrics")?;
        let answer = http::send(port, "GET", "/metrics", &[], "")?;
        metric_in(&answer.body, name).with_context(|| format!("the metrics have no {name}"))
    }

    /// Fails if it has ended, with the end of its log.
    ///
    /// # Errors
    /// If it has.
    pub(super) fn expect_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("looking after a program")? {
            bail!("it ended with {status}; {}", self.end_of_log());
        }
        Ok(())
    }

    /// The end of what it wrote, for an error.
    pub(super) fn end_of_log(&self) -> String {
        format!("{}:\n{}", self.log.display(), last_lines(&self.log, 15))
    }

    fn wait_until(&mut self, name: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
        let end = Instant::now() + READY_TIMEOUT;
        loop {
            let answer = is_so();
            if let Ok(true) = answer {
                return Ok(());
            }
            self.expect_alive().with_context(|| name.to_owned())?;
            if Instant::now() >= end {
                let why = answer
                    .err()
                    .map_or(String::new(), |error| format!(" ({error:#})"));
                let seconds = READY_TIMEOUT.as_secs();
                bail!(
                    "{name} is not ready after {seconds} s{why}; {}",
                    self.end_of_log()
                );
            }
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("warning: process {} cannot be ended: {error}", self.pid());
        }
    }
}

fn configuration(load: &Load, source: &Source, store: &Path, port: u16) -> String {
    let endpoint = source.endpoint();
    let path = match load.function {
        Function::Answers => "function",
        Function::Hangs => "hang",
    };
    let (store, batch_size) = (store.display(), load.batch_size);
    let mut text = format!(
        "listen: 127.0.0.1:{port}\n\
         store: \"sqlite:{store}\"\n\
         aws: {{endpoints: {{kinesis: \"{endpoint}\"}}}}\n\
         functions:\n"
    );
    for number in 0..load.mappings {
        let url = format!("{endpoint}/{path}");
        text.push_str(&format!(
            "  bench{number}: {{url: \"{url}\", timeout: 15m}}\n"
        ));
    }
    text.push_str("mappings:\n");
    for number in 0..load.mappings {
        text.push_str(&format!(
            "  - FunctionName: bench{number}\n    EventSourceArn: {STREAM}\n    \
             StartingPosition: TRIM_HORIZON\n    BatchSize: {batch_size}\n"
        ));
    }
    text
}

fn metric_in(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(it, _)| *it == name)?.1.trim().parse().ok()
}

fn parse_status(body: &str) -> Result<SourceStatus> {
    let status: Value = serde_json::from_str(body).context("reading it as JSON")?;
    let number = |name: &str| {
        let number = status[name].as_u64();
        number.with_context(|| format!("`{name}` is missing"))
    };
    Ok(SourceStatus {
        read: number("read")?,
        delivered: number("delivered")?,
        shards_read: number("shards_read")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# HELP a b\n# TYPE a gauge\na_b 1\na{c=\"d\"} 2\na 35\n";
        assert_eq!(metric_in(text, "a"), Some(35));
        assert_eq!(metric_in(text, "c"), None);
    }
}
