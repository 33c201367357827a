//! The programs of a measurement: the source, the function, and windlass or the floor between them.
//!
//! The source and the function are one process, which counts the records that arrive. Records are
//! released by HTTP, so that a measurement can start after the warm-up. The watchdog terminates the
//! processes if this one is killed.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::measure::Pace;
use super::{BATCH_SIZE, daemon_config};
use crate::command::{last_lines, program, read_output};
use crate::http;
use crate::process::sleep;
use crate::watchdog::Watchdog;

const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two reads of a shard with a backlog, as windlass does: Kinesis allows five reads per second
/// and shard.
const READ_INTERVAL: Duration = Duration::from_millis(200);

/// Between two reads of an idle shard.
const IDLE_READ_INTERVAL: Duration = Duration::from_secs(1);

/// The part of the daemon's log with the duration of each invocation.
const INVOCATION_LOG: &str = "windlass_engine::invoker=debug";

/// Receives of a queue at a time by the concurrent floor: as many as a mapping of AWS starts with.
const CONCURRENT_RECEIVERS: u32 = 5;

pub(super) struct Launcher<'a> {
    pub(super) programs_dir: &'a Path,
    pub(super) work_dir: &'a Path,
    pub(super) watchdog: &'a Watchdog,
}

/// The program between source and function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Windlass,
    /// Copies the same bytes through the same sockets at the same pace.
    Floor,
    /// The floor without pauses between reads.
    UnpacedFloor,
    /// The floor at the pace of idle shards.
    IdleFloor,
    /// The floor of enhanced fan-out.
    FanOutFloor,
    /// The floor of a queue: one call after the other.
    QueueFloor,
    /// Five of them at a time: CPU per message is lower when a program has more than one call to do.
    ConcurrentQueueFloor,
}

/// What a daemon reads, and what it calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Reads queues and not a stream.
    pub(super) queue: Option<Queue>,
    /// Of the stream.
    pub(super) shards: u32,
    pub(super) record_bytes: u32,
    /// Reads the stream with enhanced fan-out.
    pub(super) fan_out: bool,
    /// A replay reads the stream, and no mapping.
    pub(super) is_replay: bool,
    /// Records per invocation.
    pub(super) batch_size: u32,
    /// Mappings of the stream, or each of a queue of its own; each has its own function.
    pub(super) mappings: u32,
    pub(super) function: Function,
    /// How long each read of a shard takes.
    pub(super) read_delay: Duration,
    /// Whether the log of the daemon has the duration of each invocation.
    pub(super) logs_invocations: bool,
    /// Lanes of each shard.
    pub(super) parallelization_factor: u32,
    /// `None`: as fast as the daemon is.
    pub(super) pace: Option<Pace>,
}

/// Each of the queues.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// Message groups; 0 makes a standard queue.
    pub(super) groups: u32,
    /// Bytes of a receipt handle.
    pub(super) handle_bytes: u32,
    /// How long messages are gathered for a batch.
    pub(super) window: Duration,
}

impl Queue {
    /// Of the handles of SQS.
    pub(super) const HANDLE_BYTES: u32 = 412;
}

impl Load {
    /// What is read: shards, or queues.
    fn n_read(&self) -> u64 {
        u64::from(match self.queue {
            Some(_) => self.mappings,
            None => self.shards,
        })
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            queue: None,
            shards: 1,
            record_bytes: 1024,
            fan_out: false,
            is_replay: false,
            batch_size: BATCH_SIZE,
            mappings: 1,
            function: Function::Answers,
            read_delay: Duration::ZERO,
            logs_invocations: false,
            parallelization_factor: 1,
            pace: None,
        }
    }
}

/// How a function responds to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Answers,
    /// The same, as local processes: one for each shard.
    Process,
    /// Half a second late.
    AnswersLate,
    /// As late, and with nearly the largest response that is allowed. The daemon must read it.
    AnswersMuch,
    /// Accepts the request and never responds.
    Hangs,
    /// With an error, at once.
    Fails,
}

/// Counters of the source since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SourceStatus {
    /// Records returned to readers.
    pub(super) read: u64,
    /// Records that reached the function.
    pub(super) delivered: u64,
    /// Events that reached the function.
    pub(super) invocations: u64,
    /// Messages that were deleted.
    pub(super) deleted: u64,
    /// Shards that were read at least once, or queues.
    pub(super) shards_read: u64,
    /// Reads of shards.
    pub(super) reads: u64,
    /// Reads that came about a second after the one before, of the same shard.
    pub(super) reads_on_time: u64,
}

/// A running program, killed on drop.
pub(super) struct Program {
    child: Child,
    log: PathBuf,
    /// The port of its API, if it has one.
    api: Option<u16>,
}

/// The process that is both source and function.
pub(super) struct Source {
    _program: Program,
    port: u16,
    has_queues: bool,
}

/// From the response with a message to its event.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitTimes {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

