//! Proves that the simulation can fail: some seed must catch each planted fault.
//!
//! A simulation that has never failed proves nothing. Each file in `tests/mutants` breaks the code in
//! one way, in a copy of the sources; worlds that pass on the unmodified code must fail on it. The
//! directory of a mutant names the kind of world it runs in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::mutant::Mutant;
use super::source_copy::SourceCopy;
use super::{Seeds, binary, build};
use crate::command::{command_line, last_lines, program, root, run as run_command, target};
use crate::process::sleep;

const MUTANTS: &str = "tests/mutants";

/// For all worlds of one mutant; many times what they take on the slowest machine.
const SIMULATION_TIMEOUT: Duration = Duration::from_secs(300);

/// Runs the worlds on the unmodified code, which must pass, and on each mutant, which must fail.
pub(super) fn run(seeds: Seeds, only: &[String]) -> Result<()> {
    let chosen = load(&root().join(MUTANTS), only)?;
    let dir = target().join("mutants");
    let copy = SourceCopy::copy_to(dir.join("src"))?;
    let target_dir = dir.join("target");
    let log = dir.join("last.log");

    run_command(&mut build_mutant(&copy, &target_dir)).context("building the unmodified code")?;
    let worlds: BTreeSet<&str> = chosen.iter().map(|(name, _)| world_kind(name)).collect();
    for world in worlds {
        if let SimulationResult::Failed { seed } = simulate(&target_dir, world, seeds, &log)? {
            let seed = seed.map_or(String::new(), |seed| format!(" by seed {seed}"));
            bail!(
                "the unmodified code of the {world} fails{seed}; {}",
                end_of(&log)
            );
        }
        println!(
            "unmodified code: {} worlds of the {world} pass",
            seeds.count
        );
    }

    let mut not_caught = Vec::new();
    for (name, mutant) in &chosen {
        let result = test_mutant(&copy, mutant, || {
            build_quietly(&mut build_mutant(&copy, &target_dir), &log)?;
            simulate(&target_dir, world_kind(name), seeds, &log)
        })?;
        let result = match result {
            Ok(SimulationResult::Failed { seed }) => format!("caught{}", seed_text(seed, seeds)),
            Ok(SimulationResult::Passed) => {
                not_caught.push(name.as_str());
                format!("MISSED: {}", mutant.breaks)
            }
            Err(error) => {
                not_caught.push(name.as_str());
                format!("NOT RUN: {error:#}")
            }
        };
        println!("{name:<46} {result}");
    }
    if !not_caught.is_empty() {
        let (n_missed, n_chosen) = (not_caught.len(), chosen.len());
        let names = not_caught.join(", ");
        bail!(
            "{n_missed} of {n_chosen} mutants not caught in {} worlds: {names}",
            seeds.count
        );
    }
    println!("all {} mutants caught", chosen.len());
    Ok(())
}

/// Without debug information: the build takes most of the time of a mutant, and this saves a third.
fn build_mutant(copy: &SourceCopy, target_dir: &Path) -> Command {
    let mut command = build(&copy.root, target_dir);
    command.env("CARGO_PROFILE_DEV_DEBUG", "0");
    command
}

/// The outer error means that the copy of the sources could not be restored. The inner one concerns
/// this mutant only; the others still run.
fn test_mutant(
    copy: &SourceCopy,
    mutant: &Mutant,
    simulate: impl FnOnce() -> Result<SimulationResult>,
) -> Result<Result<SimulationResult>> {
    let result = copy.apply(mutant).and_then(|()| simulate());
    copy.restore(mutant)?;
    Ok(result)
}

enum SimulationResult {
    Passed,
    Failed { seed: Option<u64> },
}

