//! Kinesis data streams, shared throughput.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::operation::get_records::{GetRecordsError, GetRecordsOutput};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
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
use crate::wire::kinesis::{Answer, Frame, GetRecords};

/// Codes of a shard iterator that is of no use any more: a new one must be had.
const STALE_ITERATOR: [&str; 2] = ["ExpiredIteratorException", "InvalidArgumentException"];

/// Reads one stream for one mapping.
#[derive(Debug)]
pub struct KinesisReader {
    clients: AwsClients,
    stream: Stream,
    /// The `invokeIdentityArn` of its records.
    identity_arn: String,
}

/// A stream, as its calls name it.
#[derive(Clone, Debug)]
struct Stream {
    arn: Arn,
    /// Some servers know streams by name alone; AWS needs the ARN for those of other accounts.
    by_name: bool,
}

impl Stream {
    fn new(clients: &AwsClients, arn: &Arn) -> Self {
        Self {
            arn: arn.clone(),
            by_name: clients.custom_kinesis,
        }
    }

    fn arn(&self) -> Option<String> {
        (!self.by_name).then(|| self.arn.to_string())
    }

    fn name(&self) -> Option<String> {
        self.by_name.then(|| self.arn.source_name().to_owned())
    }

    /// A call went well, but its answer is of no use.
    fn broken(&self, call: &str, cause: impl Into<BoxError>) -> PortError {
        PortError {
            operation: format!("{call} of stream {}", self.arn.source_name()),
            fault: Fault::Transient,
            source: cause.into(),
        }
    }

    fn failed<E>(&self, call: &str, error: aws_sdk_kinesis::error::SdkError<E>) -> PortError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        port_error(
            format!("{call} of stream {}", self.arn.source_name()),
            error,
        )
    }
}

/// Whether a stream exists and may be listed.
pub(super) async fn exists(clients: &AwsClients, arn: &Arn) -> Result<(), PortError> {
    let stream = Stream::new(clients, arn);
    let call = clients.kinesis.describe_stream_summary();
    let call = call
        .set_stream_arn(stream.arn())
        .set_stream_name(stream.name());
    call.send()
        .await
        .map_err(|error| stream.failed("DescribeStreamSummary", error))?;
    Ok(())
}

impl KinesisReader {
    /// A reader of the stream of a mapping. `identity_arn` is shown to the function as
    /// `invokeIdentityArn`.
    ///
    /// # Panics
    /// If the mapping is of another kind of source.
    pub fn new(clients: &AwsClients, stream: &Arn, identity_arn: &str) -> Self {
        let stream = Stream::new(clients, stream);
        Self {
            clients: clients.clone(),
            stream,
            identity_arn: identity_arn.to_owned(),
        }
    }

    async fn iterator(&self, shard: &ShardId, after: &Position) -> Result<Arc<str>, PortError> {
        let (kind, number, moment) = match after {
            Position::TrimHorizon => (ShardIteratorType::TrimHorizon, None, None),
            Position::AtTimestamp(moment) => {
                let millis = i64::try_from(moment.as_millis()).unwrap_or(i64::MAX);
                (
                    ShardIteratorType::AtTimestamp,
                    None,
                    Some(DateTime::from_millis(millis)),
                )
            }
            Position::After(number) => {
                let number = Some(number.to_string());
                (ShardIteratorType::AfterSequenceNumber, number, None)
            }
            Position::ShardEnd => return Err(self.nothing_left()),
        };
        let call = self.clients.kinesis.get_shard_iterator();
        let call = call
            .set_stream_arn(self.stream.arn())
            .set_stream_name(self.stream.name());
        let call = call.shard_id(shard.as_str()).shard_iterator_type(kind);
        let call = call
            .set_starting_sequence_number(number)
            .set_timestamp(moment);
        let answer = call.send().await;
        let answer = answer.map_err(|error| self.stream.failed("GetShardIterator", error))?;
        let iterator = answer.shard_iterator;
        let iterator = iterator.ok_or_else(|| {
            self.stream
                .broken("GetShardIterator", "the answer has no iterator")
        })?;
        Ok(iterator.into())
    }

