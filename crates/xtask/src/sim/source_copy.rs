//! A copy of the sources for mutants, so that the work tree is never modified.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::mutant::Mutant;
use crate::command::{repository_files, root};

pub(super) struct SourceCopy {
    pub(super) root: PathBuf,
}

impl SourceCopy {
    /// Updates the copy. Unchanged files keep their modification time, so cargo rebuilds only what
    /// depends on a change.
    pub(super) fn copy_to(copy: PathBuf) -> Result<Self> {
        let wanted: BTreeSet<PathBuf> =
            repository_files()?.into_iter().map(PathBuf::from).collect();
        for path in &wanted {
            let from = root().join(path);
            let bytes = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
            write_if_different(&copy.join(path), &bytes)?;
        }
        remove_others(&copy, Path::new(""), &wanted)?;
        Ok(Self { root: copy })
    }

    pub(super) fn apply(&self, mutant: &Mutant) -> Result<()> {
        for change in &mutant.changes {
            let path = self.root.join(&change.file);
            let text =
                fs::read_to_string(&path).with_context(|| format!("reading {}", change.file))?;
            write_if_different(&path, change.apply(&text)?.as_bytes())?;
        }
        Ok(())
    }

    /// Undoes [`SourceCopy::apply`].
    pub(super) fn restore(&self, mutant: &Mutant) -> Result<()> {
        for change in &mutant.changes {
            let from = root().join(&change.file);
            let bytes = fs::read(&from).with_context(|| format!("reading {}", change.file))?;
            write_if_different(&self.root.join(&change.file), &bytes)?;
        }
        Ok(())
    }
}

fn write_if_different(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

fn remove_others(copy: &Path, below: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    let dir = copy.join(below);
    let entries = fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("listing {}", dir.display()))?;
        let path = below.join(entry.file_name());
        if entry.path().is_dir() {
            remove_others(copy, &path, wanted)?;
        } else if !wanted.contains(&path) {
            let path = entry.path();
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}
