//! Dry runs of replays: what a replay would read and send.
//!
//! Each shard is read by the consumer that the replay would have, so that its batches are cut by the
//! same code. Every batch counts as taken at once, and nothing is saved. Shards are read side by side:
//! their order does not change what is counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use windlass_core::arn::StreamKind;
use windlass_core::ids::{KeyHash, ShardId};
use windlass_core::mapping::{Mapping, MappingId, StreamSource};
use windlass_core::outcome::{Fault, Outcome, ReturnedState, Swap};
use windlass_core::position::{Checkpoint, Cursor};
use windlass_core::rate::{Rate, RateTurns};
use windlass_core::replay::ReplayRow;
use windlass_core::shard::{
    Batch, ReadResult, Report, ShardCommand, ShardConsumer, ShardInput, UnreadableRecord,
};
use windlass_core::stretch_rows::StretchShards;
use windlass_core::time::Timestamp;
use windlass_core::window::WindowState;

use super::call::ACCOUNT;
use super::{Jobs, NotStarted};
use crate::clock::Timer;
use crate::memory::{Backpressure, PageMemory, ReadGrant};
use crate::ports::{AdapterFactory, PortError, ShardReader, StreamReader, log_fault};
use crate::run_unit::{EngineContext, PollSettings, poll_settings, shard_settings, window_len};
use crate::shared_reads::ReadShare;
use crate::supervisor::{replayed, stretch_settings};

/// Shards of one dry run that are read at a time.
const MAX_SHARDS: usize = 16;

/// Reads of a shard in a row that may fail. Those that are throttled do not count: others read the
/// shard as well.
const MAX_FAILED_READS: u32 = 5;

/// Starts dry runs. Cheap to clone.
#[derive(Clone)]
pub struct DryRuns {
    pub(crate) context: EngineContext,
    pub(crate) adapters: Arc<dyn AdapterFactory>,
    pub(crate) jobs: Jobs,
}

/// What a replay would read of one shard, and send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardTotals {
    pub shard: ShardId,
    /// Records of the stretch.
    pub records: u64,
    /// Of their data: what was put into a Kinesis stream, or the JSON of a change of a table.
    pub bytes: u64,
    /// Invocations that have records.
    pub batches: u64,
    pub first_arrival: Option<Timestamp>,
    pub last_arrival: Option<Timestamp>,
    /// Records that a filter matches; without filters, all.
    pub matching: u64,
}

/// One dry run.
struct DryRun {
    context: EngineContext,
    mapping: Mapping,
    source: StreamSource,
    shards: StretchShards,
    rate: Option<Rate>,
    stream: Arc<dyn StreamReader>,
    reads: ReadShare,
    poll: PollSettings,
}

/// One shard of it.
struct ShardRun<'a> {
    run: &'a DryRun,
    shard: ShardId,
    consumer: ShardConsumer,
    memory: PageMemory,
    /// `None` while a read is in flight.
    reader: Option<Box<dyn ShardReader>>,
    read: Option<BoxFuture<'static, ReadEnd>>,
    /// A slot is requested.
    wants_slot: bool,
    inputs: VecDeque<ShardInput>,
    failed_reads: u32,
    batches: u64,
    /// Records that no filter matches, or that are of another shard.
    n_skipped: u64,
}

struct ReadEnd {
    reader: Box<dyn ShardReader>,
    result: Result<ReadResult, PortError>,
    grant: ReadGrant,
}

impl DryRuns {
    /// Starts a dry run of a replay, which is not stored. What it counts of each shard arrives once,
    /// ordered by shard; nothing arrives if the daemon stops before.
    ///
    /// # Errors
    /// See [`NotStarted`].
    pub fn start(
        &self,
        replay: ReplayRow,
    ) -> Result<mpsc::Receiver<Result<Vec<ShardTotals>, PortError>>, NotStarted> {
        let runs = self.clone();
        self.jobs.start(|caller| async move {
            let counted = async {
                let run = runs.connect(&replay)?;
                run.count().await
            };
            match caller.unless_ended(counted).await {
                // The caller may have left.
                Ok(counted) => drop(caller.report(counted).await),
                Err(_) => {
                    tracing::info!("dry run ended early: its caller has left, or the daemon stops");
                }
            }
        })
    }

