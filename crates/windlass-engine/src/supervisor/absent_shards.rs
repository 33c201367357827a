//! Ends the shards that no longer exist.
//!
//! A listing may lack a shard that exists, and a read may be refused for another reason. Only when
//! several listings in a row lack a shard and its read is refused as well, it is gone: its consumer
//! is told that the shard has ended, so that what was read is still processed, and its children
//! follow.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use windlass_core::ids::ShardId;
use windlass_core::mapping::MappingId;
use windlass_core::position::Cursor;
use windlass_core::shard::ReadResult;
use windlass_core::shard::lineage::{Shard, is_gone};

use crate::ports::{PortError, ReadLimits, StreamReader, chain};
use crate::status::StatusBoard;

/// Shards of one mapping that several listings in a row lack.
#[derive(Clone, Debug, Default)]
pub(super) struct AbsentShards(Arc<Mutex<BTreeSet<ShardId>>>);

impl AbsentShards {
    pub(super) fn replace(&self, shards: BTreeSet<ShardId>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shards;
    }

    fn contains(&self, shard: &ShardId) -> bool {
        let shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shards.contains(shard)
    }
}

/// The reader of one mapping, which ends shards that are gone.
pub(super) struct EndingReader {
    pub(super) inner: Arc<dyn StreamReader>,
    pub(super) absent: AbsentShards,
    pub(super) board: Arc<StatusBoard>,
    pub(super) mapping: MappingId,
}

#[async_trait]
impl StreamReader for EndingReader {
    async fn list_shards(&self) -> Result<Vec<Shard>, PortError> {
        self.inner.list_shards().await
    }

    async fn read(
        &self,
        shard: &ShardId,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError> {
        match self.inner.read(shard, from, limits).await {
            Err(error) if is_gone(self.absent.contains(shard), error.fault) => {
                let notice = format!(
                    "shard {shard} left the stream before it was resolved: its records after {} \
                     are lost",
                    from.after.describe()
                );
                tracing::warn!(uuid = %self.mapping, "{notice}; {}", chain(&error));
                self.board.counts_of(&self.mapping).lost_shards.add(1);
                self.board.notice(&self.mapping, notice);
                Ok(ReadResult {
                    records: Vec::new(),
                    next: None,
                    behind: Duration::ZERO,
                    has_children: false,
                    unreadable: None,
                })
            }
            result => result,
        }
    }
}
