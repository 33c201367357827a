//! Kinesis data streams, in memory.
//!
//! Streams are active as soon as they are created, and their throughput is unlimited: throttling
//! is scripted, see [`crate::faults`]. Records are kept until they are trimmed on request. Each
//! call reads the clock once and does the rest under one lock.

mod operations;
mod requests;
pub(crate) mod sequence_number;
pub(crate) mod shard;
mod stream;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::protocol::{AwsError, Response};
use stream::Streams;

pub use stream::PutResult;

/// The streams of one account and region.
#[derive(Debug)]
pub struct Kinesis {
    clock: Clock,
    streams: Mutex<Streams>,
}

impl Kinesis {
    pub(crate) fn new() -> Self {
        Self {
            clock: Clock::start(),
            streams: Mutex::default(),
        }
    }

    pub(crate) fn call(&self, operation: &str, body: &[u8]) -> Response {
        operations::execute(&self.lock(), operation, body, self.clock.now_ms())
            .map_or_else(Response::from, Response::ok)
    }

    /// Creates a stream whose shards share the hash keys evenly, and returns its ARN.
    pub fn create_stream(&self, name: &str, n_shards: u32) -> Result<String, AwsError> {
        self.lock().create(name, n_shards, self.clock.now_ms())
    }

    /// Puts a record.
    pub fn put(&self, stream: &str, key: &str, data: &[u8]) -> Result<PutResult, AwsError> {
        let mut streams = self.lock();
        Ok(streams.get_mut(stream)?.put(key, data, self.clock.now_ms()))
    }

    /// Splits an open shard in the middle of its hash keys.
    pub fn split_shard(&self, stream: &str, shard_id: &str) -> Result<(), AwsError> {
        let mut streams = self.lock();
        let stream = streams.get_mut(stream)?;
        stream.split(shard_id, self.clock.now_ms())
    }

    /// Merges two open shards whose hash keys are adjacent.
    pub fn merge_shards(
        &self,
        stream: &str,
        shard_id: &str,
        adjacent_shard_id: &str,
    ) -> Result<(), AwsError> {
        let mut streams = self.lock();
        let stream = streams.get_mut(stream)?;
        stream.merge(shard_id, adjacent_shard_id, self.clock.now_ms())
    }

    /// Removes all records of a stream, as the end of their retention does.
    pub fn trim_all(&self, stream: &str) -> Result<(), AwsError> {
        self.lock().get_mut(stream)?.trim_all();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
