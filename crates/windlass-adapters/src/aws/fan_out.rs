//! Shards of Kinesis that are read with enhanced fan-out: the server sends records as they arrive.
//!
//! A subscription lasts five minutes at most, and a shard has one of each consumer. When it is over,
//! the next one continues where it ended. A page is one event, or a part of it if it has more records
//! than a read may return, or than there is memory for. What is left of it is kept for the next read,
//! since another subscription may begin only five seconds after the last one. Its memory is part of
//! what was reserved for the event, and is given back if the next read has to wait for memory: a
//! mapping that holds nothing gets some.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardError;
use aws_sdk_kinesis::types::{ConsumerStatus, ShardIteratorType, StartingPosition as SdkPosition};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use futures::FutureExt as _;
use serde_json::json;
use tokio::time::Instant;
use windlass_core::arn::Arn;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::shard::{PageStart, ReadResult};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{KeptMemory, PortError, ReadLimits, ShardReader};

use super::AwsClients;
use super::clients::ATTEMPT_TIMEOUT;
use super::fault::{IN_USE, in_use, port_error};
use super::kinesis::{IteratorPosition, KinesisReader};
use super::leftover::Leftover;
use super::prepared_call::{PreparedOnce, Watch};
use super::server_clock::ServerClock;
use super::shard_api::{StreamApi as _, is_rejected_iterator, page_of};
use super::subscription::{Subscription, SubscriptionError};
use crate::wire::kinesis::{EventTemplate, GetRecordsParser};
use crate::wire::page_builder::GetRecordsResponse;
use crate::wire::streaming_parser::StreamingParser;

const CALL: &str = "SubscribeToShard";

/// A consumer may call SubscribeToShard once a second for each shard. A server that ends every
/// subscription at once would be called without a pause otherwise.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html>
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// A consumer of a stream, which is registered for enhanced fan-out.
#[derive(Debug)]
pub(super) struct Consumer {
    arn: Arn,
    subscribe: PreparedOnce,
}

/// Reads one shard.
#[derive(Debug)]
pub(super) struct FanOutShard {
    stream: Arc<KinesisReader>,
    consumer: Arc<Consumer>,
    shard: ShardId,
    template: EventTemplate,
    current: Option<Current>,
    /// When the last subscription was requested.
    subscribed_at: Option<Instant>,
    /// The records of the last event that were not returned yet.
    rest: Leftover,
}

/// The current subscription.
#[derive(Debug)]
struct Current {
    subscription: Subscription,
    /// The iterator of a read that continues with it.
    iterator: Arc<str>,
    /// Of the last event.
    rest: Option<RestOfEvent>,
}

/// The records of an event for which its pages had no memory.
#[derive(Debug)]
struct RestOfEvent {
    /// A response with these records only.
    text: Bytes,
    _memory: KeptMemory,
    next_iterator: Option<String>,
    has_children: bool,
    behind_latest: Option<Duration>,
}

/// Checks that a consumer exists.
pub(super) async fn exists(
    clients: &AwsClients,
    consumer: &Arn,
    clock: &ServerClock,
) -> Result<(), PortError> {
    let call = clients.kinesis.describe_stream_consumer();
    let call = call.consumer_arn(consumer.as_str());
    let response = call.customize().interceptor(clock.clone()).send().await;
    let operation = operation("DescribeStreamConsumer", consumer);
    let response = response.map_err(|error| port_error(operation.clone(), error))?;
    let described = response.consumer_description;
    // One that is being created is read as soon as it is active.
    if described.is_some_and(|it| it.consumer_status == ConsumerStatus::Deleting) {
        return Err(PortError {
            operation,
            fault: Fault::Gone,
            source: "the consumer is being deleted".into(),
        });
    }
    Ok(())
}

fn operation(call: &str, consumer: &Arn) -> String {
    let resource = consumer.resource().rsplit('/').next().unwrap_or_default();
    let name = resource.split(':').next().unwrap_or_default();
    format!(
        "{call} of consumer {name} of stream {}",
        consumer.source_name()
    )
}

impl Consumer {
    pub(super) fn new(arn: &Arn) -> Self {
        Self {
            arn: arn.clone(),
            subscribe: PreparedOnce::default(),
        }
    }
}

impl FanOutShard {
    pub(super) fn new(
        stream: Arc<KinesisReader>,
        consumer: Arc<Consumer>,
        shard: &ShardId,
        template: EventTemplate,
    ) -> Self {
        Self {
            stream,
            consumer,
            shard: shard.clone(),
            template,
            current: None,
            subscribed_at: None,
            rest: Leftover::default(),
        }
    }

    /// Waits until a subscription may be requested.
    async fn wait_for_turn(&mut self) {
        if let Some(last) = self.subscribed_at {
            tokio::time::sleep_until(last + MIN_INTERVAL).await;
        }
        self.subscribed_at = Some(Instant::now());
    }

