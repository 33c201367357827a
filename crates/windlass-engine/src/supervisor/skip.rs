//! Skips: an operator passes records of a shard, which become dead letters.
//!
//! The shard is stopped as for a seek. Its lease is taken once more, so that nothing that ran before
//! saves over what is written here, and the mapping continues after it.

use std::sync::Arc;
use std::time::Duration;

use windlass_core::arn::StreamKind;
use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::lease::{Lease, Unit};
use windlass_core::mapping::{Mapping, MappingId, MappingRow};
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::record::Record;
use windlass_core::shard::{
    Gap, ReadResult, RetriedBatch, ShardSkip, SkipEnd, SkipExtent, SkipStep, SkipWrite,
};
use windlass_core::stretch::StretchStart;

use super::holds::{HeldUnits, NoHold};
use super::operator::{OperationError, Operator, Stream};
use crate::clock::Timer;
use crate::dead_letters::{DeadLetterBox, Keep};
use crate::jobs::{ACCOUNT, Caller, Ended};
use crate::memory::{Backpressure, Reservation, ResponseGrant};
use crate::ports::{
    CheckpointSave, HistoryLine, Kept, ReadLimits, ShardReader, SkipSave, log_fault,
};
use crate::run_unit::{
    PollSettings, poll_settings, seed, set_seek_mark, shard_settings, window_len,
};
use crate::shared_reads::ReadShare;
use crate::status::{UnitView, describe_gap};

/// What to skip, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    pub shard: ShardId,
    pub records: SkipRecords,
    /// Whether records for which there is no room, or that are not to be kept, are dropped.
    pub discards: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipRecords {
    /// The next ones, at least 1.
    Next(u64),
    /// The batches that are being retried.
    RetriedBatches,
    Through(SequenceNumber),
}

/// What a skip has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkipResult {
    pub shard: ShardId,
    pub from: Position,
    pub to: Position,
    /// Records, those included that no filter matches.
    pub skipped: u64,
    /// Of them, those that were dropped.
    pub discarded: u64,
    /// Why not even the number of the next record can be read, if the skip has ended there.
    pub unreadable: Option<&'static str>,
}

type SkipCaller = Caller<Result<SkipResult, OperationError>>;

/// What the history says of a skip.
type SkipLine = dyn Fn(&SkipResult) -> HistoryLine + Send + Sync;

/// One skip.
struct SkipRun<'a> {
    operator: &'a Operator,
    mapping: &'a MappingId,
    skip: &'a Skip,
    stream: &'a Stream,
    caller: &'a SkipCaller,
    letters: DeadLetterBox,
    line: &'a SkipLine,
    result: SkipResult,
    /// Whether anything was written.
    has_changed: bool,
    lease: Lease,
}

/// Reads the shard.
struct Reads {
    reader: Box<dyn ShardReader>,
    /// Shared with the other readers of the stream.
    share: ReadShare,
    poll: PollSettings,
    /// For what is in memory.
    held: Reservation,
}

/// A skip that is not refused.
struct Plan {
    row: MappingRow,
    mapping: Mapping,
    stream: Stream,
    skip: Skip,
    extent: SkipExtent,
}

impl From<Ended> for OperationError {
    fn from(Ended: Ended) -> Self {
        Self::Draining
    }
}

impl Operator {
    /// Passes records of a shard. `line` is what the history says of it. It is a job, which ends when the
    /// caller drops this.
    ///
    /// # Errors
    /// What was skipped by then, if anything, is in the history.
    pub async fn skip(
        &self,
        row: &MappingRow,
        skip: Skip,
        line: impl Fn(&SkipResult) -> HistoryLine + Send + Sync + 'static,
    ) -> Result<SkipResult, OperationError> {
        let plan = self.plan_skip(row, skip).await?;
        let operator = self.clone();
        let mut result = self.jobs.start(|caller| async move {
            let result = operator.run_skip(plan, &caller, &line).await;
            // A caller that has left needs no result.
            caller.report(result).await.ok();
        })?;
        let result = result.recv().await;
        result.ok_or(OperationError::Draining)?
    }

