//! What an operator has set of a mapping.

use async_trait::async_trait;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Swap;
use windlass_core::overrides::Overrides;
use windlass_core::parks::Parks;

use super::{HistoryLine, PortError};

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
}
