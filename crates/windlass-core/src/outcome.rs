//! Results of I/O calls, as far as decisions depend on them.

use std::time::Duration;

/// Result of one invocation.
///
/// The retry rules depend on whether the function was *reached*: an attempt counts only if the
/// function was invoked.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// The function ran, or may have run, and failed: this uses an attempt.
    FunctionError {
        /// Of the response; 0 without one (a timeout, a closed connection).
        status: u16,
        /// The kind of error in a word, for people: `Unhandled`, `timeout`, `HTTP 500`. Never part
        /// of the response body.
        error: String,
    },
    /// The function was not reached: this uses no attempt.
    NotInvoked {
        cause: Fault,
    },
}

/// What went wrong with an I/O call, as far as decisions depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The service requests fewer calls.
    Throttled {
        /// The requested pause, if the response has one, as received: the core limits it.
        retry_after: Option<Duration>,
    },
    /// A retry may succeed: no connection, an internal error, a malformed response, a call without
    /// records that takes too long.
    Transient,
    /// The records that were requested did not arrive in time; fewer may.
    TimedOut,
    /// Fails until an operator changes a permission, a credential or the configuration.
    Denied,
    /// The stream, queue, shard or function does not exist.
    Gone,
    /// The position to read from is older than the oldest record of the source.
    Trimmed,
    /// The source has no record with the sequence number to read from: the stream was created again,
    /// or its server has lost its data.
    UnknownPosition,
}

/// Result of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    Done,
    /// The row was changed by someone else; nothing was written.
    Conflict,
}