    async fn plan_skip(&self, row: &MappingRow, skip: Skip) -> Result<Plan, OperationError> {
        let (mapping, source) = Self::mapping(row)?;
        let stream = Stream::new(self, &mapping, source)?;
        self.lease(&row.id, &skip).await?;
        if self.context.settings.dead_letters.keep == Keep::Never && !skip.discards {
            return Err(OperationError::NotKept);
        }
        stream.check_skip(&skip).await?;
        let n_lanes = stream.source.settings.parallelization_factor;
        Ok(Plan {
            extent: self.extent(row, &skip, n_lanes)?,
            row: row.clone(),
            mapping,
            stream,
            skip,
        })
    }

    async fn run_skip(
        &self,
        plan: Plan,
        caller: &SkipCaller,
        line: &SkipLine,
    ) -> Result<SkipResult, OperationError> {
        let (id, skip) = (&plan.row.id, &plan.skip);
        let units = HeldUnits::Shards([skip.shard.clone()].into());
        let hold = self.holds.hold(id, units, &self.wakeup);
        let mut hold = hold.map_err(|error| match error {
            NoHold::Taken => OperationError::Busy,
            NoHold::Closed => OperationError::Draining,
        })?;
        if !caller.unless_ended(hold.stopped()).await? {
            return Err(OperationError::Draining);
        }
        let seen = self.lease(id, skip).await?;
        let taken = self.store.take_many(&[seen], &self.worker).await?;
        let lease = taken.into_iter().next();
        let lease = lease.ok_or(OperationError::Contended)?;
        let (shard, reads) = self.shard(&plan, &lease);
        let letters = &self.context.dead_letters;
        let position = &lease.checkpoint.position;
        let run = SkipRun {
            operator: self,
            mapping: id,
            skip,
            stream: &plan.stream,
            caller,
            letters: letters.of_skip(id, &plan.mapping.function, &plan.stream.source.arn),
            line,
            result: SkipResult {
                shard: skip.shard.clone(),
                from: position.clone(),
                to: position.clone(),
                skipped: 0,
                discarded: 0,
                unreadable: None,
            },
            has_changed: false,
            lease,
        };
        run.run(shard, reads).await
    }

    fn shard(&self, plan: &Plan, lease: &Lease) -> (ShardSkip, Reads) {
        let (context, shard) = (&self.context, &plan.skip.shard);
        let mut source = plan.stream.source.clone();
        set_seek_mark(&mut source.settings, lease);
        let poll = poll_settings(&context.settings, &source);
        let window_len = window_len(&source, shard);
        let filter = plan.mapping.filter.clone();
        let settings = shard_settings(source.settings, filter, None, window_len, poll);
        let skip = ShardSkip::new(
            settings,
            lease.checkpoint.clone(),
            plan.extent.clone(),
            source.kind == StreamKind::Kinesis,
            seed(context.seed, lease),
            self.clock.now(),
        );
        let reads = Reads {
            reader: Arc::clone(&plan.stream.reader).open(shard),
            share: context.reads.of_mapping(&plan.stream.source.arn),
            poll,
            held: context.budget.account(&MappingId::new(ACCOUNT)).empty(),
        };
        (skip, reads)
    }

    /// The lease of the shard, unless there is nothing to skip.
    async fn lease(&self, mapping: &MappingId, skip: &Skip) -> Result<Lease, OperationError> {
        let rows = self.store.leases_of(mapping).await?;
        let is_of_shard = |lease: &Lease| lease.key.unit.shard() == Some(&skip.shard);
        let lease = rows.into_iter().find(is_of_shard);
        let lease = lease.ok_or_else(|| OperationError::NoCheckpoint(skip.shard.clone()))?;
        let position = &lease.checkpoint.position;
        if *position == Position::ShardEnd {
            return Err(OperationError::NothingToSkip);
        }
        if let SkipRecords::Through(number) = &skip.records {
            let is_passed = match position {
                Position::After(last) => !last.is_lower_than(number),
                Position::At(next) | Position::Within(next, _) => number.is_lower_than(next),
                Position::TrimHorizon | Position::AtTimestamp(_) | Position::ShardEnd => false,
            };
            if is_passed {
                return Err(OperationError::Passed {
                    shard: skip.shard.clone(),
                    number: number.clone(),
                });
            }
        }
        Ok(lease)
    }

