//! Every limit and interval of the data path.

use std::time::Duration;

use windlass_core::mapping::RetryBackoff;

use crate::dead_letters::DeadLetterSettings;
use crate::ports::QueueDefaults;

/// Batches in memory for one lane of a shard; all together within [`MIN_BUFFERED_RECORDS`] and [`MAX_BUFFERED_RECORDS`].
pub const BUFFERED_BATCHES: usize = 10;

/// Records in memory for one shard, however small its batches are: a read costs the same for one
/// record as for hundreds. Five reads of 2,000 records of 200 bytes are the 2 MB a second that a
/// shard of Kinesis returns.
pub const MIN_BUFFERED_RECORDS: usize = 2_000;

/// Records in memory for one shard.
pub const MAX_BUFFERED_RECORDS: usize = 20_000;

/// Bytes of events in memory for one shard; the largest page of Kinesis fits.
pub const MAX_BUFFERED_BYTES: usize = 32 * 1024 * 1024;

/// Memory of the largest read of a shard of Kinesis: 10 MB of data in base64 with the rest of the
/// events, and the spare capacity of the buffer while it grows.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
pub const KINESIS_READ_BYTES: usize = 32 * 1024 * 1024;

/// Memory of the largest read of a shard of DynamoDB Streams: 1 MB of records, in the page that
/// grows and in the event that is sent.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>
pub const DYNAMODB_STREAMS_READ_BYTES: usize = 4 * 1024 * 1024;

/// Concurrent invocations of one mapping on a queue: the largest number that AWS allows.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
pub const MAX_QUEUE_CONCURRENCY: usize = 1_250;

/// Messages in memory for one mapping on a queue.
pub const MAX_BUFFERED_MESSAGES: usize = 10_000;

/// How long messages stay in memory while their function cannot be reached.
pub const HOLD_LIMIT: Duration = Duration::from_secs(15 * 60);

/// By how much the delay of a consumer's backoff varies, so that units that failed together are not
/// retried together.
pub const BACKOFF_JITTER_PERCENT: u32 = 20;

/// Records of one GetRecords of Kinesis.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
pub const KINESIS_READ_LIMIT: u32 = 10_000;

/// Records of one GetRecords of DynamoDB Streams.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>
pub const DYNAMODB_STREAMS_READ_LIMIT: u32 = 1_000;

/// Settings of the engine, for all mappings.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineSettings {
    /// Between reads at the tip of a Kinesis shard.
    pub kinesis_poll_interval: Duration,
    /// Between reads of a Kinesis shard behind its tip. Kinesis allows five reads a second.
    pub kinesis_catch_up_interval: Duration,
    /// Between reads at the tip of a shard of DynamoDB Streams.
    pub dynamodb_streams_poll_interval: Duration,
    /// Between reads of a shard of DynamoDB Streams behind its tip.
    pub dynamodb_streams_catch_up_interval: Duration,
    /// Long polling of a receive: 0 to 20 seconds.
    pub sqs_wait_time: Duration,
    /// Whether the visibility timeout of messages in memory is extended.
    pub sqs_visibility_heartbeat: bool,
    /// Delays of messages that their function failed, of mappings without their own; `None`: the
    /// visibility timeout of their queue.
    pub sqs_retry_backoff: Option<RetryBackoff>,
    /// Concurrent invocations of one mapping on a queue.
    pub queue_concurrency: usize,
    /// Bytes of events in memory; at the limit reading stops.
    pub buffer_limit: usize,
    /// Concurrent invocations of the daemon; further ones wait.
    pub invocation_limit: usize,
    pub dead_letters: DeadLetterSettings,
    /// Between listings of the shards of a stream.
    pub discovery_interval: Duration,
    /// How long a stop waits for what is in flight, of the daemon or of a unit whose position is moved.
    pub drain_timeout: Duration,
    /// Between reads of the store without a [`Wakeup`](crate::supervisor::Wakeup).
    pub reconcile_interval: Duration,
}

impl EngineSettings {
    pub const fn queue_defaults(&self) -> QueueDefaults {
        QueueDefaults {
            visibility_heartbeat: self.sqs_visibility_heartbeat,
            retry_backoff: self.sqs_retry_backoff,
        }
    }
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
            sqs_retry_backoff: None,
            queue_concurrency: 50,
            buffer_limit: 512 * 1024 * 1024,
            invocation_limit: 1_000,
            dead_letters: DeadLetterSettings::default(),
            discovery_interval: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(25),
            reconcile_interval: Duration::from_secs(5),
        }
    }
}
