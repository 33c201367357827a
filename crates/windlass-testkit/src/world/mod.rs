//! Simulation: one machine in a world where everything is drawn from a seed.
//!
//! A world is a loop: take commands; for each, draw what comes of it and when; jump the clock to the
//! next answer or the next timer; feed it. Faults, crashes and drains come until a drawn moment
//! (safety: nothing wrong may happen), then everything works (liveness: everything must finish).
//! [`crate::checkers`] watch every step.
//!
//! A seed is all that is needed to see a failure again; so nothing is recorded while worlds go
//! well, and a failed one is run a second time to learn how it came to that.

mod contents;
mod plan;
pub mod queue;
pub mod shard;
mod shard_io;

use std::collections::VecDeque;
use std::fmt;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use contents::Contents;

use crate::checkers::BrokenInvariant;

/// Runs the world of one seed.
pub type Run = fn(u64, &mut Trace) -> Result<Totals, BrokenInvariant>;

/// Runs the world of one seed; a failure comes with the last steps before it.
///
/// # Errors
/// A checker found a broken, or the machine panicked.
pub fn simulate(run: Run, seed: u64) -> Result<Totals, Failure> {
    let attempt = |trace: &mut Trace| {
        catch_unwind(AssertUnwindSafe(|| run(seed, trace)))
            .unwrap_or_else(|panic| Err(BrokenInvariant::new("panic", text_of(panic.as_ref()))))
    };
    attempt(&mut Trace::default()).map_err(|broken| {
        let mut trace = Trace::recording();
        let again = attempt(&mut trace);
        assert_eq!(
            again.as_ref().err(),
            Some(&broken),
            "seed {seed} does the same every time"
        );
        Failure {
            seed,
            broken,
            tail: trace.lines.into(),
        }
    })
}

/// What worlds went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Worlds that ended well.
    pub worlds: u64,
    /// Inputs and timers that were fed.
    pub steps: u64,
    /// Crashes, each followed by a start with what is stored.
    pub crashes: u64,
    /// Drains that ended, each followed by a start with what is stored.
    pub drains: u64,
    /// Leases that somebody else took.
    pub leases_lost: u64,
    /// Times the source had thrown away what was to be read next.
    pub trims: u64,
    /// Messages that the queue gave again.
    pub redeliveries: u64,
    /// Records or messages that had to be delivered.
    pub records: u64,
    /// Invocations that were asked for.
    pub invocations: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.drains += other.drains;
        self.leases_lost += other.leases_lost;
        self.trims += other.trims;
        self.redeliveries += other.redeliveries;
        self.records += other.records;
        self.invocations += other.invocations;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} worlds", self.worlds)?;
        // What a kind of world does not have is not spoken of.
        let others = [
            (self.steps, "steps"),
            (self.crashes, "crashes"),
            (self.drains, "drains"),
            (self.leases_lost, "leases lost"),
            (self.trims, "trims"),
            (self.redeliveries, "redeliveries"),
            (self.records, "records"),
            (self.invocations, "invocations"),
        ];
        for (n, what) in others.into_iter().filter(|(n, _)| 0 < *n) {
            write!(f, ", {n} {what}")?;
        }
        Ok(())
    }
}

/// A world that did not end well.
#[derive(Debug)]
pub struct Failure {
    /// What to run again.
    pub seed: u64,
    /// What was wrong.
    pub broken: BrokenInvariant,
    /// The last steps before it.
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

/// The last steps of a world, if they are recorded.
#[derive(Debug, Default)]
pub struct Trace {
    recording: bool,
    lines: VecDeque<String>,
}

impl Trace {
    const KEPT: usize = 60;

    fn recording() -> Self {
        Self {
            recording: true,
            lines: VecDeque::new(),
        }
    }

    /// Adds a line; it is made only where steps are recorded.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.recording {
            if self.lines.len() == Self::KEPT {
                self.lines.pop_front();
            }
            self.lines.push_back(line());
        }
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "not a text".to_owned())
}
