//! Measures the memory of a daemon whose function answers with 6 MiB, in many invocations at once.

use anyhow::Result;
use clap::{Args, value_parser};

use super::peak::Peak;
use super::programs::{Function, Launcher, Load};
use super::{finish, with_release_programs};

/// Invocations of each shard, one after the other.
const ROUNDS: u64 = 3;

#[derive(Args)]
pub(crate) struct Options {
    /// Number of invocations that are answered at the same time
    #[arg(long, default_value_t = 150, value_parser = value_parser!(u32).range(1..=800))]
    count: u32,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Measures, prints the figures and writes them to `target/bench/answers.json`.
pub(super) fn run(options: &Options) -> Result<()> {
    with_release_programs(|launcher, work_dir| {
        let peak = measure(launcher, options.count)?;
        let text = describe(options.count, &peak);
        let figures = peak.to_json("invocations", options.count);
        let file = work_dir.join("answers.json");
        finish(&file, &figures, &text, options.json)
    })
}

/// Only checks that it runs.
pub(super) fn smoke(launcher: &Launcher<'_>) -> Result<()> {
    print!("{}", describe(5, &measure(launcher, 5)?));
    Ok(())
}

fn measure(launcher: &Launcher<'_>, invocations: u32) -> Result<Peak> {
    let load = Load {
        shards: invocations,
        record_bytes: 200,
        batch_size: 1,
        function: Function::AnswersMuch,
        ..Load::default()
    };
    Peak::measure(launcher, &load, u64::from(invocations) * ROUNDS)
}

fn describe(invocations: u32, peak: &Peak) -> String {
    format!("{invocations} answers of 6 MiB at once: {peak}\n")
}
