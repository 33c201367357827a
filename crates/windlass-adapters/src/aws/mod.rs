//! Sources on AWS, or on servers with its protocols.
//!
//! The SDK handles credentials, signing, endpoints, retries and connections. Responses with records
//! are parsed by `wire` instead, which is many times faster than the SDK's types. Reads of shards,
//! which are many and mostly empty, have requests that the SDK prepared once (`prepared_call`).

mod assumed_role;
pub mod bucket;
mod call_rules;
pub mod caller;
mod calls;
pub(crate) mod checks;
mod clients;
mod credentials;
pub mod dynamodb_streams;
mod fan_out;
pub mod fault;
pub mod kinesis;
mod leftover;
mod partition;
mod prepared_call;
pub mod queue_sender;
mod raw;
mod roles;
mod server_clock;
mod shard_api;
pub mod sqs;
mod subscription;

pub use calls::{Call, DynamoDbStreams, Kinesis, Lambda, Resource, S3, Sns, Sqs, Sts, Use};
pub use clients::{Aws, AwsClients, AwsSettings, Service, region_of_profile};
pub use partition::Partition;
pub use roles::{ArnPattern, ArnPatternError, Role, RoleRule};
pub(crate) use server_clock::ServerClock;
#[cfg(test)]
pub(crate) use {call_rules::CallRules, clients::timeouts};

use windlass_core::arn::{SourceArn, SourceKind, StreamKind};
use windlass_core::time::Timestamp;
use windlass_engine::ports::PortError;

/// Checks that a stream, a consumer of one or a queue exists and can be read. Returns when its server
/// answered, by the server's clock.
///
/// # Errors
/// `Gone` if it does not exist, `Denied` if access is denied, any other fault if the check failed.
pub async fn source_exists(
    clients: &AwsClients,
    source: &SourceArn,
) -> Result<Option<Timestamp>, PortError> {
    let clock = ServerClock::default();
    look_up_source(clients, source, &clock).await?;
    Ok(clock.answered())
}

/// The same; `clock` sees the answers.
pub(crate) async fn look_up_source(
    clients: &AwsClients,
    source: &SourceArn,
    clock: &ServerClock,
) -> Result<(), PortError> {
    let arn = source.arn();
    match source.kind() {
        SourceKind::Stream(StreamKind::Kinesis) if arn.stream_of_consumer().is_some() => {
            fan_out::exists(clients, arn, clock).await
        }
        SourceKind::Stream(StreamKind::Kinesis) => kinesis::exists(clients, arn, clock).await,
        SourceKind::Stream(StreamKind::DynamoDbStreams) => {
            dynamodb_streams::exists(clients, arn, clock).await
        }
        SourceKind::Queue => sqs::exists(clients, arn, clock).await,
    }
}

#[cfg(test)]
mod tests;
