//! What must hold of every machine in every world, checked from outside.
//!
//! A checker sees what goes in and what comes out, keeps its own books about it, and shares no code
//! with the machine it watches.

mod pace;
pub mod queue;
pub mod shard;

use std::fmt;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the rule: `I1` to `I10` of a shard, `Q1` to `Q10` of a queue, or a word.
    pub rule: &'static str,
    /// How it was broken.
    pub how: String,
}

impl Violation {
    /// A broken rule.
    pub fn new(rule: &'static str, how: impl Into<String>) -> Self {
        Self {
            rule,
            how: how.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.how)
    }
}

/// Gives a violation unless the condition holds.
pub(crate) fn ensure(
    holds: bool,
    rule: &'static str,
    how: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation::new(rule, how()))
    }
}
