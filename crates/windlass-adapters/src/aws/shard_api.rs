//! Reading of shards: the rules that Kinesis and DynamoDB Streams have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::Value;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::record::Record;
use windlass_core::shard::lineage::{Shard, close_parents};
use windlass_core::shard::{PageStart, ReadResult};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{BoxError, PortError, ReadLimits};

use super::call_rules::CallRules;
use super::fault::{port_error, unusable_response};
use super::prepared_call::{PreparedCall, Watch};
use super::raw::{ResponseError, read_response};
use super::server_clock::ServerClock;
use crate::wire::page_builder::{GetRecordsResponse, PageEstimate};
use crate::wire::streaming_parser::ResponseParser;

/// Limit of pages of one list of shards; each has a hundred shards or more. Without a limit, a
/// server whose list never ends would be called forever.
pub(super) const MAX_LIST_PAGES: usize = 1_000;

/// Error codes with which servers reject a shard iterator: it has expired, or it is unknown after a
/// restart of the server.
const REJECTED_ITERATOR: [&str; 4] = [
    "ExpiredIteratorException",
    "InvalidArgumentException",
    "ResourceNotFoundException",
    "ValidationException",
];

/// The calls of a stream.
pub(super) trait StreamApi: Sync {
    /// Names a call and the stream in errors.
    fn operation(&self, call: &str) -> String;

    /// The clock by which records are stamped.
    fn server_clock(&self) -> &ServerClock;

    fn call_rules(&self) -> &CallRules;

    fn estimate(&self) -> &PageEstimate;

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
    fn all_shards(&self) -> impl Future<Output = Result<Vec<ListedShard>, PortError>> + Send;

    /// The closed shards of the last listing, if the source may return iterators of a shard after
    /// its end. AWS does not.
    fn closed_shards(&self) -> Option<&ClosedShards>;
}

/// The calls of one shard.
pub(super) trait ShardApi: Sync {
    type Stream: StreamApi;

    fn stream(&self) -> &Self::Stream;

    fn shard(&self) -> &ShardId;

    /// A new iterator at a position, and what its first page starts with.
    fn shard_iterator(
        &self,
        from: &Cursor,
    ) -> impl Future<Output = Result<(Arc<str>, PageStart), PortError>> + Send;

    /// `from`: the position of the iterator.
    fn get_records(
        &self,
        iterator: &str,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> impl Future<Output = Result<GetRecordsResponse, ReadError>> + Send;
}

/// A failed GetRecords.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The iterator was rejected; a new one may be accepted.
    Iterator(PortError),
    Other(PortError),
}

impl ReadError {
    fn new<E>(api: &impl StreamApi, error: SdkError<E, HttpResponse>) -> Self
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let of_iterator = is_rejected_iterator(&error);
        let timed_out = matches!(error, SdkError::TimeoutError(_));
        let mut error = api.failed("GetRecords", error);
        if timed_out {
            error.fault = Fault::TimedOut;
        }
        if of_iterator {
            Self::Iterator(error)
        } else {
            Self::Other(error)
        }
    }

    /// A success whose response is not used.
    fn of_response(api: &impl StreamApi, error: ResponseError) -> Self {
        let timed_out = matches!(error, ResponseError::TimedOut(_));
        let mut error = api.unusable("GetRecords", error);
        if timed_out {
            error.fault = Fault::TimedOut;
        }
        Self::Other(error)
    }

    fn into_inner(self) -> PortError {
        match self {
            Self::Iterator(error) | Self::Other(error) => error,
        }
    }
}

/// Whether a server may accept another iterator.
pub(super) fn is_rejected_iterator(error: &impl ProvideErrorMetadata) -> bool {
    REJECTED_ITERATOR.contains(&error.code().unwrap_or_default())
}

/// A shard in the list of a stream.
#[derive(Clone, Debug)]
pub(super) struct ListedShard {
    pub(super) shard: Shard,
    /// Its ending sequence number.
    pub(super) end: Option<SequenceNumber>,
}

