//! Inputs and commands of a pool.

use std::fmt;

/// Identifies a process of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u64);

/// Identifies an invocation of one pool; assigned by the caller, and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvocationId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessInput {
    /// An event waits for a process.
    Invoke(InvocationId),
    /// An event is likely to follow: a process may start meanwhile.
    Expect,
    /// Nobody waits for the result of an invocation. An event that a process has is not taken from
    /// it.
    Cancel(InvocationId),
    /// The process asks for an event.
    Next(ProcessId),
    /// The process closed its connection before it took the event it was given.
    NotTaken(ProcessId),
    /// The process answered its event, with success or with an error.
    Answered(ProcessId),
    /// The process reports that it cannot start.
    InitFailed(ProcessId),
    /// The process has ended, or could not be started.
    Exited(ProcessId),
    /// Stop: events in hand are finished, nothing else is begun.
    Drain,
    /// Stop at once: every process is killed.
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessCommand {
    /// Start a process; answered by `Next`, `InitFailed` or `Exited`.
    Start(ProcessId),
    /// Answer the process's request for an event.
    Give {
        process: ProcessId,
        invocation: InvocationId,
    },
    /// Ask the process to end: SIGTERM.
    Terminate(ProcessId),
    /// End the process and its descendants: SIGKILL.
    Kill(ProcessId),
    /// The invocation has ended.
    Complete { invocation: InvocationId, end: End },
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The answer says how.
    Answered,
    /// The process did not answer in time, and is killed.
    TimedOut,
    /// The process exited with the event in hand.
    Exited,
    /// No process took the event, or it was lost in a stop: this uses no attempt.
    NotReached,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
