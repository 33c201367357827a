//! Measures filters: nanoseconds per Kinesis record.
//!
//! A program of its own measures; here it is built and run, and its results are printed and saved.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::command::{cargo, program, read_output_within, run as run_command, target};

const PROGRAM: &str = "windlass-filter-bench";

/// It takes seconds; a debug build on a busy machine, a minute.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(600);

#[derive(Args)]
pub(crate) struct Options {
    /// Measurements of each kind of filter and record; the median is reported
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Measures, prints the figures and writes them to `target/bench/filter.json`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--release"]);
    build.args(["--package", "windlass-testkit", "--bin", PROGRAM]);
    run_command(&mut build)?;
    let figures = measure("release", options.rounds)?;
    let file = target().join("bench/filter.json");
    fs::create_dir_all(target().join("bench")).context("creating target/bench")?;
    let rendered = format!("{figures:#}\n");
    fs::write(&file, &rendered).with_context(|| format!("writing {}", file.display()))?;
    if options.json {
        print!("{rendered}");
        return Ok(());
    }
    print_table(&figures)?;
    println!("written to {}", file.display());
    Ok(())
}

/// Only checks that it runs, with the debug build.
pub(super) fn smoke() -> Result<()> {
    let figures = measure("debug", 1)?;
    let n_cases = figures.as_array().map_or(0, Vec::len);
    ensure!(n_cases != 0, "{PROGRAM} returned no figures");
    println!("filters: measured {n_cases} kinds of filter and record");
    Ok(())
}

fn measure(profile: &str, rounds: u32) -> Result<Value> {
    let mut command = program(target().join(profile).join(PROGRAM));
    command.arg(rounds.to_string());
    let output = read_output_within(&mut command, TIMEOUT)?;
    serde_json::from_str(&output).with_context(|| format!("reading the figures of {PROGRAM}"))
}

fn print_table(figures: &Value) -> Result<()> {
    println!("filters on the data of Kinesis records, base64 decoding included, on one core");
    println!(
        "\n{:>8} {:>8}  {:<14} {:>10} {:>7}",
        "bytes", "matching", "pattern", "ns/record", "MB/s"
    );
    for case in figures.as_array().context("the figures are not a list")? {
        let number = |name: &str| case[name].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:>8.0} {:>6.0} %  {:<14} {:>10.0} {:>7.0}",
            number("bytes"),
            number("pass_rate"),
            case["pattern"].as_str().unwrap_or_default(),
            number("filter_ns"),
            number("bytes") * 1e3 / number("filter_ns"),
        );
    }
    Ok(())
}
