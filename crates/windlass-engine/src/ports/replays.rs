//! Replays in the store.

use async_trait::async_trait;
use windlass_core::mapping::{MappingId, Revision};
use windlass_core::outcome::Swap;
use windlass_core::replay::{ReplayName, ReplayRow};

use super::{HistoryLine, PortError};

/// Stores replays. Their leases are those of [`LeaseStore`](super::LeaseStore), by the inner ids of
/// their replays, and [`MappingStore::changes`](super::MappingStore::changes) reports them.
#[async_trait]
pub trait ReplayStore: Send + Sync {
    /// Every replay that this version can read, ordered by name.
    async fn replays(&self) -> Result<Vec<ReplayRow>, PortError>;

    async fn replay(&self, name: &ReplayName) -> Result<Option<ReplayRow>, PortError>;

    /// Writes a replay if its revision is still `seen`. With `None`, adds it unless there is one of its
    /// name.
    async fn put_replay(
        &self,
        row: &ReplayRow,
        seen: Option<Revision>,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError>;

    /// Removes a replay with its leases if its revision is still `seen`.
    async fn remove_replay(
        &self,
        id: &MappingId,
        seen: Revision,
        line: Option<&HistoryLine>,
    ) -> Result<Swap, PortError>;
}