/// The closed shards of a stream, as it was last listed.
#[derive(Debug, Default)]
pub(super) struct ClosedShards(Mutex<BTreeMap<ShardId, ClosedShard>>);

#[derive(Clone, Debug)]
struct ClosedShard {
    end: Option<SequenceNumber>,
    has_children: bool,
}

impl ClosedShards {
    fn of(&self, shard: &ShardId) -> Option<ClosedShard> {
        let shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shards.get(shard).cloned()
    }
}

impl ClosedShard {
    /// Whether the shard has no records after this position.
    fn ends_at(&self, position: &Position) -> bool {
        let (Some(end), Position::After(number)) = (&self.end, position) else {
            return false;
        };
        // Decimal numbers that no integer type holds.
        let decimal = |text: &str| {
            let digits = text.trim_start_matches('0').to_owned();
            digits
                .bytes()
                .all(|it| it.is_ascii_digit())
                .then_some((digits.len(), digits))
        };
        match (decimal(end.as_str()), decimal(number.as_str())) {
            (Some(end), Some(number)) => end <= number,
            _ => end == number,
        }
    }
}

pub(super) async fn list_shards(api: &impl StreamApi) -> Result<Vec<Shard>, PortError> {
    let shards = api.all_shards().await?;
    if let Some(closed) = api.closed_shards() {
        *closed.0.lock().unwrap_or_else(PoisonError::into_inner) = closed_shards(&shards);
    }
    let mut shards: Vec<_> = shards.into_iter().map(|listed| listed.shard).collect();
    close_parents(&mut shards);
    Ok(shards)
}

/// A value of a listing; some servers send an empty one in place of none.
pub(super) fn not_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A sequence number of a listing.
pub(super) fn sequence_number(text: Option<String>) -> Option<SequenceNumber> {
    not_empty(text).map(|number| SequenceNumber::from(number.as_str()))
}

/// The parents of a listed shard.
pub(super) fn parents<const N: usize>(ids: [Option<String>; N]) -> Vec<ShardId> {
    let ids = ids.into_iter().filter_map(not_empty);
    ids.map(|id| ShardId::from(id.as_str())).collect()
}

/// The closed ones of the listed shards: those that say so, and those that have children, which
/// begin only after their parents.
fn closed_shards(listed: &[ListedShard]) -> BTreeMap<ShardId, ClosedShard> {
    let parents = listed.iter().flat_map(|listed| &listed.shard.parents);
    let parents: BTreeSet<_> = parents.collect();
    let closed = listed.iter().filter_map(|listed| {
        let id = &listed.shard.id;
        let has_children = parents.contains(id);
        let is_closed = listed.shard.is_closed || has_children;
        let end = listed.end.clone();
        is_closed.then(|| (id.clone(), ClosedShard { end, has_children }))
    });
    closed.collect()
}

/// Reads one page. A rejected iterator is replaced once.
pub(super) async fn read_page(
    api: &impl ShardApi,
    from: &Cursor,
    limits: ReadLimits<'_>,
) -> Result<ReadResult, PortError> {
    let mut response = None;
    if let Some(iterator) = &from.iterator {
        response = match api.get_records(iterator, from, limits).await {
            Ok(response) => Some((response, PageStart::Continued)),
            Err(ReadError::Iterator(_)) => None,
            Err(error) => return Err(error.into_inner()),
        };
    }
    let (response, start) = if let Some(response) = response {
        response
    } else {
        let (iterator, start) = api.shard_iterator(from).await?;
        let response = api.get_records(&iterator, from, limits).await;
        (response.map_err(ReadError::into_inner)?, start)
    };
    page_of(api.stream(), api.shard(), from, start, response).await
}

