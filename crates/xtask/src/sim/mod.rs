//! Runs the simulation: seeded worlds in which the core's machines meet faults and crashes.
//!
//! The simulation itself is a program of the testkit, `windlass-sim`. Here it is built, given its
//! seeds, and, with `--mutants`, shown to be able to fail.

mod mutant;
mod mutants;
mod source_copy;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::command::{cargo, program, root, run as run_command, target};

#[derive(Args)]
pub(crate) struct Options {
    /// How many worlds, one for each seed
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many worlds more, of seeds that nobody has chosen; the first of them is printed
    #[arg(long, default_value_t = 0)]
    fresh: u64,
    /// Break the core on purpose, once for each file below tests/mutants, and require a failure
    #[arg(long, conflicts_with = "fresh")]
    mutants: bool,
    /// Only the mutants of these names, or of these kinds of world
    #[arg(long, requires = "mutants", value_delimiter = ',')]
    only: Vec<String>,
}

impl Options {
    /// Worlds of the seeds from 0, and as many more of seeds that nobody has chosen.
    pub(crate) fn seeds(seeds: u64, fresh: u64) -> Self {
        Self {
            seeds,
            from: 0,
            fresh,
            mutants: false,
            only: Vec::new(),
        }
    }

    /// Every mutant, each in so many worlds.
    pub(crate) fn mutants(seeds: u64) -> Self {
        Self {
            mutants: true,
            ..Self::seeds(seeds, 0)
        }
    }
}

/// Runs the worlds of the chosen seeds, or the mutants.
///
/// # Errors
/// If a world breaks an invariant, with its seed; if a mutant is not caught.
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
        simulate(&target_dir, Seeds::fresh(options.fresh))?;
    }
    Ok(())
}

/// The line that is printed names the first seed, so that a failure can be had again.
fn simulate(target_dir: &Path, seeds: Seeds) -> Result<()> {
    run_command(program(binary(target_dir)).args(seeds.arguments()))
}

/// Seeds that follow each other.
#[derive(Clone, Copy)]
struct Seeds {
    count: u64,
    from: u64,
}

impl Seeds {
    /// Seeds that nobody has chosen. Not the largest there are, so that people can copy them.
    fn fresh(count: u64) -> Self {
        let random = RandomState::new().build_hasher().finish();
        let from = random >> 24;
        Self { count, from }
    }

    fn arguments(self) -> [String; 4] {
        let (count, from) = (self.count.to_string(), self.from.to_string());
        ["--seeds".to_owned(), count, "--from".to_owned(), from]
    }
}

/// Builds the simulation of the sources in `sources`, into a target directory of its own: assertions
/// and overflow checks stay on, as in every development build, but it is optimised a little.
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