    fn connect(&self, replay: &ReplayRow) -> Result<DryRun, PortError> {
        let shards = replay
            .stretch_shards()
            .ok_or_else(|| invalid("it has no stretch".to_owned()))?;
        let row = replay.mapping();
        let (mapping, source) = replayed(&row, &shards.stretch).map_err(invalid)?;
        Ok(DryRun {
            stream: self.adapters.stream(&source, &mapping.function)?,
            reads: self.context.reads.of_replay(&source.arn),
            poll: poll_settings(&self.context.settings, &source),
            rate: replay.rate.map(Rate),
            context: self.context.clone(),
            mapping,
            source,
            shards,
        })
    }
}

impl DryRun {
    async fn count(self) -> Result<Vec<ShardTotals>, PortError> {
        let listed = self.stream.list_shards().await?;
        let mut shards: Vec<ShardId> = listed.into_iter().map(|shard| shard.id).collect();
        if let Some(selected) = &self.shards.selected {
            shards.retain(|shard| selected.contains(shard));
        }
        shards.sort();
        let runs = shards.into_iter().map(|shard| self.count_shard(shard));
        let runs: Vec<_> = runs.collect();
        stream::iter(runs).buffered(MAX_SHARDS).try_collect().await
    }

    async fn count_shard(&self, shard: ShardId) -> Result<ShardTotals, PortError> {
        let mut run = self.shard(shard);
        match run.read_all().await {
            // The retention period of its records is over, unless the stream is gone as well.
            Err(error) if error.fault == Fault::Gone => drop(self.stream.list_shards().await?),
            result => result?,
        }
        Ok(run.totals())
    }

    fn shard(&self, shard: ShardId) -> ShardRun<'_> {
        let (clock, stretch) = (self.context.clock, &self.shards.stretch);
        let settings = shard_settings(
            self.source.settings.clone(),
            self.mapping.filter.clone(),
            Some(stretch_settings(stretch, &self.source)),
            window_len(&self.source, &shard),
            self.poll,
        );
        let account = self.context.budget.account(&MappingId::new(ACCOUNT));
        let start = Checkpoint::at(stretch.position());
        let seed = self.context.seed ^ KeyHash::of(shard.as_str().as_bytes()).0;
        ShardRun {
            run: self,
            memory: PageMemory::new(
                account,
                Backpressure::default(),
                clock,
                self.poll.read_bytes,
                settings.mapping.batch_size,
                self.poll.memory,
            ),
            consumer: ShardConsumer::new(settings, start, seed, clock.now()),
            reader: Some(Arc::clone(&self.stream).open(&shard)),
            read: None,
            shard,
            wants_slot: false,
            inputs: VecDeque::new(),
            failed_reads: 0,
            batches: 0,
            n_skipped: 0,
        }
    }
}

