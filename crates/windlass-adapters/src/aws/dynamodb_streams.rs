//! Streams of DynamoDB tables.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_dynamodbstreams::error::SdkError;
use aws_sdk_dynamodbstreams::operation::get_records::{GetRecordsError, GetRecordsOutput};
use aws_sdk_dynamodbstreams::types::{ShardIteratorType, StreamStatus};
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use windlass_core::arn::Arn;
use windlass_core::ids::ShardId;
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::shard::ReadResult;
use windlass_core::shard::lineage::Shard;
use windlass_engine::ports::{BoxError, PortError, ReadLimits, StreamReader};

use super::fault::port_error;
use super::raw::RawCall;
use super::{AwsClients, Listed, MOST_PAGES, place_behind};
use crate::wire::dynamodb::{Answer, Frame, GetRecords};

/// Most records of one page.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>
const PAGE_LIMIT: u32 = 1_000;

/// Codes of a shard iterator that is of no use any more: a new one must be had.
const STALE_ITERATOR: [&str; 2] = ["ExpiredIteratorException", "ValidationException"];

/// Reads one stream for one mapping.
#[derive(Debug)]
pub struct DynamoDbStreamsReader {
    clients: AwsClients,
    stream: Arn,
    frame: Frame,
}

fn failed<E>(stream: &Arn, call: &str, error: SdkError<E>) -> PortError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    port_error(
        format!("{call} of the stream of table {}", stream.source_name()),
        error,
    )
}

/// Whether a stream exists and may be described.
pub(super) async fn exists(clients: &AwsClients, arn: &Arn) -> Result<(), PortError> {
    let call = clients
        .dynamodb_streams
        .describe_stream()
        .stream_arn(arn.as_str())
        .limit(1);
    call.send()
        .await
        .map_err(|error| failed(arn, "DescribeStream", error))?;
    Ok(())
}

impl DynamoDbStreamsReader {
    /// A reader of the stream of a mapping.
    pub fn new(clients: &AwsClients, stream: &Arn) -> Self {
        let stream = stream.clone();
        let frame = Frame::new(stream.as_str());
        Self {
            clients: clients.clone(),
            stream,
            frame,
        }
    }

    async fn iterator(&self, shard: &ShardId, after: &Position) -> Result<Arc<str>, PortError> {
        let (kind, number) = match after {
            // There is no iterator by time: older records are passed over by the consumer.
            Position::TrimHorizon | Position::AtTimestamp(_) => {
                (ShardIteratorType::TrimHorizon, None)
            }
            Position::After(number) => (
                ShardIteratorType::AfterSequenceNumber,
                Some(number.to_string()),
            ),
            Position::ShardEnd => return Err(self.broken("the shard has been read to its end")),
        };
        let call = self.clients.dynamodb_streams.get_shard_iterator();
        let call = call
            .stream_arn(self.stream.as_str())
            .shard_id(shard.as_str());
        let call = call.shard_iterator_type(kind).set_sequence_number(number);
        let answer = call.send().await;
        let answer = answer.map_err(|error| failed(&self.stream, "GetShardIterator", error))?;
        let iterator = answer.shard_iterator;
        Ok(iterator
            .ok_or_else(|| self.broken("the answer has no iterator"))?
            .into())
    }

    /// One page; `None`: the iterator is of no use any more.
    async fn page(&self, iterator: &str, limits: ReadLimits) -> Result<Option<Answer>, PortError> {
        let raw = RawCall::new(
            || Output::erase(GetRecordsOutput::builder().build()),
            |metadata| Error::erase(GetRecordsError::generic(metadata)),
        );
        let call = self
            .clients
            .dynamodb_streams
            .get_records()
            .shard_iterator(iterator);
        let call =
            call.limit(i32::try_from(limits.max_records.min(PAGE_LIMIT)).unwrap_or(i32::MAX));
        match call.customize().interceptor(raw.interceptor()).send().await {
            Ok(_) => {
                let answer =
                    raw.answer(|length| GetRecords::new(&self.frame, length, limits.max_bytes));
                let answer = answer.await.map_err(|cause| self.broken(cause))?;
                Ok(Some(answer))
            }
            Err(error) => {
                let stale = error
                    .code()
                    .is_some_and(|code| STALE_ITERATOR.contains(&code));
                if stale {
                    Ok(None)
                } else {
                    Err(failed(&self.stream, "GetRecords", error))
                }
            }
        }
    }

