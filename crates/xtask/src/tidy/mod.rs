//! Checks the project's own rules, which neither the compiler nor clippy know.
//!
//! Each rule is a function from text to findings, so that tests can pass it a text that breaks it. The
//! checked files are those that git tracks or would track.

mod code_map;
mod crate_dependencies;
mod file_rules;
mod import_cycles;
mod imports;
mod scripts;
mod stop_timeouts;
mod unused_dependencies;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, read_output, repository_files, root};

/// A violation of a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From 1; 0 if the finding concerns the whole file.
    line: usize,
    text: String,
}

/// The text files of the repository by their paths from its root.
type Files = BTreeMap<String, String>;

/// Checks all rules and prints all findings.
pub(crate) fn run() -> Result<()> {
    let files = read_files()?;
    let metadata = metadata()?;
    let mut findings = crate_dependencies::check(&metadata)?;
    findings.extend(unused_dependencies::check(&files, &metadata)?);
    findings.extend(import_cycles::check(&files));
    findings.extend(code_map::check(&files, &metadata)?);
    findings.extend(stop_timeouts::check(&files));
    findings.extend(scripts::check(&files));
    findings.extend(words::check_all(&files));
    for (path, text) in &files {
        findings.extend(file_rules::check(path, text));
    }
    for note in file_rules::notes(&files) {
        println!("note: {note}");
    }
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings in {} files", findings.len(), files.len());
    }
    println!("tidy: {} files, no findings", files.len());
    Ok(())
}

/// The packages of the workspace, as JSON.
pub(crate) fn metadata() -> Result<serde_json::Value> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    serde_json::from_str(&read_output(&mut command)?)
        .context("reading the output of `cargo metadata`")
}

fn read_files() -> Result<Files> {
    let mut texts = Files::new();
    for path in repository_files()? {
        let bytes = fs::read(root().join(&path)).with_context(|| format!("reading {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            texts.insert(path, text);
        }
    }
    Ok(texts)
}

impl Finding {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            text: text.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.text),
            line => write!(formatter, "{}:{line}: {}", self.path, self.text),
        }
    }
}