    fn extent(
        &self,
        row: &MappingRow,
        skip: &Skip,
        n_lanes: usize,
    ) -> Result<SkipExtent, OperationError> {
        match &skip.records {
            SkipRecords::Next(n_records) => Ok(SkipExtent::Records(*n_records)),
            SkipRecords::Through(number) => Ok(SkipExtent::Through(number.clone())),
            SkipRecords::RetriedBatches => {
                let batches = self.retried(row, &skip.shard, n_lanes)?;
                if batches.is_empty() {
                    return Err(OperationError::NothingRetried(skip.shard.clone()));
                }
                Ok(SkipExtent::Batches(batches))
            }
        }
    }

    /// The batches of the shard that are being retried.
    fn retried(
        &self,
        row: &MappingRow,
        shard: &ShardId,
        n_lanes: usize,
    ) -> Result<Vec<RetriedBatch>, OperationError> {
        let status = self.board.mapping(row);
        let unit = status.units.get(&Unit::Shard(shard.clone()));
        let Some(UnitView::Shard(view)) = unit.map(|unit| &unit.view) else {
            return Ok(Vec::new());
        };
        if view.n_lanes != n_lanes {
            // The mapping was changed just now: its lanes have other records.
            return Err(OperationError::Contended);
        }
        Ok(view.retried.clone())
    }
}

impl Stream {
    /// Checks that the last record to skip is one of the shard, if it is named.
    async fn check_skip(&self, skip: &Skip) -> Result<(), OperationError> {
        let SkipRecords::Through(number) = &skip.records else {
            return Ok(());
        };
        let at = StretchStart::At(number.clone());
        self.check_number(&skip.shard, &at).await
    }
}

