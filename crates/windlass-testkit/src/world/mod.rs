//! Simulation: one consumer, the lease rows of one stream, the slots of one daemon, the processes of one
//! function, or redrives, in a world that is drawn from a seed.
//!
//! A world is a loop: take the commands; for each, draw its result and its latency; advance the
//! clock to the next result or timer; feed it. Faults, crashes and drains happen until a drawn time
//! (safety: no invariant may break), then everything works (liveness: everything must finish).
//! The [`crate::checkers`] run at every step.
//!
//! A seed reproduces a failure, so nothing is recorded at first; a world that fails runs a second
//! time to record its last steps.

mod clocks;
mod contents;
mod plan;
pub mod process;
pub mod queue;
pub mod redrive;
pub mod shard;
mod shard_io;
mod shard_replay;
pub mod slot;
pub mod stream;

use std::collections::VecDeque;
use std::fmt;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use contents::Contents;

use crate::checkers::BrokenInvariant;

/// Runs the world of one seed.
pub type Run = fn(u64, &mut Trace) -> Result<Totals, BrokenInvariant>;

/// Runs the world of one seed; a failure includes the last steps.
///
/// # Errors
/// An invariant was broken, or the consumer panicked.
pub fn simulate(run: Run, seed: u64) -> Result<Totals, Failure> {
    let attempt = |trace: &mut Trace| {
        catch_unwind(AssertUnwindSafe(|| run(seed, trace))).unwrap_or_else(|panic| {
            Err(BrokenInvariant::new("panic", panic_message(panic.as_ref())))
        })
    };
    attempt(&mut Trace::default()).map_err(|broken| {
        let mut trace = Trace::recording();
        let again = attempt(&mut trace);
        assert_eq!(
            again.as_ref().err(),
            Some(&broken),
            "seed {seed} is deterministic"
        );
        Failure {
            seed,
            broken,
            tail: trace.lines.into(),
        }
    })
}

/// What happened in the worlds that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub worlds: u64,
    pub steps: u64,
    /// Crashes, each followed by a restart from the checkpoint.
    pub crashes: u64,
    /// Drains that ended, each followed by a restart from the checkpoint.
    pub drains: u64,
    /// Leases that another owner took.
    pub leases_lost: u64,
    /// Of one shard: reads whose position the source had trimmed. Of a stream: how often it trimmed.
    pub trims: u64,
    /// Shards that left their stream.
    pub expired: u64,
    /// Streams that were deleted and created again.
    pub recreated: u64,
    /// Messages that the queue delivered again.
    pub redeliveries: u64,
    /// Requests for a slot that were cancelled.
    pub cancellations: u64,
    pub records: u64,
    pub invocations: u64,
    /// Deliveries of records that were given up, retries included.
    pub deliveries: u64,
    /// Records that were given up without a destination.
    pub dropped: u64,
    /// Skips by an operator.
    pub skips: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.drains += other.drains;
        self.leases_lost += other.leases_lost;
        self.trims += other.trims;
        self.expired += other.expired;
        self.recreated += other.recreated;
        self.redeliveries += other.redeliveries;
        self.cancellations += other.cancellations;
        self.records += other.records;
        self.invocations += other.invocations;
        self.deliveries += other.deliveries;
        self.dropped += other.dropped;
        self.skips += other.skips;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} worlds", self.worlds)?;
        // A kind of world without leases, for example, does not print them.
        let others = [
            (self.steps, "steps"),
            (self.crashes, "crashes"),
            (self.drains, "drains"),
            (self.leases_lost, "leases lost"),
            (self.trims, "trims"),
            (self.expired, "shards expired"),
            (self.recreated, "streams created again"),
            (self.redeliveries, "redeliveries"),
            (self.cancellations, "cancellations"),
            (self.records, "records"),
            (self.invocations, "invocations"),
            (self.deliveries, "deliveries"),
            (self.dropped, "records dropped"),
            (self.skips, "skips"),
        ];
        for (n, what) in others.into_iter().filter(|(n, _)| 0 < *n) {
            write!(f, ", {n} {what}")?;
        }
        Ok(())
    }
}

/// A world in which an invariant was broken.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub broken: BrokenInvariant,
    /// The last steps.
    pub tail: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.tail {
            writeln!(f, "  {line}")?;
        }
        write!(f, "seed {}: {}", self.seed, self.broken)
    }
}

/// The last steps of a world, recorded only on the second run.
#[derive(Debug, Default)]
pub struct Trace {
    recording: bool,
    lines: VecDeque<String>,
}

impl Trace {
    const MAX_LINES: usize = 60;

    fn recording() -> Self {
        Self {
            recording: true,
            lines: VecDeque::new(),
        }
    }

    /// Adds a line, if steps are recorded.
    pub fn record(&mut self, line: impl FnOnce() -> String) {
        if self.recording {
            if self.lines.len() == Self::MAX_LINES {
                self.lines.pop_front();
            }
            self.lines.push_back(line());
        }
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
