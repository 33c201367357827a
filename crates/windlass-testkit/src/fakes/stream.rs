//! A stream whose records and shards the test adds.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use windlass_core::ids::{KeyHash, SequenceNumber, ShardId};
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::record::Record;
use windlass_core::record_page::{RecordMeta, RecordPageBuilder};
use windlass_core::shard::lineage::Shard;
use windlass_core::shard::{PageStart, ReadResult, UnreadableRecord};
use windlass_core::time::Timestamp;
use windlass_engine::clock::Clock;
use windlass_engine::ports::{KeptMemory, PortError, ReadLimits, ShardReader, StreamReader};

use super::{failed, lock};

#[derive(Debug)]
pub struct FakeStream {
    clock: Clock,
    shards: Mutex<BTreeMap<ShardId, FakeShard>>,
    /// Of every call.
    fault: Mutex<Option<Fault>>,
    listing_panics: AtomicBool,
    trims_unknown: AtomicBool,
    is_switched_off: AtomicBool,
    removed_until: Mutex<Option<Timestamp>>,
    /// By how many milliseconds its clock is ahead of the daemon's.
    clock_difference: AtomicI64,
    /// Bytes that a reader keeps after each read.
    kept_bytes: AtomicUsize,
}

/// Reads one shard, for one mapping.
struct FakeShardReader {
    stream: Arc<FakeStream>,
    shard: ShardId,
    kept: Option<KeptMemory>,
}

#[derive(Debug, Default)]
struct FakeShard {
    parents: Vec<ShardId>,
    records: Vec<(Bytes, Timestamp)>,
    closed: bool,
    /// The index of a record without a sequence number, at which a page ends.
    unreadable: Option<usize>,
    /// Whether listings lack it.
    hidden: bool,
    start: usize,
    n_reads: usize,
}

impl FakeStream {
    /// A stream with `n_shards` open shards, named `0`, `1` and so on.
    pub fn new(clock: Clock, n_shards: usize) -> Self {
        let shards = (0..n_shards).map(|number| (name(number), FakeShard::default()));
        Self {
            clock,
            shards: Mutex::new(shards.collect()),
            fault: Mutex::default(),
            listing_panics: AtomicBool::new(false),
            trims_unknown: AtomicBool::new(false),
            is_switched_off: AtomicBool::new(false),
            removed_until: Mutex::default(),
            clock_difference: AtomicI64::new(0),
            kept_bytes: AtomicUsize::new(0),
        }
    }

    /// Lets a reader keep memory after each read.
    pub fn keep(&self, bytes: usize) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Sets by how many milliseconds its clock is ahead of the daemon's.
    pub fn set_clock_difference(&self, millis: i64) {
        self.clock_difference.store(millis, Ordering::Relaxed);
    }

    /// Puts a record that the function will see as `event`.
    pub fn put(&self, shard: usize, event: &[u8]) {
        let difference = self.clock_difference.load(Ordering::Relaxed);
        let arrival = self.clock.wall().shifted(difference);
        let record = (Bytes::copy_from_slice(event), arrival);
        self.change(shard, |shard| shard.records.push(record));
    }

    /// Closes a shard and opens a child of it.
    pub fn follow(&self, parent: usize, child: usize) {
        self.change(parent, |shard| shard.closed = true);
        let shard = FakeShard {
            parents: vec![name(parent)],
            ..FakeShard::default()
        };
        lock(&self.shards).insert(name(child), shard);
    }

    /// Leaves a shard out of listings, or lists it again.
    pub fn hide(&self, shard: usize, hidden: bool) {
        self.change(shard, |shard| shard.hidden = hidden);
    }

    /// Removes a shard, as if its retention period had passed.
    pub fn remove(&self, shard: usize) {
        lock(&self.shards).remove(&name(shard));
    }

    /// Deletes the stream and creates it again with one open shard, `0`, whose starting sequence
    /// number is `start`. Those of the first stream are 0.
    pub fn recreate(&self, start: usize) {
        let shard = FakeShard {
            start,
            ..FakeShard::default()
        };
        *lock(&self.shards) = BTreeMap::from([(name(0), shard)]);
    }

    /// Closes its shards, as that of a table whose stream is switched off.
    pub fn switch_off(&self) {
        for shard in lock(&self.shards).values_mut() {
            shard.closed = true;
        }
        self.is_switched_off.store(true, Ordering::Relaxed);
    }

    /// Lists a shard with another starting sequence number, as servers do that report their oldest
    /// record as the start.
    pub fn move_start(&self, shard: usize, start: usize) {
        self.change(shard, |shard| shard.start = start);
    }

    /// Loses the records of a shard, whose numbers begin again.
    pub fn lose(&self, shard: usize) {
        self.change(shard, |shard| shard.records.clear());
    }

    /// Lets a record of a shard have no sequence number that can be read.
    pub fn set_unreadable(&self, shard: usize, index: usize) {
        self.change(shard, |shard| shard.unreadable = Some(index));
    }

