//! What an operator does with mappings while they run: seeks, and [skips](super::skip).
//!
//! What is concerned is stopped first; then the positions are written, each in the next epoch of its
//! lease, so that nothing that ran before saves over them; then it continues.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::lease::{Lease, WorkerId};
use windlass_core::mapping::{Mapping, MappingId, MappingRow, Source, StreamSource, latest};
use windlass_core::outcome::{Fault, Swap};
use windlass_core::place::Place;
use windlass_core::position::{Cursor, Position};
use windlass_core::record::Record;
use windlass_core::seek::{
    MovedShard, SeekPlan, SeekStart, family, seek_all, seek_one, unlisted_rows,
};
use windlass_core::shard::lineage::{LISTING_DISTANCE, ListingHistory, MIN_ABSENCES, Shard};
use windlass_core::stretch::StretchStart;
use windlass_core::validate;

use super::holds::{HeldUnits, Holds, NoHold};
use super::wakeup::Wakeup;
use crate::clock::Clock;
use crate::jobs::{Jobs, NotStarted};
use crate::memory::OneRecord;
use crate::ports::{
    AdapterFactory, HistoryLine, PortError, ReadLimits, SeekWrite, Store, StreamReader,
};
use crate::run_unit::EngineContext;
use crate::status::StatusBoard;

/// Of each read of one record.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads until one brings a record: a response may have none although there are more.
const MAX_READS: usize = 10;

/// Attempts at the write: rows may come and go meanwhile.
const WRITE_ATTEMPTS: usize = 10;

/// Cheap to clone.
#[derive(Clone)]
pub struct Operator {
    pub(super) store: Arc<dyn Store>,
    pub(super) adapters: Arc<dyn AdapterFactory>,
    pub(super) board: Arc<StatusBoard>,
    pub(super) clock: Clock,
    pub(super) holds: Holds,
    pub(super) wakeup: Wakeup,
    pub(super) worker: WorkerId,
    pub(super) context: EngineContext,
    pub(super) jobs: Jobs,
}

/// What to move, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seek {
    /// `None`: all shards.
    pub shard: Option<ShardId>,
    pub to: Place,
    /// Moves nothing.
    pub is_dry_run: bool,
}