    /// A subscription at a position, and what its first event starts with.
    async fn subscribe(&self, from: &Cursor) -> Result<(Subscription, PageStart), PortError> {
        let failed = |error: SdkError<SubscribeToShardError, HttpResponse>| {
            let operation = operation(CALL, &self.consumer.arn);
            match error.code() {
                Some(IN_USE) => in_use(operation, error.message().unwrap_or_default()),
                _ => port_error(operation, error),
            }
        };
        if let Some(number) = from.iterator.as_deref().filter(|it| is_number(it)) {
            // Whether a server counts the record with this number as sent differs: AWS's documents
            // allow to continue at it or after it.
            let at = IteratorPosition {
                kind: ShardIteratorType::AtSequenceNumber,
                number: Some(number),
                time: None,
                start: PageStart::Continued,
            };
            match self.subscribe_at(&at).await {
                Err(error) if is_rejected_iterator(&error) => {}
                Err(error) => return Err(failed(error)),
                Ok(subscription) => return Ok((subscription, at.start)),
            }
        }
        let at = self.stream.iterator_position(from, CALL)?;
        let subscription = self.subscribe_at(&at).await.map_err(failed)?;
        Ok((subscription, at.start))
    }

    async fn subscribe_at(
        &self,
        at: &IteratorPosition<'_>,
    ) -> Result<Subscription, SdkError<SubscribeToShardError, HttpResponse>> {
        let (clients, consumer) = (&self.stream.clients, self.consumer.arn.as_str());
        let any = SdkPosition::builder().r#type(ShardIteratorType::TrimHorizon);
        let any = any.build().map_err(SdkError::construction_failure)?;
        let call = clients.kinesis.subscribe_to_shard().consumer_arn(consumer);
        let call = call.shard_id("any").starting_position(any).customize();
        let call = match &clients.subscription_http {
            Some(http) => {
                let http = aws_sdk_kinesis::Config::builder().http_client(http.clone());
                call.config_override(http)
            }
            None => call,
        };
        let prepare = async |preparation| call.interceptor(preparation).send().await.map(drop);
        let mut position = json!({"Type": at.kind.as_str()});
        if let Some(number) = at.number {
            position["SequenceNumber"] = number.into();
        }
        if let Some(time) = at.time {
            position["Timestamp"] = seconds(time).into();
        }
        let body = json!({
            "ConsumerARN": consumer,
            "ShardId": self.shard.as_str(),
            "StartingPosition": position,
        });
        let watch = Watch {
            rules: &clients.rules,
            clock: &clients.kinesis_clock,
        };
        let response = self.consumer.subscribe.get(prepare).await?.send(
            body.to_string().into(),
            ATTEMPT_TIMEOUT,
            &watch,
            SubscribeToShardError::generic,
        );
        Ok(Subscription::new(response.await?))
    }

    async fn next_event(
        &self,
        subscription: &mut Subscription,
        from: &Cursor,
        limits: &ReadLimits<'_>,
    ) -> Result<GetRecordsResponse, SubscriptionError> {
        let event_bytes = |length| self.stream.estimate.event_bytes(length);
        let parser = |length, max_bytes| self.parser(from, length, max_bytes);
        subscription.next_event(limits, event_bytes, parser).await
    }

    /// The records that were left of an event; `None` if there is no memory for them.
    fn next_of_rest(
        &self,
        rest: RestOfEvent,
        from: &Cursor,
        limits: &ReadLimits<'_>,
    ) -> Result<Option<GetRecordsResponse>, SubscriptionError> {
        let length = rest.text.len();
        let event_bytes = self.stream.estimate.event_bytes(length);
        let Some(max_bytes) = limits.memory.reserve(Some(event_bytes)).now_or_never() else {
            return Ok(None);
        };
        let mut parser = StreamingParser::new(self.parser(from, length, max_bytes));
        parser.push(&rest.text)?;
        Ok(Some(GetRecordsResponse {
            next_iterator: rest.next_iterator,
            has_children: rest.has_children,
            behind_latest: rest.behind_latest,
            ..parser.finish()?
        }))
    }

