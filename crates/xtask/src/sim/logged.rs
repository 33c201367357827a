//! Programs whose output goes to a log file.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::command::{command_line, last_lines};

pub(super) fn spawn_logged(command: &mut Command, log: &Path) -> Result<Child> {
    let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let errors = file.try_clone().context("sharing the log")?;
    command
        .stdout(Stdio::from(file))
        .stderr(Stdio::from(errors))
        .spawn()
        .with_context(|| format!("starting `{}`", command_line(command)))
}

/// Where the log is, and what it says last.
pub(super) fn end_of(log: &Path) -> String {
    format!("{}:\n{}", log.display(), last_lines(log, 15))
}
