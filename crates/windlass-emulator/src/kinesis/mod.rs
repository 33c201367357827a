//! Kinesis data streams, in memory.
//!
//! Streams are active as soon as they are created, and their throughput is unlimited: throttling
//! is scripted, see [`crate::faults`]. Records are kept until they are trimmed on request. Each
//! call reads the clock once and does the rest under one lock.

pub(crate) mod event_stream;
pub(crate) mod fan_out;
mod operations;
mod requests;
pub(crate) mod sequence_number;
pub(crate) mod shard;
mod stream;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::protocol::{AwsError, Response};
use fan_out::Consumer;
use stream::Streams;

pub use fan_out::SubscriptionTimes;
pub use stream::PutResult;

/// The streams of one account and region.
#[derive(Debug)]
pub struct Kinesis {
    clock: Clock,
    streams: Mutex<Streams>,
    /// Wakes subscriptions when a shard has more records or has ended.
    changed: Notify,
    times: Mutex<SubscriptionTimes>,
    subscribe_calls: AtomicU64,
}

impl Kinesis {
    pub(crate) fn new() -> Self {
        Self {
            clock: Clock::start(),
            streams: Mutex::default(),
            changed: Notify::new(),
            times: Mutex::default(),
            subscribe_calls: AtomicU64::new(0),
        }
    }

    pub(crate) fn call(&self, operation: &str, body: &[u8]) -> Response {
        operations::execute(self, operation, body, self.clock.now_ms())
            .map_or_else(Response::from, Response::ok)
    }

    /// Creates a stream whose shards share the hash keys evenly, and returns its ARN.
    pub fn create_stream(&self, name: &str, n_shards: u32) -> Result<String, AwsError> {
        self.lock().create(name, n_shards, self.clock.now_ms())
    }

    /// Puts a record.
    pub fn put(&self, stream: &str, key: &str, data: &[u8]) -> Result<PutResult, AwsError> {
        let mut streams = self.lock();
        let put = streams.get_mut(stream)?.put(key, data, self.clock.now_ms());
        self.changed.notify_waiters();
        Ok(put)
    }

    /// Registers a consumer for enhanced fan-out, and returns its ARN.
    pub fn register_consumer(&self, stream: &str, name: &str) -> Result<String, AwsError> {
        let mut streams = self.lock();
        let stream = streams.get_mut(stream)?;
        let consumer = Consumer::new(name, self.clock.now_ms());
        let arn = consumer.arn(stream);
        stream.consumers.push(consumer);
        Ok(arn)
    }

    /// Sets the times of all further subscriptions.
    pub fn set_subscription_times(&self, times: SubscriptionTimes) {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner) = times;
    }

    /// How often SubscribeToShard was executed, also in vain.
    pub fn subscribe_calls(&self) -> u64 {
        self.subscribe_calls.load(Ordering::Relaxed)
    }

    /// Splits an open shard in the middle of its hash keys.
    pub fn split_shard(&self, stream: &str, shard_id: &str) -> Result<(), AwsError> {
        let mut streams = self.lock();
        let stream = streams.get_mut(stream)?;
        self.changed.notify_waiters();
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
        self.changed.notify_waiters();
        stream.merge(shard_id, adjacent_shard_id, self.clock.now_ms())
    }

    /// Removes all records of a stream, as the end of their retention does.
    pub fn trim_all(&self, stream: &str) -> Result<(), AwsError> {
        self.lock().get_mut(stream)?.trim_all();
        Ok(())
    }

    fn times(&self) -> SubscriptionTimes {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
