//! Measures the cost of the daemon: CPU per record, and memory.
//!
//! CPU is the user and system time of the process over a known number of records, compared with the
//! floor: a program that moves the same bytes through the same sockets and does nothing else. The two
//! take turns, and the result is the ratio within a round: on a shared machine, ratios are stable
//! where microseconds are not.

mod answers;
mod api;
mod compare;
mod daemon_config;
mod fan_out;
mod filter;
mod idle;
mod lanes;
mod letters;
mod measure;
mod peak;
mod process;
mod programs;
mod queues;
mod replays;
mod report;
mod sqs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::command::{cargo, run as run_command, target};
use crate::watchdog::Watchdog;
use programs::{Client, Function, Launcher, Load};
use report::{Hanging, Idle, Pipeline, Report, Round};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    part: Option<Part>,
    /// Number of rounds per record size; a round measures windlass and the floor
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Number of records per measurement, after a warm-up with a tenth as many
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    records: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Only check that it runs: debug build, one round, few records, meaningless figures
    #[arg(long, conflicts_with_all = ["rounds", "records"])]
    smoke: bool,
}

#[derive(Subcommand)]
enum Part {
    /// Measure filters, compared with a plain walk over the structure of the same JSON
    Filter(filter::Options),
    /// Measure functions as local processes, compared with the same function over HTTP
    Process(process::Options),
    /// Measure dead letters: a page of the list, and a redrive of all
    Letters(letters::Options),
    /// Measure queues: CPU per message compared with the floor, messages a second, times
    Sqs(sqs::Options),
    /// Measure a ParallelizationFactor of 10, compared with 1
    Lanes(compare::Options),
    /// Measure a replay, compared with a mapping that reads the same records
    Replays(compare::Options),
    /// Measure enhanced fan-out: CPU per record compared with the floor
    #[command(name = "fanout")]
    FanOut(compare::Options),
    /// Measure idle mappings of one shard each, compared with one mapping of as many shards
    Mappings(idle::Options),
    /// Measure idle shards of one stream whose responses take 20 ms
    Shards(idle::Options),
    /// Measure the memory of invocations that answer with 6 MiB each, all at the same time
    Answers(answers::Options),
    /// Measure the API of a daemon with 10,000 mappings: times and memory
    Api(api::Options),
    /// Measure the memory of queues that get ten messages of 1 MiB each, all at the same time
    Queues(queues::Options),
}

impl Options {
    /// Only checks that it runs.
    pub(crate) fn smoke() -> Self {
        Self {
            part: None,
            rounds: 1,
            records: 1_000,
            json: false,
            smoke: true,
        }
    }
}

struct Plan {
    rounds: u32,
    records: u64,
    idle_shards: u32,
    programs_dir: PathBuf,
    figures: PathBuf,
}

const RECORD_BYTES: [u32; 2] = [1024, 200];

/// Shards of the pipelines: enough to keep the daemon busy, although each shard is read only five
/// times a second.
const SHARDS: u32 = 16;

/// Records per invocation.
const BATCH_SIZE: u32 = 100;

/// Enough shards that, with batches of 10,000, more records could be read than memory is allowed for.
const HANGING_SHARDS: u32 = 100;

/// Enough mappings to use nearly all of the daemon's record memory: the share of one is limited.
const HANGING_MAPPINGS: u32 = 8;

/// Measures everything, prints a report and writes it to `target/bench/latest.json`.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.part {
        Some(Part::Filter(options)) => return filter::run(options),
        Some(Part::Process(options)) => return process::run(options),
        Some(Part::Letters(options)) => return letters::run(options),
        Some(Part::Sqs(options)) => return sqs::run(options),
        Some(Part::Lanes(options)) => {
            return compare::run(options, "lanes", lanes::RECORDS, lanes::measure);
        }
        Some(Part::Replays(options)) => {
            return compare::run(options, "replays", replays::RECORDS, replays::measure);
        }
        Some(Part::FanOut(options)) => {
            return compare::run(options, "fanout", fan_out::RECORDS, fan_out::measure);
        }
        Some(Part::Mappings(options)) => return idle::mappings(options),
        Some(Part::Shards(options)) => return idle::shards(options),
        Some(Part::Answers(options)) => return answers::run(options),
        Some(Part::Queues(options)) => return queues::run(options),
        Some(Part::Api(options)) => return api::run(options),
        None => {}
    }
    let plan = prepare(options)?;
    let watchdog = Watchdog::start()?;
    let work_dir = target().join("bench");
    let launcher = Launcher {
        programs_dir: &plan.programs_dir,
        work_dir: &work_dir,
        watchdog: &watchdog,
    };
    let mut pipelines = Vec::new();
    for record_bytes in RECORD_BYTES {
        pipelines.push(pipeline(&launcher, &plan, record_bytes)?);
    }
    if options.smoke {
        filter::smoke()?;
        idle::smoke(&launcher)?;
        api::smoke(&launcher)?;
        answers::smoke(&launcher)?;
        queues::smoke(&launcher)?;
        letters::smoke(&launcher)?;
        process::smoke(&launcher)?;
        sqs::smoke(&launcher)?;
        compare::smoke(&launcher, lanes::measure)?;
        compare::smoke(&launcher, replays::measure)?;
        compare::smoke(&launcher, fan_out::measure)?;
    }
    let figures = Report {
        records: plan.records,
        pipelines,
        idle: idle(&launcher, plan.idle_shards)?,
        hanging: hanging(&launcher)?,
    };
    let text = figures.to_string();
    finish(&plan.figures, &figures.to_json(), &text, options.json)
}