impl Launcher<'_> {
    /// Starts a source that has no records yet.
    pub(super) fn start_source(&self, load: &Load) -> Result<Source> {
        let port = http::free_port()?;
        let mut command = program(self.programs_dir.join("windlass-emulator"));
        let listen = format!("127.0.0.1:{port}");
        let record_bytes = load.record_bytes.to_string();
        if let Some(queue) = load.queue {
            command.args(["bench-queues", "--listen", &listen]);
            command.args(["--queues", &load.mappings.to_string()]);
            command.args(["--message-bytes", &record_bytes]);
            command.args(["--handle-bytes", &queue.handle_bytes.to_string()]);
            command.args(["--groups", &queue.groups.to_string()]);
        } else {
            command.args(["bench-source", "--listen", &listen]);
            command.args(["--record-bytes", &record_bytes]);
            command.args(["--shards", &load.shards.to_string()]);
            let read_delay = load.read_delay.as_millis().to_string();
            command.args(["--read-delay", &read_delay]);
        }
        let mut program = self.spawn("bench-source", &mut command)?;
        program.wait_until("bench-source", || {
            http::send(port, "GET", "/bench/status", &[], "").map(|answer| answer.status == 200)
        })?;
        Ok(Source {
            _program: program,
            port,
            has_queues: load.queue.is_some(),
        })
    }

    /// Starts the reader of the source, and waits until it has read each shard or queue once.
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
            Client::IdleFloor => ("floor", self.floor(load, source, IDLE_READ_INTERVAL), None),
            Client::FanOutFloor => ("floor", self.fan_out_floor(load, source), None),
            Client::QueueFloor => ("floor", self.queue_floor(load, source, 1), None),
            Client::ConcurrentQueueFloor => {
                let command = self.queue_floor(load, source, CONCURRENT_RECEIVERS);
                ("floor", command, None)
            }
        };
        let mut program = self.spawn(name, &mut command)?;
        program.api = api;
        if load.is_replay {
            program.start_replay(load)?;
        }
        program.wait_until(name, || Ok(source.status()?.shards_read >= load.n_read()))?;
        Ok(program)
    }

    fn windlass(&self, load: &Load, source: &Source, port: u16) -> Result<Command> {
        let store = self.work_dir.join("store");
        if store.exists() {
            fs::remove_dir_all(&store).with_context(|| format!("removing {}", store.display()))?;
        }
        let file = self.work_dir.join("windlass.yaml");
        let text = daemon_config::text(load, &source.endpoint(), &store, port, self.programs_dir);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        let mut command = program(self.programs_dir.join("windlass"));
        command.args(["serve", "--config"]).arg(file);
        command.env("AWS_ACCESS_KEY_ID", "bench");
        command.env("AWS_SECRET_ACCESS_KEY", "bench");
        if load.logs_invocations {
            command.env("RUST_LOG", INVOCATION_LOG);
        }
        // As in deploy/.
        command.env("MIMALLOC_PURGE_DELAY", "10000");
        Ok(command)
    }

    /// Runs a command that calls a daemon, to its end.
    pub(super) fn run_client(&self, daemon: &Program, arguments: &[&str]) -> Result<()> {
        let port = daemon.api.context("the program has no API")?;
        let mut command = program(self.programs_dir.join("windlass"));
        command.args(arguments);
        command.args(["--endpoint", &format!("http://127.0.0.1:{port}")]);
        read_output(&mut command).map(drop)
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

    fn fan_out_floor(&self, load: &Load, source: &Source) -> Command {
        let mut command = program(self.programs_dir.join("windlass-emulator"));
        command.args(["floor", "--fan-out", "--source", &source.endpoint()]);
        command.args(["--shards", &load.shards.to_string()]);
        command.args(["--batch-size", &load.batch_size.to_string()]);
        command
    }

    fn queue_floor(&self, load: &Load, source: &Source, receivers: u32) -> Command {
        let mut command = program(self.programs_dir.join("windlass-emulator"));
        command.args(["queue-floor", "--source", &source.endpoint()]);
        command.args(["--receivers", &receivers.to_string()]);
        command.args(["--batch-size", &load.batch_size.to_string()]);
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
    /// Makes records available, spread evenly over the shards or queues.
    pub(super) fn release(&self, records: u64) -> Result<()> {
        let path = format!("/bench/release?records={records}");
        let answer = http::send(self.port, "POST", &path, &[], "")?;
        if answer.status != 200 {
            bail!(
                "the source responds {} to {path}: {}",
                answer.status,
                answer.body
            );
        }
        Ok(())
    }

    pub(super) fn status(&self) -> Result<SourceStatus> {
        let answer = http::send(self.port, "GET", "/bench/status", &[], "")?;
        parse_status(&answer.body).with_context(|| format!("the source's status: {}", answer.body))
    }

    /// Of the messages that were delivered since the last call; `None` for a stream.
    pub(super) fn take_wait_times(&self) -> Result<Option<WaitTimes>> {
        if !self.has_queues {
            return Ok(None);
        }
        let answer = http::send(self.port, "GET", "/bench/wait-times", &[], "")?;
        let times = parse_wait_times(&answer.body);
        times
            .with_context(|| format!("the source's times: {}", answer.body))
            .map(Some)
    }

    /// Whether `records` records are done with: they have reached the function, and messages are
    /// deleted.
    pub(super) fn is_done(&self, status: &SourceStatus, records: u64) -> bool {
        records <= status.delivered && (!self.has_queues || records <= status.deleted)
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Program {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The body of an answer of its API.
    pub(super) fn get(&self, path: &str) -> Result<String> {
        let port = self.api.context("the program has no API")?;
        let answer = http::send(port, "GET", path, &[], "")?;
        if answer.status != 200 {
            bail!("{path} answers {}: {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// Starts a replay of all records that are ever released.
    fn start_replay(&mut self, load: &Load) -> Result<()> {
        let port = self.api.context("the program has no API")?;
        self.wait_until("windlass", || {
            http::send(port, "GET", "/livez", &[], "").map(|answer| answer.status == 200)
        })?;
        let body = json!({
            "name": "bench",
            "event_source_arn": daemon_config::STREAM,
            "function_name": daemon_config::function(0),
            "to": {"type": "at_timestamp", "timestamp": "9999-01-01T00:00:00Z"},
            "batch_size": load.batch_size,
            "parallelization_factor": load.parallelization_factor,
        });
        let path = "/windlass/v1/replays";
        let answer = http::send(port, "POST", path, &[], &body.to_string())?;
        if answer.status != 201 {
            bail!(
                "windlass responds {} to {path}: {}",
                answer.status,
                answer.body
            );
        }
        Ok(())
    }

    /// The value of an integer metric without labels.
    pub(super) fn metric(&self, name: &str) -> Result<u64> {
        let metrics = self.get("/metrics")?;
        metric_in(&metrics, name).with_context(|| format!("the metrics have no {name}"))
    }

    /// Calls its API.
    pub(super) fn call(&self, method: &str, path: &str, body: &str) -> Result<http::Response> {
        let port = self.api.context("the program has no API")?;
        http::send(port, method, path, &[], body)
    }

    /// Fails, with the end of the log, if the program has ended.
    pub(super) fn expect_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("polling a program")? {
            bail!("the program ended with {status}; {}", self.end_of_log());
        }
        Ok(())
    }

    /// How long each invocation of the log took.
    pub(super) fn invocation_times(&self) -> Result<Vec<Duration>> {
        let log = &self.log;
        let text = fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
        Ok(text.lines().filter_map(invocation_time_in).collect())
    }

    pub(super) fn end_of_log(&self) -> String {
        format!("{}:\n{}", self.log.display(), last_lines(&self.log, 15))
    }

    fn wait_until(&mut self, name: &str, is_ready: impl Fn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let ready = is_ready();
            if let Ok(true) = ready {
                return Ok(());
            }
            self.expect_alive().with_context(|| name.to_owned())?;
            if Instant::now() >= deadline {
                let why = ready
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
            eprintln!("warning: cannot kill process {}: {error}", self.pid());
        }
    }
}

fn metric_in(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(it, _)| *it == name)?.1.trim().parse().ok()
}

/// `… invoked … took=1.5ms …`
fn invocation_time_in(line: &str) -> Option<Duration> {
    let (_, rest) = line.split_once(" took=")?;
    let text = rest.split(' ').next()?;
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ns" => 1e-9,
        "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * unit))
}

fn parse_status(body: &str) -> Result<SourceStatus> {
    let status: Value = serde_json::from_str(body).context("parsing it as JSON")?;
    let number = |name: &str| {
        let number = status[name].as_u64();
        number.with_context(|| format!("it has no `{name}`"))
    };
    Ok(SourceStatus {
        read: number("read")?,
        delivered: number("delivered")?,
        invocations: number("invocations")?,
        deleted: number("deleted")?,
        shards_read: number("shards_read")?,
        reads: number("reads")?,
        reads_on_time: number("reads_on_time")?,
    })
}

fn parse_wait_times(body: &str) -> Result<WaitTimes> {
    let times: Value = serde_json::from_str(body).context("parsing it as JSON")?;
    let time = |name: &str| {
        let micros = times[name].as_u64();
        micros
            .map(Duration::from_micros)
            .with_context(|| format!("it has no `{name}`"))
    };
    Ok(WaitTimes {
        p50: time("p50_us")?,
        p99: time("p99_us")?,
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

    #[test]
    fn times_are_read_in_every_unit() {
        for (line, expected) in [
            (
                "DEBUG invoked n_records=1 took=1.5ms outcome=Success",
                Some(1_500),
            ),
            ("DEBUG invoked took=250µs", Some(250)),
            ("DEBUG invoked took=2s", Some(2_000_000)),
            ("DEBUG invoked", None),
        ] {
            let time = invocation_time_in(line).map(|it| it.as_micros());
            assert_eq!(time, expected, "{line}");
        }
    }
}
