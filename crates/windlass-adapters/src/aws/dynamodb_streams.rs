//! Streams of DynamoDB tables.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_sdk_dynamodbstreams::operation::get_records::GetRecordsError;
use aws_sdk_dynamodbstreams::types::{ShardIteratorType, StreamStatus};
use serde_json::json;
use windlass_core::arn::Arn;
use windlass_core::ids::ShardId;
use windlass_core::position::{Cursor, Position};
use windlass_core::shard::lineage::Shard;
use windlass_core::shard::{PageStart, ReadResult};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{MIN_RETENTION, PortError, ReadLimits, ShardReader, StreamReader};

use super::call_rules::CallRules;
use super::fault::port_error;
use super::prepared_call::PreparedOnce;
use super::server_clock::ServerClock;
use super::shard_api::{
    ClosedShards, ListedShard, MAX_LIST_PAGES, ReadError, ShardApi, StreamApi, end_of_retention,
    list_shards, not_empty, parents, read_page, send_get_records, sequence_number,
};
use super::{AwsClients, Service};
use crate::wire::dynamodb::{EventTemplate, GetRecordsParser};
use crate::wire::page_builder::{GetRecordsResponse, PageEstimate};

/// Limit of records of one GetRecords.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html>
const MAX_RECORDS: u32 = 1_000;

/// Reads one stream for one mapping.
#[derive(Debug)]
pub struct DynamoDbStreamsReader {
    clients: AwsClients,
    stream: Arn,
    template: EventTemplate,
    estimate: PageEstimate,
    closed: ClosedShards,
    /// By the last listing.
    is_disabled: AtomicBool,
    get_records: PreparedOnce,
}

/// Reads one shard.
#[derive(Debug)]
struct DynamoDbShard {
    stream: Arc<DynamoDbStreamsReader>,
    shard: ShardId,
}

fn operation_on(stream: &Arn, call: &str) -> String {
    format!("{call} of the stream of table {}", stream.source_name())
}

/// Checks that a stream exists and can be described.
pub(super) async fn exists(
    clients: &AwsClients,
    arn: &Arn,
    clock: &ServerClock,
) -> Result<(), PortError> {
    let call = clients.dynamodb_streams.describe_stream();
    let call = call.stream_arn(arn.as_str()).limit(1);
    let response = call.customize().interceptor(clock.clone()).send().await;
    response.map_err(|error| port_error(operation_on(arn, "DescribeStream"), error))?;
    Ok(())
}

impl DynamoDbStreamsReader {
    pub fn new(clients: &AwsClients, stream: &Arn) -> Self {
        Self {
            clients: clients.clone(),
            stream: stream.clone(),
            template: EventTemplate::new(stream.as_str(), stream.region()),
            estimate: PageEstimate::new(1),
            closed: ClosedShards::default(),
            is_disabled: AtomicBool::new(false),
            get_records: PreparedOnce::default(),
        }
    }

    /// Puts the records of each of `n_lanes` lanes together on their page.
    #[must_use]
    pub fn with_lanes(self, n_lanes: usize) -> Self {
        Self {
            estimate: PageEstimate::new(n_lanes),
            ..self
        }
    }
}

impl StreamApi for DynamoDbStreamsReader {
    fn operation(&self, call: &str) -> String {
        operation_on(&self.stream, call)
    }

    fn server_clock(&self) -> &ServerClock {
        &self.clients.dynamodb_streams_clock
    }

    fn call_rules(&self) -> &CallRules {
        &self.clients.rules
    }

    fn estimate(&self) -> &PageEstimate {
        &self.estimate
    }

    fn closed_shards(&self) -> Option<&ClosedShards> {
        let is_custom = self.clients.is_custom(Service::DynamoDbStreams);
        is_custom.then_some(&self.closed)
    }

