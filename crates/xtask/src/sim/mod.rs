//! Runs the simulation: seeded worlds in which the core's consumers meet faults and crashes.
//!
//! The simulation is a program of the testkit, `windlass-sim`. This module builds it, passes it its
//! seeds and, with `--mutants`, proves that it can fail.

mod mutants;

mod bodies;
mod combined;
mod mutant;
mod programs;
mod source_copy;

mod logged;
mod parallel;
mod simulation;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::command::{cargo, program, read_output, root, run as run_command, target};

#[derive(Args)]
pub(crate) struct Options {
    /// Number of worlds, one per seed
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Number of additional worlds whose seeds follow from the commit; the first seed is printed
    #[arg(long, default_value_t = 0)]
    fresh: u64,
    /// Apply each mutant under tests/mutants to a copy of the code and require that a seed fails
    #[arg(long, conflicts_with = "fresh")]
    mutants: bool,
    /// Only the mutants with these names, or of these kinds of world (`shard`, `queue`, `slot`,
    /// `stream`, `process`, `redrive`)
    #[arg(long, requires = "mutants", value_delimiter = ',')]
    only: Vec<String>,
}

impl Options {
    /// Worlds with the seeds from 0, and `fresh` more with the seeds of the commit.
    pub(crate) fn seeds(seeds: u64, fresh: u64) -> Self {
        Self {
            seeds,
            from: 0,
            fresh,
            mutants: false,
            only: Vec::new(),
        }
    }

    /// All mutants, each in up to `seeds` worlds.
    pub(crate) fn mutants(seeds: u64) -> Self {
        Self {
            mutants: true,
            ..Self::seeds(seeds, 0)
        }
    }
}

/// Runs the selected seeds or the mutants. A failure names its seed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let seeds = Seeds {
        count: options.seeds,
        from: options.from,
    };
    if options.mutants {
        return mutants::run(seeds, &options.only);
    }
    let target_dir = target().join("sim");
    run_command(&mut build(&root(), &target_dir))?;
    simulate(&target_dir, seeds)?;
    if options.fresh > 0 {
        simulate(&target_dir, Seeds::of_commit(options.fresh)?)?;
    }
    Ok(())
}

/// The printed command line names the first seed, so a failure can be reproduced.
fn simulate(target_dir: &Path, seeds: Seeds) -> Result<()> {
    run_command(program(binary(target_dir)).args(seeds.arguments()))
}

/// A range of seeds.
#[derive(Clone, Copy)]
struct Seeds {
    count: u64,
    from: u64,
}

impl Seeds {
    /// Seeds that no commit before had, below 2^40 so that people can copy them. Every check of one
    /// commit runs the same worlds.
    fn of_commit(count: u64) -> Result<Self> {
        let commit = read_output(program("git").args(["rev-parse", "HEAD"]))?;
        let digits = commit.get(..10).context("a commit has ten digits")?;
        let from = u64::from_str_radix(digits, 16).context("a commit is a hexadecimal number")?;
        Ok(Self { count, from })
    }

    fn arguments(self) -> [String; 4] {
        let (count, from) = (self.count.to_string(), self.from.to_string());
        ["--seeds".to_owned(), count, "--from".to_owned(), from]
    }
}

/// Builds the simulation from `sources` into its own target directory: a debug build, with assertions
/// and overflow checks, but slightly optimised.
fn build(sources: &Path, target_dir: &Path) -> Command {
    let mut command = cargo();
    command.current_dir(sources);
    command.args(["build", "--quiet", "--package", "windlass-testkit"]);
    command.args(["--bin", "windlass-sim"]);
    command.env("CARGO_TARGET_DIR", target_dir);
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    command
}

fn binary(target_dir: &Path) -> PathBuf {
    target_dir.join("debug/windlass-sim")
}