fn prepare(options: &Options) -> Result<Plan> {
    let work_dir = target().join("bench");
    fs::create_dir_all(&work_dir).with_context(|| format!("creating {}", work_dir.display()))?;
    if options.smoke {
        let mut build = cargo();
        build.args(["build", "--quiet", "--workspace", "--all-targets"]);
        run_command(&mut build)?;
        return Ok(Plan {
            rounds: 1,
            records: 5_000,
            idle_shards: 50,
            programs_dir: target().join("debug"),
            figures: work_dir.join("smoke.json"),
        });
    }
    build_release()?;
    Ok(Plan {
        rounds: options.rounds,
        records: options.records,
        idle_shards: 1_000,
        programs_dir: target().join("release"),
        figures: work_dir.join("latest.json"),
    })
}

/// Builds the programs and runs a measurement with them. It writes into the directory that it is
/// given, `target/bench`.
fn with_release_programs(measure: impl FnOnce(&Launcher<'_>, &Path) -> Result<()>) -> Result<()> {
    build_release()?;
    let work_dir = target().join("bench");
    fs::create_dir_all(&work_dir).with_context(|| format!("creating {}", work_dir.display()))?;
    let watchdog = Watchdog::start()?;
    let launcher = Launcher {
        programs_dir: &target().join("release"),
        work_dir: &work_dir,
        watchdog: &watchdog,
    };
    measure(&launcher, &work_dir)
}

/// Writes figures to a file and prints them, as JSON or as text.
fn finish(file: &Path, figures: &Value, text: &str, as_json: bool) -> Result<()> {
    let rendered = format!("{figures:#}\n");
    fs::write(file, &rendered).with_context(|| format!("writing {}", file.display()))?;
    if as_json {
        print!("{rendered}");
    } else {
        print!("{text}");
        println!("written to {}", file.display());
    }
    Ok(())
}

fn build_release() -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--release"]);
    build.args(["--package", "windlass", "--package", "windlass-emulator"]);
    run_command(build.arg("--bins"))
}

/// Sends the same load through windlass and the floor; every second round reverses their order.
fn pipeline(launcher: &Launcher<'_>, plan: &Plan, record_bytes: u32) -> Result<Pipeline> {
    let load = Load {
        shards: SHARDS,
        record_bytes,
        batch_size: BATCH_SIZE,
        ..Load::default()
    };
    let cost_of = |client| measure::cost(launcher, client, &load, plan.records);
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds {
        let mut clients = [Client::Windlass, Client::Floor, Client::UnpacedFloor];
        if number % 2 == 0 {
            clients.reverse();
        }
        let mut costs = Vec::new();
        for client in clients {
            costs.push(cost_of(client)?);
        }
        if number % 2 == 0 {
            costs.reverse();
        }
        let round = Round {
            windlass: costs[0],
            floor: costs[1],
            unpaced_floor: costs[2],
        };
        eprintln!(
            "{record_bytes} B, round {number} of {}: {round}",
            plan.rounds
        );
        rounds.push(round);
    }
    Ok(Pipeline {
        record_bytes,
        rounds,
    })
}

/// A daemon with many shards and no records.
fn idle(launcher: &Launcher<'_>, shards: u32) -> Result<Idle> {
    let load = Load {
        shards,
        ..Load::default()
    };
    measure::idle(launcher, &load)
}

/// A daemon whose functions never respond while there are always more records to read.
fn hanging(launcher: &Launcher<'_>) -> Result<Hanging> {
    let load = Load {
        shards: HANGING_SHARDS,
        batch_size: 10_000,
        mappings: HANGING_MAPPINGS,
        function: Function::Hangs,
        ..Load::default()
    };
    measure::hanging(launcher, &load)
}