/// Reads the selected mutants, sorted by name: `directory/file`.
fn load(dir: &Path, only: &[String]) -> Result<Vec<(String, Mutant)>> {
    let mut names = Vec::new();
    for world in listed(dir)?.iter().filter(|path| path.is_dir()) {
        for path in listed(world)? {
            if path.extension().is_some_and(|it| it == "mutant") {
                names.push(format!("{}/{}", stem_of(world), stem_of(&path)));
            }
        }
    }
    names.sort();
    if let Some(chosen) = only
        .iter()
        .find(|chosen| !names.iter().any(|name| is_selected(name, chosen)))
    {
        bail!("neither {MUTANTS}/{chosen}.mutant nor a directory {MUTANTS}/{chosen} exists");
    }
    names.retain(|name| only.is_empty() || only.iter().any(|chosen| is_selected(name, chosen)));
    if names.is_empty() {
        bail!("{MUTANTS} contains no mutants");
    }
    let mut mutants = Vec::new();
    for name in names {
        let path = dir.join(format!("{name}.mutant"));
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let mutant = Mutant::parse(&text).with_context(|| format!("{MUTANTS}/{name}.mutant"))?;
        mutants.push((name, mutant));
    }
    Ok(mutants)
}

/// Whether `chosen` is the mutant's file name, its directory, or both.
fn is_selected(name: &str, chosen: &str) -> bool {
    name == chosen || name.split('/').any(|part| part == chosen)
}

/// The kind of world that must catch the mutant.
fn world_kind(name: &str) -> &str {
    name.split_once('/').map_or(name, |(world, _)| world)
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    let paths = entries.map(|entry| Ok(entry.context("listing the mutants")?.path()));
    paths.collect()
}

fn stem_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn simulate(target_dir: &Path, world: &str, seeds: Seeds, log: &Path) -> Result<SimulationResult> {
    let mut command = program(binary(target_dir));
    command.args(seeds.arguments()).args(["--only", world]);
    let mut child = spawn_logged(&mut command, log)?;
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

fn build_quietly(command: &mut Command, log: &Path) -> Result<()> {
    let mut child = spawn_logged(command, log)?;
    let status = child.wait().context("waiting for cargo")?;
    if !status.success() {
        bail!("the mutant does not compile; {}", end_of(log));
    }
    Ok(())
}

fn spawn_logged(command: &mut Command, log: &Path) -> Result<Child> {
    let file = fs::File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let errors = file.try_clone().context("sharing the log")?;
    command
        .stdout(Stdio::from(file))
        .stderr(Stdio::from(errors))
        .spawn()
        .with_context(|| format!("starting `{}`", command_line(command)))
}

/// The first number in the output that follows the word `seed`.
fn seed_in(output: &str) -> Option<u64> {
    output.match_indices("seed").find_map(|(at, word)| {
        let after = output[at + word.len()..].trim_start_matches([' ', '=', ':']);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        after[..digits].parse().ok()
    })
}

fn seed_text(seed: Option<u64>, seeds: Seeds) -> String {
    match seed {
        Some(seed) if seed >= seeds.from => {
            format!(" by seed {seed}, world {}", seed - seeds.from + 1)
        }
        Some(seed) => format!(" by seed {seed}"),
        None => String::new(),
    }
}

fn end_of(log: &Path) -> String {
    format!("{}:\n{}", log.display(), last_lines(log, 15))
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

    #[test]
    fn a_mutant_is_selected_by_its_name_or_its_directory() {
        for chosen in ["queue", "drain_invokes", "queue/drain_invokes"] {
            assert!(is_selected("queue/drain_invokes", chosen), "{chosen}");
        }
        for chosen in ["shard", "shard/drain_invokes", "drain", "queue/"] {
            assert!(!is_selected("queue/drain_invokes", chosen), "{chosen}");
        }
    }

    #[test]
    fn a_directory_without_mutants_and_an_unknown_name_are_errors() {
        let empty = std::env::temp_dir().join(format!("mutants-{}", std::process::id()));
        fs::create_dir_all(&empty).unwrap();
        let none = load(&empty, &[]).unwrap_err().to_string();
        assert!(none.contains("contains no mutants"), "{none}");
        let unknown = load(&empty, &["a".to_owned()]).unwrap_err().to_string();
        assert!(unknown.contains("a.mutant"), "{unknown}");
        // A file outside the directories belongs to no kind of world.
        fs::write(empty.join("b.mutant"), "# Breaks.\n").unwrap();
        let misplaced = load(&empty, &["b".to_owned()]).unwrap_err().to_string();
        assert!(misplaced.contains("b.mutant"), "{misplaced}");
        fs::remove_dir_all(&empty).unwrap();
    }
}
