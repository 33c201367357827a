//! Terminates child processes whose owner is gone, even if it was killed.
//!
//! A killed process cannot clean up. The watchdog is a second process, in its own process group so
//! that Ctrl-C does not reach it. It reads from a pipe that its owner writes to: when the owner ends,
//! the pipe closes, and the watchdog terminates the registered processes that still run.

use std::env;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

use crate::process::{Identity, Scope, terminate_all};

/// The owner's side.
pub(crate) struct Watchdog {
    /// `None` once closed, which makes the watchdog end.
    pipe: Option<ChildStdin>,
    child: Child,
}

impl Watchdog {
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new(own_program()?)
            .arg("watchdog")
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("starting the watchdog")?;
        let pipe = child.stdin.take();
        Ok(Self { pipe, child })
    }

    /// Registers a process to be terminated with its process group.
    pub(crate) fn watch_group(&self, pid: u32) -> Result<()> {
        self.watch(Scope::Group, pid)
    }

    /// Registers a single process to be terminated.
    pub(crate) fn watch_process(&self, pid: u32) -> Result<()> {
        self.watch(Scope::Process, pid)
    }

    fn watch(&self, scope: Scope, pid: u32) -> Result<()> {
        let Some(identity) = Identity::of(pid) else {
            return Ok(());
        };
        let mut pipe = self.pipe.as_ref().context("the watchdog is closed")?;
        writeln!(pipe, "{scope} {} {}", identity.pid, identity.started)
            .and_then(|()| pipe.flush())
            .context("writing to the watchdog")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.pipe.take();
        if let Err(error) = self.child.wait() {
            eprintln!("warning: cannot wait for the watchdog: {error}");
        }
    }
}

/// The path of this program. A concurrent build may replace the file; Linux keeps the one that runs.
fn own_program() -> Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    env::current_exe().context("finding the path of this program")
}

/// The watchdog process: reads registrations until the pipe closes, then terminates the processes.
pub(crate) fn run() -> Result<()> {
    let mut watched = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line.context("reading the processes to watch")?;
        watched.extend(parse(&line));
    }
    terminate_all(&watched);
    Ok(())
}

fn parse(line: &str) -> Option<(Scope, Identity)> {
    let mut words = line.split_whitespace();
    let scope = match words.next()? {
        "group" => Scope::Group,
        "process" => Scope::Process,
        _ => return None,
    };
    let pid = words.next()?.parse().ok()?;
    let started = words.next()?.parse().ok()?;
    Some((scope, Identity { pid, started }))
}
