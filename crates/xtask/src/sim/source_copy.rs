//! A copy of the sources for mutants, so that the work tree is never modified.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{repository_files, root};

/// Texts of files by their paths from the root of the repository.
pub(super) type Texts = BTreeMap<String, String>;

/// Reads a file of the work tree.
pub(super) fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("reading {path}"))
}

pub(super) struct SourceCopy {
    pub(super) root: PathBuf,
    /// Relative to the root.
    files: BTreeSet<PathBuf>,
}

impl SourceCopy {
    pub(super) fn new(root: PathBuf) -> Result<Self> {
        let files = repository_files()?.into_iter().map(PathBuf::from).collect();
        let copy = Self { root, files };
        fs::create_dir_all(&copy.root)
            .with_context(|| format!("creating {}", copy.root.display()))?;
        copy.remove_others(Path::new(""))?;
        Ok(copy)
    }

    /// Updates the copy: these texts, and the files of the work tree for the rest. Unchanged files
    /// keep their modification time, so cargo rebuilds only what depends on a change.
    pub(super) fn write(&self, texts: &Texts) -> Result<()> {
        for path in &self.files {
            let to = self.root.join(path);
            match path.to_str().and_then(|path| texts.get(path)) {
                Some(text) => write_if_different(&to, text.as_bytes())?,
                None => {
                    let from = root().join(path);
                    let bytes =
                        fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
                    write_if_different(&to, &bytes)?;
                }
            }
        }
        Ok(())
    }

    fn remove_others(&self, below: &Path) -> Result<()> {
        let dir = self.root.join(below);
        let entries = fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("listing {}", dir.display()))?;
            let path = below.join(entry.file_name());
            if entry.path().is_dir() {
                self.remove_others(&path)?;
            } else if !self.files.contains(&path) {
                let path = entry.path();
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
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