    /// One page; `None`: the iterator is of no use any more.
    async fn page(
        &self,
        frame: &Frame,
        iterator: &str,
        limits: ReadLimits,
    ) -> Result<Option<Answer>, PortError> {
        let raw = RawCall::new(
            || {
                let empty = GetRecordsOutput::builder()
                    .set_records(Some(Vec::new()))
                    .build();
                Output::erase(empty.expect("its list of records is set"))
            },
            |metadata| Error::erase(GetRecordsError::generic(metadata)),
        );
        let call = self.clients.kinesis.get_records();
        let call = call
            .set_stream_arn(self.stream.arn())
            .shard_iterator(iterator);
        let call = call.limit(i32::try_from(limits.max_records).unwrap_or(i32::MAX));
        match call.customize().interceptor(raw.interceptor()).send().await {
            Ok(_) => {
                let answer = raw.answer(|length| GetRecords::new(frame, length, limits.max_bytes));
                let answer = answer.await;
                let answer = answer.map_err(|cause| self.stream.broken("GetRecords", cause))?;
                Ok(Some(answer))
            }
            Err(error) => {
                let stale = error
                    .code()
                    .is_some_and(|code| STALE_ITERATOR.contains(&code));
                if stale {
                    Ok(None)
                } else {
                    Err(self.stream.failed("GetRecords", error))
                }
            }
        }
    }

    /// Every shard that is listed, all pages.
    async fn listed(&self) -> Result<Vec<Listed>, PortError> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let call = self.clients.kinesis.list_shards();
            // A token stands for the stream, which must not be named beside it.
            let call = match token.take() {
                Some(token) => call.next_token(token),
                None => call
                    .set_stream_arn(self.stream.arn())
                    .set_stream_name(self.stream.name()),
            };
            let answer = call.send().await;
            let answer = answer.map_err(|error| self.stream.failed("ListShards", error))?;
            for shard in answer.shards.unwrap_or_default() {
                let parents = shard
                    .parent_shard_id
                    .into_iter()
                    .chain(shard.adjacent_parent_shard_id);
                let range = shard.sequence_number_range;
                shards.push(Listed {
                    closed: range.is_some_and(|range| range.ending_sequence_number.is_some()),
                    shard: Shard {
                        id: ShardId::from(shard.shard_id.as_str()),
                        parents: parents
                            .map(|parent| ShardId::from(parent.as_str()))
                            .collect(),
                    },
                });
            }
            token = answer.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
        Err(self.stream.broken("ListShards", "the list has no end"))
    }

    fn nothing_left(&self) -> PortError {
        PortError {
            operation: format!("reading stream {}", self.stream.arn.source_name()),
            fault: Fault::Gone,
            source: "the shard has been read to its end".into(),
        }
    }
}

#[async_trait]
impl StreamReader for KinesisReader {
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
        let arn = &self.stream.arn;
        let frame = Frame::new(
            shard.as_str(),
            arn.as_str(),
            arn.region(),
            &self.identity_arn,
        );
        let mut answer = None;
        if let Some(iterator) = &from.iterator {
            answer = self.page(&frame, iterator, limits).await?;
        }
        if answer.is_none() {
            let iterator = self.iterator(shard, &from.after).await?;
            answer = self.page(&frame, &iterator, limits).await?;
        }
        let Some(answer) = answer else {
            let cause = "an iterator that was just given is refused";
            return Err(self.stream.broken("GetRecords", cause));
        };
        if answer.next_iterator.is_none() && !answer.has_children && !answer.is_cut {
            let listed = self.listed().await?;
            Listed::confirm_end(&listed, shard)
                .map_err(|cause| self.stream.broken("GetRecords", cause))?;
        }
        let next = place_behind(&answer.records, from, answer.next_iterator, answer.is_cut);
        // What was left out is behind the tip, wherever the answer ended.
        let least = Duration::from_millis(u64::from(answer.is_cut));
        Ok(ReadResult {
            records: answer.records,
            next,
            behind: answer.behind.max(least),
        })
    }
}
