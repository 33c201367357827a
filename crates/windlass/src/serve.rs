//! `windlass serve`: the daemon's life, from its configuration to its last save.

use std::process::ExitCode;

use crate::cli::ServeArgs;

/// Runs the daemon until it is told to stop.
pub(crate) fn run(_args: &ServeArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
