//! Kinesis data streams: their calls, and shards that are read with shared throughput.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::operation::get_records::GetRecordsError;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{HashKeyRange, ShardIteratorType};
use serde_json::json;
use windlass_core::arn::Arn;
use windlass_core::ids::ShardId;
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::shard::lineage::Shard;
use windlass_core::shard::{PageStart, ReadResult};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{MIN_RETENTION, PortError, ReadLimits, ShardReader, StreamReader};

use super::call_rules::CallRules;
use super::fan_out::{Consumer, FanOutShard};
use super::fault::port_error;
use super::leftover::Leftover;
use super::prepared_call::PreparedOnce;
use super::server_clock::ServerClock;
use super::shard_api::{
    ClosedShards, ListedShard, MAX_LIST_PAGES, ReadError, ShardApi, StreamApi, end_of_retention,
    list_shards, not_empty, parents, read_page, send_get_records, sequence_number,
};
use super::{AwsClients, Service};
use crate::wire::kinesis::{EventTemplate, GetRecordsParser};
use crate::wire::page_builder::{GetRecordsResponse, PageEstimate};

/// Reads one stream for one mapping.
#[derive(Debug)]
pub struct KinesisReader {
    pub(super) clients: AwsClients,
    stream: Stream,
    identity_arn: String,
    pub(super) estimate: PageEstimate,
    closed: ClosedShards,
    get_records: PreparedOnce,
    /// Reads the stream with enhanced fan-out; `None`: shared throughput.
    consumer: Option<Arc<Consumer>>,
    hash_keys: HashKeys,
    /// Whether aggregates are taken apart: with enhanced fan-out, or as asked for.
    takes_apart: bool,
}

/// The hash keys of the shards of the last listing, for records of aggregates; only those of streams
/// whose aggregates are taken apart are kept.
#[derive(Debug, Default)]
struct HashKeys(Mutex<BTreeMap<ShardId, RangeInclusive<u128>>>);

/// Where an iterator or a subscription begins.
pub(super) struct IteratorPosition<'a> {
    pub(super) kind: ShardIteratorType,
    pub(super) number: Option<&'a str>,
    pub(super) time: Option<Timestamp>,
    /// What the first page starts with.
    pub(super) start: PageStart,
}

/// Reads one shard.
#[derive(Debug)]
struct KinesisShard {
    stream: Arc<KinesisReader>,
    shard: ShardId,
    template: EventTemplate,
    /// The records of the last response that were not returned yet: aggregates may have more than a read
    /// may return.
    rest: Leftover,
}

/// A stream, as calls name it.
#[derive(Clone, Debug)]
struct Stream {
    arn: Arn,
    /// Whether calls have its name, too: some servers know streams by their names alone. A name
    /// without the ARN would mean a stream of the caller's account, not of the one in the ARN. AWS
    /// gets the ARN only.
    with_name: bool,
}

impl Stream {
    fn new(clients: &AwsClients, arn: &Arn) -> Self {
        Self {
            arn: arn.clone(),
            with_name: clients.is_custom(Service::Kinesis),
        }
    }

    fn name(&self) -> Option<String> {
        self.with_name.then(|| self.arn.source_name().to_owned())
    }

    fn operation(&self, call: &str) -> String {
        format!("{call} of stream {}", self.arn.source_name())
    }
}

/// Checks that a stream exists and can be described.
pub(super) async fn exists(
    clients: &AwsClients,
    arn: &Arn,
    clock: &ServerClock,
) -> Result<(), PortError> {
    let stream = Stream::new(clients, arn);
    let call = clients.kinesis.describe_stream_summary();
    let call = call
        .stream_arn(stream.arn.as_str())
        .set_stream_name(stream.name());
    let response = call.customize().interceptor(clock.clone()).send().await;
    response.map_err(|error| port_error(stream.operation("DescribeStreamSummary"), error))?;
    Ok(())
}

