//! Kinesis data streams, in memory.
//!
//! Streams are there as soon as they are made, and have no limits on their throughput: throttles
//! are scripted, see [`crate::faults`]. Each call reads the clock once and does the rest under one
//! lock, without waiting for anything.

mod calls;
mod iterator;
pub(crate) mod number;
mod refusal;
mod requests;
pub(crate) mod shard;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::answer::Answer;
pub use iterator::IteratorLife;
pub use refusal::Refusal;
pub use stream::Placed;

use stream::Stream;

/// All streams of the one account and region.
#[derive(Debug, Default)]
pub struct Kinesis {
    world: Mutex<World>,
}

/// What the lock guards.
#[derive(Debug, Default)]
struct World {
    streams: BTreeMap<String, Stream>,
    iterator_life: IteratorLife,
}

impl Kinesis {
    /// Without any stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Executes one call of the JSON protocol.
    pub fn call(&self, operation: &str, body: &[u8]) -> Answer {
        let result = calls::execute(&mut self.lock(), operation, body, now());
        match result {
            Ok(body) => Answer::written(body),
            Err(refusal) => refusal.into(),
        }
    }

    /// Makes a stream; answers its ARN.
    ///
    /// # Errors
    /// If there is one of that name, or the name or the number of shards is none that AWS takes.
    pub fn create_stream(&self, name: &str, n_shards: u32) -> Result<String, Refusal> {
        self.lock().create(name, n_shards, false, now())
    }

    /// Puts a record.
    ///
    /// # Errors
    /// If there is no such stream, or the key or the data is larger than AWS takes.
    pub fn put(&self, stream: &str, key: &str, data: &[u8]) -> Result<Placed, Refusal> {
        calls::expect_record(key, data.len())?;
        let encoded = base64_simd::STANDARD.encode_to_string(data);
        let mut world = self.lock();
        let stream = world.stream_mut(stream)?;
        Ok(stream.put(key, None, &encoded, data.len(), now()))
    }

    /// Splits a shard in the middle of its hash keys.
    ///
    /// # Errors
    /// If there is no such shard, or it is closed or has one hash key only.
    pub fn split_shard(&self, stream: &str, shard_id: &str) -> Result<(), Refusal> {
        let mut world = self.lock();
        let stream = world.stream_mut(stream)?;
        let keys = stream.shard(shard_id)?.hash_keys.clone();
        let middle = keys.start() + (keys.end() - keys.start()).div_ceil(2);
        stream.split(shard_id, middle, now())
    }

    /// Merges two shards that lie beside each other.
    ///
    /// # Errors
    /// If they do not, or are not there, or not open.
    pub fn merge_shards(&self, stream: &str, first: &str, second: &str) -> Result<(), Refusal> {
        let mut world = self.lock();
        world.stream_mut(stream)?.merge(first, second, now())
    }

    /// Forgets all records that a stream has, as if their retention were over.
    ///
    /// # Errors
    /// If there is no such stream.
    pub fn trim_all(&self, stream: &str) -> Result<(), Refusal> {
        self.lock().stream_mut(stream)?.trim(u64::MAX);
        Ok(())
    }

    /// Sets how long iterators live, those that clients hold included.
    pub fn set_iterator_life(&self, life: IteratorLife) {
        self.lock().iterator_life = life;
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn create(
        &mut self,
        name: &str,
        n_shards: u32,
        on_demand: bool,
        now: u64,
    ) -> Result<String, Refusal> {
        let is_name_character = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if name.is_empty() || 128 < name.len() || !name.bytes().all(is_name_character) {
            return Err(Refusal::validation(format!(
                "StreamName '{name}' must have 1 to 128 of the characters a-z, A-Z, 0-9, _ . -"
            )));
        }
        if n_shards == 0 {
            return Err(Refusal::validation("ShardCount must be at least 1"));
        }
        if stream::MOST_SHARDS < n_shards {
            return Err(stream::too_many_shards());
        }
        if self.streams.contains_key(name) {
            return Err(Refusal {
                code: "ResourceInUseException",
                message: format!("Stream {name} under account 000000000000 already exists."),
            });
        }
        let stream = Stream::new(name, n_shards, on_demand, now);
        self.streams.insert(name.to_owned(), stream);
        Ok(stream::arn_of(name))
    }

    fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        let removed = self.streams.remove(name);
        removed.map(drop).ok_or_else(|| no_stream(name))
    }

    fn stream(&self, name: &str) -> Result<&Stream, Refusal> {
        self.streams.get(name).ok_or_else(|| no_stream(name))
    }

    fn stream_mut(&mut self, name: &str) -> Result<&mut Stream, Refusal> {
        self.streams.get_mut(name).ok_or_else(|| no_stream(name))
    }
}

/// An empty body, of the calls that answer nothing.
fn nothing() -> Bytes {
    Bytes::new()
}

fn no_stream(name: &str) -> Refusal {
    Refusal::not_found(format!(
        "Stream {name} under account 000000000000 not found."
    ))
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests;