/// Why an operation has changed nothing.
#[derive(Debug, Error)]
pub enum OperationError {
    #[error("another seek or skip of the mapping is in progress; repeat it when that has ended")]
    Busy,
    #[error("the daemon is draining")]
    Draining,
    #[error("the mapping has no shard {0}")]
    UnknownShard(ShardId),
    #[error("shard {0} has left the stream: the retention period of its records is over")]
    Gone(ShardId),
    #[error("shard {shard} has no record with sequence number {number}, or no longer")]
    UnknownNumber {
        shard: ShardId,
        number: SequenceNumber,
    },
    #[error("the list of shards lacks {0}, which exists; repeat it")]
    Unlisted(ShardId),
    #[error("shard {0} has no checkpoint: the mapping does not have it, or has not begun it")]
    NoCheckpoint(ShardId),
    #[error("there is nothing to skip: every record of the shard is resolved")]
    NothingToSkip,
    #[error("no batch of shard {0} is being retried")]
    NothingRetried(ShardId),
    #[error("shard {shard} has passed sequence number {number} already")]
    Passed {
        shard: ShardId,
        number: SequenceNumber,
    },
    #[error(
        "dead letters are not kept ('keep: never'): what is skipped is lost if 'discard' is given"
    )]
    NotKept,
    #[error(
        "there is no room for more dead letters, {skipped} records were skipped; redrive or delete \
         letters, raise their maximum size, or discard what is skipped with 'discard'"
    )]
    NoRoom { skipped: u64 },
    #[error(
        "shard {0}: the stream was deleted and created again, and has other records than those of \
         the checkpoint"
    )]
    OtherStream(ShardId),
    #[error(
        "the next record of shard {shard} has no number that can be read ({reason}); 'windlass seek' \
         passes it by time"
    )]
    Unreadable {
        shard: ShardId,
        reason: &'static str,
    },
    #[error(
        "shard {shard} cannot be read ({fault:?}), {skipped} records were skipped; the daemon's log \
         says why"
    )]
    Unread {
        shard: ShardId,
        fault: Fault,
        skipped: u64,
    },
    #[error("the mapping cannot run: {0}")]
    Invalid(String),
    #[error("the shards of the mapping keep changing; repeat it")]
    Contended,
    #[error(transparent)]
    NotStarted(#[from] NotStarted),
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The stream of one operation.
pub(super) struct Stream {
    pub(super) reader: Arc<dyn StreamReader>,
    pub(super) source: StreamSource,
    /// Empty until it is listed.
    listed: Vec<Shard>,
    /// Shards of rows that have left the stream.
    gone: BTreeSet<ShardId>,
}

impl Operator {
    /// Moves the checkpoints of a mapping on a stream. `line` is what the history says of it.
    ///
    /// # Errors
    /// Nothing was moved.
    pub async fn seek(
        &self,
        row: &MappingRow,
        seek: &Seek,
        line: impl Fn(&[MovedShard]) -> HistoryLine,
    ) -> Result<Vec<MovedShard>, OperationError> {
        let stream = self.stream(row).await?;
        let rows = self.store.leases_of(&row.id).await?;
        let (kind, wall) = (stream.source.kind, self.clock.wall());
        let difference = stream.reader.clock_difference();
        let at = wall.shifted(difference.unwrap_or(0));
        // Records that arrive from now on are stamped by the clock of the source.
        let now = latest(difference.map(|_| at), wall);
        let to = seek.to.start(now, kind);
        let start = SeekStart::new(&to, kind, at);
        let plan = |rows: &[Lease]| stream.plan(&row.id, rows, seek.shard.as_ref(), &start);
        let planned = plan(&rows)?;
        if let Some(shard) = &seek.shard {
            stream.check_number(shard, &to).await?;
        }
        if seek.is_dry_run {
            return Ok(planned.moved);
        }
        let units = |rows: &[Lease]| match &seek.shard {
            None => HeldUnits::All,
            Some(shard) => HeldUnits::Shards(family(shard, rows, &stream.listed)),
        };
        let hold = self.holds.hold(&row.id, units(&rows), &self.wakeup);
        let mut hold = hold.map_err(|error| match error {
            NoHold::Taken => OperationError::Busy,
            NoHold::Closed => OperationError::Draining,
        })?;
        if !hold.stopped().await {
            return Err(OperationError::Draining);
        }
        for _ in 0..WRITE_ATTEMPTS {
            let rows = self.store.leases_of(&row.id).await?;
            let plan = plan(&rows)?;
            if units(&rows) != *hold.units() {
                break;
            }
            let line = line(&plan.moved);
            let write = SeekWrite {
                mapping: row.id.clone(),
                seen: rows,
                plan,
            };
            if self.store.seek(&write, Some(&line)).await? == Swap::Done {
                return Ok(write.plan.moved);
            }
        }
        Err(OperationError::Contended)
    }

    async fn stream(&self, row: &MappingRow) -> Result<Stream, OperationError> {
        let (mapping, source) = Self::mapping(row)?;
        let mut stream = Stream::new(self, &mapping, source)?;
        let rows = self.store.leases_of(&row.id).await?;
        let history = self.list(&*stream.reader, &rows).await?;
        stream.listed = history.shards().to_vec();
        for shard in unlisted_rows(&rows, &stream.listed) {
            if !history.is_absent(&shard) {
                return Err(OperationError::Unlisted(shard));
            }
            match stream
                .read_one(&shard, &Cursor::at(Position::TrimHorizon))
                .await
            {
                Err(error) if error.fault == Fault::Gone => stream.gone.insert(shard),
                Err(error) => return Err(error.into()),
                // What its parents are is not known.
                Ok(_) => return Err(OperationError::Unlisted(shard)),
            };
        }
        Ok(stream)
    }

    /// A mapping on a stream, with what is read of it.
    pub(super) fn mapping(row: &MappingRow) -> Result<(Mapping, StreamSource), OperationError> {
        let mapping = validate::mapping(row).map_err(|violations| {
            let violations = violations.iter().map(ToString::to_string);
            OperationError::Invalid(violations.collect::<Vec<_>>().join("; "))
        })?;
        let Source::Stream(source) = &mapping.source else {
            return Err(OperationError::Invalid("its source is a queue".to_owned()));
        };
        // A consumer with enhanced fan-out has one subscription to each shard, which is in use.
        let source = StreamSource {
            consumer: None,
            ..source.clone()
        };
        Ok((mapping, source))
    }

    /// One listing may lack a shard that exists, so one that lacks a row is repeated until it proves that
    /// the shard is absent.
    async fn list(
        &self,
        reader: &dyn StreamReader,
        rows: &[Lease],
    ) -> Result<ListingHistory, OperationError> {
        let mut history = ListingHistory::default();
        history.record(reader.list_shards().await?, self.clock.now());
        for _ in 1..MIN_ABSENCES {
            if unlisted_rows(rows, history.shards()).is_empty() {
                break;
            }
            tokio::time::sleep(LISTING_DISTANCE).await;
            history.record(reader.list_shards().await?, self.clock.now());
        }
        Ok(history)
    }
}

impl Stream {
    /// Not listed yet.
    pub(super) fn new(
        operator: &Operator,
        mapping: &Mapping,
        source: StreamSource,
    ) -> Result<Self, OperationError> {
        Ok(Self {
            reader: operator.adapters.stream(&source, &mapping.function)?,
            source,
            listed: Vec::new(),
            gone: BTreeSet::new(),
        })
    }

    fn plan(
        &self,
        mapping: &MappingId,
        rows: &[Lease],
        shard: Option<&ShardId>,
        start: &SeekStart,
    ) -> Result<SeekPlan, OperationError> {
        let Some(shard) = shard else {
            return Ok(seek_all(rows, &self.listed, &self.gone, start));
        };
        if self.gone.contains(shard) {
            return Err(OperationError::Gone(shard.clone()));
        }
        let plan = seek_one(mapping, shard, rows, &self.listed, start);
        plan.ok_or_else(|| OperationError::UnknownShard(shard.clone()))
    }

    /// Checks that a sequence number is that of a record of the shard.
    pub(super) async fn check_number(
        &self,
        shard: &ShardId,
        to: &StretchStart,
    ) -> Result<(), OperationError> {
        let (StretchStart::At(number) | StretchStart::After(number)) = to else {
            return Ok(());
        };
        let at = Cursor::at(Position::At(number.clone()));
        let is_there = match self.read_one(shard, &at).await {
            Ok(first) => first.is_some_and(|it| it.sequence_number() == number.as_str()),
            Err(error) => match error.fault {
                Fault::UnknownPosition | Fault::Trimmed => false,
                Fault::Throttled { .. }
                | Fault::Transient
                | Fault::TimedOut
                | Fault::Denied
                | Fault::Gone => return Err(error.into()),
            },
        };
        if is_there {
            return Ok(());
        }
        Err(OperationError::UnknownNumber {
            shard: shard.clone(),
            number: number.clone(),
        })
    }

    /// The first record from a position on; `None` if the shard has no such record yet.
    async fn read_one(&self, shard: &ShardId, from: &Cursor) -> Result<Option<Record>, PortError> {
        let mut reader = Arc::clone(&self.reader).open(shard);
        let mut from = from.clone();
        for _ in 0..MAX_READS {
            let limits = ReadLimits {
                max_records: 1,
                memory: &OneRecord,
                timeout: READ_TIMEOUT,
            };
            let page = reader.read(&from, limits).await?;
            if let Some(first) = page.records.into_iter().next() {
                return Ok(Some(first));
            }
            match page.next {
                Some(next) if !page.behind.is_zero() => from = next,
                Some(_) | None => break,
            }
        }
        Ok(None)
    }
}
