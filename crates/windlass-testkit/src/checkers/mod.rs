//! The invariants of the consumers, checked from outside.
//!
//! A checker sees every input and every command. It keeps a model of its own and shares no code
//! with the consumer that it checks, so that a mistake in the consumer is not repeated here.

mod due_range;
pub mod queue;
pub mod shard;
pub mod skip;
pub mod slot;
mod slot_request;

use std::fmt;

/// An invariant that a consumer broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenInvariant {
    /// `I1` to `I10` of a shard, `Q1` to `Q10` of a queue, `S1` to `S5` of slots, or the word that a
    /// checker's module documentation explains.
    pub name: &'static str,
    pub detail: String,
}

impl BrokenInvariant {
    pub fn new(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for BrokenInvariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.detail)
    }
}

/// Fails with the named invariant unless it holds.
pub(crate) fn ensure(
    holds: bool,
    name: &'static str,
    detail: impl FnOnce() -> String,
) -> Result<(), BrokenInvariant> {
    if holds {
        Ok(())
    } else {
        Err(BrokenInvariant::new(name, detail()))
    }
}
