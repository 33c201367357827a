//! What can come of an I/O, as far as decisions depend on it.

use std::time::Duration;

/// What came of one invocation: every way it can end is one of these.
///
/// Whether the function was *reached* is the one fact the retry rules need: attempts are counted
/// only when the function was invoked.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function answered without an error.
    Success,
    /// The function ran, or may have run, and failed: this uses up an attempt.
    FunctionError {
        /// The status of the answer; 0 if there was none (a timeout, a closed connection).
        status: u16,
        /// The kind of error in a word, for people: `Unhandled`, `timeout`, `HTTP 500`. Never a
        /// part of the answer's body.
        error: String,
    },
    /// The function was not reached: this uses up no attempt.
    NotInvoked {
        /// Why.
        cause: Fault,
    },
}

/// The little about an I/O failure that decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The other side asks to be called less often.
    Throttled {
        /// How long it asks to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
    /// It may work next time: no connection, a timeout, an internal error, a malformed answer.
    Transient,
    /// It will not work until somebody changes a permission, a credential or a configuration.
    Denied,
    /// The stream, queue, shard or function does not exist.
    Gone,
    /// The place to read at is older than the oldest record the source still has.
    Trimmed,
}

/// Whether a conditional write was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The row was as expected, and is written.
    Done,
    /// Somebody else has changed the row; nothing was written.
    Conflict,
}
