//! DynamoDB tables and their streams, in memory.
//!
//! As much of the tables as it takes to fill the streams: items are put, deleted and read by their
//! key, without conditions, expressions and indexes. Tables are there as soon as they are made, and
//! have no limits on their throughput: throttles are scripted, see [`crate::faults`].

mod attribute;
mod calls;
mod decimal;
mod record;
mod refusal;
mod requests;
mod shard;
mod stream;
mod stream_calls;
mod table;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::answer::Answer;
use crate::clock::Clock;
use crate::kinesis::IteratorLife;
pub use refusal::DynamoDbRefusal;
pub use stream::Changed;

use attribute::Attributes;
use record::ViewType;
use stream::Stream;
use table::{Change, KeyAttribute, KeySchema, Table};

/// The region of all tables.
const REGION: &str = "us-east-1";

/// How old an iterator may get.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetShardIterator.html>
const ITERATOR_AGE: Duration = Duration::from_secs(15 * 60);

/// Shards that a stream may begin with.
const MOST_SHARDS: u32 = 1_000;

/// All tables of the one account and region, and their streams.
#[derive(Debug)]
pub struct DynamoDb {
    clock: Clock,
    world: Mutex<World>,
}

/// What the lock guards.
#[derive(Debug)]
struct World {
    tables: BTreeMap<String, Table>,
    /// By table and time of creation. A stream outlives its table by a day.
    streams: BTreeMap<(String, u64), Stream>,
    iterator_life: IteratorLife,
}

impl Default for DynamoDb {
    fn default() -> Self {
        Self::new()
    }
}