    /// Every shard that is listed, all pages.
    async fn listed(&self) -> Result<Vec<Listed>, PortError> {
        let mut shards: Vec<Listed> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut last: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let call = self.clients.dynamodb_streams.describe_stream();
            let call = call.stream_arn(self.stream.as_str());
            let answer = call.set_exclusive_start_shard_id(last.take()).send().await;
            let answer = answer.map_err(|error| failed(&self.stream, "DescribeStream", error))?;
            let Some(described) = answer.stream_description else {
                return Err(self.broken("the answer describes no stream"));
            };
            let disabled = described.stream_status == Some(StreamStatus::Disabled);
            for shard in described.shards.unwrap_or_default() {
                let id = shard
                    .shard_id
                    .ok_or_else(|| self.broken("a shard without a name"))?;
                if seen.insert(id.clone()) {
                    let parents = shard.parent_shard_id.into_iter();
                    let range = shard.sequence_number_range;
                    let ended = range.is_some_and(|it| it.ending_sequence_number.is_some());
                    shards.push(Listed {
                        closed: disabled || ended,
                        shard: Shard {
                            id: ShardId::from(id.as_str()),
                            parents: parents
                                .map(|parent| ShardId::from(parent.as_str()))
                                .collect(),
                        },
                    });
                }
            }
            last = described.last_evaluated_shard_id;
            if last.is_none() {
                return Ok(shards);
            }
        }
        Err(self.broken("the list of shards has no end"))
    }

    fn broken(&self, what: impl Into<BoxError>) -> PortError {
        PortError {
            operation: format!("reading the stream of table {}", self.stream.source_name()),
            fault: Fault::Transient,
            source: what.into(),
        }
    }
}

#[async_trait]
impl StreamReader for DynamoDbStreamsReader {
    async fn list_shards(&self) -> Result<Vec<Shard>, PortError> {
        let listed = self.listed().await?;
        Ok(listed.into_iter().map(|it| it.shard).collect())
    }

    async fn read(
        &self,
        shard: &ShardId,
        from: &Cursor,
        limits: ReadLimits,
    ) -> Result<ReadResult, PortError> {
        let mut answer = None;
        if let Some(iterator) = &from.iterator {
            answer = self.page(iterator, limits).await?;
        }
        if answer.is_none() {
            let iterator = self.iterator(shard, &from.after).await?;
            answer = self.page(&iterator, limits).await?;
        }
        let answer =
            answer.ok_or_else(|| self.broken("an iterator that was just given is refused"))?;
        if answer.next_iterator.is_none() && !answer.is_cut {
            let listed = self.listed().await?;
            Listed::confirm_end(&listed, shard).map_err(|cause| self.broken(cause))?;
        }
        let last = answer.records.last();
        let behind = last.map_or(Duration::ZERO, |record| age(record.approximate_arrival()));
        let next = place_behind(&answer.records, from, answer.next_iterator, answer.is_cut);
        Ok(ReadResult {
            records: answer.records,
            next,
            behind,
        })
    }
}

/// The source does not say how far behind its tip a page ends. Where records came, there may be
/// more: the age of the last one, at least a millisecond.
fn age(arrival: windlass_core::time::Timestamp) -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let arrived = Duration::from_millis(arrival.as_millis());
    now.saturating_sub(arrived).max(Duration::from_millis(1))
}