    /// Parses an event of `length` bytes. What it leaves out is kept if the memory for its records is
    /// enough for that, too, as it is unless the event is very large.
    fn parser<'a>(
        &'a self,
        from: &'a Cursor,
        length: usize,
        max_bytes: usize,
    ) -> GetRecordsParser<'a> {
        let (template, estimate) = (&self.template, &self.stream.estimate);
        let now = self.stream.server_clock().now();
        let parser = |max_bytes| {
            let hash_keys = self.stream.hash_keys(&self.shard);
            GetRecordsParser::new(template, estimate, length, max_bytes, now)
                .taking_apart(&from.after, hash_keys)
        };
        if length <= max_bytes / 2 {
            parser(max_bytes - length).keeping_rest(length)
        } else {
            parser(max_bytes)
        }
    }

    /// Continues with what is left of the last event, or with the next one. `None` if the subscription is
    /// over, or if there is no memory for what is left of the event.
    async fn continue_with(
        &self,
        current: Current,
        from: &Cursor,
        limits: &ReadLimits<'_>,
    ) -> Result<Option<(Subscription, GetRecordsResponse)>, SubscriptionError> {
        let Current {
            mut subscription,
            rest,
            ..
        } = current;
        if let Some(rest) = rest {
            let response = self.next_of_rest(rest, from, limits)?;
            return Ok(response.map(|response| (subscription, response)));
        }
        match self.next_event(&mut subscription, from, limits).await {
            Ok(response) => Ok(Some((subscription, response))),
            Err(error) if error.is_over() => {
                tracing::debug!(shard = %self.shard, %error, "subscribing again");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn failed(&self, error: SubscriptionError) -> PortError {
        error.into_port_error(operation(CALL, &self.consumer.arn))
    }
}

#[async_trait]
impl ShardReader for FanOutShard {
    async fn read(
        &mut self,
        from: &Cursor,
        limits: ReadLimits<'_>,
    ) -> Result<ReadResult, PortError> {
        if let Some(rest) = self.rest.take(from) {
            return Ok(self.rest.limit(rest, limits.max_records));
        }
        let continues = |token: &Arc<str>| from.iterator.as_ref() == Some(token);
        let current = self.current.take();
        let current = current.filter(|current| continues(&current.iterator));
        let read = match current {
            Some(current) => self.continue_with(current, from, &limits).await,
            None => Ok(None),
        };
        let (subscription, mut response, start) = match read {
            Ok(Some((subscription, response))) => (subscription, response, PageStart::Continued),
            Ok(None) => {
                self.wait_for_turn().await;
                let (mut subscription, start) = self.subscribe(from).await?;
                let response = self.next_event(&mut subscription, from, &limits).await;
                (subscription, response.map_err(|it| self.failed(it))?, start)
            }
            Err(error) => return Err(self.failed(error)),
        };
        let rest = RestOfEvent::of(&mut response, &limits);
        let has_children = response.has_children;
        let mut page = page_of(&*self.stream, &self.shard, from, start, response).await?;
        self.stream.skip_early(from, &mut page);
        if page.start == PageStart::Continued {
            skip_repeated(from, &mut page);
        }
        if has_children && page.records.is_empty() && page.behind.is_zero() {
            // Some servers name children, and a number to continue at, in every event of a closed
            // shard.
            page.next = None;
        }
        if let (Some(rest), Some(next)) = (&rest, &mut page.next) {
            next.iterator = Some(format!("{} bytes of an event", rest.text.len()).into());
        }
        let next = page.next.as_ref().and_then(|next| next.iterator.clone());
        self.current = next.map(|iterator| Current {
            subscription,
            iterator,
            rest,
        });
        Ok(self.rest.limit(page, limits.max_records))
    }

    fn has_page(&self, from: &Cursor) -> bool {
        self.rest.continues(from)
    }

    fn release_memory(&mut self) {
        if self.current.as_ref().is_some_and(|it| it.rest.is_some()) {
            self.current = None;
        }
    }
}

impl RestOfEvent {
    /// What a response leaves out, with the memory for it.
    fn of(response: &mut GetRecordsResponse, limits: &ReadLimits<'_>) -> Option<Self> {
        let text = response.rest.take()?;
        Some(Self {
            _memory: limits.memory.keep(text.len()),
            text,
            next_iterator: response.next_iterator.clone(),
            has_children: response.has_children,
            behind_latest: response.behind_latest,
        })
    }
}

/// Removes the records before the position, from which the server may have continued: the record at the
/// position, or, of ferrokinesis, all of the shard. Those of the aggregate at the position are left:
/// the consumer knows which of them it has.
fn skip_repeated(from: &Cursor, page: &mut ReadResult) {
    let (number, is_done) = match &from.after {
        Position::After(number) => (number, true),
        Position::Within(number, _) => (number, false),
        Position::TrimHorizon | Position::AtTimestamp(_) | Position::At(_) | Position::ShardEnd => {
            return;
        }
    };
    let records = page.records.iter();
    let repeated = records.take_while(|record| {
        let record = SequenceNumber::from(record.sequence_number());
        record.is_lower_than(number) || is_done && record == *number
    });
    page.records.drain(..repeated.count());
}

/// Whether an iterator is the continuation number of an event.
fn is_number(iterator: &str) -> bool {
    !iterator.is_empty() && iterator.bytes().all(|it| it.is_ascii_digit())
}

/// As AWS's JSON protocols write a time.
fn seconds(time: Timestamp) -> f64 {
    Duration::from_millis(time.as_millis()).as_secs_f64()
}