/// The page of a response to a read.
pub(super) async fn page_of(
    stream: &impl StreamApi,
    shard: &ShardId,
    from: &Cursor,
    start: PageStart,
    response: GetRecordsResponse,
) -> Result<ReadResult, PortError> {
    let behind = response
        .behind_latest
        .unwrap_or_else(|| estimate_behind(&response.records, stream.server_clock()));
    // Records that were left out are still to be read, even if the response ended at the tip.
    let min_behind = Duration::from_millis(u64::from(response.is_truncated));
    let behind = behind.max(min_behind);
    let closed = stream.closed_shards();
    let closed = closed.and_then(|closed| closed.of(shard));
    let next = next_cursor(stream, shard, &response, from).await?;
    // The ending sequence number alone is not enough: some servers have records after it.
    let is_empty = response.records.is_empty() && !response.is_truncated;
    let is_last = |next: &Cursor| {
        let closed = closed.as_ref().filter(|_| is_empty);
        closed.is_some_and(|closed| closed.ends_at(&next.after))
    };
    Ok(ReadResult {
        start,
        next: next.filter(|next| !is_last(next)),
        behind,
        has_children: closed.as_ref().is_some_and(|closed| closed.has_children),
        records: response.records,
        unreadable: response.unreadable,
    })
}

/// Sends a GetRecords that has been prepared, and parses its response.
pub(super) async fn send_get_records<E, P>(
    api: &impl StreamApi,
    call: Result<&PreparedCall, SdkError<E, HttpResponse>>,
    body: &Value,
    limits: ReadLimits<'_>,
    make_error: fn(ErrorMetadata) -> E,
    new_parser: impl FnOnce(usize, usize) -> P,
) -> Result<GetRecordsResponse, ReadError>
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    P: ResponseParser<Response = GetRecordsResponse>,
{
    let call = call.map_err(|error| ReadError::new(api, error))?;
    let watch = Watch {
        rules: api.call_rules(),
        clock: api.server_clock(),
    };
    let (body, timeout) = (body.to_string().into(), limits.timeout);
    let response = call.send(body, timeout, &watch, make_error).await;
    let response = response.map_err(|error| ReadError::new(api, error))?;
    let event_bytes = |length| api.estimate().event_bytes(length);
    let body = response.into_body();
    let response = read_response(body, timeout, limits.memory, event_bytes, new_parser).await;
    response.map_err(|cause| ReadError::of_response(api, cause))
}

/// The arrival time whose earlier records a stream with this retention period has removed.
pub(super) fn end_of_retention(now: Timestamp, retention: Duration) -> Timestamp {
    let millis = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    now.shifted(-millis)
}

/// Where the next read begins; `None` at the end of the shard. After a truncated page it begins
/// after the last record and not at the next iterator.
///
/// A response without a next iterator signals the end, which the listing must confirm: the end of a
/// shard that still receives records would be an end for good. In doubt reading continues after the
/// last record, so that the records of the response are used whatever the listing says.
async fn next_cursor(
    api: &impl StreamApi,
    shard: &ShardId,
    response: &GetRecordsResponse,
    from: &Cursor,
) -> Result<Option<Cursor>, PortError> {
    let last = response.records.last();
    let after = last.map(Position::after);
    let after = after.unwrap_or_else(|| from.after.clone());
    if response.is_truncated {
        return Ok(Some(Cursor::at(after)));
    }
    if let Some(iterator) = &response.next_iterator {
        return Ok(Some(Cursor {
            iterator: Some(iterator.as_str().into()),
            ..Cursor::at(after)
        }));
    }
    if response.has_children {
        return Ok(None);
    }
    match api.all_shards().await {
        Ok(listed) if closed_shards(&listed).contains_key(shard) => Ok(None),
        // An empty page has nothing to lose, so the failure may be shown.
        Err(error) if response.records.is_empty() => Err(error),
        Ok(_) | Err(_) => Ok(Some(Cursor::at(after))),
    }
}

/// Distance from the tip, of an API that does not report it. After an empty page it is zero; after
/// records there may be more: the age of the last one, at least 1 ms.
fn estimate_behind(records: &[Record], clock: &ServerClock) -> Duration {
    let age = |arrival| clock.now().since(arrival).max(Duration::from_millis(1));
    let last = records.last();
    last.map_or(Duration::ZERO, |record| age(record.approximate_arrival()))
}
