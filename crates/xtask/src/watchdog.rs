//! Ends servers whose owner is gone, however it went.
//!
//! A process that is killed cannot tidy up after itself. So another one, in a group of its own where
//! no Ctrl-C reaches it, holds the reading end of a pipe from the owner: when the owner ends, the
//! pipe closes, and the watchdog ends what it was told about. Should they have ended already, there is
//! nothing left for it to do.

use std::env;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

use crate::process::{Identity, Scope, terminate_all};

/// The owner's end of the pipe.
pub(crate) struct Watchdog {
    /// Taken when the watchdog is to see that the owner is done.
    pipe: Option<ChildStdin>,
    child: Child,
}

impl Watchdog {
    /// Starts the watchdog.
    ///
    /// # Errors
    /// If this program cannot start itself.
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

    /// Has a process ended together with its group when the owner is gone.
    ///
    /// # Errors
    /// If the watchdog is gone.
    pub(crate) fn watch_group(&self, pid: u32) -> Result<()> {
        self.watch(Scope::Group, pid)
    }

    /// Has a single process ended when the owner is gone.
    ///
    /// # Errors
    /// If the watchdog is gone.
    pub(crate) fn watch_process(&self, pid: u32) -> Result<()> {
        self.watch(Scope::Process, pid)
    }

    fn watch(&self, what: Scope, pid: u32) -> Result<()> {
        let Some(identity) = Identity::of(pid) else {
            return Ok(());
        };
        let mut pipe = self
            .pipe
            .as_ref()
            .context("the watchdog is not listening")?;
        writeln!(pipe, "{what} {} {}", identity.pid, identity.started)
            .and_then(|()| pipe.flush())
            .context("telling the watchdog")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.pipe.take();
        if let Err(error) = self.child.wait() {
            eprintln!("warning: the watchdog cannot be waited for: {error}");
        }
    }
}

/// This very program. A build that runs meanwhile may put another file in its place; Linux still
/// knows the one that runs.
fn own_program() -> Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    env::current_exe().context("finding this program")
}

/// What the watchdog does: reads until the pipe closes, then ends what it has read about.
///
/// # Errors
/// If the pipe cannot be read.
pub(crate) fn run() -> Result<()> {
    let mut watched = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line.context("reading what to watch")?;
        watched.extend(parse(&line));
    }
    terminate_all(&watched);
    Ok(())
}

fn parse(line: &str) -> Option<(Scope, Identity)> {
    let mut words = line.split_whitespace();
    let what = match words.next()? {
        "group" => Scope::Group,
        "process" => Scope::Process,
        _ => return None,
    };
    let pid = words.next()?.parse().ok()?;
    let started = words.next()?.parse().ok()?;
    Some((what, Identity { pid, started }))
}
