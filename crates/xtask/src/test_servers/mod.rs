//! Installs, starts and stops third-party implementations of AWS services for the interop tests.
//!
//! Our emulator and our adapters could share a misunderstanding of AWS; servers written by others do
//! not. Each is installed by its own package manager at a pinned version, under `target/test-servers`
//! (or `WINDLASS_TEST_SERVERS`, so that several clones can share them), and listens on a free port of
//! 127.0.0.1 only.

mod catalog;
mod install;
mod probe;
mod runner;

#[cfg(test)]
mod tests;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::command::{self, program, root, target};
use crate::watchdog::Watchdog;
use runner::RunningServers;

/// The variable that holds the path of `running.json`.
pub(crate) const JSON_VARIABLE: &str = "WINDLASS_TEST_SERVERS_JSON";

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install all servers at their pinned versions; installed ones are left unchanged
    Install,
    /// Start the servers and leave them running; `running.json` holds their endpoints
    Start(Selection),
    /// Stop the servers that `start` started
    Stop,
    /// Start the servers, run a command with WINDLASS_TEST_SERVERS_JSON set, and stop the servers
    Run {
        #[command(flatten)]
        selection: Selection,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Start the servers, send one record or message through each, and stop the servers
    Check(Selection),
}

#[derive(Args, Default)]
pub(crate) struct Selection {
    /// Only these servers, by their names in `running.json`, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = catalog::server_named)]
    only: Vec<&'static catalog::Server>,
}

pub(crate) fn run(options: Options) -> Result<()> {
    let dir = dir();
    match options.command {
        Command::Install => install::run(&dir),
        Command::Start(selection) => runner::start(&dir, &selection.servers()),
        Command::Stop => runner::stop(&dir),
        Command::Run { selection, command } => {
            let (name, arguments) = command.split_first().context("missing command")?;
            run_with(&selection, program(name).args(arguments))
        }
        Command::Check(selection) => check(&selection),
    }
}

pub(crate) fn install() -> Result<()> {
    install::run(&dir())
}

/// Sends one record or message through each server.
pub(crate) fn check(selection: &Selection) -> Result<()> {
    let python = catalog::python(&dir());
    run_with(selection, program(python).arg("tests/servers/check.py"))
}

/// Starts the servers, runs `command`, and stops the servers even if it fails.
pub(crate) fn run_with(selection: &Selection, command: &mut std::process::Command) -> Result<()> {
    let dir = dir();
    let work_dir = dir.join(format!("run-{}", std::process::id()));
    let watchdog = Watchdog::start()?;
    let running = RunningServers::start(&dir, &work_dir, &selection.servers(), Some(&watchdog))?;
    let result = run_guarded(&watchdog, &work_dir, command);
    running.stop()?;
    match result {
        Ok(status) if status.success() => {
            std::fs::remove_dir_all(&work_dir)
                .with_context(|| format!("removing {}", work_dir.display()))?;
            Ok(())
        }
        Ok(status) => bail!(
            "`{}` failed with {status}; the servers' logs are in {}",
            command::command_line(command),
            work_dir.display()
        ),
        Err(error) => Err(error),
    }
}

fn run_guarded(
    watchdog: &Watchdog,
    work_dir: &Path,
    command: &mut std::process::Command,
) -> Result<ExitStatus> {
    let line = command::command_line(command);
    println!("$ {line}");
    let mut child = command
        .env(JSON_VARIABLE, work_dir.join(runner::FILE))
        .spawn()
        .with_context(|| format!("starting `{line}`"))?;
    watchdog.watch_process(child.id())?;
    child
        .wait()
        .with_context(|| format!("waiting for `{line}`"))
}

impl Selection {
    fn servers(&self) -> Vec<&'static catalog::Server> {
        match self.only.as_slice() {
            [] => catalog::SERVERS.iter().collect(),
            chosen => chosen.to_vec(),
        }
    }
}

fn dir() -> PathBuf {
    env::var_os("WINDLASS_TEST_SERVERS")
        .map_or_else(|| target().join("test-servers"), |dir| root().join(dir))
}
