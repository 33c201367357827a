//! What the engine may use, and how often it looks: every limit of the data path in one place.

use std::time::Duration;

/// Most records held for one shard: this many batches, within [`MIN_BUFFERED_RECORDS`] and
/// [`MAX_BUFFERED_RECORDS`].
pub const BUFFERED_BATCHES: usize = 10;

/// So many records may be held for one shard however small its batches are: a read costs the same
/// for one record as for hundreds, and five reads a second of so many are the 2 MB that Kinesis
/// gives of a shard, if its records have 200 bytes.
pub const MIN_BUFFERED_RECORDS: usize = 2_000;

/// Most records held for one shard.
pub const MAX_BUFFERED_RECORDS: usize = 20_000;

/// Most bytes of rendered events held for one shard; the largest page of Kinesis fits.
pub const MAX_BUFFERED_BYTES: usize = 32 * 1024 * 1024;

/// The most that one read of a shard of Kinesis takes: the page, 10 MB of data in base64 with what
/// stands around them, and what it takes beside that while it grows.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
pub const KINESIS_READ_BYTES: usize = 32 * 1024 * 1024;

/// The most that one read of a shard of DynamoDB Streams takes: 1 MB of records, as the page that
/// grows, and as the event that is sent.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>
pub const DYNAMODB_STREAMS_READ_BYTES: usize = 4 * 1024 * 1024;

/// Most invocations of one mapping on a queue at a time, as many as AWS allows.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
pub const MAX_QUEUE_CONCURRENCY: usize = 1_250;

/// Most messages held for one mapping on a queue.
pub const MAX_BUFFERED_MESSAGES: usize = 10_000;

/// How long messages are held while their function cannot be reached.
pub const HOLD_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Most records of one GetRecords of Kinesis.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
pub const KINESIS_READ_LIMIT: u32 = 10_000;

/// Most records of one GetRecords of DynamoDB Streams.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>
pub const DYNAMODB_STREAMS_READ_LIMIT: u32 = 1_000;

/// How the engine behaves, for all mappings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Between reads at the tip of a Kinesis shard.
    pub kinesis_poll_interval: Duration,
    /// Between reads of a Kinesis shard while behind: Kinesis allows five reads a second.
    pub kinesis_catch_up_interval: Duration,
    /// Between reads at the tip of a shard of DynamoDB Streams.
    pub dynamodb_streams_poll_interval: Duration,
    /// Between reads of a shard of DynamoDB Streams while behind.
    pub dynamodb_streams_catch_up_interval: Duration,
    /// How long a receive waits for messages: 0 to 20 seconds.
    pub sqs_wait_time: Duration,
    /// Whether the visibility of held messages is extended.
    pub sqs_visibility_heartbeat: bool,
    /// Invocations of one mapping on a queue at a time.
    pub queue_concurrency: usize,
    /// Bytes that events may take in the daemon; at the limit reading stops.
    pub buffer_limit: usize,
    /// Invocations of the daemon at a time; at the limit they wait.
    pub invocation_limit: usize,
    /// How often shards are listed.
    pub discovery_interval: Duration,
    /// How often the store is looked at although nobody has said that it changed.
    pub reconcile_interval: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            kinesis_poll_interval: Duration::from_secs(1),
            kinesis_catch_up_interval: Duration::from_millis(200),
            dynamodb_streams_poll_interval: Duration::from_millis(250),
            dynamodb_streams_catch_up_interval: Duration::from_millis(50),
            sqs_wait_time: Duration::from_secs(20),
            sqs_visibility_heartbeat: true,
            queue_concurrency: 50,
            buffer_limit: 512 * 1024 * 1024,
            invocation_limit: 1_000,
            discovery_interval: Duration::from_secs(30),
            reconcile_interval: Duration::from_secs(5),
        }
    }
}
