//! What the daemon and a supervisor tell each other, over the supervisor's standard input.
//!
//! The daemon writes single bytes. The supervisor writes lines: first `pid PID` of the process, at
//! the end `exit STATUS` or `signal NUMBER`. When the daemon's end is closed, also because the daemon
//! was killed, the supervisor ends everything it has started.

/// Ask the process to end: SIGTERM.
pub(super) const TERMINATE: u8 = b'T';

/// End the process and all its descendants: SIGKILL.
pub(super) const KILL: u8 = b'K';

/// A line of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Started { pid: u32 },
    Exited { status: i32 },
    Signaled { signal: i32 },
}

impl Report {
    pub(super) fn to_line(self) -> String {
        match self {
            Self::Started { pid } => format!("pid {pid}\n"),
            Self::Exited { status } => format!("exit {status}\n"),
            Self::Signaled { signal } => format!("signal {signal}\n"),
        }
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, number) = line.split_once(' ')?;
        Some(match word {
            "pid" => Self::Started {
                pid: number.parse().ok()?,
            },
            "exit" => Self::Exited {
                status: number.parse().ok()?,
            },
            "signal" => Self::Signaled {
                signal: number.parse().ok()?,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_their_line() {
        for report in [
            Report::Started { pid: 17 },
            Report::Exited { status: 1 },
            Report::Signaled { signal: 9 },
        ] {
            assert_eq!(Report::parse(report.to_line().trim_end()), Some(report));
        }
        assert_eq!(Report::parse("nonsense 1"), None);
    }
}