impl DynamoDb {
    /// Without any table.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: Clock::start(),
            world: Mutex::new(World::new()),
        }
    }

    /// Executes one call of DynamoDB.
    pub fn call(&self, operation: &str, body: &[u8]) -> Answer {
        let result = calls::execute(&mut self.lock(), operation, body, self.clock.now());
        result.map_or_else(Answer::from, Answer::ok)
    }

    /// Executes one call of DynamoDB Streams.
    pub fn call_streams(&self, operation: &str, body: &[u8]) -> Answer {
        let result = stream_calls::execute(&mut self.lock(), operation, body, self.clock.now());
        result.map_or_else(Answer::from, Answer::written)
    }

    /// Makes a table whose items have one key, a string, and whose stream has this many shards and
    /// shows both images; answers the stream's ARN.
    ///
    /// # Errors
    /// If there is one of that name, or the name or the number of shards is none that is taken.
    pub fn create_table(
        &self,
        name: &str,
        hash_key: &str,
        n_shards: u32,
    ) -> Result<String, DynamoDbRefusal> {
        let hash = KeyAttribute {
            name: hash_key.to_owned(),
            kind: "S".to_owned(),
        };
        let schema = KeySchema { hash, range: None };
        let stream = Some((ViewType::NewAndOldImages, n_shards));
        let now = self.clock.now();
        let mut world = self.lock();
        let created = world.create_table(name, schema, stream, now)?;
        Ok(stream::arn_of(name, created))
    }

    /// Puts an item of this partition key. Its other attributes are the members of `payload`, an
    /// object of JSON such as [`crate::Ledger::put_payload`] gives. `None`: it is in no stream,
    /// since the table has none or the item was there just so.
    ///
    /// # Errors
    /// If there is no such table, the payload is no object or gives the key another value, or the
    /// item is none that AWS takes.
    pub fn put_item(
        &self,
        table: &str,
        key: &str,
        payload: &str,
    ) -> Result<Option<Changed>, DynamoDbRefusal> {
        let payload = serde_json::from_str::<serde_json::Map<String, Value>>(payload);
        let payload = payload.map_err(|error| {
            DynamoDbRefusal::validation(format!("the payload is no object of JSON: {error}"))
        })?;
        let mut item: Attributes = payload
            .into_iter()
            .map(|(name, value)| (name, attribute::of_json(value)))
            .collect();
        let mut world = self.lock();
        let stored = world.table_mut(table)?;
        let hash = &stored.schema.hash;
        let key = attribute::of_kind(&hash.kind, key.into());
        if item.get(&hash.name).is_some_and(|given| *given != key) {
            return Err(DynamoDbRefusal::validation(format!(
                "the payload gives the key {} another value",
                hash.name
            )));
        }
        item.insert(hash.name.clone(), key);
        let change = stored.put(item)?;
        world.record(table, &change, self.clock.now())
    }

    /// Closes each open shard of a table's stream and opens a child of it, as AWS does after about
    /// four hours.
    ///
    /// # Errors
    /// If there is no such table, it has no stream, or the stream has had a million shards.
    pub fn roll_shards(&self, table: &str) -> Result<(), DynamoDbRefusal> {
        let now = self.clock.now();
        self.lock().latest_stream_mut(table)?.roll(now)
    }

    /// Forgets all records that a table's stream has, as if their retention were over. Its shards
    /// stay listed.
    ///
    /// # Errors
    /// If there is no such table or it has no stream.
    pub fn trim_all(&self, table: &str) -> Result<(), DynamoDbRefusal> {
        self.lock().latest_stream_mut(table)?.trim(u64::MAX);
        Ok(())
    }

    /// Forgets the closed shards of a table's stream with their records, as AWS does a day after
    /// they were closed.
    ///
    /// # Errors
    /// If there is no such table or it has no stream.
    pub fn forget_closed_shards(&self, table: &str) -> Result<(), DynamoDbRefusal> {
        let mut world = self.lock();
        world.latest_stream_mut(table)?.forget_closed(u64::MAX);
        Ok(())
    }

    /// Sets how long iterators live, those that clients hold included. AWS: 15 minutes.
    pub fn set_iterator_life(&self, life: IteratorLife) {
        self.lock().iterator_life = life;
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn new() -> Self {
        Self {
            tables: BTreeMap::new(),
            streams: BTreeMap::new(),
            iterator_life: IteratorLife {
                age: ITERATOR_AGE,
                reads: None,
            },
        }
    }

    /// Makes a table and, if it is to have one, its stream of so many shards; answers the time that
    /// tells this stream from others of tables of the same name.
    fn create_table(
        &mut self,
        name: &str,
        schema: KeySchema,
        stream: Option<(ViewType, u32)>,
        now: u64,
    ) -> Result<u64, DynamoDbRefusal> {
        let is_name_character = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if !(3..=255).contains(&name.len()) || !name.bytes().all(is_name_character) {
            return Err(DynamoDbRefusal::validation(format!(
                "TableName '{name}' must have 3 to 255 of the characters a-z, A-Z, 0-9, _ . -"
            )));
        }
        if self.tables.contains_key(name) {
            let message = format!("Table already exists: {name}");
            return Err(DynamoDbRefusal::new("ResourceInUseException", message));
        }
        let mut table = Table::new(schema, now);
        let earlier = (name.to_owned(), 0)..=(name.to_owned(), u64::MAX);
        let earlier = self.streams.range(earlier).next_back();
        let created = earlier.map_or(now, |((_, earlier), _)| now.max(earlier + 1));
        if let Some((view, n_shards)) = stream {
            if !(1..=MOST_SHARDS).contains(&n_shards) {
                return Err(DynamoDbRefusal::validation(format!(
                    "a stream begins with 1 to {MOST_SHARDS} shards here and not {n_shards}"
                )));
            }
            let stream = Stream::new(name, &table.schema, view, n_shards, created);
            self.streams.insert((name.to_owned(), created), stream);
            table.stream_created = Some(created);
        }
        self.tables.insert(name.to_owned(), table);
        Ok(created)
    }

    fn delete_table(&mut self, name: &str, now: u64) -> Result<(), DynamoDbRefusal> {
        let table = self.tables.remove(name).ok_or_else(|| no_table(name))?;
        let stream = table.stream_created;
        if let Some(created) = stream {
            self.stream_of_mut(name, created)?.disable(now);
        }
        Ok(())
    }

    /// Tells the table's stream of a change.
    fn record(
        &mut self,
        table: &str,
        change: &Change,
        now: u64,
    ) -> Result<Option<Changed>, DynamoDbRefusal> {
        let Some(created) = self.table(table)?.stream_created else {
            return Ok(None);
        };
        if !change.is_one() {
            return Ok(None);
        }
        Ok(Some(self.stream_of_mut(table, created)?.put(change, now)))
    }

    /// Forgets what AWS would have by now.
    fn expire(&mut self, now: u64) {
        self.streams.retain(|_, stream| {
            stream.expire(now);
            !stream.is_over()
        });
    }

    fn table(&self, name: &str) -> Result<&Table, DynamoDbRefusal> {
        self.tables.get(name).ok_or_else(|| no_table(name))
    }

    fn table_mut(&mut self, name: &str) -> Result<&mut Table, DynamoDbRefusal> {
        self.tables.get_mut(name).ok_or_else(|| no_table(name))
    }

    /// The stream of an ARN. Account and region do not matter here.
    fn stream(&self, arn: &str) -> Result<&Stream, DynamoDbRefusal> {
        let resource = arn.split_once(":table/").map(|(_, resource)| resource);
        let parts = resource.and_then(|resource| resource.split_once("/stream/"));
        let (table, label) = parts.ok_or_else(|| {
            DynamoDbRefusal::validation(format!("StreamArn '{arn}' is not the ARN of a stream"))
        })?;
        let of_table = (table.to_owned(), 0)..=(table.to_owned(), u64::MAX);
        let mut of_table = self.streams.range(of_table);
        let found = of_table.find(|((_, created), _)| stream::label(*created) == label);
        let found = found.map(|(_, stream)| stream);
        found.ok_or_else(|| DynamoDbRefusal::not_found(&format!("Stream: {arn}")))
    }

    fn stream_of(&self, table: &str, created: u64) -> Result<&Stream, DynamoDbRefusal> {
        let stream = self.streams.get(&(table.to_owned(), created));
        stream.ok_or_else(|| no_stream(table))
    }

    fn stream_of_mut(&mut self, table: &str, created: u64) -> Result<&mut Stream, DynamoDbRefusal> {
        let stream = self.streams.get_mut(&(table.to_owned(), created));
        stream.ok_or_else(|| no_stream(table))
    }

    fn latest_stream_mut(&mut self, table: &str) -> Result<&mut Stream, DynamoDbRefusal> {
        let created = self.table(table)?.stream_created;
        self.stream_of_mut(table, created.ok_or_else(|| no_stream(table))?)
    }
}

fn no_table(name: &str) -> DynamoDbRefusal {
    DynamoDbRefusal::not_found(&format!("Table: {name}"))
}

fn no_stream(table: &str) -> DynamoDbRefusal {
    DynamoDbRefusal::not_found(&format!("Stream of Table: {table}"))
}

#[cfg(test)]
mod tests;
