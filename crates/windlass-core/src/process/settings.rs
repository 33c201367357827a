//! Settings of one pool.

use std::time::Duration;

/// Settings of a [`ProcessPool`](super::ProcessPool).
#[derive(Clone, Debug)]
pub struct ProcessPoolSettings {
    /// Processes that run also while there is nothing to do.
    pub minimum: usize,
    /// At least 1, and at least `minimum`.
    pub maximum: usize,
    /// From the start of a process until it asks for an event, and from its answer until it asks for
    /// the next one.
    pub init_timeout: Duration,
    /// From the moment a process is given an event until its answer is complete.
    pub timeout: Duration,
    /// Processes beyond `minimum` that have nothing to do for this time are stopped.
    pub idle_timeout: Duration,
    /// Variation of the backoff, in percent.
    pub jitter_percent: u32,
}
