//! From a mapping and a lease to a driver that can run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tracing::Instrument;
use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::filter::Criteria;
use windlass_core::lease::{Lease, Unit};
use windlass_core::mapping::{Mapping, QueueSettings, Source, StreamSettings};
use windlass_core::record::{KeyHash, ShardId};
use windlass_core::shard::{Finish, ShardConsumer, ShardSettings};

use crate::budget::ByteBudget;
use crate::clock::Clock;
use crate::invoking::Invoker;
use crate::ports::{Connect, PortError, QueueReader, Store, StreamReader, Target};
use crate::queue_driver::{QueueDriver, QueueIo};
use crate::settings::{
    BUFFERED_BATCHES, DYNAMODB_STREAMS_READ_LIMIT, EngineSettings, FEWEST_BUFFERED_RECORDS,
    KINESIS_READ_LIMIT, MOST_BUFFERED_BYTES, MOST_BUFFERED_RECORDS,
};
use crate::shard_driver::{ShardDriver, ShardIo, Stop};
use crate::status::{StatusBoard, UnitHandle, UnitView};

/// What all drivers of a daemon share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) clock: Clock,
    pub(crate) settings: EngineSettings,
    pub(crate) budget: ByteBudget,
    pub(crate) slots: Arc<Semaphore>,
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
    pub(crate) fn new(connect: &dyn Connect, mapping: &Mapping) -> Result<Self, PortError> {
        let reader = match &mapping.source {
            Source::Kinesis { .. } | Source::DynamoDbStreams { .. } => {
                Reader::Stream(connect.stream(mapping)?)
            }
            Source::Sqs { .. } => Reader::Queue(connect.queue(mapping)?),
        };
        Ok(Self {
            reader,
            target: connect.target(mapping)?,
        })
    }
}

/// Runs one unit of a mapping until it ends; `None`: nothing was finished that others build on.
pub(crate) async fn run(
    shared: Shared,
    mapping: Mapping,
    connection: Connection,
    lease: Lease,
    stop: watch::Receiver<Stop>,
) -> Option<Finish> {
    let unit = lease.key.unit.name();
    let span = tracing::info_span!("mapping", uuid = %mapping.id, unit);
    let invoker = Invoker {
        mapping: mapping.id.clone(),
        target: connection.target,
        slots: Arc::clone(&shared.slots),
        clock: shared.clock,
        counts: shared.board.counts_of(&mapping.id),
        board: Arc::clone(&shared.board),
    };
    let starting = UnitView::Starting { fault: None };
    let status = shared.board.unit(&mapping.id, &lease.key.unit, starting);
    // Each unit draws its own jitter, and a restart draws another.
    let seed = shared.seed ^ KeyHash::of(unit.as_bytes()).0 ^ lease.epoch;
    let pace = pace(&shared.settings, &mapping.source);
    let running = Ingredients {
        invoker,
        seed,
        stop,
        status,
        shared,
    };
    match (connection.reader, mapping.source, &lease.key.unit) {
        (
            Reader::Stream(reader),
            Source::Kinesis { settings, .. } | Source::DynamoDbStreams { settings, .. },
            Unit::Shard(shard),
        ) => {
            let shard = shard.clone();
            let settings = shard_settings(&settings, mapping.filter, pace);
            let driver = running.shard(reader, settings, lease, shard);
            driver.run().instrument(span).await
        }
        (Reader::Queue(reader), Source::Sqs { settings, .. }, Unit::QueueSlot(_)) => {
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
struct Ingredients {
    invoker: Invoker,
    seed: u64,
    stop: watch::Receiver<Stop>,
    status: UnitHandle,
    shared: Shared,
}

impl Ingredients {
    fn shard(
        self,
        reader: Arc<dyn StreamReader>,
        settings: ShardSettings,
        lease: Lease,
        shard: ShardId,
    ) -> ShardDriver {
        let Shared {
            clock,
            budget,
            store,
            ..
        } = self.shared;
        ShardDriver {
            consumer: ShardConsumer::new(settings, lease.checkpoint, self.seed, clock.now()),
            io: ShardIo {
                key: lease.key,
                shard,
                epoch: lease.epoch,
                reader,
                store,
                invoker: self.invoker,
                budget,
                clock,
            },
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
        let Shared {
            clock,
            budget,
            settings,
            ..
        } = self.shared;
        QueueDriver {
            io: QueueIo {
                reader,
                invoker: self.invoker,
                budget,
                clock,
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
struct Pace {
    poll_interval: Duration,
    catch_up_interval: Duration,
    read_limit: u32,
}

fn pace(settings: &EngineSettings, source: &Source) -> Pace {
    match source {
        Source::DynamoDbStreams { .. } => Pace {
            poll_interval: settings.dynamodb_streams_poll_interval,
            catch_up_interval: settings.dynamodb_streams_catch_up_interval,
            read_limit: DYNAMODB_STREAMS_READ_LIMIT,
        },
        Source::Kinesis { .. } | Source::Sqs { .. } => Pace {
            poll_interval: settings.kinesis_poll_interval,
            catch_up_interval: settings.kinesis_catch_up_interval,
            read_limit: KINESIS_READ_LIMIT,
        },
    }
}

fn shard_settings(
    mapping: &StreamSettings,
    filter: Option<Arc<Criteria>>,
    pace: Pace,
) -> ShardSettings {
    let batches = mapping.batch_size.saturating_mul(BUFFERED_BATCHES);
    ShardSettings {
        filter,
        skip_before: mapping.skip_before,
        batch_size: mapping.batch_size,
        maximum_batching_window: mapping.maximum_batching_window,
        poll_interval: pace.poll_interval,
        catch_up_interval: pace.catch_up_interval.min(pace.poll_interval),
        read_limit: pace.read_limit,
        buffer_records: batches.clamp(FEWEST_BUFFERED_RECORDS, MOST_BUFFERED_RECORDS),
        buffer_bytes: MOST_BUFFERED_BYTES,
        payload_limit: PAYLOAD_LIMIT,
    }
}
