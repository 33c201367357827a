//! Runs one unit of a mapping: builds its consumer and driver from the mapping and the lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tracing::Instrument;
use windlass_core::arn::{Arn, StreamKind};
use windlass_core::event::{self, PAYLOAD_LIMIT};
use windlass_core::ids::{KeyHash, ShardId};
use windlass_core::lease::{Lease, LeaseKey};
use windlass_core::mapping::{
    Mapping, MappingId, Pollers, QueueSource, StreamSettings, StreamSource,
};
use windlass_core::queue::{QueueAttributes, QueueConsumer, QueueConsumerSettings, QueueLimits};
use windlass_core::replay::ReplayName;
use windlass_core::shard::{Finish, ShardConsumer, ShardConsumerSettings, ShardLimits};
use windlass_core::stretch::StretchSettings;
use windlass_filter::Criteria;

use crate::backoff::RetryDelay;
use crate::checkpoint_saver::CheckpointSaver;
use crate::clock::Clock;
use crate::dead_letters::{DeadLetterOrigin, DeadLetters};
use crate::invoker::{Invoker, Preparation};
use crate::memory::{Account, Budget, MemoryWait, MessageMemory, PageMemory};
use crate::ports::{Destination, Purpose, QueueReader, ShardReader, Target};
use crate::queue_driver::{QueueDriver, QueueIo};
use crate::rate::{NextTurn, RateLimiter};
use crate::settings::{
    BACKOFF_JITTER_PERCENT, BUFFERED_BATCHES, DYNAMODB_STREAMS_READ_BYTES,
    DYNAMODB_STREAMS_READ_LIMIT, EngineSettings, HOLD_LIMIT, KINESIS_READ_BYTES,
    KINESIS_READ_LIMIT, MAX_BUFFERED_BYTES, MAX_BUFFERED_MESSAGES, MAX_BUFFERED_RECORDS,
    MAX_QUEUE_CONCURRENCY, MIN_BUFFERED_RECORDS,
};
use crate::shard_driver::{ShardDriver, ShardIo, SourceClock};
use crate::shared_reads::{ReadShare, SharedReads};
use crate::slots::{NextSlot, Slots};
use crate::status::{SourceCall, StatusBoard, UnitHandle, UnitView};
use crate::stop::{Stop, wait_for_stop};

/// Delays between attempts to describe a queue.
const DESCRIBE_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What all drivers of a daemon share.
#[derive(Clone)]
pub(crate) struct EngineContext {
    pub(crate) saver: CheckpointSaver,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) clock: Clock,
    pub(crate) settings: EngineSettings,
    /// Bytes of events in memory.
    pub(crate) budget: Budget,
    /// Concurrent invocations.
    pub(crate) slots: Slots,
    pub(crate) reads: SharedReads,
    pub(crate) seed: u64,
}

/// One unit of a mapping, with the adapter of its source.
pub(crate) enum UnitSource {
    Shard {
        shard: ShardId,
        reader: Box<dyn ShardReader>,
        source: Box<StreamSource>,
        destination: Option<Arc<dyn Destination>>,
        reads: Option<ReadShare>,
        replay: Option<ReplayRun>,
    },
    Queue {
        reader: Arc<dyn QueueReader>,
        source: QueueSource,
    },
}

/// What the units of a replay have in common.
#[derive(Clone)]
pub(crate) struct ReplayRun {
    pub(crate) name: ReplayName,
    /// With which it was started.
    pub(crate) mapping: Option<MappingId>,
    pub(crate) stretch: StretchSettings,
    pub(crate) rate: RateLimiter,
}

impl UnitSource {
    fn purpose(&self, mapping: &Mapping) -> Purpose {
        match self {
            Self::Shard {
                replay: Some(replay),
                ..
            } => Purpose::Replay(replay.name.as_str().into()),
            Self::Shard { replay: None, .. } | Self::Queue { .. } => {
                Purpose::Mapping(mapping.id.clone())
            }
        }
    }
}

/// What a unit is made of.
pub(crate) struct UnitParts {
    pub(crate) context: EngineContext,
    pub(crate) mapping: Mapping,
    pub(crate) source: UnitSource,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) lease: Lease,
    /// Before it starts.
    pub(crate) delay: Duration,
}

/// What the drivers of both kinds need.
struct DriverParts {
    invoker: Invoker,
    function: Arn,
    account: Account,
    filter: Option<Arc<Criteria>>,
    seed: u64,
    stop: watch::Receiver<Stop>,
    status: UnitHandle,
    context: EngineContext,
}

/// What the driver of a shard needs in addition.
struct ShardParts {
    shard: ShardId,
    reader: Box<dyn ShardReader>,
    source: StreamSource,
    destination: Option<Arc<dyn Destination>>,
    reads: Option<ReadShare>,
    replay: Option<ReplayRun>,
}

