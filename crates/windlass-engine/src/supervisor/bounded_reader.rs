//! Bounds the reads of a mapping that are in flight.
//!
//! A read that waits for its response holds no memory, so without a bound a source that answers
//! slowly would get a connection for each of thousands of shards.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use windlass_core::ids::ShardId;
use windlass_core::position::Cursor;
use windlass_core::shard::ReadResult;
use windlass_core::shard::lineage::Shard;
use windlass_core::time::Timestamp;

use crate::ports::{PortError, ReadLimits, StreamReader};

/// Concurrent reads of a mapping: enough for ten thousand reads a second that take 50 ms each.
const MAX_CONCURRENT_READS: usize = 512;

/// The reader that the shards of a mapping share.
pub(super) struct BoundedReader {
    inner: Arc<dyn StreamReader>,
    reads: Semaphore,
}

impl BoundedReader {
    pub(super) fn new(inner: Arc<dyn StreamReader>) -> Self {
        Self {
            inner,
            reads: Semaphore::new(MAX_CONCURRENT_READS),
        }
    }
}

#[async_trait]
impl StreamReader for BoundedReader {
    async fn list_shards(&self) -> Result<Vec<Shard>, PortError> {
        self.inner.list_shards().await
    }

    async fn read(
        &self,
        shard: &ShardId,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError> {
        let _permit = self.reads.acquire().await;
        self.inner.read(shard, from, limits).await
    }

    async fn removed_until(&self) -> Result<Option<Timestamp>, PortError> {
        self.inner.removed_until().await
    }

    fn clock_difference(&self) -> Option<i64> {
        self.inner.clock_difference()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::FutureExt as _;
    use futures::stream::{FuturesUnordered, StreamExt as _};
    use windlass_core::position::Position;

    use super::*;
    use crate::ports::ResponseMemory;

    /// Never answers.
    #[derive(Debug, Default)]
    struct Hanging {
        n_reads: AtomicUsize,
    }

    #[async_trait]
    impl StreamReader for Hanging {
        async fn list_shards(&self) -> Result<Vec<Shard>, PortError> {
            Ok(Vec::new())
        }

        async fn read(
            &self,
            _: &ShardId,
            _: &Cursor,
            _: ReadLimits<'_>,
        ) -> Result<ReadResult, PortError> {
            self.n_reads.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }

        async fn removed_until(&self) -> Result<Option<Timestamp>, PortError> {
            Ok(None)
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
        let source = Arc::new(Hanging::default());
        let reader = BoundedReader::new(Arc::clone(&source) as Arc<dyn StreamReader>);
        let (shard, from) = (ShardId::from("0"), Cursor::at(Position::TrimHorizon));
        let limits = ReadLimits {
            max_records: 1,
            timeout: Duration::from_secs(40),
            memory: &NoLimit,
        };
        let reads = (0..2 * MAX_CONCURRENT_READS).map(|_| reader.read(&shard, &from, limits));
        let mut reads: FuturesUnordered<_> = reads.collect();
        assert!(reads.next().now_or_never().is_none());
        assert_eq!(source.n_reads.load(Ordering::Relaxed), MAX_CONCURRENT_READS);
    }
}