    async fn all_shards(&self) -> Result<Vec<ListedShard>, PortError> {
        const CALL: &str = "DescribeStream";
        let mut shards: Vec<ListedShard> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut last: Option<String> = None;
        for _ in 0..MAX_LIST_PAGES {
            let call = self.clients.dynamodb_streams.describe_stream();
            let call = call.stream_arn(self.stream.as_str());
            let call = call.set_exclusive_start_shard_id(last.clone());
            let response = call.send().await;
            let response = response.map_err(|error| self.failed(CALL, error))?;
            let Some(stream) = response.stream_description else {
                return Err(self.unusable(CALL, "the response has no stream description"));
            };
            let is_disabled = stream.stream_status == Some(StreamStatus::Disabled);
            self.is_disabled.store(is_disabled, Ordering::Relaxed);
            for shard in stream.shards.unwrap_or_default() {
                let id = shard
                    .shard_id
                    .ok_or_else(|| self.unusable(CALL, "the response has a shard without an id"))?;
                if seen.insert(id.clone()) {
                    let range = shard.sequence_number_range;
                    let (start, end) = range.map_or((None, None), |range| {
                        (range.starting_sequence_number, range.ending_sequence_number)
                    });
                    let end = sequence_number(end);
                    shards.push(ListedShard {
                        shard: Shard {
                            id: ShardId::from(id.as_str()),
                            parents: parents([shard.parent_shard_id]),
                            starting_sequence_number: sequence_number(start),
                            is_closed: is_disabled || end.is_some(),
                        },
                        end,
                    });
                }
            }
            let next = not_empty(stream.last_evaluated_shard_id);
            // Some servers name the last shard of every page, also after the last page.
            if next.is_none() || next == last {
                return Ok(shards);
            }
            last = next;
        }
        Err(self.unusable(CALL, "the list of shards never ends"))
    }
}

impl ShardApi for DynamoDbShard {
    type Stream = DynamoDbStreamsReader;

    fn stream(&self) -> &DynamoDbStreamsReader {
        &self.stream
    }

    fn shard(&self) -> &ShardId {
        &self.shard
    }

    async fn shard_iterator(&self, from: &Cursor) -> Result<(Arc<str>, PageStart), PortError> {
        const CALL: &str = "GetShardIterator";
        let reader = &self.stream;
        let mut start = PageStart::AfterPosition;
        let (kind, number) = match &from.after {
            // There are no iterators by time: the consumer skips older records.
            Position::TrimHorizon | Position::AtTimestamp(_) => {
                (ShardIteratorType::TrimHorizon, None)
            }
            Position::At(number) => (
                ShardIteratorType::AtSequenceNumber,
                Some(number.to_string()),
            ),
            Position::After(number) if !from.inclusive => (
                ShardIteratorType::AfterSequenceNumber,
                Some(number.to_string()),
            ),
            Position::After(number) | Position::Within(number, _) => {
                start = PageStart::AtPosition;
                (
                    ShardIteratorType::AtSequenceNumber,
                    Some(number.to_string()),
                )
            }
            Position::ShardEnd => {
                return Err(reader.unusable(CALL, "the shard has been read to its end"));
            }
        };
        let call = reader.clients.dynamodb_streams.get_shard_iterator();
        let call = call
            .stream_arn(reader.stream.as_str())
            .shard_id(self.shard.as_str());
        let call = call.shard_iterator_type(kind).set_sequence_number(number);
        let response = call.send().await;
        let response = response.map_err(|error| reader.failed(CALL, error))?;
        let iterator = response.shard_iterator;
        let iterator =
            iterator.ok_or_else(|| reader.unusable(CALL, "the response has no iterator"))?;
        Ok((iterator.into(), start))
    }

    async fn get_records(
        &self,
        iterator: &str,
        _: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<GetRecordsResponse, ReadError> {
        let stream = &*self.stream;
        let clients = &stream.clients;
        let any = clients.dynamodb_streams.get_records();
        let any = any.shard_iterator("any").customize();
        let prepare = async |preparation| any.interceptor(preparation).send().await.map(drop);
        let body = json!({
            "Limit": limits.max_records.min(MAX_RECORDS),
            "ShardIterator": iterator,
        });
        let now = stream.server_clock().now();
        let parser = |length, max_bytes| {
            GetRecordsParser::new(&stream.template, &stream.estimate, length, max_bytes, now)
        };
        let call = stream.get_records.get(prepare).await;
        send_get_records(
            stream,
            call,
            &body,
            limits,
            GetRecordsError::generic,
            parser,
        )
        .await
    }
}

#[async_trait]
impl StreamReader for DynamoDbStreamsReader {
    async fn list_shards(&self) -> Result<Vec<Shard>, PortError> {
        list_shards(self).await
    }

    fn open(self: Arc<Self>, shard: &ShardId) -> Box<dyn ShardReader> {
        let shard = shard.clone();
        Box::new(DynamoDbShard {
            stream: self,
            shard,
        })
    }

    async fn removed_until(&self) -> Result<Option<Timestamp>, PortError> {
        let now = self.clients.dynamodb_streams_clock.now();
        Ok(Some(end_of_retention(now, MIN_RETENTION)))
    }

    fn clock_difference(&self) -> Option<i64> {
        self.clients.dynamodb_streams_clock.difference()
    }

    fn is_switched_off(&self) -> bool {
        self.is_disabled.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl ShardReader for DynamoDbShard {
    async fn read(
        &mut self,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError> {
        read_page(self, from, limits).await
    }
}