/// How often a source is read, and how much at once.
#[derive(Clone, Copy)]
pub(crate) struct PollSettings {
    poll_interval: Duration,
    pub(crate) catch_up_interval: Duration,
    read_limit: u32,
    /// Memory of the largest page.
    pub(crate) read_bytes: usize,
    pub(crate) memory: MemoryWait,
}

/// Returns how a shard ended, if other units depend on it.
///
/// Its future is small: there are thousands of shards, and a future keeps whatever is moved into it
/// twice.
pub(crate) async fn run_unit(
    parts: Box<UnitParts>,
    mut stop: watch::Receiver<Stop>,
) -> Option<Finish> {
    if !parts.delay.is_zero() {
        let stopped = wait_for_stop(&mut stop);
        let is_stopped = Box::pin(tokio::time::timeout(parts.delay, stopped));
        if is_stopped.await.is_ok() {
            return None;
        }
    }
    parts.run(stop).await
}

impl UnitParts {
    /// Builds the driver, and returns the future that runs it.
    fn run(self, stop: watch::Receiver<Stop>) -> BoxFuture<'static, Option<Finish>> {
        let (mapping, unit) = (&self.mapping.id, &self.lease.key.unit);
        let span = tracing::info_span!("mapping", uuid = %mapping, unit = unit.name());
        let parts = self.driver_parts(stop);
        match self.source {
            UnitSource::Shard {
                shard,
                reader,
                source,
                destination,
                reads,
                replay,
            } => {
                let mut source = *source;
                if let Some(mark) = self.lease.seek {
                    source.settings.skip_before = mark.skip_before;
                    source.settings.retries.age_from = Some(mark.at);
                }
                let shard = ShardParts {
                    shard,
                    reader,
                    source,
                    destination,
                    reads,
                    replay,
                };
                let mut driver = parts.shard_driver(shard, self.lease);
                let run = async move { driver.run().await };
                Box::pin(run.instrument(span))
            }
            UnitSource::Queue { reader, source } => {
                let run = async move {
                    if let Some(mut driver) = parts.queue_driver(reader, source).await {
                        driver.run().await;
                    }
                    None
                };
                Box::pin(run.instrument(span))
            }
        }
    }

    fn driver_parts(&self, stop: watch::Receiver<Stop>) -> DriverParts {
        let (context, mapping) = (self.context.clone(), &self.mapping);
        let starting = UnitView::Starting { fault: None };
        let status = context
            .board
            .unit(&mapping.id, &self.lease.key.unit, starting);
        let maximum_concurrency = match &self.source {
            UnitSource::Shard { .. } => None,
            UnitSource::Queue { source, .. } => Some(queue_concurrency(source, &context.settings)),
        };
        let slots = &context.slots;
        let slots = slots.account(&mapping.id, maximum_concurrency, &self.target);
        let invoker = Invoker {
            metrics: context.board.metrics_of(&mapping.id),
            target: Arc::clone(&self.target),
            slots,
            backpressure: status.backpressure().clone(),
            clock: context.clock,
            counts: context.board.counts_of(&mapping.id),
            board: Arc::clone(&context.board),
            mapping: mapping.id.clone(),
            purpose: self.source.purpose(mapping),
            reports_item_failures: mapping.reports_item_failures,
        };
        DriverParts {
            invoker,
            function: mapping.function.clone(),
            account: context.budget.account(&mapping.id),
            filter: mapping.filter.clone(),
            seed: seed(context.seed, &self.lease),
            stop,
            status,
            context,
        }
    }
}

impl DriverParts {
    fn shard_driver(self, shard: ShardParts, lease: Lease) -> ShardDriver {
        let ShardParts {
            shard,
            reader,
            source,
            destination,
            reads,
            replay,
        } = shard;
        let EngineContext {
            clock,
            saver,
            dead_letters,
            settings,
            ..
        } = self.context;
        let has_destination = destination.is_some();
        let origin = letter_origin(replay.as_ref(), &lease);
        let function = &self.function;
        let dead_letters = dead_letters.of_unit(origin, function, &source.arn, has_destination);
        let poll = poll_settings(&settings, &source);
        let backpressure = self.invoker.backpressure.clone();
        let batch_size = source.settings.batch_size;
        let needs_source_time = source.settings.retries.maximum_record_age.is_some()
            || source.settings.tumbling_window.is_some()
            || replay.is_some();
        let window_len = window_len(&source, &shard);
        let (stretch, rate) = replay.map(|it| (it.stretch, it.rate)).unzip();
        let delivers_given_up = has_destination || dead_letters.is_some();
        let settings = ShardConsumerSettings {
            delivers_given_up,
            ..shard_settings(source.settings, self.filter, stretch, window_len, poll)
        };
        ShardDriver {
            memory: PageMemory::new(
                self.account,
                backpressure,
                clock,
                poll.read_bytes,
                batch_size,
                poll.memory,
            ),
            consumer: ShardConsumer::new(settings, lease.checkpoint, self.seed, clock.now()),
            reader: Some(reader),
            preparation: Preparation::default(),
            io: Arc::new(ShardIo {
                key: lease.key,
                shard,
                event_source_arn: source.arn,
                epoch: lease.epoch,
                saver,
                destination,
                dead_letters,
                reads: reads.map(|share| (share, poll.catch_up_interval)),
                invoker: self.invoker,
                calls: self.status.source_calls().clone(),
                clock,
            }),
            stop: self.stop,
            status: self.status,
            next_slot: NextSlot::None,
            rate,
            next_turn: NextTurn::None,
            source_clock: needs_source_time.then(SourceClock::default),
            given_up: BTreeMap::new(),
        }
    }