impl KinesisReader {
    /// `identity_arn` is shown to the function as `invokeIdentityArn`. With a consumer, shards are
    /// read with enhanced fan-out.
    pub fn new(
        clients: &AwsClients,
        stream: &Arn,
        consumer: Option<&Arn>,
        identity_arn: &str,
    ) -> Self {
        Self {
            clients: clients.clone(),
            stream: Stream::new(clients, stream),
            identity_arn: identity_arn.to_owned(),
            estimate: PageEstimate::new(1),
            closed: ClosedShards::default(),
            get_records: PreparedOnce::default(),
            takes_apart: consumer.is_some(),
            consumer: consumer.map(|consumer| Arc::new(Consumer::new(consumer))),
            hash_keys: HashKeys::default(),
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

    /// Takes aggregates apart, as with enhanced fan-out, whatever throughput is used.
    #[must_use]
    pub fn taking_aggregates_apart(self) -> Self {
        Self {
            takes_apart: true,
            ..self
        }
    }

    /// The hash keys of a shard; `None` until it was listed.
    pub(super) fn hash_keys(&self, shard: &ShardId) -> Option<RangeInclusive<u128>> {
        self.hash_keys.lock().get(shard).cloned()
    }

    /// Where a read of a shard begins that has no iterator; `call` makes the iterator.
    pub(super) fn iterator_position<'a>(
        &self,
        from: &'a Cursor,
        call: &str,
    ) -> Result<IteratorPosition<'a>, PortError> {
        let position = |kind, number, time, start| IteratorPosition {
            kind,
            number,
            time,
            start,
        };
        let after = PageStart::AfterPosition;
        Ok(match &from.after {
            Position::TrimHorizon => position(ShardIteratorType::TrimHorizon, None, None, after),
            Position::AtTimestamp(time) => {
                position(ShardIteratorType::AtTimestamp, None, Some(*time), after)
            }
            Position::At(number) => {
                let kind = ShardIteratorType::AtSequenceNumber;
                position(kind, Some(number.as_str()), None, after)
            }
            // After a trimmed record, Kinesis continues with the oldest one, without an error.
            Position::After(number) if !from.inclusive => {
                let kind = ShardIteratorType::AfterSequenceNumber;
                position(kind, Some(number.as_str()), None, after)
            }
            Position::After(number) | Position::Within(number, _) => {
                let kind = ShardIteratorType::AtSequenceNumber;
                position(kind, Some(number.as_str()), None, PageStart::AtPosition)
            }
            Position::ShardEnd => {
                return Err(PortError {
                    operation: self.operation(call),
                    fault: Fault::Gone,
                    source: "the shard has been read to its end".into(),
                });
            }
        })
    }

    /// Removes the records of a page that arrived before the time at which reading begins.
    pub(super) fn skip_early(&self, from: &Cursor, page: &mut ReadResult) {
        if let Some(start) = self.skips_to(&from.after) {
            let records = page.records.iter();
            let early =
                records.take_while(|it| !it.is_undated() && it.approximate_arrival() < start);
            page.records.drain(..early.count());
        }
    }

    /// The time before which records are skipped here, because the iterator may be at the oldest
    /// record: kinesalite does not answer a request for one by time while a shard is empty.
    fn skips_to(&self, after: &Position) -> Option<Timestamp> {
        match after {
            Position::AtTimestamp(time) if self.clients.is_custom(Service::Kinesis) => Some(*time),
            Position::AtTimestamp(_)
            | Position::TrimHorizon
            | Position::At(_)
            | Position::After(_)
            | Position::Within(..)
            | Position::ShardEnd => None,
        }
    }
}

impl HashKeys {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, RangeInclusive<u128>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamApi for KinesisReader {
    fn operation(&self, call: &str) -> String {
        self.stream.operation(call)
    }

    fn server_clock(&self) -> &ServerClock {
        &self.clients.kinesis_clock
    }

    fn call_rules(&self) -> &CallRules {
        &self.clients.rules
    }

    fn estimate(&self) -> &PageEstimate {
        &self.estimate
    }

    fn closed_shards(&self) -> Option<&ClosedShards> {
        let is_custom = self.clients.is_custom(Service::Kinesis);
        is_custom.then_some(&self.closed)
    }

    async fn all_shards(&self) -> Result<Vec<ListedShard>, PortError> {
        let mut shards = Vec::new();
        let mut hash_keys = BTreeMap::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_LIST_PAGES {
            let call = self.clients.kinesis.list_shards();
            // A token identifies the stream; naming both is an error.
            let call = match token.take() {
                Some(token) => call.next_token(token),
                None => call
                    .stream_arn(self.stream.arn.as_str())
                    .set_stream_name(self.stream.name()),
            };
            let response = call.send().await;
            let response = response.map_err(|error| self.failed("ListShards", error))?;
            for shard in response.shards.unwrap_or_default() {
                let id = ShardId::from(shard.shard_id.as_str());
                if self.takes_apart
                    && let Some(range) = shard.hash_key_range.as_ref().and_then(range_of)
                {
                    hash_keys.insert(id.clone(), range);
                }
                let parents = parents([shard.parent_shard_id, shard.adjacent_parent_shard_id]);
                let range = shard.sequence_number_range;
                let (start, end) = range.map_or((None, None), |range| {
                    let start = Some(range.starting_sequence_number);
                    (start, range.ending_sequence_number)
                });
                let end = sequence_number(end);
                shards.push(ListedShard {
                    shard: Shard {
                        id,
                        parents,
                        starting_sequence_number: sequence_number(start),
                        is_closed: end.is_some(),
                    },
                    end,
                });
            }
            token = not_empty(response.next_token);
            if token.is_none() {
                *self.hash_keys.lock() = hash_keys;
                return Ok(shards);
            }
        }
        Err(self.unusable("ListShards", "the list of shards never ends"))
    }
}

/// `None` if it is not one of numbers of 128 bits.
fn range_of(range: &HashKeyRange) -> Option<RangeInclusive<u128>> {
    let start = range.starting_hash_key.parse().ok()?;
    Some(start..=range.ending_hash_key.parse().ok()?)
}

impl ShardApi for KinesisShard {
    type Stream = KinesisReader;

