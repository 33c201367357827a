//! A stream whose records appear when they are put.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use windlass_core::ids::{KeyHash, ShardId};
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::record::Record;
use windlass_core::record_page::{RecordMeta, RecordPageBuilder};
use windlass_core::shard::ReadResult;
use windlass_core::shard::lineage::Shard;
use windlass_core::time::Timestamp;
use windlass_engine::clock::Clock;
use windlass_engine::ports::{PortError, ReadLimits, StreamReader};

use super::{failed, lock};

/// A stream in memory, for any number of readers.
#[derive(Debug)]
pub struct FakeStream {
    clock: Clock,
    shards: Mutex<BTreeMap<ShardId, FakeShard>>,
}

#[derive(Debug, Default)]
struct FakeShard {
    parents: Vec<ShardId>,
    records: Vec<(Bytes, Timestamp)>,
    closed: bool,
    n_reads: usize,
}

impl FakeStream {
    /// A stream with so many open shards, named `0`, `1` and so on.
    pub fn new(clock: Clock, n_shards: usize) -> Self {
        let shards = (0..n_shards).map(|number| (name(number), FakeShard::default()));
        Self {
            clock,
            shards: Mutex::new(shards.collect()),
        }
    }

    /// Puts a record; `event` is what the function will see of it.
    pub fn put(&self, shard: usize, event: &[u8]) {
        let record = (Bytes::copy_from_slice(event), self.clock.now());
        self.change(shard, |shard| shard.records.push(record));
    }

    /// No more records come to a shard; another one begins as its child.
    pub fn follow(&self, parent: usize, child: usize) {
        self.change(parent, |shard| shard.closed = true);
        let shard = FakeShard {
            parents: vec![name(parent)],
            ..FakeShard::default()
        };
        lock(&self.shards).insert(name(child), shard);
    }

    /// How often a shard was read.
    pub fn n_reads(&self, shard: usize) -> usize {
        let mut n_reads = 0;
        self.change(shard, |shard| n_reads = shard.n_reads);
        n_reads
    }

    fn change(&self, shard: usize, change: impl FnOnce(&mut FakeShard)) {
        let mut shards = lock(&self.shards);
        change(
            shards
                .get_mut(&name(shard))
                .expect("the test names a shard that is there"),
        );
    }
}

impl FakeShard {
    fn place(&self, after: &Position) -> usize {
        match after {
            Position::TrimHorizon => 0,
            Position::AtTimestamp(moment) => self
                .records
                .partition_point(|(_, arrival)| arrival < moment),
            Position::After(number) => {
                let place: usize = number.as_str().parse().expect("it was given below");
                place + 1
            }
            Position::ShardEnd => self.records.len(),
        }
    }
}

#[async_trait]
impl StreamReader for FakeStream {
    async fn list_shards(&self) -> Result<Vec<Shard>, PortError> {
        let shards = lock(&self.shards);
        let shards = shards.iter().map(|(id, shard)| Shard {
            id: id.clone(),
            parents: shard.parents.clone(),
        });
        Ok(shards.collect())
    }

    async fn read(
        &self,
        shard: &ShardId,
        from: &Cursor,
        limits: ReadLimits,
    ) -> Result<ReadResult, PortError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut shards = lock(&self.shards);
        let Some(shard) = shards.get_mut(shard) else {
            return Err(failed("GetRecords", Fault::Gone));
        };
        shard.n_reads += 1;
        let start = shard.place(&from.after);
        let end = shard.records.len().min(start + limits.max_records as usize);
        let mut builder = RecordPageBuilder::default();
        for place in start..end {
            if !builder.is_empty() && limits.max_bytes <= builder.len() {
                break;
            }
            let (event, arrival) = &shard.records[place];
            let meta = RecordMeta {
                sequence_number: &place.to_string(),
                key: KeyHash::of(event),
                approximate_arrival: *arrival,
            };
            builder.push(&meta, event, 0..0);
        }
        let records = Record::of_page(builder.finish());
        let at_tip = start + records.len() == shard.records.len();
        let after = records.last().map_or_else(
            || from.after.clone(),
            |record| Position::After(record.sequence_number().into()),
        );
        Ok(ReadResult {
            records,
            next: (!(at_tip && shard.closed)).then(|| Cursor::at(after)),
            behind: Duration::from_secs(u64::from(!at_tip)),
        })
    }
}

fn name(shard: usize) -> ShardId {
    ShardId::from(shard.to_string().as_str())
}
