//! Measures daemons whose sources have no records: CPU, memory, and whether every shard is read once
//! a second.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, value_parser};
use serde_json::{Value, json};

use super::measure::{cpu_of, memory_of};
use super::programs::{Client, Launcher, Load, Program};
use super::report::mib;
use super::with_release_programs;
use crate::process::sleep;

/// The number of running consumers.
const CONSUMERS_METRIC: &str = "windlass_drivers";

/// Until all consumers run.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// After the start, until consumers that began together are spread over the second.
const SETTLE_TIME: Duration = Duration::from_secs(10);

/// A response of Kinesis in its own region.
const READ_DELAY: Duration = Duration::from_millis(20);

const N_MAPPINGS: u32 = 1_000;
const N_SHARDS: u32 = 10_000;

#[derive(Args)]
pub(crate) struct Options {
    /// Number of mappings, 1,000 by default, or of shards, 10,000 by default
    #[arg(long, value_parser = value_parser!(u32).range(1..=100_000))]
    count: Option<u32>,
    /// Seconds of the measurement, after the start
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u32).range(1..))]
    seconds: u32,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

struct Figures {
    client: Client,
    mappings: u32,
    /// Of the stream that all mappings read.
    shards: u32,
    /// CPU seconds per second.
    cpu_per_second: f64,
    resident_bytes: u64,
    reads_per_second: f64,
    /// Part of the reads that came about a second after the one before; meaningless if several
    /// mappings read the same shard.
    on_time: Option<f64>,
}

/// Measures mappings of one shard each. The difference to one mapping of as many shards is what a
/// mapping costs, and the difference of that to the floor what the daemon costs.
pub(super) fn mappings(options: &Options) -> Result<()> {
    let count = options.count.unwrap_or(N_MAPPINGS);
    let loads = [
        (Client::Windlass, load(count, 1, Duration::ZERO)),
        (Client::Windlass, load(1, count, Duration::ZERO)),
        (Client::IdleFloor, load(1, count, Duration::ZERO)),
    ];
    report("mappings", options, &loads)
}

/// Measures the shards of one stream.
pub(super) fn shards(options: &Options) -> Result<()> {
    let count = options.count.unwrap_or(N_SHARDS);
    let loads = [
        (Client::Windlass, load(1, count, READ_DELAY)),
        (Client::IdleFloor, load(1, count, READ_DELAY)),
    ];
    report("shards", options, &loads)
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    for load in [load(20, 1, Duration::ZERO), load(1, 20, READ_DELAY)] {
        let (client, time) = (Client::Windlass, Duration::from_secs(1));
        let figures = measure(launcher, client, &load, Duration::ZERO, time)?;
        println!("{}", figures.describe());
    }
    Ok(())
}

fn load(mappings: u32, shards: u32, read_delay: Duration) -> Load {
    Load {
        shards,
        mappings,
        read_delay,
        ..Load::default()
    }
}

/// Measures, prints the figures and writes them to `target/bench`.
fn report(name: &str, options: &Options, loads: &[(Client, Load)]) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let seconds = Duration::from_secs(options.seconds.into());
        let mut all = Vec::new();
        for (client, load) in loads {
            let figures = measure(launcher, *client, load, SETTLE_TIME, seconds)?;
            eprintln!("{}", figures.describe());
            all.push(figures.to_json());
        }
        let rendered = format!("{:#}\n", Value::from(all));
        let file = work_dir.join(format!("{name}.json"));
        fs::write(&file, &rendered).with_context(|| format!("writing {}", file.display()))?;
        if options.json {
            print!("{rendered}");
        }
        Ok(())
    })
}

fn measure(
    launcher: &Launcher<'_>,
    client: Client,
    load: &Load,
    settle_time: Duration,
    time: Duration,
) -> Result<Figures> {
    let source = launcher.start_source(load)?;
    let mut program = launcher.start_client(client, load, &source)?;
    if client == Client::Windlass {
        wait_for_consumers(&mut program, load)?;
    }
    sleep(settle_time);
    let (before, cpu, start) = (source.status()?, cpu_of(&program)?, Instant::now());
    sleep(time);
    let alive = program.expect_alive();
    alive.with_context(|| format!("{client:?} without records"))?;
    let (after, cpu) = (source.status()?, cpu_of(&program)?.saturating_sub(cpu));
    let seconds = start.elapsed().as_secs_f64();
    let reads = after.reads - before.reads;
    let on_time = (after.reads_on_time - before.reads_on_time) as f64 / reads as f64;
    Ok(Figures {
        client,
        mappings: load.mappings,
        shards: load.shards,
        cpu_per_second: cpu.as_secs_f64() / seconds,
        resident_bytes: memory_of(&program, "VmRSS")?,
        reads_per_second: reads as f64 / seconds,
        on_time: (load.mappings == 1).then_some(on_time),
    })
}

fn wait_for_consumers(program: &mut Program, load: &Load) -> Result<()> {
    let consumers = u64::from(load.mappings) * u64::from(load.shards);
    let start = Instant::now();
    loop {
        let running = program.metric(CONSUMERS_METRIC)?;
        if running == consumers {
            return Ok(());
        }
        program.expect_alive()?;
        if start.elapsed() > START_TIMEOUT {
            bail!(
                "{running} of {consumers} consumers run after {} s; {}",
                START_TIMEOUT.as_secs(),
                program.end_of_log()
            );
        }
        sleep(Duration::from_millis(200));
    }
}

impl Figures {
    fn describe(&self) -> String {
        let on_time = self.on_time.map_or(String::new(), |on_time| {
            format!(", {:.1} % of them on time", on_time * 1e2)
        });
        format!(
            "{:?}, {} idle mappings of {} shards: {:.0} ms of CPU per second, {:.1} µs per read, \
             {:.1} MiB resident, {:.0} reads per second{on_time}",
            self.client,
            self.mappings,
            self.shards,
            self.cpu_per_second * 1e3,
            self.cpu_per_second / self.reads_per_second * 1e6,
            mib(self.resident_bytes),
            self.reads_per_second
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "client": format!("{:?}", self.client),
            "mappings": self.mappings,
            "shards": self.shards,
            "cpu_per_second": self.cpu_per_second,
            "resident_bytes": self.resident_bytes,
            "reads_per_second": self.reads_per_second,
            "reads_on_time": self.on_time,
        })
    }
}
