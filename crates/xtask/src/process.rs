//! Child processes of a task: whether they still run, and how to terminate them.

use std::fmt;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Time between SIGTERM and SIGKILL.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// A process; its start time tells it from a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// In clock ticks since boot.
    pub(crate) started: u64,
}

/// What is terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The process and the process group it leads.
    Group,
    /// The process alone.
    Process,
}

impl Identity {
    /// The process with this id, unless it has ended.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid)?;
        (!stat.has_ended).then_some(Self {
            pid,
            started: stat.started,
        })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// Sends SIGTERM to all, then SIGKILL to those that still run after the grace period.
pub(crate) fn terminate_all(processes: &[(Scope, Identity)]) {
    signal_living(processes, "TERM");
    let deadline = Instant::now() + GRACE_PERIOD;
    while Instant::now() < deadline && processes.iter().any(|(_, process)| process.is_alive()) {
        sleep(Duration::from_millis(20));
    }
    signal_living(processes, "KILL");
}

/// Between two polls of something that sends no notification.
#[expect(
    clippy::disallowed_methods,
    reason = "a task has no async runtime that could be blocked"
)]
pub(crate) fn sleep(time: Duration) {
    thread::sleep(time);
}

/// A process may end between the check and the signal, so the exit status of `kill` is ignored.
fn signal_living(processes: &[(Scope, Identity)], signal: &str) {
    for (scope, process) in processes {
        if !process.is_alive() {
            continue;
        }
        let target = match scope {
            Scope::Group => format!("-{}", process.pid),
            Scope::Process => process.pid.to_string(),
        };
        let sent = Command::new("sh")
            .args(["-c", r#"kill -s "$0" -- "$1""#, signal, &target])
            .stderr(Stdio::null())
            .status();
        if let Err(error) = sent {
            eprintln!("warning: cannot signal process {}: {error}", process.pid);
        }
    }
}

struct Stat {
    has_ended: bool,
    started: u64,
}

impl Stat {
    /// Reads `/proc/PID/stat`. The second field is the program's name in brackets, which may itself
    /// contain blanks and brackets.
    fn of(pid: u32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            has_ended: matches!(*fields.first()?, "Z" | "X"),
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Scope::Group => "group",
            Scope::Process => "process",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[test]
    fn a_group_is_terminated_with_its_children() {
        let child = Command::new("sh")
            .args(["-c", "sleep 600 & echo started; wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let identity = Identity::of(child.id()).unwrap();
        assert!(identity.is_alive());
        terminate_all(&[(Scope::Group, identity)]);
        assert!(!identity.is_alive());
        // The grandchild keeps the pipe open, so this returns only if it was terminated too.
        let output = child.wait_with_output();
        assert!(output.is_ok());
    }

    #[test]
    fn another_process_with_a_reused_id_is_left_alone() {
        let own = Identity::of(std::process::id()).unwrap();
        let earlier = Identity {
            started: own.started - 1,
            ..own
        };
        assert!(!earlier.is_alive());
        terminate_all(&[(Scope::Process, earlier)]);
    }
}
