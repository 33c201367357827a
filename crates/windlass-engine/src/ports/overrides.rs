//! What an operator has set of a mapping.

use async_trait::async_trait;
use windlass_core::lease::Lease;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Swap;
use windlass_core::overrides::Overrides;
use windlass_core::parks::Parks;
use windlass_core::seek::SeekPlan;

use super::{HistoryLine, PortError};

/// A seek as a store writes it.
#[derive(Clone, Debug)]
pub struct SeekWrite {
    pub mapping: MappingId,
    /// All rows of the mapping.
    pub seen: Vec<Lease>,
    pub plan: SeekPlan,
}

/// Stores what operators set of mappings. Each write is a change of its mapping, as
/// [`MappingStore::changes`](super::MappingStore::changes) reports it.
#[async_trait]
pub trait OverrideStore: Send + Sync {
    /// Those of a mapping; none if there is no such mapping.
    async fn overrides(&self, mapping: &MappingId) -> Result<Overrides, PortError>;

    /// Replaces the parks of a mapping if they are still `seen`. `line` is the change in the history.
    async fn set_parks(
        &self,
        mapping: &MappingId,
        seen: &Parks,
        parks: &Parks,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError>;

    /// Moves the checkpoints of a mapping: each row that the plan changes begins its next epoch. All
    /// or nothing is written: nothing if the mapping is being deleted, or if its rows are not those
    /// that were seen, each in its epoch.
    async fn seek(&self, write: &SeekWrite, line: Option<&HistoryLine>) -> Result<Swap, PortError>;

    /// Ends the waiting of rows that a seek has set aside, and whose epochs are unchanged.
    async fn resume(&self, leases: &[Lease]) -> Result<(), PortError>;
}
