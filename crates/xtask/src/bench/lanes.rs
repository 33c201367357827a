//! Measures what the lanes of a shard cost: CPU per record with a `ParallelizationFactor` of 10,
//! compared with 1.
//!
//! Both have the same records in the same time. As fast as they can, ten lanes are more than twice as fast
//! as one, and their CPU would also be that of caches and cores which they share with the source.

use anyhow::Result;
use clap::{Args, value_parser};

use super::compare::{Comparison, Contestant};
use super::measure::Pace;
use super::programs::{Client, Launcher, Load};
use super::{BATCH_SIZE, SHARDS, finish, with_release_programs};

const FACTOR: u32 = 10;

const GOAL: f64 = 1.15;

/// What one lane a shard can do without haste.
const PACE: Pace = Pace {
    releases_per_second: 50,
    per_release: 1_600,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Number of rounds; a round measures both
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,
    /// Number of records per measurement, 80,000 a second, after a warm-up with a tenth as many
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1_000..))]
    records: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Measures, prints the figures and writes them to `target/bench/lanes.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let comparison = measure(launcher, (options.rounds, options.records))?;
        let (figures, text) = (comparison.to_json(), comparison.to_string());
        finish(&work_dir.join("lanes.json"), &figures, &text, options.json)
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    print!("{}", measure(launcher, (1, 1_000))?);
    Ok(())
}

fn measure(launcher: &Launcher<'_>, rounds_and_records: (u32, u64)) -> Result<Comparison> {
    let contestant = |name, parallelization_factor| Contestant {
        name,
        client: Client::Windlass,
        load: Load {
            shards: SHARDS,
            batch_size: BATCH_SIZE,
            parallelization_factor,
            pace: Some(PACE),
            ..Load::default()
        },
    };
    let contestants = [
        contestant("ten lanes a shard", FACTOR),
        contestant("one lane a shard", 1),
    ];
    let what = "ParallelizationFactor, Kinesis to HTTP";
    Comparison::measure(launcher, what, GOAL, &contestants, rounds_and_records)
}
