//! Measures replays: CPU per record of a replay without a rate, compared with a mapping that reads the
//! same records.

use anyhow::Result;
use clap::{Args, value_parser};

use super::compare::{Comparison, Contestant};
use super::programs::{Client, Launcher, Load};
use super::{BATCH_SIZE, SHARDS, finish, with_release_programs};

const GOAL: f64 = 1.1;

#[derive(Args)]
pub(crate) struct Options {
    /// Number of rounds; a round measures both
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,
    /// Number of records per measurement, after a warm-up with a tenth as many
    #[arg(long, default_value_t = 400_000, value_parser = value_parser!(u64).range(1_000..))]
    records: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Measures, prints the figures and writes them to `target/bench/replays.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let comparison = measure(launcher, (options.rounds, options.records))?;
        let (figures, text) = (comparison.to_json(), comparison.to_string());
        finish(
            &work_dir.join("replays.json"),
            &figures,
            &text,
            options.json,
        )
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    print!("{}", measure(launcher, (1, 1_000))?);
    Ok(())
}

fn measure(launcher: &Launcher<'_>, rounds_and_records: (u32, u64)) -> Result<Comparison> {
    let contestant = |name, is_replay| Contestant {
        name,
        client: Client::Windlass,
        load: Load {
            shards: SHARDS,
            batch_size: BATCH_SIZE,
            is_replay,
            ..Load::default()
        },
    };
    let contestants = [contestant("a replay", true), contestant("a mapping", false)];
    let what = "replay, Kinesis to HTTP";
    Comparison::measure(launcher, what, GOAL, &contestants, rounds_and_records)
}
