//! All checks in a fixed order; stops at the first step that fails.
//!
//! `.ci/run` calls this and nothing else, so a developer sees what CI sees. Every step builds the
//! whole workspace in the same profile, so the features of a dependency, and with them its artifacts,
//! are the same in every step: the AWS SDK is built once to check and once to run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::command::{cargo, program, read_output_within, run as run_command, target};
use crate::test_servers::{self, Selection};
use crate::{bench, deny, sim, tidy};

#[derive(Args)]
pub(crate) struct Options {
    /// Run only these steps, separated by commas, in the usual order
    #[arg(long, value_delimiter = ',', value_parser = step_named)]
    only: Vec<&'static str>,
}

struct Step {
    name: &'static str,
    run: fn() -> Result<()>,
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "doc",
        run: doc,
    },
    Step {
        name: "tidy",
        run: tidy::run,
    },
    Step {
        name: "deny",
        run: deny::run,
    },
    Step {
        name: "build",
        run: build,
    },
    Step {
        name: "test",
        run: test,
    },
    Step {
        name: "servers",
        run: servers,
    },
    Step {
        name: "interop",
        run: interop,
    },
    Step {
        name: "sim",
        run: sim,
    },
    Step {
        name: "mutants",
        run: mutants,
    },
    Step {
        name: "demo",
        run: demo,
    },
    Step {
        name: "bench",
        run: bench,
    },
];

/// Runs the steps, each announced by its name, and prints a table of their durations.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|step| options.only.is_empty() || options.only.contains(&step.name))
        .collect();
    let mut times = Vec::new();
    for (step, number) in chosen.iter().zip(1..) {
        println!("\n==> {} ({number} of {})", step.name, chosen.len());
        let start = Instant::now();
        let result = (step.run)();
        let time = start.elapsed();
        times.push((step.name, time));
        if let Err(error) = result {
            print_times(&times);
            return Err(error).with_context(|| format!("ci failed in step `{}`", step.name));
        }
        println!("<== {} took {}", step.name, in_seconds(time));
    }
    print_times(&times);
    println!("ci passed: {} of {} steps", chosen.len(), STEPS.len());
    Ok(())
}

fn format() -> Result<()> {
    run_command(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let workspace = ["clippy", "--workspace", "--all-targets", "--all-features"];
    run_command(cargo().args(workspace).args(["--", "-D", "warnings"]))
}

/// There are no examples: `--examples` makes cargo select the features that dev-dependencies enable,
/// as in the other steps. Without it, the dependencies would be checked a second time.
fn doc() -> Result<()> {
    let workspace = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ];
    let mut command = cargo();
    command.args(workspace);
    command.args(["--lib", "--bins", "--examples", "--all-features"]);
    run_command(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Also builds the binaries, which `cargo test` alone does not, for the steps that run them.
fn build() -> Result<()> {
    run_command(cargo().args(["build", "--workspace", "--all-targets"]))
}

fn test() -> Result<()> {
    run_command(cargo().args(["test", "--workspace"]))
}

fn servers() -> Result<()> {
    test_servers::install()?;
    test_servers::check(&Selection::default())
}

/// Only the targets that need the servers; the others have run already. The features are those of
/// the whole workspace, so nothing is rebuilt.
fn interop() -> Result<()> {
    let targets = interop_targets(&tidy::metadata()?)?;
    let mut command = cargo();
    command.args([
        "test",
        "--workspace",
        "--features",
        "windlass-tests/interop",
    ]);
    for target in &targets {
        command.args(["--test", target]);
    }
    test_servers::run_with(&Selection::default(), &mut command)
}

/// The test targets that require the feature `interop`.
fn interop_targets(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages
        .filter(|package| package["name"] == "windlass-tests")
        .flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let names: Vec<String> = targets
        .filter(|target| {
            let features = target["required-features"].as_array();
            features.is_some_and(|features| features.iter().any(|feature| feature == "interop"))
        })
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect();
    if names.is_empty() {
        bail!("no test target of windlass-tests has required-features = [\"interop\"]");
    }
    Ok(names)
}

/// A fixed range of seeds, then a random one.
fn sim() -> Result<()> {
    sim::run(&sim::Options::seeds(20_000, 1_000))
}

fn mutants() -> Result<()> {
    sim::run(&sim::Options::mutants(10_000))
}

/// The demo is a user's first contact with the program: it must finish and lose nothing.
fn demo() -> Result<()> {
    let mut command = program(target().join("debug/windlass"));
    let output = read_output_within(command.arg("demo"), Duration::from_secs(180))?;
    print!("{output}");
    let lost_nothing = output
        .lines()
        .any(|line| count_after(line, "lost") == Some(0));
    ensure!(lost_nothing, "the demo's summary has no `lost 0`");
    Ok(())
}

/// Only checks that it runs: figures of a debug build on a busy machine mean nothing.
fn bench() -> Result<()> {
    bench::run(&bench::Options::smoke())
}

/// The number that follows a word, separated by anything but letters and digits.
fn count_after(line: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = line
        .split(|character: char| !character.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect();
    let at = words
        .iter()
        .position(|part| part.eq_ignore_ascii_case(word))?;
    words.get(at + 1)?.parse().ok()
}

fn step_named(name: &str) -> Result<&'static str> {
    let Some(step) = STEPS.iter().find(|step| step.name == name) else {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("unknown step, expected one of {}", names.join(", "));
    };
    Ok(step.name)
}

fn print_times(times: &[(&str, Duration)]) {
    println!("\n{:<16}{:>10}", "step", "time");
    for (name, time) in times {
        println!("{name:<16}{:>10}", in_seconds(*time));
    }
    let total = times.iter().map(|(_, time)| *time).sum();
    println!("{:<16}{:>10}", "total", in_seconds(total));
}

fn in_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{count_after, interop_targets};

    #[test]
    fn the_count_of_lost_records_is_read_from_a_summary_or_a_table() {
        assert_eq!(count_after("records lost: 0", "lost"), Some(0));
        assert_eq!(count_after("| lost | 12 |", "lost"), Some(12));
        assert_eq!(count_after("put 10, delivered 10, lost 0", "lost"), Some(0));
        assert_eq!(count_after("nothing was lost", "lost"), None);
    }

    #[test]
    fn only_targets_that_need_the_servers_are_named() {
        let with = |features: &[&str]| {
            json!({"packages": [{"name": "windlass-tests", "targets": [
                {"name": "scripts"},
                {"name": "kinesis", "required-features": features},
            ]}]})
        };
        assert_eq!(interop_targets(&with(&["interop"])).unwrap(), ["kinesis"]);
        let none = interop_targets(&with(&["other"])).unwrap_err().to_string();
        assert!(none.contains("no test target"), "{none}");
    }
}