    fn stream(&self) -> &KinesisReader {
        &self.stream
    }

    fn shard(&self) -> &ShardId {
        &self.shard
    }

    async fn shard_iterator(&self, from: &Cursor) -> Result<(Arc<str>, PageStart), PortError> {
        const CALL: &str = "GetShardIterator";
        let reader = &self.stream;
        let at = reader.iterator_position(from, CALL)?;
        let time = at.time.map(|time| {
            let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            DateTime::from_millis(millis)
        });
        let call = reader.clients.kinesis.get_shard_iterator();
        let call = call
            .stream_arn(reader.stream.arn.as_str())
            .set_stream_name(reader.stream.name());
        let call = call
            .shard_id(self.shard.as_str())
            .shard_iterator_type(at.kind);
        let call = call
            .set_starting_sequence_number(at.number.map(str::to_owned))
            .set_timestamp(time);
        let response = match call.clone().send().await {
            Err(SdkError::TimeoutError(_)) if reader.skips_to(&from.after).is_some() => {
                let oldest = ShardIteratorType::TrimHorizon;
                let call = call.shard_iterator_type(oldest).set_timestamp(None);
                call.send().await
            }
            response => response,
        };
        let response = response.map_err(|error| reader.failed(CALL, error))?;
        let iterator = response.shard_iterator;
        let iterator =
            iterator.ok_or_else(|| reader.unusable(CALL, "the response has no iterator"))?;
        Ok((iterator.into(), at.start))
    }

    async fn get_records(
        &self,
        iterator: &str,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<GetRecordsResponse, ReadError> {
        let stream = &*self.stream;
        let (clients, arn) = (&stream.clients, stream.stream.arn.as_str());
        let any = clients.kinesis.get_records();
        let any = any.stream_arn(arn).shard_iterator("any").customize();
        let prepare = async |preparation| any.interceptor(preparation).send().await.map(drop);
        let body = json!({
            "Limit": limits.max_records,
            "ShardIterator": iterator,
            "StreamARN": arn,
        });
        let now = stream.server_clock().now();
        let parser = |length, max_bytes| {
            let (template, estimate) = (&self.template, &stream.estimate);
            let parser = GetRecordsParser::new(template, estimate, length, max_bytes, now);
            match stream.takes_apart {
                true => parser.taking_apart(&from.after, stream.hash_keys(&self.shard)),
                false => parser,
            }
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
impl StreamReader for KinesisReader {
    async fn list_shards(&self) -> Result<Vec<Shard>, PortError> {
        list_shards(self).await
    }

    fn open(self: Arc<Self>, shard: &ShardId) -> Box<dyn ShardReader> {
        let arn = &self.stream.arn;
        let template = EventTemplate::new(
            shard.as_str(),
            arn.as_str(),
            arn.region(),
            &self.identity_arn,
        );
        if let Some(consumer) = self.consumer.clone() {
            return Box::new(FanOutShard::new(self, consumer, shard, template));
        }
        Box::new(KinesisShard {
            shard: shard.clone(),
            template,
            stream: self,
            rest: Leftover::default(),
        })
    }

    async fn removed_until(&self) -> Result<Option<Timestamp>, PortError> {
        const CALL: &str = "DescribeStreamSummary";
        let call = self.clients.kinesis.describe_stream_summary();
        let call = call
            .stream_arn(self.stream.arn.as_str())
            .set_stream_name(self.stream.name());
        let response = call
            .send()
            .await
            .map_err(|error| self.failed(CALL, error))?;
        let Some(stream) = response.stream_description_summary else {
            return Err(self.unusable(CALL, "the response has no stream description"));
        };
        let hours = u64::try_from(stream.retention_period_hours).unwrap_or_default();
        let retention = MIN_RETENTION.max(Duration::from_hours(hours));
        let until = end_of_retention(self.clients.kinesis_clock.now(), retention);
        let created = stream.stream_creation_timestamp.to_millis();
        let created = created.ok().and_then(|millis| u64::try_from(millis).ok());
        let created = Timestamp::from_millis(created.unwrap_or_default());
        Ok(Some(until).filter(|until| created < *until))
    }

    fn clock_difference(&self) -> Option<i64> {
        self.clients.kinesis_clock.difference()
    }
}

#[async_trait]
impl ShardReader for KinesisShard {
    async fn read(
        &mut self,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError> {
        let page = match self.rest.take(from) {
            Some(rest) => rest,
            None => {
                let mut page = read_page(self, from, limits).await?;
                self.stream.skip_early(from, &mut page);
                page
            }
        };
        Ok(self.rest.limit(page, limits.max_records))
    }

    fn has_page(&self, from: &Cursor) -> bool {
        self.rest.continues(from)
    }
}
