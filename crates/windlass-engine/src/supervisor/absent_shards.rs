//! Ends the shards that no longer exist, and holds back positions that are not known.
//!
//! A listing may lack a shard that exists, and a read may be refused for another reason. Only when
//! several listings in a row lack a shard and its read is refused as well, it is gone: its consumer is told that the
//! shard has ended, so that what was read is still processed, and its children follow.
//!
//! A position that the source does not know may belong to a stream that was created again, which
//! only a listing can tell: the shard then has another start, and its row is replaced. So its consumer
//! learns that the position is unknown after a listing that began later.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use windlass_core::ids::ShardId;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Fault;
use windlass_core::position::Cursor;
use windlass_core::shard::lineage::{Shard, is_gone};
use windlass_core::shard::{PageStart, ReadResult};

use crate::ports::{PortError, ReadLimits, StreamReader, chain};
use crate::status::StatusBoard;

/// What the listings of one mapping's stream say, for its readers.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownListings(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Shards of rows that several listings in a row lack.
    absent: BTreeSet<ShardId>,
    /// Absent shards that were read all the same.
    read: BTreeSet<ShardId>,
    /// Listings that were started.
    n_started: u64,
    /// The number of the listing with which the lease rows were compared last.
    n_compared: u64,
}

impl KnownListings {
    pub(super) fn start(&self) {
        self.lock().n_started += 1;
    }

    pub(super) fn n_started(&self) -> u64 {
        self.lock().n_started
    }

    pub(super) fn set_compared(&self, n_compared: u64, absent: BTreeSet<ShardId>) {
        let mut known = self.lock();
        known.n_compared = n_compared;
        known.absent = absent;
    }

    /// An absent shard that is read exists: until more listings lack it, its reads may fail.
    fn handle_read(&self, shard: &ShardId) {
        let mut known = self.lock();
        let absent = known.absent.take(shard);
        known.read.extend(absent);
    }

    /// The absent shards that were read since the last call.
    pub(super) fn take_read(&self) -> BTreeSet<ShardId> {
        std::mem::take(&mut self.lock().read)
    }

    fn is_absent(&self, shard: &ShardId) -> bool {
        self.lock().absent.contains(shard)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader of one shard of a mapping.
pub(super) struct EndingReader {
    pub(super) inner: Arc<dyn StreamReader>,
    pub(super) listings: KnownListings,
    /// How many listings had started when the source first refused the position.
    pub(super) refused_at: Mutex<Option<u64>>,
    pub(super) board: Arc<StatusBoard>,
    pub(super) mapping: MappingId,
}

impl EndingReader {
    fn is_gone(&self, shard: &ShardId, from: &Cursor, error: &PortError) -> bool {
        let is_gone = is_gone(self.listings.is_absent(shard), error.fault);
        if is_gone {
            let notice = format!(
                "shard {shard} left the stream before it was resolved: its records after {} are \
                 lost",
                from.after.describe()
            );
            tracing::warn!(uuid = %self.mapping, "{notice}; {}", chain(error));
            self.board.counts_of(&self.mapping).lost_shards.add(1);
            self.board.notice(&self.mapping, notice);
        }
        is_gone
    }

    /// Whether the stream was listed after the source first refused the position.
    fn was_listed_since(&self) -> bool {
        let known = self.listings.lock();
        let mut refused_at = self.lock_refused_at();
        let first = *refused_at.get_or_insert(known.n_started);
        first < known.n_compared
    }

    fn lock_refused_at(&self) -> MutexGuard<'_, Option<u64>> {
        self.refused_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
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
            Err(error) if self.is_gone(shard, from, &error) => Ok(ReadResult {
                start: PageStart::Continued,
                records: Vec::new(),
                next: None,
                behind: Duration::ZERO,
                has_children: false,
                unreadable: None,
            }),
            Err(error) if error.fault == Fault::UnknownPosition && !self.was_listed_since() => {
                let fault = Fault::Transient;
                Err(PortError { fault, ..error })
            }
            // The consumer leaves a position that it learns to be unknown.
            result => {
                let is_settled = result
                    .as_ref()
                    .map_or_else(|error| error.fault == Fault::UnknownPosition, |_| true);
                if is_settled {
                    *self.lock_refused_at() = None;
                }
                if result.is_ok() {
                    self.listings.handle_read(shard);
                }
                result
            }
        }
    }
}
