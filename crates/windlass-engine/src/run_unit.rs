//! From a mapping and a lease to a driver that can run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument;
use windlass_core::arn::StreamKind;
use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::ids::{KeyHash, ShardId};
use windlass_core::lease::{Lease, LeaseKey, Unit};
use windlass_core::mapping::{
    Mapping, QueueSettings, QueueSource, Source, StreamSettings, StreamSource,
};
use windlass_core::shard::{Finish, ShardConsumer, ShardConsumerSettings, ShardLimits};
use windlass_filter::Criteria;

use crate::clock::Clock;
use crate::invoker::Invoker;
use crate::memory::PageMemory;
use crate::memory::{Account, Budget};
use crate::metrics::{InvocationMetrics, Labels};
use crate::ports::{AdapterFactory, PortError, QueueReader, Store, StreamReader, Target};
use crate::queue_driver::{QueueDriver, QueueIo};
use crate::settings::{
    BACKOFF_JITTER_PERCENT, BUFFERED_BATCHES, DYNAMODB_STREAMS_READ_BYTES,
    DYNAMODB_STREAMS_READ_LIMIT, EngineSettings, KINESIS_READ_BYTES, KINESIS_READ_LIMIT,
    MAX_BUFFERED_BYTES, MAX_BUFFERED_RECORDS, MIN_BUFFERED_RECORDS,
};
use crate::shard_driver::{ShardDriver, ShardIo};
use crate::status::{StatusBoard, UnitHandle, UnitView};
use crate::stop::Stop;

/// What all drivers of a daemon share.
#[derive(Clone)]
pub(crate) struct EngineContext {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) clock: Clock,
    pub(crate) settings: EngineSettings,
    /// The bytes that may be held.
    pub(crate) budget: Budget,
    /// The invocations that may be under way.
    pub(crate) slots: Budget,
    pub(crate) seed: u64,
}

/// The adapters of one mapping, made once for all its units.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    target: Arc<dyn Target>,
}

/// The adapter of the source.
#[derive(Clone)]
pub(crate) enum Reader {
    Stream(Arc<dyn StreamReader>),
    Queue(Arc<dyn QueueReader>),
}

impl Connection {
    pub(crate) fn new(connect: &dyn AdapterFactory, mapping: &Mapping) -> Result<Self, PortError> {
        let reader = match &mapping.source {
            Source::Stream(source) => Reader::Stream(connect.stream(source, &mapping.function)?),
            Source::Queue(source) => Reader::Queue(connect.queue(source)?),
        };
        Ok(Self {
            reader,
            target: connect.target(&mapping.function)?,
        })
    }
}

/// Runs one unit of a mapping until it ends; `None`: nothing was finished that others build on.
pub(crate) async fn run(
    context: EngineContext,
    mapping: Mapping,
    connection: Connection,
    lease: Lease,
    stop: watch::Receiver<Stop>,
) -> Option<Finish> {
    let unit = lease.key.unit.name();
    let span = tracing::info_span!("mapping", uuid = %mapping.id, unit);
    let starting = UnitView::Starting { fault: None };
    let status = context.board.unit(&mapping.id, &lease.key.unit, starting);
    let invoker = Invoker {
        mapping: mapping.id.clone(),
        metrics: InvocationMetrics::new(&Labels::new(&mapping.id, &mapping.function)),
        target: connection.target,
        slots: context.slots.account(&mapping.id),
        backpressure: status.backpressure().clone(),
        clock: context.clock,
        counts: context.board.counts_of(&mapping.id),
        board: Arc::clone(&context.board),
    };
    let poll = poll_settings(&context.settings, &mapping.source);
    let running = DriverParts {
        seed: seed(context.seed, &lease),
        account: context.budget.account(&mapping.id),
        invoker,
        stop,
        status,
        context,
    };
    match (connection.reader, mapping.source, &lease.key.unit) {
        (
            Reader::Stream(reader),
            Source::Stream(StreamSource { settings, .. }),
            Unit::Shard(shard),
        ) => {
            let shard = shard.clone();
            let settings = shard_settings(settings, mapping.filter, poll);
            let driver = running.shard(reader, settings, lease, shard, poll);
            driver.run().instrument(span).await
        }
        (
            Reader::Queue(reader),
            Source::Queue(QueueSource { settings, .. }),
            Unit::QueueSlot(_),
        ) => {
            let driver = running.queue(reader, settings, mapping.filter);
            driver.run().instrument(span).await;
            None
        }
        (Reader::Stream(_) | Reader::Queue(_), _, unit) => {
            tracing::error!(unit = unit.name(), "a lease does not fit its mapping");
            None
        }
    }
}

/// What the drivers of both kinds are made of.
struct DriverParts {
    invoker: Invoker,
    account: Account,
    seed: u64,
    stop: watch::Receiver<Stop>,
    status: UnitHandle,
    context: EngineContext,
}