impl ShardRun<'_> {
    async fn read_all(&mut self) -> Result<(), PortError> {
        let clock = self.run.context.clock;
        let mut timer = Timer::new(clock);
        loop {
            while let Some(command) = self.consumer.poll_command() {
                if matches!(command, ShardCommand::Finish(_)) {
                    return Ok(());
                }
                self.execute(command)?;
            }
            if let Some(input) = self.next_input() {
                self.consumer.handle(input, clock.now());
                tokio::task::consume_budget().await;
                continue;
            }
            let view = self.consumer.view();
            self.memory.settle(&view, self.consumer.state_bytes());
            let read = async {
                match &mut self.read {
                    Some(read) => read.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                end = read => self.handle_read(end)?,
                () = timer.sleep_until(self.consumer.poll_timeout()) => {
                    self.consumer.handle_timeout(clock.now());
                }
            }
        }
    }

    fn execute(&mut self, command: ShardCommand) -> Result<(), PortError> {
        match command {
            ShardCommand::Read {
                from,
                limit,
                timeout,
            } => self.start_read(from, limit, timeout),
            ShardCommand::RequestSlot => self.wants_slot = true,
            ShardCommand::CancelSlot => self.wants_slot = false,
            ShardCommand::Invoke(batch) => {
                self.batches += u64::from(!batch.records.is_empty());
                self.inputs.push_back(taken(&batch));
            }
            ShardCommand::Deliver { delivery, .. } => {
                let result = Ok(());
                self.inputs
                    .push_back(ShardInput::Delivered { delivery, result });
            }
            ShardCommand::Save(_) => self.inputs.push_back(ShardInput::Saved(Ok(Swap::Done))),
            ShardCommand::Report(report) => return self.handle_report(&report),
            ShardCommand::Finish(_) => {}
        }
        Ok(())
    }

    fn start_read(&mut self, from: Cursor, limit: u32, timeout: Duration) {
        let (run, shard) = (self.run, self.shard.clone());
        let (clock, interval) = (run.context.clock, run.poll.catch_up_interval);
        let reads = run.reads.clone();
        let reader = self.reader.take();
        let mut reader = reader.expect("a shard has one read in flight at most");
        let is_in_memory = reader.has_page(&from);
        let grant = self.memory.grant_read(limit, is_in_memory, clock.now());
        self.read = Some(Box::pin(async move {
            if !is_in_memory {
                reads.turn(&shard, interval, clock).await;
            }
            let grant = grant.await;
            let result = reader.read(&from, grant.limits(timeout)).await;
            ReadEnd {
                reader,
                result,
                grant,
            }
        }));
    }

    /// Fails once the shard cannot be read.
    fn handle_read(&mut self, end: ReadEnd) -> Result<(), PortError> {
        let ReadEnd {
            reader,
            result,
            grant,
        } = end;
        (self.reader, self.read) = (Some(reader), None);
        let clock = self.run.context.clock;
        let result = match result {
            Ok(page) => {
                if page.unreadable.is_none() {
                    self.failed_reads = 0;
                }
                Ok(page)
            }
            Err(error) => Err(self.check_fault(error)?),
        };
        self.memory.handle_read(grant, &result, clock.now());
        // Records are stamped by the clock of the source.
        let difference = self.run.stream.clock_difference().unwrap_or(0);
        let time = clock.wall().shifted(difference);
        self.inputs.push_back(ShardInput::SourceTime(time));
        self.inputs.push_back(ShardInput::Read(result));
        Ok(())
    }

    fn check_fault(&mut self, error: PortError) -> Result<Fault, PortError> {
        match error.fault {
            Fault::Throttled { .. } => {}
            Fault::Denied | Fault::Gone => return Err(error),
            Fault::Transient | Fault::TimedOut | Fault::Trimmed | Fault::UnknownPosition => {
                self.failed_reads += 1;
                if MAX_FAILED_READS < self.failed_reads {
                    return Err(error);
                }
            }
        }
        Ok(log_fault(&error))
    }

    fn handle_report(&mut self, report: &Report) -> Result<(), PortError> {
        match report {
            Report::FilteredOut { n_records }
            | Report::BeforeStart { n_records }
            | Report::OutsideHashKeyRange { n_records } => {
                self.n_skipped += *n_records as u64;
            }
            Report::Unreadable(record) => {
                self.failed_reads += 1;
                if MAX_FAILED_READS < self.failed_reads {
                    return Err(self.unreadable(*record));
                }
            }
            // A gap and what is given up are what the replay would report.
            Report::RecordTooLarge { .. }
            | Report::UnreadableDropped { .. }
            | Report::Dropped(_)
            | Report::Gap(_)
            | Report::WindowStateDropped(_) => {}
        }
        Ok(())
    }

    fn unreadable(&self, record: UnreadableRecord) -> PortError {
        PortError {
            operation: format!("reading shard {}", self.shard),
            fault: Fault::Transient,
            source: format!("a record cannot be read: {}", record.reason).into(),
        }
    }

    fn next_input(&mut self) -> Option<ShardInput> {
        if self.wants_slot {
            self.wants_slot = false;
            let max_records = RateTurns::new(self.run.rate).max_records();
            return Some(ShardInput::SlotGranted { max_records });
        }
        self.inputs.pop_front()
    }

    fn totals(&self) -> ShardTotals {
        let totals = self.consumer.stretch_totals().cloned().unwrap_or_default();
        ShardTotals {
            shard: self.shard.clone(),
            records: totals.n_records,
            bytes: match self.run.source.kind {
                StreamKind::Kinesis => totals.data_bytes,
                StreamKind::DynamoDbStreams => totals.event_bytes,
            },
            batches: self.batches,
            first_arrival: totals.first_arrival,
            last_arrival: totals.last_arrival,
            matching: totals.n_records.saturating_sub(self.n_skipped),
        }
    }
}

/// The function has taken a batch.
fn taken(batch: &Batch) -> ShardInput {
    let outcome = match batch.window {
        None => Outcome::Success,
        Some(_) => Outcome::Success.in_window(Some(ReturnedState::Json(WindowState::empty()))),
    };
    ShardInput::Invoked {
        batch: batch.id,
        outcome,
    }
}

fn invalid(problem: String) -> PortError {
    PortError {
        operation: "reading the settings of the replay".to_owned(),
        fault: Fault::Transient,
        source: problem.into(),
    }
}