    /// `None` if it is asked to stop before the queue can be described.
    async fn queue_driver(
        mut self,
        reader: Arc<dyn QueueReader>,
        source: QueueSource,
    ) -> Option<QueueDriver> {
        let attributes = self.describe(&*reader).await?;
        let function_timeout = tokio::select! {
            biased;
            _ = wait_for_stop(&mut self.stop) => return None,
            timeout = self.invoker.target.timeout() => timeout,
        };
        let clock = self.context.clock;
        let backpressure = self.invoker.backpressure.clone();
        let settings = self.queue_settings(source, attributes, function_timeout);
        Some(QueueDriver {
            memory: MessageMemory::new(self.account, backpressure, clock),
            described: Some(clock.now()),
            preparation: Preparation::default(),
            consumer: QueueConsumer::new(
                settings,
                self.invoker.slots.room(),
                self.seed,
                clock.now(),
            ),
            io: Arc::new(QueueIo {
                reader,
                invoker: self.invoker,
                calls: self.status.source_calls().clone(),
                clock,
                stop: self.stop.clone(),
            }),
            stop: self.stop,
            status: self.status,
            next_slot: NextSlot::None,
        })
    }

    async fn describe(&mut self, reader: &dyn QueueReader) -> Option<QueueAttributes> {
        let (initial, max) = DESCRIBE_DELAYS;
        let mut delay = RetryDelay::new(initial, max);
        let described = async {
            loop {
                let response = reader.attributes();
                let calls = self.status.source_calls();
                match calls
                    .run(SourceCall::Describe, Duration::ZERO, response)
                    .await
                {
                    Ok(attributes) => return attributes,
                    Err(fault) => {
                        let fault = Some(fault);
                        self.status.publish(UnitView::Starting { fault });
                        tokio::time::sleep(delay.next_delay()).await;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            _ = wait_for_stop(&mut self.stop) => None,
            attributes = described => Some(attributes),
        }
    }

    fn queue_settings(
        &self,
        source: QueueSource,
        attributes: QueueAttributes,
        function_timeout: Duration,
    ) -> QueueConsumerSettings {
        let settings = &self.context.settings;
        // Every concurrent batch, and the next one that is being filled.
        let concurrency = queue_concurrency(&source, settings);
        let n_batches = concurrency + 1;
        let buffer_messages = source.settings.batch_size.saturating_mul(n_batches);
        let retry_backoff = source.retry_backoff.resolve(settings.sqs_retry_backoff);
        QueueConsumerSettings {
            mapping: source.settings,
            filter: self.filter.clone(),
            attributes,
            function_timeout,
            retry_backoff,
            limits: QueueLimits {
                visibility_heartbeat: settings.sqs_visibility_heartbeat,
                wait_time: settings.sqs_wait_time,
                buffer_messages: buffer_messages.min(MAX_BUFFERED_MESSAGES),
                payload_limit: PAYLOAD_LIMIT,
                concurrency,
                hold_limit: HOLD_LIMIT,
                backoff_jitter_percent: BACKOFF_JITTER_PERCENT,
            },
        }
    }
}

/// Concurrent invocations of one mapping on a queue: the mapping's own maximum, or that of its
/// provisioned pollers, else the daemon's.
fn queue_concurrency(source: &QueueSource, settings: &EngineSettings) -> usize {
    let daemon = || settings.queue_concurrency.clamp(1, MAX_QUEUE_CONCURRENCY);
    let pollers = source.settings.pollers;
    let of_pollers = pollers.map(|it| it.maximum * Pollers::INVOCATIONS);
    let own = source.maximum_concurrency.or(of_pollers);
    own.unwrap_or_else(daemon)
}

fn letter_origin(replay: Option<&ReplayRun>, lease: &Lease) -> DeadLetterOrigin {
    match replay {
        Some(replay) => DeadLetterOrigin {
            mapping: replay.mapping.clone(),
            replay: Some(replay.name.as_str().to_owned()),
        },
        None => DeadLetterOrigin {
            mapping: Some(lease.key.mapping.clone()),
            replay: None,
        },
    }
}

/// Different for each unit, mapping and restart: consumers that fail together do not retry
/// together.
fn seed(of_daemon: u64, lease: &Lease) -> u64 {
    let LeaseKey { mapping, unit } = &lease.key;
    let text = format!("{mapping}/{}/{}", unit.name(), lease.epoch);
    of_daemon ^ KeyHash::of(text.as_bytes()).0
}

pub(crate) fn poll_settings(settings: &EngineSettings, source: &StreamSource) -> PollSettings {
    match source.kind {
        // The source decides when it sends records.
        StreamKind::Kinesis if source.consumer.is_some() => PollSettings {
            poll_interval: Duration::ZERO,
            catch_up_interval: Duration::ZERO,
            read_limit: KINESIS_READ_LIMIT,
            read_bytes: KINESIS_READ_BYTES,
            memory: MemoryWait::OnArrival,
        },
        StreamKind::Kinesis => PollSettings {
            poll_interval: settings.kinesis_poll_interval,
            catch_up_interval: settings.kinesis_catch_up_interval,
            read_limit: KINESIS_READ_LIMIT,
            read_bytes: KINESIS_READ_BYTES,
            memory: MemoryWait::BeforeRead,
        },
        StreamKind::DynamoDbStreams => PollSettings {
            poll_interval: settings.dynamodb_streams_poll_interval,
            catch_up_interval: settings.dynamodb_streams_catch_up_interval,
            read_limit: DYNAMODB_STREAMS_READ_LIMIT,
            read_bytes: DYNAMODB_STREAMS_READ_BYTES,
            memory: MemoryWait::BeforeRead,
        },
    }
}

/// What tumbling windows add to the events of a shard.
pub(crate) fn window_len(source: &StreamSource, shard: &ShardId) -> usize {
    match source.settings.tumbling_window {
        Some(_) => event::window_len(shard, &source.arn),
        None => 0,
    }
}

pub(crate) fn shard_settings(
    mapping: StreamSettings,
    filter: Option<Arc<Criteria>>,
    stretch: Option<StretchSettings>,
    window_len: usize,
    poll: PollSettings,
) -> ShardConsumerSettings {
    let batches = BUFFERED_BATCHES * mapping.parallelization_factor;
    let buffer_records = mapping.batch_size.saturating_mul(batches);
    ShardConsumerSettings {
        mapping,
        delivers_given_up: false,
        filter,
        stretch,
        window_len,
        limits: ShardLimits {
            poll_interval: poll.poll_interval,
            catch_up_interval: poll.catch_up_interval.min(poll.poll_interval),
            read_limit: poll.read_limit,
            buffer_records: buffer_records.clamp(MIN_BUFFERED_RECORDS, MAX_BUFFERED_RECORDS),
            buffer_bytes: MAX_BUFFERED_BYTES,
            payload_limit: PAYLOAD_LIMIT,
            backoff_jitter_percent: BACKOFF_JITTER_PERCENT,
        },
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::lease::Unit;
    use windlass_core::mapping::MappingId;
    use windlass_core::position::{Checkpoint, Position};

    use super::*;

    #[test]
    fn each_unit_of_each_mapping_has_its_own_jitter() {
        let lease = |mapping: &str, shard: &str, epoch| Lease {
            key: LeaseKey {
                mapping: MappingId::new(mapping),
                unit: Unit::Shard(ShardId::from(shard)),
            },
            owner: None,
            epoch,
            checkpoint: Checkpoint::at(Position::TrimHorizon),
            shard_start: None,
            seek: None,
            waits: false,
        };
        let first = seed(7, &lease("a", "0", 1));
        assert_eq!(first, seed(7, &lease("a", "0", 1)));
        assert_ne!(first, seed(7, &lease("b", "0", 1)));
        assert_ne!(first, seed(7, &lease("a", "1", 1)));
        assert_ne!(first, seed(7, &lease("a", "0", 2)));
        assert_ne!(first, seed(8, &lease("a", "0", 1)));
    }

    /// The size of the future that a function returns.
    fn size_of_future<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_task_of_a_shard_holds_its_driver_once() {
        type Arguments = (Box<UnitParts>, watch::Receiver<Stop>);
        let of_task = size_of_future(|(parts, stop): Arguments| run_unit(parts, stop));
        assert!(of_task <= 128, "{of_task}");
        let running = size_of_future(|driver: &'static mut ShardDriver| driver.run());
        assert!(running <= 1024, "{running}");
    }
}