impl DriverParts {
    fn shard(
        self,
        reader: Arc<dyn StreamReader>,
        settings: ShardConsumerSettings,
        lease: Lease,
        shard: ShardId,
        pace: PollSettings,
    ) -> ShardDriver {
        let EngineContext { clock, store, .. } = self.context;
        let batch_size = u32::try_from(settings.mapping.batch_size).unwrap_or(u32::MAX);
        ShardDriver {
            memory: PageMemory::new(&self.account, pace.read_bytes),
            consumer: ShardConsumer::new(settings, lease.checkpoint, self.seed, clock.now()),
            io: Arc::new(ShardIo {
                key: lease.key,
                shard,
                epoch: lease.epoch,
                reader,
                store,
                invoker: self.invoker,
                account: self.account,
                clock,
                batch_size,
            }),
            stop: self.stop,
            status: self.status,
        }
    }

    fn queue(
        self,
        reader: Arc<dyn QueueReader>,
        mapping: QueueSettings,
        filter: Option<Arc<Criteria>>,
    ) -> QueueDriver {
        let EngineContext {
            clock, settings, ..
        } = self.context;
        QueueDriver {
            io: QueueIo {
                reader,
                invoker: self.invoker,
                account: self.account,
                clock,
                stop: self.stop.clone(),
            },
            mapping,
            filter,
            settings,
            seed: self.seed,
            stop: self.stop,
            status: self.status,
        }
    }
}

/// The pace at which a source is read.
#[derive(Clone, Copy)]
struct PollSettings {
    poll_interval: Duration,
    catch_up_interval: Duration,
    read_limit: u32,
    /// The most that one read takes in memory.
    read_bytes: usize,
}

/// Each unit of each mapping draws its own jitter, and a restart draws another: two mappings on one
/// stream whose functions fail together are not tried again together.
fn seed(of_daemon: u64, lease: &Lease) -> u64 {
    let LeaseKey { mapping, unit } = &lease.key;
    let text = format!("{mapping}/{}/{}", unit.name(), lease.epoch);
    of_daemon ^ KeyHash::of(text.as_bytes()).0
}

fn poll_settings(settings: &EngineSettings, source: &Source) -> PollSettings {
    match source {
        Source::Stream(StreamSource {
            kind: StreamKind::DynamoDbStreams,
            ..
        }) => PollSettings {
            poll_interval: settings.dynamodb_streams_poll_interval,
            catch_up_interval: settings.dynamodb_streams_catch_up_interval,
            read_limit: DYNAMODB_STREAMS_READ_LIMIT,
            read_bytes: DYNAMODB_STREAMS_READ_BYTES,
        },
        Source::Stream(_) | Source::Queue(_) => PollSettings {
            poll_interval: settings.kinesis_poll_interval,
            catch_up_interval: settings.kinesis_catch_up_interval,
            read_limit: KINESIS_READ_LIMIT,
            read_bytes: KINESIS_READ_BYTES,
        },
    }
}

fn shard_settings(
    mapping: StreamSettings,
    filter: Option<Arc<Criteria>>,
    pace: PollSettings,
) -> ShardConsumerSettings {
    let batches = mapping.batch_size.saturating_mul(BUFFERED_BATCHES);
    ShardConsumerSettings {
        mapping,
        filter,
        limits: ShardLimits {
            poll_interval: pace.poll_interval,
            catch_up_interval: pace.catch_up_interval.min(pace.poll_interval),
            read_limit: pace.read_limit,
            buffer_records: batches.clamp(MIN_BUFFERED_RECORDS, MAX_BUFFERED_RECORDS),
            buffer_bytes: MAX_BUFFERED_BYTES,
            payload_limit: PAYLOAD_LIMIT,
            backoff_jitter_percent: BACKOFF_JITTER_PERCENT,
        },
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::mapping::MappingId;
    use windlass_core::position::Position;

    use super::*;

    #[test]
    fn each_unit_of_each_mapping_draws_its_own_jitter() {
        let lease = |mapping: &str, shard: &str, epoch| Lease {
            key: LeaseKey {
                mapping: MappingId::new(mapping),
                unit: Unit::Shard(ShardId::from(shard)),
            },
            owner: None,
            epoch,
            checkpoint: Position::TrimHorizon,
        };
        let first = seed(7, &lease("a", "0", 1));
        assert_eq!(first, seed(7, &lease("a", "0", 1)));
        assert_ne!(first, seed(7, &lease("b", "0", 1)));
        assert_ne!(first, seed(7, &lease("a", "1", 1)));
        assert_ne!(first, seed(7, &lease("a", "0", 2)));
        assert_ne!(first, seed(8, &lease("a", "0", 1)));
    }
}
