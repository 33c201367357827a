//! The reader of one shard of a mapping: bounds the reads that are in flight, ends the shard when it no
//! longer exists, and holds back positions that are not known.
//!
//! A read that waits for its response holds no memory, so without a bound a source that answers
//! slowly would get a connection for each of thousands of shards.
//!
//! A listing may lack a shard that exists, and a read may be refused for another reason. Only when
//! several listings in a row lack a shard and its read is refused as well, it is gone: its consumer
//! is told that the shard has ended, so that what was read is still processed, and its children
//! follow.
//!
//! A position that the source does not know may belong to a stream that was created again, which
//! only a listing can tell: the shard then has another start, and its row is replaced. So its consumer
//! learns that the position is unknown after a listing that began later.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use windlass_core::ids::ShardId;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Fault;
use windlass_core::position::Cursor;
use windlass_core::shard::lineage::is_gone;
use windlass_core::shard::{PageStart, ReadResult};

use super::absent_shards::KnownListings;
use crate::ports::{PortError, ReadLimits, ShardReader, chain};
use crate::status::StatusBoard;

/// Concurrent reads of a mapping: enough for ten thousand reads a second that take 50 ms each.
const MAX_CONCURRENT_READS: usize = 512;

/// The reads of one mapping that may be in flight. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ReadPermits(Arc<Semaphore>);

pub(super) struct SupervisedReader {
    pub(super) inner: Box<dyn ShardReader>,
    pub(super) shard: ShardId,
    pub(super) permits: ReadPermits,
    pub(super) listings: KnownListings,
    /// How many listings had started when the source first refused the position.
    pub(super) refused_at: Option<u64>,
    pub(super) board: Arc<StatusBoard>,
    pub(super) mapping: MappingId,
}

impl Default for ReadPermits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONCURRENT_READS)))
    }
}

impl SupervisedReader {
    fn is_gone(&self, from: &Cursor, error: &PortError) -> bool {
        let shard = &self.shard;
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
    fn was_listed_since(&mut self) -> bool {
        let n_started = self.listings.n_started();
        *self.refused_at.get_or_insert(n_started) < self.listings.n_compared()
    }
}

#[async_trait]
impl ShardReader for SupervisedReader {
    async fn read(
        &mut self,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError> {
        let permit = self.permits.0.acquire().await;
        let result = self.inner.read(from, limits).await;
        drop(permit);
        match result {
            Ok(page) => {
                self.refused_at = None;
                self.listings.handle_read(&self.shard);
                Ok(page)
            }
            Err(error) if self.is_gone(from, &error) => Ok(ReadResult {
                start: PageStart::Continued,
                records: Vec::new(),
                next: None,
                behind: Duration::ZERO,
                has_children: false,
                unreadable: None,
            }),
            Err(error) if error.fault == Fault::UnknownPosition => {
                if self.was_listed_since() {
                    // The consumer leaves the position.
                    self.refused_at = None;
                    Err(error)
                } else {
                    let fault = Fault::Transient;
                    Err(PortError { fault, ..error })
                }
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt as _;
    use futures::stream::{FuturesUnordered, StreamExt as _};
    use windlass_core::position::Position;

    use super::*;
    use crate::ports::ResponseMemory;

    /// Never answers, and counts the reads.
    struct Hanging(Arc<AtomicUsize>);

    #[async_trait]
    impl ShardReader for Hanging {
        async fn read(&mut self, _: &Cursor, _: ReadLimits<'_>) -> Result<ReadResult, PortError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }
    }

    #[derive(Debug)]
    struct NoLimit;

    #[async_trait]
    impl ResponseMemory for NoLimit {
        async fn reserve(&self, _: Option<usize>) -> usize {
            usize::MAX
        }
    }

    #[test]
    fn a_source_that_hangs_gets_no_connection_for_each_shard() {
        let (n_reads, permits) = (Arc::new(AtomicUsize::new(0)), ReadPermits::default());
        let board = Arc::new(StatusBoard::default());
        let reader = |_| SupervisedReader {
            inner: Box::new(Hanging(Arc::clone(&n_reads))),
            shard: ShardId::from("0"),
            permits: permits.clone(),
            listings: KnownListings::default(),
            refused_at: None,
            board: Arc::clone(&board),
            mapping: MappingId::new("m"),
        };
        let from = Cursor::at(Position::TrimHorizon);
        let limits = ReadLimits {
            max_records: 1,
            timeout: Duration::from_secs(40),
            memory: &NoLimit,
        };
        let mut readers: Vec<_> = (0..2 * MAX_CONCURRENT_READS).map(reader).collect();
        let reads = readers.iter_mut().map(|reader| reader.read(&from, limits));
        let mut reads: FuturesUnordered<_> = reads.collect();
        assert!(reads.next().now_or_never().is_none());
        assert_eq!(n_reads.load(Ordering::Relaxed), MAX_CONCURRENT_READS);
    }
}
