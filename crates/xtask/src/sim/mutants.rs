//! Proves that the simulation can fail: some seed must catch each planted fault.
//!
//! A simulation that has never failed proves nothing. Each file in `tests/mutants` breaks the code in
//! one way, in a copy of the sources; worlds that pass on the unmodified code must fail on it. The
//! directory of a mutant names the kind of world it runs in. [`super::combined`] makes one program of
//! most of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Seeds;
use super::logged::end_of;
use super::mutant::Mutant;
use super::parallel::in_parallel;
use super::programs::Programs;
use super::simulation::{SimulationResult, simulate};
use crate::command::{root, target};

const MUTANTS: &str = "tests/mutants";

/// Runs the worlds on the unmodified code, which must pass, and on each mutant, which must fail.
pub(super) fn run(seeds: Seeds, only: &[String]) -> Result<()> {
    let chosen = load(&root().join(MUTANTS), only)?;
    let dir = target().join("mutants");
    let programs = Programs::build(&chosen, &dir)?;
    test_unmodified(&chosen, &programs, seeds, &dir)?;
    let numbered = Vec::from_iter((1..).zip(&chosen));
    let test = |(number, (name, _)): &(usize, &(String, Mutant))| {
        let mut program = programs.mutant(*number)?;
        simulate(&mut program, world_kind(name), seeds, &log_of(name, &dir))
    };
    let mut not_caught = Vec::new();
    in_parallel(&numbered, test, |(_, (name, mutant)), result| {
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
        Ok(())
    })?;
    if !not_caught.is_empty() {
        let (n_missed, n_chosen, names) = (not_caught.len(), chosen.len(), not_caught.join(", "));
        bail!(
            "{n_missed} of {n_chosen} mutants not caught in {} worlds: {names}",
            seeds.count
        );
    }
    println!("all {} mutants caught", chosen.len());
    Ok(())
}

fn test_unmodified(
    chosen: &[(String, Mutant)],
    programs: &Programs,
    seeds: Seeds,
    dir: &Path,
) -> Result<()> {
    let worlds: BTreeSet<&str> = chosen.iter().map(|(name, _)| world_kind(name)).collect();
    let worlds = Vec::from_iter(worlds);
    let test = |world: &&str| {
        let mut program = programs.unmodified();
        simulate(&mut program, world, seeds, &log_of(world, dir))
    };
    in_parallel(&worlds, test, |world, result| {
        if let SimulationResult::Failed { seed } = result? {
            let seed = seed.map_or(String::new(), |seed| format!(" by seed {seed}"));
            let log = log_of(world, dir);
            bail!(
                "the unmodified code of the {world} fails{seed}; {}",
                end_of(&log)
            );
        }
        println!(
            "unmodified code: {} worlds of the {world} pass",
            seeds.count
        );
        Ok(())
    })
}

/// What the worlds of a mutant, or of one kind, print.
fn log_of(name: &str, dir: &Path) -> PathBuf {
    dir.join(format!("{}.log", name.replace('/', "-")))
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

fn seed_text(seed: Option<u64>, seeds: Seeds) -> String {
    match seed {
        Some(seed) if seed >= seeds.from => {
            format!(" by seed {seed}, world {}", seed - seeds.from + 1)
        }
        Some(seed) => format!(" by seed {seed}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
