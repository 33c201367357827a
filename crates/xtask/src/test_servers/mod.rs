//! Servers that others wrote, for the tests that need them: installs, starts and stops them.
//!
//! Our emulator and our adapters could share one misunderstanding of AWS; servers written by others
//! do not share it. Each is installed by its own package manager at a pinned version, below
//! `target/test-servers` (or `WINDLASS_TEST_SERVERS`, so that several clones can share them).
//! Every one listens on 127.0.0.1 alone, on a free port.

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

/// The variable that tells a test where the file about the running servers lies.
pub(crate) const JSON_VARIABLE: &str = "WINDLASS_TEST_SERVERS_JSON";

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs all of them at their pinned versions; what is there already is left as it is
    Install,
    /// Starts them and leaves them running; `running.json` says where
    Start(Selection),
    /// Ends what `start` started
    Stop,
    /// Starts them, runs a command with WINDLASS_TEST_SERVERS_JSON set, and ends them in any case
    Run {
        #[command(flatten)]
        selection: Selection,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Starts them, puts one record or message through each, and ends them
    Check(Selection),
}

/// Which servers.
#[derive(Args, Default)]
pub(crate) struct Selection {
    /// Only these, by their names in `running.json`, with commas between them
    #[arg(long, value_delimiter = ',', value_parser = catalog::server_named)]
    only: Vec<&'static catalog::Server>,
}

/// Carries out one of the commands.
///
/// # Errors
/// If a server cannot be installed or does not answer in time, or if the command that was run with
/// them fails.
pub(crate) fn run(options: Options) -> Result<()> {
    let dir = dir();
    match options.command {
        Command::Install => install::run(&dir),
        Command::Start(selection) => runner::start(&dir, &selection.servers()),
        Command::Stop => runner::stop(&dir),
        Command::Run { selection, command } => {
            let (name, arguments) = command.split_first().context("no command was given")?;
            run_with(&selection, program(name).args(arguments))
        }
        Command::Check(selection) => check(&selection),
    }
}

/// Installs the servers, if that has not been done.
///
/// # Errors
/// If one cannot be installed.
pub(crate) fn install() -> Result<()> {
    install::run(&dir())
}

/// Puts one record or message through each server.
///
/// # Errors
/// If one cannot be started, or does not give back what was put.
pub(crate) fn check(selection: &Selection) -> Result<()> {
    let python = catalog::python(&dir());
    run_with(selection, program(python).arg("tests/servers/check.py"))
}

/// Starts the servers, runs `command`, and ends the servers in any case.
///
/// # Errors
/// If a server does not start, or the command fails.
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
            "`{}` ended with {status}; the servers' logs are in {}",
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
