//! Measures enhanced fan-out: CPU per record of subscriptions, compared with their floor.

use anyhow::Result;
use clap::{Args, value_parser};
use serde_json::Value;

use super::compare::{Comparison, Contestant};
use super::programs::{Client, Launcher, Load};
use super::{BATCH_SIZE, SHARDS, finish, with_release_programs};

/// Of CPU per record to that of the floor.
const GOAL: f64 = 2.0;

/// Bytes of a record, and what is measured with it.
const SIZES: [(u32, &str); 2] = [
    (1024, "Enhanced fan-out to HTTP, records of 1,024 B"),
    (200, "Enhanced fan-out to HTTP, records of 200 B"),
];

#[derive(Args)]
pub(crate) struct Options {
    /// Number of rounds per record size; a round measures windlass and the floor
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,
    /// Number of records per measurement, after a warm-up with a tenth as many
    #[arg(long, default_value_t = 400_000, value_parser = value_parser!(u64).range(1_000..))]
    records: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Measures, prints the figures and writes them to `target/bench/fanout.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let comparisons = measure(launcher, (options.rounds, options.records))?;
        let figures: Value = comparisons.iter().map(Comparison::to_json).collect();
        let text: String = comparisons.iter().map(ToString::to_string).collect();
        finish(&work_dir.join("fanout.json"), &figures, &text, options.json)
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    for comparison in measure(launcher, (1, 1_000))? {
        print!("{comparison}");
    }
    Ok(())
}

fn measure(launcher: &Launcher<'_>, rounds_and_records: (u32, u64)) -> Result<Vec<Comparison>> {
    let comparisons = SIZES.iter().map(|(record_bytes, what)| {
        let contestant = |name, client| Contestant {
            name,
            client,
            load: Load {
                shards: SHARDS,
                record_bytes: *record_bytes,
                fan_out: true,
                batch_size: BATCH_SIZE,
                ..Load::default()
            },
        };
        let contestants = [
            contestant("windlass", Client::Windlass),
            contestant("floor", Client::FanOutFloor),
        ];
        Comparison::measure(launcher, what, GOAL, &contestants, rounds_and_records)
    });
    comparisons.collect()
}
