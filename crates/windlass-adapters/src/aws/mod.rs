//! The sources on AWS, or on anything that speaks its protocols.
//!
//! The SDK does what it is trusted for: credentials, signing, endpoints, retries, connections. What
//! it would make of an answer's records is left to the walkers in `wire`.

mod clients;
pub mod dynamodb_streams;
pub mod fault;
pub mod kinesis;
mod listing;
mod raw;
pub mod sqs;

#[cfg(test)]
pub(crate) use clients::timeouts;
pub use clients::{Aws, AwsClients, AwsSettings, Service, region_of_profile};
use listing::Listed;

use windlass_core::arn::{SourceArn, SourceKind, StreamKind};
use windlass_core::position::{Cursor, Position};
use windlass_core::record::Record;
use windlass_engine::ports::PortError;

/// Most pages of one list of shards; each has a hundred or more. A server that never ends its list
/// would be asked for ever.
const MOST_PAGES: usize = 1_000;

/// Whether a stream or queue exists and may be read.
///
/// # Errors
/// `Gone` if it does not exist, `Denied` if it may not be read, else why that is not known.
pub async fn source_exists(clients: &AwsClients, source: &SourceArn) -> Result<(), PortError> {
    let arn = source.arn();
    match source.kind() {
        SourceKind::Stream(StreamKind::Kinesis) => kinesis::exists(clients, arn).await,
        SourceKind::Stream(StreamKind::DynamoDbStreams) => {
            dynamodb_streams::exists(clients, arn).await
        }
        SourceKind::Queue => sqs::exists(clients, arn).await,
    }
}

/// Where reading goes on behind a page; `None`: the shard has ended. Of a page that was cut it is
/// behind its last record, and not where the answer says.
fn place_behind(
    records: &[Record],
    from: &Cursor,
    iterator: Option<String>,
    is_cut: bool,
) -> Option<Cursor> {
    if iterator.is_none() && !is_cut {
        return None;
    }
    let after = records
        .last()
        .map(|record| Position::After(record.sequence_number().into()));
    Some(Cursor {
        after: after.unwrap_or_else(|| from.after.clone()),
        iterator: iterator.filter(|_| !is_cut).map(Into::into),
    })
}

#[cfg(test)]
mod tests;
