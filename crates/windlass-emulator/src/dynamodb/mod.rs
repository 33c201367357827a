//! DynamoDB tables and their streams, in memory.
//!
//! Tables have no operations of their own: items are put in process, to fill the streams. Streams
//! show both images and are there as soon as their tables are created; throttling is scripted, see
//! [`crate::faults`].

mod attribute;
mod operations;
mod shard;
mod stream;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::protocol::{AwsError, Response};
use stream::Streams;

/// The tables of one account and region.
#[derive(Debug)]
pub struct DynamoDb {
    clock: Clock,
    streams: Mutex<Streams>,
}

impl DynamoDb {
    pub(crate) fn new() -> Self {
        Self {
            clock: Clock::start(),
            streams: Mutex::default(),
        }
    }

    /// Executes an operation of DynamoDB Streams.
    pub(crate) fn call(&self, operation: &str, body: &[u8]) -> Response {
        let result = operations::execute(&self.lock(), operation, body, self.clock.now_ms());
        result.map_or_else(operations::error_response, Response::ok)
    }

    /// Creates a table whose items have a string as their only key, and returns the ARN of its
    /// stream, which has `n_shards` open shards.
    pub fn create_table(
        &self,
        name: &str,
        hash_key: &str,
        n_shards: u32,
    ) -> Result<String, AwsError> {
        let now = self.clock.now_ms();
        self.lock().create(name, hash_key, n_shards, now)
    }

    /// Puts an item. Its other attributes are the members of `payload`, a JSON object. As in AWS,
    /// an item that does not change produces no record.
    pub fn put_item(&self, table: &str, key: &str, payload: &str) -> Result<(), AwsError> {
        let payload = serde_json::from_str(payload).map_err(|error| {
            AwsError::validation(format!("the payload is not a JSON object: {error}"))
        })?;
        let item = attribute::from_members(payload);
        let mut streams = self.lock();
        let stream = streams.of_table_mut(table)?;
        stream.put_item(key, item, self.clock.now_ms());
        Ok(())
    }

    /// Closes each open shard of a table's stream and opens a child of it, as AWS does about every
    /// four hours.
    pub fn roll_shards(&self, table: &str) -> Result<(), AwsError> {
        let now = self.clock.now_ms();
        self.lock().of_table_mut(table)?.roll(now);
        Ok(())
    }

    /// Removes all records of a table's stream, as the end of their retention does. Shards remain
    /// listed.
    pub fn trim_all(&self, table: &str) -> Result<(), AwsError> {
        self.lock().of_table_mut(table)?.trim_all();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
