//! The ledger: what was put into the sources, what arrived at the functions, and the proof that
//! the one is the other.
//!
//! A record is known by its source, its key and its number for that key, which its payload tells:
//! `{"key":"…","n":7,"at_us":…}` as Kinesis data or SQS body, or as the attributes `key` (S), `n`
//! and `at_us` (N) of a DynamoDB item. Numbers of a key grow in the order of the puts; one that
//! arrives for the first time after a higher one came out of order. `at_us`, the time of the put,
//! is for people: the ledger keeps its own note of it. One ledger serves functions of different
//! sources: two that are given the same source would count as repeats.

mod event;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use event::{Arrival, source_name};

/// The body of an invocation is not an event of Lambda. Says where and not what: events may hold
/// what nobody else should see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event is not JSON in the form of Lambda's, see line {line} column {column}")]
pub struct LedgerError {
    line: usize,
    column: usize,
}

/// What was put and what arrived. Sources may be named as the ledger does (`kinesis/orders`,
/// `sqs/orders`, `dynamodb/orders`) or by their ARN.
#[derive(Debug)]
pub struct Ledger {
    clock: Clock,
    sources: Mutex<BTreeMap<String, Source>>,
}

/// Counts of one source, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records put.
    pub put: u64,
    /// Of these, records that arrived at least once.
    pub delivered: u64,
    /// Further arrivals of records that had arrived already.
    pub repeated: u64,
    /// Records that arrived for the first time after one with a higher number of their key.
    pub out_of_order: u64,
    /// Arrivals of records that the ledger did not put: of others, or without its fields.
    pub foreign: u64,
    /// Invocations; one with records of two sources would count for both.
    pub batches: u64,
}

/// All that is to be said in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What was counted.
    pub counts: Counts,
    /// Time from put to first arrival that half of the records did not exceed.
    pub p50: Option<Duration>,
    /// The same for 99 of 100 records.
    pub p99: Option<Duration>,
}

#[derive(Debug, Default)]
struct Source {
    counts: Counts,
    keys: HashMap<String, Key>,
    /// Microseconds from put to first arrival.
    latencies: Vec<u64>,
}

#[derive(Debug, Default)]
struct Key {
    records: HashMap<u64, Entry>,
    greatest: Option<u64>,
}

/// Times are microseconds since 1970.
#[derive(Debug)]
struct Entry {
    put_at: u64,
    arrived_at: Option<u64>,
}

