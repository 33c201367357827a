//! Proves that the simulation can fail: some seed must catch each planted fault.
//!
//! A simulation that has never failed proves nothing. Each file in `tests/mutants` breaks the code in
//! one way, in a copy of the sources; worlds that pass on the unmodified code must fail on it. The
//! directory of a mutant names the kind of world it runs in.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
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
    // A build uses one processor most of the time.
    let n_workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workplaces = (0..n_workers.min(chosen.len()))
        .map(|number| Workplace::set_up(&dir.join(number.to_string())))
        .collect::<Result<Vec<_>>>()?;
    if let Some(workplace) = workplaces.first() {
        workplace.test_unmodified(&chosen, seeds)?;
    }

    let next = AtomicUsize::new(0);
    let not_caught = thread::scope(|scope| {
        let test = |workplace| test_mutants(workplace, &chosen, &next, seeds);
        let workers: Vec<_> = workplaces
            .iter()
            .map(|workplace| scope.spawn(move || test(workplace)))
            .collect();
        let results = workers.into_iter().map(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => bail!("testing the mutants panicked"),
        });
        results.collect::<Result<Vec<_>>>()
    })?;
    let not_caught = not_caught.concat();
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

/// Tests the mutants that no other worker has taken, one after the other. Returns the names of those
/// that were not caught.
fn test_mutants<'a>(
    workplace: &Workplace,
    mutants: &'a [(String, Mutant)],
    next: &AtomicUsize,
    seeds: Seeds,
) -> Result<Vec<&'a str>> {
    let mut not_caught = Vec::new();
    while let Some((name, mutant)) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
        let result = match workplace.test(world_kind(name), mutant, seeds)? {
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
    Ok(not_caught)
}

/// Where one worker builds and runs: a copy of the sources, a target directory and a log.
struct Workplace {
    copy: SourceCopy,
    target_dir: PathBuf,
    log: PathBuf,
}

impl Workplace {
    fn set_up(dir: &Path) -> Result<Self> {
        Ok(Self {
            copy: SourceCopy::copy_to(dir.join("src"))?,
            target_dir: dir.join("target"),
            log: dir.join("last.log"),
        })
    }

    fn test_unmodified(&self, chosen: &[(String, Mutant)], seeds: Seeds) -> Result<()> {
        run_command(&mut self.build_command()).context("building the unmodified code")?;
        let worlds: BTreeSet<&str> = chosen.iter().map(|(name, _)| world_kind(name)).collect();
        for world in worlds {
            if let SimulationResult::Failed { seed } = self.simulate(world, seeds)? {
                let seed = seed.map_or(String::new(), |seed| format!(" by seed {seed}"));
                bail!(
                    "the unmodified code of the {world} fails{seed}; {}",
                    end_of(&self.log)
                );
            }
            println!(
                "unmodified code: {} worlds of the {world} pass",
                seeds.count
            );
        }
        Ok(())
    }

    /// The outer error means that the copy of the sources could not be restored. The inner one
    /// concerns this mutant only; the others still run.
    fn test(&self, world: &str, mutant: &Mutant, seeds: Seeds) -> Result<Result<SimulationResult>> {
        let result = self.copy.apply(mutant).and_then(|()| {
            build_quietly(&mut self.build_command(), &self.log)?;
            self.simulate(world, seeds)
        });
        self.copy.restore(mutant)?;
        Ok(result)
    }

    /// Without debug information: the build takes most of the time of a mutant, and this saves a
    /// third.
    fn build_command(&self) -> Command {
        let mut command = build(&self.copy.root, &self.target_dir);
        command.env("CARGO_PROFILE_DEV_DEBUG", "0");
        command
    }

    fn simulate(&self, world: &str, seeds: Seeds) -> Result<SimulationResult> {
        let mut command = program(binary(&self.target_dir));
        command.args(seeds.arguments()).args(["--only", world]);
        let status = wait_for(spawn_logged(&mut command, &self.log)?, &self.log)?;
        match status.code() {
            Some(0) => return Ok(SimulationResult::Passed),
            Some(1) => {}
            _ => bail!("the simulation failed with {status}; {}", end_of(&self.log)),
        }
        let output = fs::read_to_string(&self.log)
            .with_context(|| format!("reading {}", self.log.display()))?;
        Ok(SimulationResult::Failed {
            seed: seed_in(&output),
        })
    }
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

/// Waits for a simulation, and kills one that does not end.
fn wait_for(mut simulation: Child, log: &Path) -> Result<ExitStatus> {
    let end = Instant::now() + SIMULATION_TIMEOUT;
    loop {
        if let Some(status) = simulation
            .try_wait()
            .context("waiting for the simulation")?
        {
            return Ok(status);
        }
        if Instant::now() >= end {
            simulation.kill().context("killing the simulation")?;
            simulation.wait().context("killing the simulation")?;
            let seconds = SIMULATION_TIMEOUT.as_secs();
            bail!(
                "the simulation did not end within {seconds} s; {}",
                end_of(log)
            );
        }
        sleep(Duration::from_millis(10));
    }
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
