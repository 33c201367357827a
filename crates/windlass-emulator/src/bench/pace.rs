//! How often, and how regularly, each shard is read.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Once a second, give or take a fifth: milliseconds between two reads of a shard.
const ON_TIME: RangeInclusive<u64> = 800..=1_200;

#[derive(Debug)]
pub(super) struct Pace {
    start: Instant,
    /// By shard, in milliseconds since the start, from 1; 0 if it was not read yet.
    last: Vec<AtomicU64>,
    reads: AtomicU64,
    on_time: AtomicU64,
}

impl Pace {
    pub(super) fn new(n_shards: u32) -> Self {
        Self {
            start: Instant::now(),
            last: (0..n_shards).map(|_| AtomicU64::new(0)).collect(),
            reads: AtomicU64::new(0),
            on_time: AtomicU64::new(0),
        }
    }

    /// A shard is read; returns whether it is the first time, or `None` if there is no such shard.
    pub(super) fn read(&self, shard: u32) -> Option<bool> {
        let last = self.last.get(shard as usize)?;
        let elapsed = u64::try_from(self.start.elapsed().as_millis());
        let now = elapsed.unwrap_or(u64::MAX).saturating_add(1);
        let former = last.swap(now, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
        let is_first = former == 0;
        if !is_first && ON_TIME.contains(&now.saturating_sub(former)) {
            self.on_time.fetch_add(1, Ordering::Relaxed);
        }
        Some(is_first)
    }

    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Reads that came about a second after the one before, of the same shard.
    pub(super) fn on_time(&self) -> u64 {
        self.on_time.load(Ordering::Relaxed)
    }
}