    /// Lets every call fail, or none.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *lock(&self.fault) = fault;
    }

    fn check(&self, call: &'static str) -> Result<(), PortError> {
        let fault = *lock(&self.fault);
        fault.map_or(Ok(()), |fault| Err(failed(call, fault)))
    }

    /// Lets every listing panic, or none.
    pub fn let_listings_panic(&self, panics: bool) {
        self.listing_panics.store(panics, Ordering::Relaxed);
    }

    /// The retention period of records that arrived before is over.
    pub fn remove_until(&self, time: Timestamp) {
        *lock(&self.removed_until) = Some(time);
    }

    /// Answers a position of a former stream as one that was trimmed.
    pub fn trims_unknown_positions(&self) {
        self.trims_unknown.store(true, Ordering::Relaxed);
    }

    /// Number of reads of a shard.
    pub fn n_reads(&self, shard: usize) -> usize {
        let mut n_reads = 0;
        self.change(shard, |shard| n_reads = shard.n_reads);
        n_reads
    }

    fn page_bytes(&self, shard: &ShardId, from: &Cursor, max_records: u32) -> usize {
        let shards = lock(&self.shards);
        let bytes = |shard: &FakeShard| {
            let page = shard.page(from, max_records).map(|(_, page)| page);
            let records = &shard.records[page.unwrap_or_default()];
            records.iter().map(|(event, _)| event.len()).sum()
        };
        shards.get(shard).map_or(0, bytes)
    }

    fn change(&self, shard: usize, change: impl FnOnce(&mut FakeShard)) {
        let mut shards = lock(&self.shards);
        change(shards.get_mut(&name(shard)).expect("the shard exists"));
    }
}

impl FakeShard {
    /// `None` if the position is beyond the end, as one of a former stream.
    fn page(&self, from: &Cursor, max_records: u32) -> Option<(PageStart, Range<usize>)> {
        let end = self.records.len();
        let start = self.offset(&from.after);
        if end < start {
            return None;
        }
        let (kind, start) = match from.iterator {
            Some(_) => (PageStart::Continued, start),
            None if from.inclusive => (PageStart::AtPosition, start - 1),
            None => (PageStart::AfterPosition, start),
        };
        Some((kind, start..end.min(start + max_records as usize)))
    }

    fn offset(&self, after: &Position) -> usize {
        let index = |number: &SequenceNumber| {
            let index = number.as_str().parse::<usize>();
            index.expect("a record of this stream")
        };
        match after {
            Position::TrimHorizon => 0,
            Position::AtTimestamp(time) => {
                self.records.partition_point(|(_, arrival)| arrival < time)
            }
            Position::At(number) => index(number),
            Position::After(number) | Position::Within(number, _) => index(number) + 1,
            Position::ShardEnd => self.records.len(),
        }
    }
}

#[async_trait]
impl StreamReader for FakeStream {
    async fn list_shards(&self) -> Result<Vec<Shard>, PortError> {
        let panics = self.listing_panics.load(Ordering::Relaxed);
        assert!(!panics, "injected by the test");
        self.check("ListShards")?;
        let shards = lock(&self.shards);
        let shards = shards.iter().filter(|(_, shard)| !shard.hidden);
        let shards = shards.map(|(id, shard)| Shard {
            id: id.clone(),
            parents: shard.parents.clone(),
            starting_sequence_number: Some(shard.start.to_string().as_str().into()),
            is_closed: shard.closed,
        });
        Ok(shards.collect())
    }

    fn open(self: Arc<Self>, shard: &ShardId) -> Box<dyn ShardReader> {
        let shard = shard.clone();
        Box::new(FakeShardReader {
            stream: self,
            shard,
            kept: None,
        })
    }

    async fn removed_until(&self) -> Result<Option<Timestamp>, PortError> {
        Ok(*lock(&self.removed_until))
    }

    fn clock_difference(&self) -> Option<i64> {
        Some(self.clock_difference.load(Ordering::Relaxed))
    }

    fn is_switched_off(&self) -> bool {
        self.is_switched_off.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl ShardReader for FakeShardReader {
    async fn read(
        &mut self,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let Self {
            stream,
            shard,
            kept,
        } = self;
        let kept_bytes = stream.kept_bytes.load(Ordering::Relaxed);
        *kept = (0 < kept_bytes).then(|| limits.memory.keep(kept_bytes));
        stream.check("GetRecords")?;
        let expected = stream.page_bytes(shard, from, limits.max_records);
        let max_bytes = limits.memory.reserve(Some(expected)).await;
        let mut shards = lock(&stream.shards);
        let Some(shard) = shards.get_mut(shard) else {
            return Err(failed("GetRecords", Fault::Gone));
        };
        let Some((page_start, page)) = shard.page(from, limits.max_records) else {
            let fault = if stream.trims_unknown.load(Ordering::Relaxed) {
                Fault::Trimmed
            } else {
                Fault::UnknownPosition
            };
            return Err(failed("GetShardIterator", fault));
        };
        shard.n_reads += 1;
        let start = page.start;
        let mut builder = RecordPageBuilder::default();
        let mut unreadable = None;
        for index in page {
            if !builder.is_empty() && max_bytes <= builder.len() {
                break;
            }
            if shard.unreadable == Some(index) {
                unreadable = Some(UnreadableRecord {
                    reason: "it has no sequence number",
                });
                break;
            }
            let (event, arrival) = &shard.records[index];
            let meta = RecordMeta {
                sequence_number: &index.to_string(),
                inner: None,
                key: KeyHash::of(event),
                approximate_arrival: *arrival,
            };
            builder.push(&meta, event, 0..0);
        }
        let records = Record::of_page(builder.finish());
        let at_tip = shard.records.len() == start + records.len();
        let after = records.last().map_or_else(
            || from.after.clone(),
            |record| Position::After(record.sequence_number().into()),
        );
        Ok(ReadResult {
            start: page_start,
            records,
            next: (!(at_tip && shard.closed)).then(|| Cursor {
                iterator: Some("next".into()),
                ..Cursor::at(after)
            }),
            behind: Duration::from_secs(u64::from(!at_tip)),
            has_children: false,
            unreadable,
        })
    }

    fn release_memory(&mut self) {
        self.kept = None;
    }
}

fn name(shard: usize) -> ShardId {
    ShardId::from(shard.to_string().as_str())
}
