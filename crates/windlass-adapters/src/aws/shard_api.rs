//! Reading of shards: the rules that Kinesis and DynamoDB Streams have in common.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::position::{Cursor, Position};
use windlass_core::record::Record;
use windlass_core::shard::ReadResult;
use windlass_core::shard::lineage::{Shard, close_parents};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{BoxError, PortError, ReadLimits};

use super::fault::{port_error, unusable_response};
use super::server_clock::ServerClock;
use crate::wire::page_builder::GetRecordsResponse;

/// Limit of pages of one list of shards; each has a hundred shards or more. Without a limit, a
/// server whose list never ends would be called forever.
pub(super) const MAX_LIST_PAGES: usize = 1_000;

/// The calls of a stream.
pub(super) trait ShardApi: Sync {
    /// Names a call and the stream in errors.
    fn operation(&self, call: &str) -> String;

    /// The clock by which records are stamped.
    fn server_clock(&self) -> &ServerClock;

    fn failed<E>(&self, call: &str, error: SdkError<E, HttpResponse>) -> PortError
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        port_error(self.operation(call), error)
    }

    fn unusable(&self, call: &str, cause: impl Into<BoxError>) -> PortError {
        unusable_response(self.operation(call), cause)
    }

    /// All shards, from all pages of the list.
    fn all_shards(&self) -> impl Future<Output = Result<Vec<Shard>, PortError>> + Send;

    fn shard_iterator(
        &self,
        shard: &ShardId,
        after: &Position,
    ) -> impl Future<Output = Result<Arc<str>, PortError>> + Send;

    /// `None`: the iterator has expired.
    fn get_records(
        &self,
        shard: &ShardId,
        iterator: &str,
        limits: ReadLimits,
    ) -> impl Future<Output = Result<Option<GetRecordsResponse>, PortError>> + Send;
}

pub(super) async fn list_shards(api: &impl ShardApi) -> Result<Vec<Shard>, PortError> {
    let mut shards = api.all_shards().await?;
    close_parents(&mut shards);
    Ok(shards)
}

/// A sequence number of a listing; some servers send an empty one in place of none.
pub(super) fn sequence_number(text: Option<&str>) -> Option<SequenceNumber> {
    let number = text.filter(|number| !number.is_empty());
    number.map(SequenceNumber::from)
}

/// Reads one page. An expired iterator is replaced once.
pub(super) async fn read_page(
    api: &impl ShardApi,
    shard: &ShardId,
    from: &Cursor,
    limits: ReadLimits,
) -> Result<ReadResult, PortError> {
    let mut response = None;
    if let Some(iterator) = &from.iterator {
        response = api.get_records(shard, iterator, limits).await?;
    }
    if response.is_none() {
        let iterator = api.shard_iterator(shard, &from.after).await?;
        response = api.get_records(shard, &iterator, limits).await?;
    }
    let response = response.ok_or_else(|| {
        api.unusable("GetRecords", "a new shard iterator was rejected as expired")
    })?;
    if response.next_iterator.is_none() && !response.has_children && !response.is_truncated {
        confirm_end(api, shard).await?;
    }
    let behind = response
        .behind_latest
        .unwrap_or_else(|| estimate_behind(&response.records, api.server_clock()));
    // Records that were left out are still to be read, even if the response ended at the tip.
    let min_behind = Duration::from_millis(u64::from(response.is_truncated));
    Ok(ReadResult {
        next: next_cursor(&response, from),
        behind: behind.max(min_behind),
        records: response.records,
    })
}

/// Confirms the end of a shard, which a response without a next iterator signals. A shard that
/// still receives records has no end: an incomplete response would end it for good. A shard that is
/// no longer listed has no more records.
async fn confirm_end(api: &impl ShardApi, shard: &ShardId) -> Result<(), PortError> {
    let shards = list_shards(api).await?;
    let is_open = |listed: &Shard| listed.id == *shard && !listed.is_closed;
    if shards.iter().any(is_open) {
        let cause = "the response has no next iterator although the shard is open";
        return Err(api.unusable("GetRecords", cause));
    }
    Ok(())
}

/// Where the next read begins; `None` at the end of the shard. After a truncated page it begins
/// after the last record and not at the next iterator.
fn next_cursor(response: &GetRecordsResponse, from: &Cursor) -> Option<Cursor> {
    let iterator = response.next_iterator.as_deref();
    if iterator.is_none() && !response.is_truncated {
        return None;
    }
    let last = response.records.last();
    let after = last.map(|record| Position::After(record.sequence_number().into()));
    Some(Cursor {
        after: after.unwrap_or_else(|| from.after.clone()),
        iterator: iterator.filter(|_| !response.is_truncated).map(Into::into),
    })
}

/// Distance from the tip, of an API that does not report it. After an empty page it is zero; after
/// records there may be more: the age of the last one, at least 1 ms.
fn estimate_behind(records: &[Record], clock: &ServerClock) -> Duration {
    let age = |arrival: Timestamp| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = Timestamp::EPOCH + now.unwrap_or_default();
        let now = now.shifted(clock.difference().unwrap_or(0));
        now.since(arrival).max(Duration::from_millis(1))
    };
    let last = records.last();
    last.map_or(Duration::ZERO, |record| age(record.approximate_arrival()))
}
