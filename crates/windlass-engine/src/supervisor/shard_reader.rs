//! The reader of one shard of a mapping: bounds the reads that are in flight, ends the shard when it no
//! longer exists, and holds results that may be of another stream.
//!
//! A read that waits for its response holds no memory, so without a bound a source that answers
//! slowly would get a connection for each of thousands of shards. With enhanced fan-out each shard has
//! a connection, and its read waits until there are records.
//!
//! A listing may lack a shard that exists, and a read may be refused for another reason. Only when
//! several listings in a row lack a shard and its read is refused as well, it is gone: its consumer
//! is told that the shard has ended, so that what was read is still processed, and its children
//! follow.
//!
//! What a read returns may be of a stream that was created again, which only a listing can tell: the
//! shard then has another start, and its row is replaced. So a result in doubt is held until a later
//! listing has shown the shard ([`StreamCheck`]). A consumer with enhanced fan-out belongs to one
//! stream, which cannot be deleted without it.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DeleteStream.html>

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use windlass_core::ids::ShardId;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::record::Record;
use windlass_core::shard::lineage::is_gone;
use windlass_core::shard::stream_check::{PageHead, StreamCheck};
use windlass_core::shard::{PageStart, ReadResult};

use super::absent_shards::{KnownListings, ShownAt};
use crate::clock::Clock;
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
    /// `None`: any number of reads.
    pub(super) permits: Option<ReadPermits>,
    pub(super) listings: KnownListings,
    pub(super) shown_at: ShownAt,
    /// `None`: what is read can be of no other stream.
    pub(super) check: Option<StreamCheck>,
    pub(super) clock: Clock,
    pub(super) board: Arc<StatusBoard>,
    pub(super) mapping: MappingId,
}

/// A shard left its stream before it was resolved.
pub(super) fn report_lost(
    board: &StatusBoard,
    mapping: &MappingId,
    shard: &ShardId,
    position: &Position,
    cause: &str,
) {
    let notice = format!(
        "shard {shard} left the stream before it was resolved: its records after {} are lost",
        position.describe()
    );
    tracing::warn!(uuid = %mapping, "{notice}; {cause}");
    board.counts_of(mapping).lost_shards.add(1);
    board.notice(mapping, notice);
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
            let cause = chain(error);
            report_lost(&self.board, &self.mapping, shard, &from.after, &cause);
        }
        is_gone
    }

    fn is_accepted(&mut self, from: &Cursor, result: &Result<ReadResult, PortError>) -> bool {
        let Some(check) = &mut self.check else {
            return true;
        };
        let head = match result {
            Ok(page) => Ok(PageHead {
                start: page.start,
                first: page.records.first().map(Record::sequence_number),
            }),
            Err(error) => Err(error.fault),
        };
        let (shown_at, now) = (self.shown_at.get(), self.clock.now());
        check.accepts(from, head, shown_at, now)
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
impl ShardReader for SupervisedReader {
    async fn read(
        &mut self,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError> {
        let permit = match &self.permits {
            Some(permits) => permits.0.acquire().await.ok(),
            None => None,
        };
        let result = self.inner.read(from, limits).await;
        drop(permit);
        if let Err(error) = &result
            && self.is_gone(from, error)
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
            self.listings.handle_read(&self.shard);
        }
        if self.is_accepted(from, &result) {
            result
        } else {
            Err(held(&self.shard, result))
        }
    }

    fn has_page(&self, from: &Cursor) -> bool {
        self.inner.has_page(from)
    }

    fn release_memory(&mut self) {
        self.inner.release_memory();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt as _;
    use futures::stream::{FuturesUnordered, StreamExt as _};

    use super::*;
    use crate::ports::{KeptMemory, ResponseMemory};

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

        fn keep(&self, _: usize) -> KeptMemory {
            Box::new(())
        }
    }

    #[test]
    fn a_source_that_hangs_gets_no_connection_for_each_shard() {
        let (n_reads, permits) = (Arc::new(AtomicUsize::new(0)), ReadPermits::default());
        let board = Arc::new(StatusBoard::default());
        let reader = |_| SupervisedReader {
            inner: Box::new(Hanging(Arc::clone(&n_reads))),
            shard: ShardId::from("0"),
            permits: Some(permits.clone()),
            listings: KnownListings::default(),
            shown_at: ShownAt::default(),
            check: Some(StreamCheck::default()),
            clock: Clock::start(),
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
