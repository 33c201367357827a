//! Everything that is checked, in one order, stopping at the first step that fails.
//!
//! `.ci/run` calls this and nothing more, so a developer sees what CI sees. All builds are of one
//! profile and of the whole workspace, so that the features of a dependency, and with them its
//! artifacts, are the same in every step: the AWS SDK is built once to check and once to run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::command::{cargo, run as run_command};
use crate::test_servers::{self, Choice};
use crate::{deny, tidy};

#[derive(Args)]
pub(crate) struct Options {
    /// Run these steps only, in the usual order
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
];

/// Runs the steps, each announced by its name, and closes with a table of their times.
///
/// # Errors
/// With the name of the step that failed; the ones after it are not run.
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

fn doc() -> Result<()> {
    let workspace = ["doc", "--workspace", "--no-deps"];
    let mut command = cargo();
    command.args(workspace).arg("--document-private-items");
    run_command(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Also builds the plain programs, which `cargo test` alone does not, for the steps that run them.
fn build() -> Result<()> {
    run_command(cargo().args(["build", "--workspace", "--all-targets"]))
}

fn test() -> Result<()> {
    run_command(cargo().args(["test", "--workspace"]))
}

fn servers() -> Result<()> {
    test_servers::install()?;
    test_servers::check(&Choice::default())
}

/// Only the targets that need the servers: the others have run already. The features are those of
/// the whole workspace, so that nothing is built again for this.
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
    test_servers::run_with(&Choice::default(), &mut command)
}

/// The test targets that are only built with the feature `interop`.
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

fn step_named(name: &str) -> Result<&'static str> {
    let Some(step) = STEPS.iter().find(|step| step.name == name) else {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("no step has this name; there are {}", names.join(", "));
    };
    Ok(step.name)
}

fn print_times(times: &[(&str, Duration)]) {
    println!("\n{:<16}{:>10}", "step", "time");
    for (name, time) in times {
        println!("{name:<16}{:>10}", in_seconds(*time));
    }
    let total = times.iter().map(|(_, time)| *time).sum();
    println!("{:<16}{:>10}", "together", in_seconds(total));
}

fn in_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
