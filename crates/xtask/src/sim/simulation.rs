//! Runs a program of the simulation and reads its result.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Seeds;
use super::logged::{end_of, spawn_logged};
use crate::process::sleep;

/// For all worlds of one mutant; many times what they take on the slowest machine.
const SIMULATION_TIMEOUT: Duration = Duration::from_secs(300);

pub(super) enum SimulationResult {
    Passed,
    Failed { seed: Option<u64> },
}

/// Runs the worlds of one kind until one fails.
pub(super) fn simulate(
    command: &mut Command,
    world: &str,
    seeds: Seeds,
    log: &Path,
) -> Result<SimulationResult> {
    command.args(seeds.arguments()).args(["--only", world]);
    let mut child = spawn_logged(command, log)?;
    let end = Instant::now() + SIMULATION_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting for the simulation")? {
            break status;
        }
        if Instant::now() >= end {
            child.kill().context("killing the simulation")?;
            child.wait().context("killing the simulation")?;
            let seconds = SIMULATION_TIMEOUT.as_secs();
            bail!(
                "the simulation did not end within {seconds} s; {}",
                end_of(log)
            );
        }
        sleep(Duration::from_millis(10));
    };
    match status.code() {
        Some(0) => return Ok(SimulationResult::Passed),
        Some(1) => {}
        _ => bail!("the simulation failed with {status}; {}", end_of(log)),
    }
    let output = fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
    Ok(SimulationResult::Failed {
        seed: seed_in(&output),
    })
}

/// The first number in the output that follows the word `seed`.
fn seed_in(output: &str) -> Option<u64> {
    output.match_indices("seed").find_map(|(at, word)| {
        let after = output[at + word.len()..].trim_start_matches([' ', '=', ':']);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        after[..digits].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_seed_is_found_in_the_output() {
        assert_eq!(
            seed_in("200 seeds\nworld of seed 17: I1 is broken\n"),
            Some(17)
        );
        assert_eq!(seed_in("panicked\nrun again with seed=4\n"), Some(4));
        assert_eq!(seed_in("all seeds pass\n"), None);
    }
}
