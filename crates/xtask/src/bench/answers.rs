//! Measures the memory of a daemon whose function answers with 6 MiB, in many invocations at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, value_parser};
use serde_json::json;

use super::measure::{BUFFERED_METRIC, LIMIT_METRIC, memory_of};
use super::programs::{Client, Function, Launcher, Load};
use super::report::mib;
use super::{finish, with_release_programs};
use crate::process::sleep;

/// Invocations of each shard, one after the other.
const ROUNDS: u64 = 3;

/// Until all answers have been read.
const TIMEOUT: Duration = Duration::from_secs(300);

#[derive(Args)]
pub(crate) struct Options {
    /// Number of invocations that are answered at the same time
    #[arg(long, default_value_t = 150, value_parser = value_parser!(u32).range(1..=800))]
    count: u32,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

struct Figures {
    invocations: u32,
    /// The most that the daemon counted of its record memory.
    counted_bytes: u64,
    limit_bytes: u64,
    peak_bytes: u64,
}

/// Measures, prints the figures and writes them to `target/bench/answers.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let figures = measure(launcher, options.count)?;
        let text = format!("{}\n", figures.describe());
        let file = work_dir.join("answers.json");
        finish(&file, &figures.to_json(), &text, options.json)
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    println!("{}", measure(launcher, 5)?.describe());
    Ok(())
}

fn measure(launcher: &Launcher<'_>, invocations: u32) -> Result<Figures> {
    let load = Load {
        shards: invocations,
        record_bytes: 200,
        batch_size: 1,
        function: Function::AnswersMuch,
        ..Load::default()
    };
    let source = launcher.start_source(&load)?;
    let mut program = launcher.start_client(Client::Windlass, &load, &source)?;
    let records = u64::from(invocations) * ROUNDS;
    source.release(records)?;
    let (start, mut counted_bytes) = (Instant::now(), 0);
    while source.status()?.delivered < records {
        counted_bytes = counted_bytes.max(program.metric(BUFFERED_METRIC)?);
        let alive = program.expect_alive();
        alive.context("windlass with large answers")?;
        if TIMEOUT < start.elapsed() {
            bail!("not all answers were read; {}", program.end_of_log());
        }
        sleep(Duration::from_millis(20));
    }
    let delivered = source.status()?.delivered;
    ensure!(delivered == records, "{delivered} of {records} invocations");
    Ok(Figures {
        invocations,
        counted_bytes,
        limit_bytes: program.metric(LIMIT_METRIC)?,
        peak_bytes: memory_of(&program, "VmHWM")?,
    })
}

impl Figures {
    fn describe(&self) -> String {
        format!(
            "{} answers of 6 MiB at once: {:.1} MiB counted of {:.1} MiB, {:.1} MiB resident at most",
            self.invocations,
            mib(self.counted_bytes),
            mib(self.limit_bytes),
            mib(self.peak_bytes)
        )
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "invocations": self.invocations,
            "counted_bytes": self.counted_bytes,
            "limit_bytes": self.limit_bytes,
            "peak_bytes": self.peak_bytes,
        })
    }
}
