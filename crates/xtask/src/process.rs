//! Processes that a task started: whether they still run, and how they are ended.

use std::fmt;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// One process, and not another that was given its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// In clock ticks since the machine started.
    pub(crate) started: u64,
}

/// What is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The process and everything in the group it leads.
    Group,
    /// The process alone.
    Process,
}

impl Identity {
    /// The process that has this number, unless it has ended.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid)?;
        (!stat.has_ended).then_some(Self {
            pid,
            started: stat.started,
        })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// Asks all of them to end, waits a little, and kills those that have not.
pub(crate) fn terminate_all(processes: &[(Scope, Identity)]) {
    signal_living(processes, "TERM");
    let end = Instant::now() + GRACE;
    while Instant::now() < end && processes.iter().any(|(_, process)| process.is_alive()) {
        sleep(Duration::from_millis(20));
    }
    signal_living(processes, "KILL");
}

/// Waits, for something that cannot be waited for otherwise.
#[expect(
    clippy::disallowed_methods,
    reason = "a task has no runtime that this could block"
)]
pub(crate) fn sleep(time: Duration) {
    thread::sleep(time);
}

/// A process that ends between the question and the signal is no error, so the answer of the shell
/// is not looked at.
fn signal_living(processes: &[(Scope, Identity)], signal: &str) {
    for (what, process) in processes {
        if !process.is_alive() {
            continue;
        }
        let to = match what {
            Scope::Group => format!("-{}", process.pid),
            Scope::Process => process.pid.to_string(),
        };
        let sent = Command::new("sh")
            .args(["-c", r#"kill -s "$0" -- "$1""#, signal, &to])
            .stderr(Stdio::null())
            .status();
        if let Err(error) = sent {
            eprintln!("warning: process {} cannot be ended: {error}", process.pid);
        }
    }
}

struct Stat {
    has_ended: bool,
    started: u64,
}

impl Stat {
    /// Reads the process's line in the table of processes. Its second field is the program's name,
    /// which may hold anything, blanks and brackets too.
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
    fn a_group_is_ended_with_its_children_and_an_ended_process_is_not_alive() {
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
        // The pipe is open as long as the grandchild lives, so this ends only if it was ended too.
        let output = child.wait_with_output();
        assert!(output.is_ok());
    }

    #[test]
    fn a_number_that_was_given_to_another_process_is_left_alone() {
        let own = Identity::of(std::process::id()).unwrap();
        let earlier = Identity {
            started: own.started - 1,
            ..own
        };
        assert!(!earlier.is_alive());
        terminate_all(&[(Scope::Process, earlier)]);
    }
}