/// The time since 1970, which never goes back.
#[derive(Debug)]
struct Clock {
    started: Instant,
    started_at: Duration,
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
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let clock = Clock {
            started: Instant::now(),
            started_at: since.unwrap_or_default(),
        };
        Self {
            clock,
            sources: Mutex::default(),
        }
    }

    /// Writes down that a record is put: to be called just before it is. Answers the time in
    /// microseconds since 1970, to be the payload's `at_us`.
    ///
    /// # Panics
    /// If this record was put before: numbers are given once.
    pub fn put(&self, source: &str, key: &str, n: u64) -> u64 {
        let now = self.clock.now();
        let mut sources = self.lock();
        let source = sources.entry(source_name(source).into_owned()).or_default();
        let entry = Entry {
            put_at: now,
            arrived_at: None,
        };
        let key = source.keys.entry(key.to_owned()).or_default();
        let before = key.records.insert(n, entry);
        assert!(before.is_none(), "record {n} of a key was put twice");
        source.counts.put += 1;
        now
    }

    /// [`Ledger::put`], with the payload to be put: Kinesis data or the body of a message.
    pub fn put_payload(&self, source: &str, key: &str, n: u64) -> String {
        let at_us = self.put(source, key, n);
        json!({"key": key, "n": n, "at_us": at_us}).to_string()
    }

    /// Takes back a put that failed, so that the record does not count as lost.
    pub fn take_back(&self, source: &str, key: &str, n: u64) {
        let mut sources = self.lock();
        if let Some(source) = sources.get_mut(&*source_name(source))
            && let Some(records) = source.keys.get_mut(key).map(|key| &mut key.records)
            && records
                .get(&n)
                .is_some_and(|entry| entry.arrived_at.is_none())
        {
            records.remove(&n);
            source.counts.put -= 1;
        }
    }

    /// Writes down that an event arrived. Answers how many of its records the ledger knows.
    ///
    /// # Errors
    /// If it is not an event of Lambda; nothing is written down then.
    pub fn deliver(&self, event: &[u8]) -> Result<usize, LedgerError> {
        let records = event::read(event)?;
        let now = self.clock.now();
        let mut sources = self.lock();
        let mut n_known = 0;
        let mut seen: Vec<&str> = Vec::new();
        for record in &records {
            let source = sources.entry(record.source.clone()).or_default();
            if !seen.contains(&record.source.as_str()) {
                seen.push(&record.source);
                source.counts.batches += 1;
            }
            if source.arrive(record, now) {
                n_known += 1;
            }
        }
        Ok(n_known)
    }

    /// What was counted for each source so far.
    pub fn by_source(&self) -> BTreeMap<String, Counts> {
        let sources = self.lock();
        let counts = sources
            .iter()
            .map(|(name, source)| (name.clone(), source.counts));
        counts.collect()
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.lock()
            .values()
            .fold(Counts::default(), |sum, source| sum.plus(source.counts))
    }

    /// What was counted and measured so far. Sorts a copy of all latencies.
    pub fn summary(&self) -> Summary {
        let sources = self.lock();
        let all = sources.values();
        let mut latencies: Vec<u64> = all.flat_map(|source| &source.latencies).copied().collect();
        let counts = sources.values().map(|source| source.counts);
        let counts = counts.fold(Counts::default(), Counts::plus);
        drop(sources);
        latencies.sort_unstable();
        Summary {
            counts,
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
        }
    }

    /// All of it, for people and scripts.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Summary { counts, p50, p99 } = self.summary();
        let micros = |time: Option<Duration>| {
            time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        };
        let sources = self.by_source();
        let sources = sources
            .iter()
            .map(|(name, counts)| (name.clone(), counts.to_json()));
        let mut summary = counts.to_json();
        summary["p50_us"] = micros(p50).into();
        summary["p99_us"] = micros(p99).into();
        summary["sources"] = Value::Object(sources.collect());
        summary
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Summary {
    /// Records that were put and have not arrived.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.counts.missing()
    }
}

impl Counts {
    /// Records that were put and have not arrived: on their way, or lost.
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

    fn to_json(self) -> Value {
        json!({
            "put": self.put,
            "delivered": self.delivered,
            "missing": self.missing(),
            "repeated": self.repeated,
            "out_of_order": self.out_of_order,
            "foreign": self.foreign,
            "batches": self.batches,
        })
    }
}

impl Source {
    /// Writes down one arrival; answers whether the record was put here.
    fn arrive(&mut self, arrival: &Arrival, now: u64) -> bool {
        let payload = arrival.payload.as_ref();
        let key = payload.and_then(|payload| self.keys.get_mut(&payload.key));
        let (Some(payload), Some(key)) = (payload, key) else {
            self.counts.foreign += 1;
            return false;
        };
        let Some(entry) = key.records.get_mut(&payload.n) else {
            self.counts.foreign += 1;
            return false;
        };
        if entry.arrived_at.is_some() {
            self.counts.repeated += 1;
            return true;
        }
        entry.arrived_at = Some(now);
        self.counts.delivered += 1;
        if key.greatest.is_some_and(|greatest| payload.n < greatest) {
            self.counts.out_of_order += 1;
        }
        key.greatest = key.greatest.max(Some(payload.n));
        self.latencies.push(now.saturating_sub(entry.put_at));
        true
    }
}

impl Clock {
    fn now(&self) -> u64 {
        let now = self.started_at + self.started.elapsed();
        u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
    }
}

/// The value that this share of the sorted values does not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    let value = sorted.get(rank.checked_sub(1)?)?;
    Some(Duration::from_micros(*value))
}

#[cfg(test)]
mod tests;
