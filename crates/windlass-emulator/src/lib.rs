//! Emulates Kinesis, DynamoDB Streams and SQS on loopback: the operations that a reader of these
//! sources calls, with scripted faults.
//!
//! Serves the demo, the tests and the benchmarks. Sources are created and filled in process. It
//! shares no code with the adapters, because shared code would share their mistakes.

mod bench;
mod clock;
mod dynamodb;
mod faults;
mod function;
mod http;
mod kinesis;
mod ledger;
mod protocol;
mod server;
mod shard_iterator;
mod sqs;

pub use bench::{
    BenchCounts, BenchLoad, BenchSource, MESSAGES_PREFIX, PAGE_PREFIX, QueueLoad,
    RECORD_LENGTH_HEADER, RECORD_MARKER, StreamLoad,
};
pub use dynamodb::DynamoDb;
pub use faults::{Fault, Faults};
pub use kinesis::{Kinesis, PutResult, SubscriptionTimes};
pub use ledger::{Counts, Ledger, Summary};
pub use protocol::AwsError;
pub use server::Emulator;
pub use sqs::Sqs;
