//! Measures what the daemon costs: CPU for each record, and memory.
//!
//! CPU is user plus system time of the process alone, over a known number of records, and stands
//! beside the floor: a program that moves the same bytes through the same sockets and does nothing
//! else. The two take turns, and what is compared is the ratio within a round: on a machine that
//! others use, ratios hold where microseconds do not.

mod filter;
mod measure;
mod programs;
mod report;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::command::{cargo, run as run_command, target};
use crate::watchdog::Watchdog;
use programs::{Client, Function, Launcher, Load};
use report::{Hanging, Idle, Pipeline, Report, Round};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    part: Option<Part>,
    /// How often windlass and the floor are measured, in turns, for each size of record
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many records are counted in each measurement
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    records: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Only see that it runs: the development build, one round, few records, figures of no meaning
    #[arg(long, conflicts_with_all = ["rounds", "records"])]
    smoke: bool,
}

/// A part of the program, measured by itself.
#[derive(Subcommand)]
enum Part {
    /// Measures filters, beside a walk over the structure of the same texts
    Filter(filter::Options),
}

impl Options {
    /// Only to see that it runs.
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

/// How much is measured.
struct Plan {
    rounds: u32,
    records: u64,
    idle_shards: u32,
    /// Where the programs are.
    programs_dir: PathBuf,
    figures: PathBuf,
}

const RECORD_BYTES: [u32; 2] = [1024, 200];

/// Shards of the pipelines: enough that something is to be done at nearly any time, although each
/// shard is read five times a second.
const SHARDS: u32 = 16;

/// Records of one call of the function.
const BATCH_SIZE: u32 = 100;

/// Enough shards that, with the largest batches, more than the daemon may hold could be read.
const HANGING_SHARDS: u32 = 100;

/// Enough mappings that they hold nearly all that the daemon may hold together: one alone holds less.
const HANGING_MAPPINGS: u32 = 8;

/// Measures everything, prints the figures and writes them to `target/bench/latest.json`.
///
/// # Errors
/// If a program cannot be built or started, or a measurement does not come to its end in time.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(Part::Filter(options)) = &options.part {
        return filter::run(options);
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
    }
    let figures = Report {
        records: plan.records,
        pipelines,
        idle: idle(&launcher, plan.idle_shards)?,
        hanging: hanging(&launcher)?,
    };
    let rendered = format!("{:#}\n", figures.to_json());
    fs::write(&plan.figures, &rendered)
        .with_context(|| format!("writing {}", plan.figures.display()))?;
    if options.json {
        print!("{rendered}");
    } else {
        print!("{figures}");
        println!("written to {}", plan.figures.display());
    }
    Ok(())
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
    let mut build = cargo();
    build.args(["build", "--quiet", "--release"]);
    build.args(["--package", "windlass", "--package", "windlass-emulator"]);
    run_command(build.arg("--bins"))?;
    Ok(Plan {
        rounds: options.rounds,
        records: options.records,
        idle_shards: 1_000,
        programs_dir: target().join("release"),
        figures: work_dir.join("latest.json"),
    })
}

/// The same load through windlass and through the floor, whose turns are in one order and in the
/// other.
fn pipeline(launcher: &Launcher<'_>, plan: &Plan, record_bytes: u32) -> Result<Pipeline> {
    let load = Load {
        shards: SHARDS,
        record_bytes,
        batch_size: BATCH_SIZE,
        mappings: 1,
        function: Function::Answers,
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

/// What a daemon weighs that has many shards and nothing to do.
fn idle(launcher: &Launcher<'_>, shards: u32) -> Result<Idle> {
    let load = Load {
        shards,
        record_bytes: 1024,
        batch_size: BATCH_SIZE,
        mappings: 1,
        function: Function::Answers,
    };
    measure::idle(launcher, &load)
}

/// What a daemon weighs whose functions never answer while there is ever more to read.
fn hanging(launcher: &Launcher<'_>) -> Result<Hanging> {
    let load = Load {
        shards: HANGING_SHARDS,
        record_bytes: 1024,
        batch_size: 10_000,
        mappings: HANGING_MAPPINGS,
        function: Function::Hangs,
    };
    measure::hanging(launcher, &load)
}
