//! The ledger: records what was put into the sources and what reached the functions, and proves
//! that nothing was lost.
//!
//! A record is identified by its source, its key, and its number within that key. They are in the
//! payload: `{"key":"…","n":7,"at_us":…}` as Kinesis data or SQS body, or the attributes `key` (S),
//! `n` and `at_us` (N) of a DynamoDB item. Numbers of a key grow in the order of the puts; a record
//! that arrives for the first time after one with a higher number is out of order. `at_us`, the time
//! of the put, is for people: the ledger keeps its own copy. Functions that share a source count as
//! repeats of each other.

mod event;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::clock::Clock;
use event::{Arrival, InvalidEvent, source_name};

/// Records of puts and deliveries. Sources are named `kinesis/orders`, `sqs/orders`,
/// `dynamodb/orders`, or by their ARN.
#[derive(Debug)]
pub struct Ledger {
    clock: Clock,
    sources: Mutex<BTreeMap<String, Source>>,
}

/// Counts over all sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records put.
    pub put: u64,
    /// Records put that arrived at least once.
    pub delivered: u64,
    /// Further arrivals of records that had already arrived.
    pub repeated: u64,
    /// Records that arrived for the first time after one of their key with a higher number.
    pub out_of_order: u64,
    /// Arrivals of records that were not put through the ledger.
    pub foreign: u64,
    /// Invocations, counted once for each source in the event.
    pub batches: u64,
}

/// Counts, and latencies from put to first arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Counts at the time of the summary.
    pub counts: Counts,
    /// Median latency.
    pub p50: Option<Duration>,
    /// 99th percentile.
    pub p99: Option<Duration>,
}

#[derive(Debug, Default)]
struct Source {
    counts: Counts,
    keys: HashMap<String, Key>,
    /// In microseconds.
    latencies: Vec<u64>,
}

#[derive(Debug, Default)]
struct Key {
    records: HashMap<u64, Entry>,
    highest_delivered: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    /// Microseconds since 1970.
    put_at: u64,
    is_delivered: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: Clock::start(),
            sources: Mutex::default(),
        }
    }

    /// Notes that a record is about to be put. Returns the time in microseconds since 1970, for
    /// the payload's `at_us`.
    ///
    /// # Panics
    /// If the key already has a record with this number.
    pub fn put(&self, source: &str, key: &str, n: u64) -> u64 {
        let now = self.clock.now_us();
        let mut sources = self.lock();
        let source = sources.entry(source_name(source).into_owned()).or_default();
        let entry = Entry {
            put_at: now,
            is_delivered: false,
        };
        let key = source.keys.entry(key.to_owned()).or_default();
        let previous = key.records.insert(n, entry);
        assert!(previous.is_none(), "record {n} of a key was put twice");
        source.counts.put += 1;
        now
    }

    /// Calls [`Ledger::put`] and returns the payload: Kinesis data or the body of a message.
    pub fn put_payload(&self, source: &str, key: &str, n: u64) -> String {
        let at_us = self.put(source, key, n);
        json!({"key": key, "n": n, "at_us": at_us}).to_string()
    }

    /// Notes the arrival of an event. An invalid event changes nothing.
    pub(crate) fn deliver(&self, event: &[u8]) -> Result<(), InvalidEvent> {
        let arrivals = event::parse(event)?;
        let now = self.clock.now_us();
        let mut sources = self.lock();
        let mut seen: Vec<&str> = Vec::new();
        for arrival in &arrivals {
            let source = sources.entry(arrival.source.clone()).or_default();
            if !seen.contains(&arrival.source.as_str()) {
                seen.push(&arrival.source);
                source.counts.batches += 1;
            }
            source.deliver(arrival, now);
        }
        Ok(())
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let sources = self.lock();
        let counts = sources.values().map(|source| source.counts);
        counts.fold(Counts::default(), Counts::plus)
    }

    /// The counts and latencies so far. Sorts a copy of all latencies.
    pub fn summary(&self) -> Summary {
        let counts = self.counts();
        let sources = self.lock();
        let latencies = sources.values().flat_map(|source| &source.latencies);
        let mut latencies: Vec<u64> = latencies.copied().collect();
        drop(sources);
        latencies.sort_unstable();
        Summary {
            counts,
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Summary {
    /// Records that were put and have not arrived, when nothing is in flight any more.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.counts.missing()
    }
}

impl Counts {
    /// Records that were put and have not arrived: in flight, or lost.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.put - self.delivered
    }

    fn plus(self, other: Self) -> Self {
        Self {
            put: self.put + other.put,
            delivered: self.delivered + other.delivered,
            repeated: self.repeated + other.repeated,
            out_of_order: self.out_of_order + other.out_of_order,
            foreign: self.foreign + other.foreign,
            batches: self.batches + other.batches,
        }
    }
}

impl Source {
    fn deliver(&mut self, arrival: &Arrival, now: u64) {
        let Some((n, key)) = arrival
            .payload
            .as_ref()
            .and_then(|payload| Some((payload.n, self.keys.get_mut(&payload.key)?)))
        else {
            self.counts.foreign += 1;
            return;
        };
        match key.records.get_mut(&n) {
            None => self.counts.foreign += 1,
            Some(entry) if entry.is_delivered => self.counts.repeated += 1,
            Some(entry) => {
                entry.is_delivered = true;
                self.counts.delivered += 1;
                if Some(n) < key.highest_delivered {
                    self.counts.out_of_order += 1;
                }
                key.highest_delivered = key.highest_delivered.max(Some(n));
                self.latencies.push(now.saturating_sub(entry.put_at));
            }
        }
    }
}

/// The nearest-rank percentile.
fn percentile(sorted: &[u64], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    let value = sorted.get(rank.checked_sub(1)?)?;
    Some(Duration::from_micros(*value))
}

#[cfg(test)]
mod tests;
