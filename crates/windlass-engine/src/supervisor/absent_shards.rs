//! Ends the shards that no longer exist, and holds back positions that are not known.
//!
//! A listing may lack a shard that exists, and a read may be refused for another reason. Only when
//! several listings in a row lack a shard and its read is refused as well, it is gone: its consumer is told that the
//! shard has ended, so that what was read is still processed, and its children follow.
//!
//! What a read returns may be of a stream that was created again, which only a listing can tell: the
//! shard then has another start, and its row is replaced. So a result in doubt is held until a later
//! listing has shown the shard ([`StreamCheck`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use windlass_core::ids::ShardId;
use windlass_core::lease::Unit;
use windlass_core::lease_rows::LeaseRowPlan;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Fault;
use windlass_core::position::Cursor;
use windlass_core::record::Record;
use windlass_core::shard::lineage::{Shard, is_gone};
use windlass_core::shard::stream_check::{PageHead, StreamCheck};
use windlass_core::shard::{PageStart, ReadResult};
use windlass_core::time::Timestamp;

use crate::clock::Clock;
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
    /// Of the shards that have rows. A row that replaces another one gets an entry of its own.
    shown: BTreeMap<ShardId, ShownAt>,
}

/// When the last listing began that has shown the shard of a row.
#[derive(Clone, Debug, Default)]
pub(super) struct ShownAt(Arc<Mutex<Option<Timestamp>>>);

impl ShownAt {
    fn get(&self) -> Option<Timestamp> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownListings {
    /// The lease rows were compared with the listing that began at `began`.
    pub(super) fn set_shown(&self, plan: &LeaseRowPlan, began: Timestamp) {
        let mut known = self.lock();
        for (row, _) in &plan.remove {
            if let Unit::Shard(shard) = &row.key.unit {
                known.shown.remove(shard);
            }
        }
        for shard in &plan.shown {
            let shown_at = known.shown.entry(shard.clone()).or_default();
            *shown_at.lock() = Some(began);
        }
    }

    /// For the reader of a row.
    pub(super) fn shown_at(&self, shard: &ShardId) -> ShownAt {
        self.lock().shown.entry(shard.clone()).or_default().clone()
    }

    pub(super) fn set_absent(&self, absent: BTreeSet<ShardId>) {
        self.lock().absent = absent;
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
    pub(super) shown_at: ShownAt,
    pub(super) check: Mutex<StreamCheck>,
    pub(super) clock: Clock,
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

    fn is_accepted(&self, from: &Cursor, result: &Result<ReadResult, PortError>) -> bool {
        let head = match result {
            Ok(page) => Ok(PageHead {
                start: page.start,
                first: page.records.first().map(Record::sequence_number),
            }),
            Err(error) => Err(error.fault),
        };
        let mut check = self.check.lock().unwrap_or_else(PoisonError::into_inner);
        check.accepts(from, head, self.shown_at.get(), self.clock.now())
    }
}

/// In place of a result that is held: the read is repeated.
fn held(shard: &ShardId, result: Result<ReadResult, PortError>) -> PortError {
    let fault = Fault::Transient;
    match result {
        Ok(_) => PortError {
            operation: format!("reading shard {shard}"),
            fault,
            source: "its records do not follow the checkpoint: the shards are listed first, since \
                     the stream may have been deleted and created again"
                .into(),
        },
        Err(error) => PortError { fault, ..error },
    }
}

#[async_trait]
impl StreamReader for EndingReader {
    async fn list_shards(&self) -> Result<Vec<Shard>, PortError> {
        self.inner.list_shards().await
    }

    async fn removed_until(&self) -> Result<Option<Timestamp>, PortError> {
        self.inner.removed_until().await
    }

    async fn read(
        &self,
        shard: &ShardId,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError> {
        let result = self.inner.read(shard, from, limits).await;
        if let Err(error) = &result
            && self.is_gone(shard, from, error)
        {
            return Ok(ReadResult {
                start: PageStart::Continued,
                records: Vec::new(),
                next: None,
                behind: Duration::ZERO,
                has_children: false,
                unreadable: None,
            });
        }
        if result.is_ok() {
            self.listings.handle_read(shard);
        }
        if self.is_accepted(from, &result) {
            result
        } else {
            Err(held(shard, result))
        }
    }
}
