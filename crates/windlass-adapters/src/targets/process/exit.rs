//! How a process ended, in AWS's words.

use std::fmt;

use super::context::mebibytes;

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Status(i32),
    Signal(i32),
    /// It was killed since it needed more memory than its limit, in bytes.
    MemoryExceeded(u64),
    /// It could not be started, with the reason.
    NotStarted(String),
    /// Its supervisor ended without a report, and the process with it.
    Lost,
}

/// Names as Go writes them, which Lambda uses.
const SIGNALS: [(i32, &str); 11] = [
    (1, "hangup"),
    (2, "interrupt"),
    (3, "quit"),
    (4, "illegal instruction"),
    (6, "aborted"),
    (7, "bus error"),
    (8, "floating point exception"),
    (9, "killed"),
    (11, "segmentation fault"),
    (13, "broken pipe"),
    (15, "terminated"),
];

impl Exit {
    /// The message of `Runtime.ExitError`.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html>
    pub(super) fn message(&self) -> String {
        match self {
            Self::Status(0) => "Runtime exited without providing a reason".to_owned(),
            Self::Status(_)
            | Self::Signal(_)
            | Self::MemoryExceeded(_)
            | Self::NotStarted(_)
            | Self::Lost => format!("Runtime exited with error: {self}"),
        }
    }

    /// What the log adds to it: AWS tells the function's caller no more.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::MemoryExceeded(limit) => {
                format!(
                    "; it needed more memory than its limit of {} MiB",
                    mebibytes(*limit)
                )
            }
            Self::Status(_) | Self::Signal(_) | Self::NotStarted(_) | Self::Lost => String::new(),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => match SIGNALS.iter().find(|(number, _)| number == signal) {
                Some((_, name)) => write!(f, "signal: {name}"),
                None => write!(f, "signal: signal {signal}"),
            },
            Self::NotStarted(reason) => f.write_str(reason),
            Self::MemoryExceeded(_) | Self::Lost => f.write_str("signal: killed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_have_the_texts_of_aws() {
        for (exit, message) in [
            (Exit::Status(0), "Runtime exited without providing a reason"),
            (Exit::Status(1), "Runtime exited with error: exit status 1"),
            (Exit::Signal(9), "Runtime exited with error: signal: killed"),
            (
                Exit::MemoryExceeded(64 << 20),
                "Runtime exited with error: signal: killed",
            ),
            (
                Exit::Signal(40),
                "Runtime exited with error: signal: signal 40",
            ),
        ] {
            assert_eq!(exit.message(), message);
        }
        let cause = Exit::MemoryExceeded(64 << 20).cause();
        assert_eq!(cause, "; it needed more memory than its limit of 64 MiB");
    }
}