impl SkipRun<'_> {
    async fn run(
        mut self,
        mut shard: ShardSkip,
        mut reads: Reads,
    ) -> Result<SkipResult, OperationError> {
        let clock = self.operator.clock;
        let end = loop {
            self.caller.check()?;
            match shard.step(clock.now()) {
                SkipStep::Read {
                    from,
                    limit,
                    timeout,
                } => {
                    if from.after.sequence_number().is_none() {
                        // Nothing else shows that the stream was created again since it was named.
                        let checked = self.stream.check_skip(self.skip);
                        self.caller.unless_ended(checked).await??;
                    }
                    let page = self.read(&mut reads, &from, limit, timeout);
                    // Until what is in memory is counted.
                    let (page, _memory) = self.caller.unless_ended(page).await?;
                    shard.handle_read(page, clock.now());
                    let bytes = shard.bytes();
                    reads.held.set(bytes + bytes.min(PAYLOAD_LIMIT));
                }
                SkipStep::Wait(until) => {
                    let mut timer = Timer::new(clock);
                    self.caller
                        .unless_ended(timer.sleep_until(Some(until)))
                        .await?;
                }
                SkipStep::Write(write) => self.write(write).await?,
                SkipStep::Done(end) => break end,
            }
        };
        if let Some(gap) = shard.gap() {
            self.report_gap(gap);
        }
        if let SkipEnd::Unreadable(record) = &end {
            self.result.unreadable = Some(record.reason);
        }
        match end {
            SkipEnd::Failed(fault) => Err(OperationError::Unread {
                shard: self.skip.shard.clone(),
                fault,
                skipped: self.result.skipped,
            }),
            SkipEnd::OtherStream => Err(OperationError::OtherStream(self.skip.shard.clone())),
            SkipEnd::Unreadable(record) if !self.has_changed => Err(OperationError::Unreadable {
                shard: self.skip.shard.clone(),
                reason: record.reason,
            }),
            SkipEnd::Complete | SkipEnd::NoMoreRecords | SkipEnd::Unreadable(_)
                if !self.has_changed =>
            {
                Err(match self.skip.records {
                    SkipRecords::RetriedBatches => {
                        OperationError::NothingRetried(self.skip.shard.clone())
                    }
                    SkipRecords::Next(_) | SkipRecords::Through(_) => OperationError::NothingToSkip,
                })
            }
            SkipEnd::Complete | SkipEnd::NoMoreRecords | SkipEnd::Unreadable(_) => Ok(self.result),
        }
    }

    /// Returns the memory of the page as well.
    async fn read(
        &self,
        reads: &mut Reads,
        from: &Cursor,
        max_records: u32,
        timeout: Duration,
    ) -> (Result<ReadResult, Fault>, ResponseGrant) {
        let (context, clock) = (&self.operator.context, self.operator.clock);
        let PollSettings {
            catch_up_interval,
            read_bytes,
            ..
        } = reads.poll;
        let shard = &self.skip.shard;
        reads.share.turn(shard, catch_up_interval, clock).await;
        let account = context.budget.account(&MappingId::new(ACCOUNT));
        let memory = ResponseGrant::new(account, Backpressure::default(), clock, read_bytes);
        let limits = ReadLimits {
            max_records,
            memory: &memory,
            timeout,
        };
        let page = reads.reader.read(from, limits).await;
        (page.map_err(|error| log_fault(&error)), memory)
    }

    /// Writes what is skipped with the checkpoint after it.
    async fn write(&mut self, write: SkipWrite) -> Result<(), OperationError> {
        let SkipWrite {
            batch,
            checkpoint,
            n_skipped,
        } = write;
        let n_records = batch.as_ref().map_or(0, |batch| batch.records.len());
        let shard = &self.skip.shard;
        let keeps = self.operator.context.settings.dead_letters.keep != Keep::Never;
        let letter = batch.as_ref().filter(|_| keeps);
        let letter = letter.map(|batch| self.letters.skipped(shard, batch, &self.result.to));
        let mut is_kept = letter.is_some();
        let mut result = SkipResult {
            to: checkpoint.position.clone(),
            skipped: n_skipped,
            ..self.result.clone()
        };
        let save = |result: &SkipResult| SkipSave {
            save: CheckpointSave {
                key: self.lease.key.clone(),
                epoch: self.lease.epoch,
                checkpoint: checkpoint.clone(),
            },
            line: (self.line)(result),
        };
        if !is_kept {
            result.discarded += n_records as u64;
        }
        let mut kept = self.letters.skip(letter, save(&result)).await?;
        if kept == Kept::Full && self.skip.discards {
            is_kept = false;
            result.discarded += n_records as u64;
            kept = self.letters.skip(None, save(&result)).await?;
        }
        match kept {
            Kept::Done { .. } => {}
            Kept::Full => {
                return Err(OperationError::NoRoom {
                    skipped: self.result.skipped,
                });
            }
            Kept::Conflict => return Err(OperationError::Contended),
        }
        let counts = self.operator.board.counts_of(self.mapping);
        let n_more = n_skipped - self.result.skipped;
        counts
            .skipped
            .add(usize::try_from(n_more).unwrap_or(usize::MAX));
        if is_kept {
            counts.dead_letters.add(n_records);
        }
        if let Some(batch) = &batch {
            let numbers = [batch.records.first(), batch.records.last()];
            let [first, last] = numbers.map(|record| record.map(Record::sequence_number));
            let uuid = self.mapping;
            if is_kept {
                tracing::info!(%uuid, %shard, n_records, first, last, "records skipped: they are kept as a dead letter");
            } else {
                tracing::warn!(%uuid, %shard, n_records, first, last, "records skipped and discarded");
            }
        }
        self.result = result;
        self.has_changed = true;
        Ok(())
    }

    fn report_gap(&self, gap: &Gap) {
        let (board, shard) = (&self.operator.board, &self.skip.shard);
        board.counts_of(self.mapping).trimmed_gaps.add(1);
        let gap = describe_gap(gap);
        board.add_gap(self.mapping, format!("shard {shard}: {gap}"));
        tracing::warn!(uuid = %self.mapping, %shard, "{gap}");
    }
}
