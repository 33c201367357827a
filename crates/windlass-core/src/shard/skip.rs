//! [`ShardSkip`]: passes records of a shard by hand, and cuts them into dead letters.
//!
//! It continues at a checkpoint as a consumer does: what is marked as resolved is not looked at again,
//! and what no filter matches is not kept. The records that it skips are cut as the batches of the
//! lanes would be, and each of them is written together with the checkpoint after it: if the skip ends
//! early, what was written is skipped, and everything else comes as if nothing had happened.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::interface::{Gap, ReadResult, UnreadableRecord};
use super::page_filter::{Item, filter_page, is_before_start};
use super::piece::{Run, Runs};
use super::read_state::{ReadEnd, ReadState};
use super::retried_batch::RetriedBatch;
use super::settings::ShardConsumerSettings;
use super::windows::Windows;
use crate::ids::SequenceNumber;
use crate::marks::{MarkReader, MarkedRecords};
use crate::outcome::Fault;
use crate::position::{Checkpoint, Cursor};
use crate::progress::Progress;
use crate::record::Record;
use crate::retry::Jitter;
use crate::time::Timestamp;
use crate::window::{WindowBounds, WindowCall, WindowCheckpoint};

/// Reads in a row that may fail.
const MAX_FAILED_READS: u32 = 5;

/// Empty pages in a row that show the tip of a shard whose source does not report it.
const MAX_EMPTY_READS: u32 = 10;

/// Which records are skipped. Those that are resolved do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipExtent {
    /// The next ones, whether or not a filter matches them; at least 1.
    Records(u64),
    /// Those up to a number: of an aggregate, all of its records.
    Through(SequenceNumber),
    /// Batches that are tried again and again, of different lanes.
    Batches(Vec<RetriedBatch>),
}

/// What to do next.
#[derive(Debug)]
pub enum SkipStep {
    /// Read, and hand over the result.
    Read {
        from: Cursor,
        limit: u32,
        timeout: Duration,
    },
    /// Ask again at this time.
    Wait(Timestamp),
    /// Write it before the next step.
    Write(SkipWrite),
    Done(SkipEnd),
}

/// What is written at once.
#[derive(Debug)]
pub struct SkipWrite {
    /// `None`: no filter matches what is skipped.
    pub batch: Option<SkippedBatch>,
    /// Resolves it.
    pub checkpoint: Checkpoint,
    /// Records that are skipped once it is written, since the start.
    pub n_skipped: u64,
}

/// Records that the function would have received together, or the final invocation of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedBatch {
    /// In the order of the shard; of a final invocation there are none.
    pub records: Arc<[Record]>,
    pub window: Option<WindowCall>,
}

/// Why nothing more is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipEnd {
    /// Everything is skipped.
    Complete,
    /// The shard has no further record.
    NoMoreRecords,
    /// Not even the number of the next record can be read.
    Unreadable(UnreadableRecord),
    /// The stream was created again: it is not the one of the checkpoint.
    OtherStream,
    /// The source cannot be read.
    Failed(Fault),
}

/// Skips records of one shard; the caller executes its steps, one after the other.
#[derive(Debug)]
pub struct ShardSkip {
    settings: ShardConsumerSettings,
    /// Whether an empty page shows the tip of the shard.
    reports_tip: bool,
    extent: Extent,
    jitter: Jitter,
    read_state: ReadState,
    mark_reader: MarkReader,
    progress: Progress,
    lanes: Vec<LaneCut>,
    windows: Option<Windows>,
    /// What a checkpoint keeps of the windows.
    window: Option<WindowCheckpoint>,
    /// What was cut and is not written yet.
    batches: VecDeque<Run>,
    /// Records of the batches that were written.
    n_kept: u64,
    /// What was skipped by the last write.
    n_written: u64,
    failed_reads: u32,
    empty_reads: u32,
    gap: Option<Gap>,
    end: Option<SkipEnd>,
}

/// The current batch of a lane.
#[derive(Debug)]
struct LaneCut {
    runs: Runs,
    n_records: u64,
}

/// What is left to skip.
#[derive(Debug)]
enum Extent {
    Records(u64),
    Through {
        last: SequenceNumber,
        is_passed: bool,
    },
    /// Of each lane the ends of the batch, until the last one was read.
    Batches(Vec<Option<BatchEnds>>),
    /// The final invocation of a window.
    Window(WindowBounds, bool),
}

#[derive(Debug)]
struct BatchEnds {
    first: SequenceNumber,
    last: SequenceNumber,
    inner: Option<u32>,
}

impl ShardSkip {
    /// Continues at a stored checkpoint. `seed` determines the jitter of the backoff.
    pub fn new(
        settings: ShardConsumerSettings,
        from: Checkpoint,
        extent: SkipExtent,
        reports_tip: bool,
        seed: u64,
        now: Timestamp,
    ) -> Self {
        let length = settings.mapping.tumbling_window;
        let windows = length.map(|length| Windows::new(length, &from));
        let limits = settings.batch_limits();
        let limits = windows.as_ref().map_or(limits, |it| it.limits(limits));
        let n_lanes = settings.mapping.parallelization_factor;
        let lane = |_| LaneCut {
            runs: Runs::new(limits),
            n_records: 0,
        };
        Self {
            jitter: Jitter::new(seed, settings.limits.backoff_jitter_percent),
            // What cannot be invoked is skipped like everything else.
            settings: ShardConsumerSettings {
                delivers_given_up: true,
                ..settings
            },
            reports_tip,
            extent: Extent::new(extent, n_lanes),
            read_state: ReadState::new(from.clone(), now),
            mark_reader: MarkReader::new(from.marks.clone()),
            progress: Progress::new(from.clone()),
            lanes: (0..n_lanes).map(lane).collect(),
            windows,
            window: from.window,
            batches: VecDeque::new(),
            n_kept: 0,
            n_written: 0,
            failed_reads: 0,
            empty_reads: 0,
            gap: None,
            end: None,
        }
    }

    /// Bytes of the events in memory.
    pub fn bytes(&self) -> usize {
        self.progress.pending_bytes() + self.mark_reader.held_bytes()
    }

    /// Records that were lost before they could be read, if that was found.
    pub const fn gap(&self) -> Option<&Gap> {
        self.gap.as_ref()
    }

    pub fn step(&mut self, now: Timestamp) -> SkipStep {
        if let Extent::Window(bounds, is_early) = self.extent
            && self.end.is_none()
        {
            self.end = Some(SkipEnd::Complete);
            if let Some(write) = self.skip_window(bounds, is_early) {
                return SkipStep::Write(write);
            }
        }
        if let Some(batch) = self.batches.pop_front() {
            return SkipStep::Write(self.skip_batch(batch));
        }
        if self.end.is_none() && self.room() == 0 {
            // Nothing that is to be skipped is among as many records.
            self.finish(SkipEnd::NoMoreRecords);
        }
        if let Some(end) = self.end {
            if self.n_written < self.n_skipped() {
                return SkipStep::Write(self.write(None));
            }
            return SkipStep::Done(end);
        }
        let limit = self.room().min(self.settings.limits.read_limit as usize);
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match self.read_state.start(limit, now) {
            Some((from, limit, timeout)) => SkipStep::Read {
                from,
                limit,
                timeout,
            },
            None => SkipStep::Wait(self.read_state.due().unwrap_or(now)),
        }
    }

    /// Ends the read in flight.
    pub fn handle_read(&mut self, result: Result<ReadResult, Fault>, now: Timestamp) {
        let fault = result.as_ref().err().copied();
        let (limits, jitter) = (&self.settings.limits, &mut self.jitter);
        match self.read_state.end(result, limits, None, jitter, now) {
            ReadEnd::Failed => {
                self.failed_reads += 1;
                let is_final = matches!(fault, Some(Fault::Denied | Fault::Gone));
                if is_final || MAX_FAILED_READS < self.failed_reads {
                    self.finish(SkipEnd::Failed(fault.unwrap_or(Fault::Transient)));
                }
            }
            ReadEnd::Page {
                gap,
                records,
                unreadable,
            } => {
                self.failed_reads = 0;
                if let Some(gap) = gap {
                    if gap.cause == Fault::UnknownPosition {
                        self.finish(SkipEnd::OtherStream);
                        return;
                    }
                    self.gap = Some(gap);
                    let held = self.mark_reader.release();
                    self.accept(held);
                }
                self.handle_page(records, unreadable);
            }
        }
    }

    fn handle_page(&mut self, records: Vec<Record>, unreadable: Option<UnreadableRecord>) {
        if let (Some(gap), Some(first)) = (&mut self.gap, records.first()) {
            gap.until.get_or_insert(first.approximate_arrival());
        }
        let is_empty = records.is_empty() && unreadable.is_none();
        let is_at_tip = is_empty && self.read_state.behind() == Some(Duration::ZERO);
        self.empty_reads = if is_at_tip { self.empty_reads + 1 } else { 0 };
        let max_empty = if self.reports_tip { 1 } else { MAX_EMPTY_READS };
        let is_at_end = self.read_state.is_at_shard_end() || max_empty <= self.empty_reads;
        let records = self.mark_reader.read(records);
        self.accept(records);
        if is_at_tip || is_at_end || unreadable.is_some() || self.room() == 0 {
            let held = self.mark_reader.release();
            self.accept(held);
        }
        if let Some(record) = unreadable {
            self.finish(SkipEnd::Unreadable(record));
        } else if is_at_end {
            self.finish(SkipEnd::NoMoreRecords);
        } else if self.room() == 0 {
            self.end_batches();
        }
    }

    /// How many more records may be in memory.
    fn room(&self) -> usize {
        let limits = &self.settings.limits;
        if limits.buffer_bytes <= self.bytes() {
            return 0;
        }
        let n_held = self.progress.pending_len() + self.mark_reader.n_held();
        limits.buffer_records.saturating_sub(n_held)
    }

    /// Passes the next records of the shard.
    fn accept(&mut self, mut page: MarkedRecords) {
        let n_records = match self.end {
            Some(_) => 0,
            None => self.extent.count(&page, &self.settings),
        };
        let rest = page.split_off(n_records);
        for item in filter_page(page, &self.settings).items {
            match item {
                Item::Deliver(record) => self.push(record),
                Item::Skip {
                    n_records,
                    skipped,
                    last,
                    newest,
                    was_marked,
                } => {
                    if let Some(windows) = &mut self.windows {
                        windows.pass(newest);
                    }
                    self.progress.skip(n_records, last, was_marked);
                    self.progress.count_skipped(skipped);
                }
            }
        }
        // The marks of what follows are kept.
        for (index, record) in rest.records.into_iter().enumerate() {
            if rest.resolved.get(index) == Some(&true) {
                self.progress.skip(1, record, true);
            } else {
                self.progress.track(record);
            }
        }
        if self.extent.is_passed() {
            self.finish(SkipEnd::Complete);
        }
        self.take_batches();
    }

    /// Skips a record, unless it is not meant.
    fn push(&mut self, record: Record) {
        let index = record.key().lane(self.lanes.len());
        let is_meant = self.extent.has(index, &record);
        let ticket = self.progress.track(record.clone());
        let lane = &mut self.lanes[index];
        if let Some(windows) = &mut self.windows {
            windows.push(ticket, record.approximate_arrival());
            if windows.begins_with(ticket) {
                lane.runs.end();
            }
        }
        if is_meant {
            lane.n_records += 1;
            lane.runs.push(record, ticket, lane.n_records);
        }
    }

    /// Cuts the current batches of all lanes.
    fn end_batches(&mut self) {
        for lane in &mut self.lanes {
            lane.runs.end();
        }
        self.take_batches();
    }

    /// Takes the batches that are complete, in the order of their first records: so the checkpoint moves
    /// with them.
    fn take_batches(&mut self) {
        let lanes = self.lanes.iter_mut();
        let ended = lanes.flat_map(|lane| lane.runs.take_ended());
        let mut ended: Vec<_> = ended.collect();
        ended.sort_by_key(|run| run.tickets[0]);
        self.batches.extend(ended);
    }

    fn finish(&mut self, end: SkipEnd) {
        if self.end.is_none() {
            self.end_batches();
            self.end = Some(end);
        }
    }

    fn skip_batch(&mut self, batch: Run) -> SkipWrite {
        self.n_kept += batch.tickets.len() as u64;
        let windows = self.windows.as_ref();
        let window = windows.map(|windows| windows.call_of(batch.tickets[0]));
        self.progress.resolve(batch.tickets);
        self.write(Some(SkippedBatch {
            records: batch.failure.records,
            window,
        }))
    }

    fn write(&mut self, batch: Option<SkippedBatch>) -> SkipWrite {
        self.n_written = self.n_skipped();
        SkipWrite {
            batch,
            checkpoint: Checkpoint {
                marks: self.progress.marks(self.mark_reader.unread()),
                window: self.window.clone(),
                ..self.progress.low_watermark().clone()
            },
            n_skipped: self.n_written,
        }
    }

    /// Records that a checkpoint reports as resolved, and that were not when the skip began.
    fn n_skipped(&self) -> u64 {
        match self.extent {
            Extent::Records(_) | Extent::Through { .. } => {
                let n_unread = self.mark_reader.unread().len();
                let after = self.progress.skipped_after(n_unread);
                self.n_kept + self.progress.skipped().filtered_out + after.filtered_out
            }
            // Those between its records that no filter matches are not of the batch.
            Extent::Batches(_) | Extent::Window(..) => self.n_kept,
        }
    }

    /// Drops the state of a window; `None` if it has none any more.
    fn skip_window(&mut self, bounds: WindowBounds, is_early: bool) -> Option<SkipWrite> {
        let windows = self.windows.as_mut()?;
        let kept = windows.checkpoint()?;
        if kept.bounds != bounds || kept.state.is_none() {
            return None;
        }
        let call = windows.final_call(is_early);
        windows.finish(is_early);
        self.window = windows.checkpoint().cloned();
        Some(self.write(Some(SkippedBatch {
            records: Arc::new([]),
            window: Some(call),
        })))
    }
}

impl Extent {
    fn new(extent: SkipExtent, n_lanes: usize) -> Self {
        let batches = match extent {
            SkipExtent::Records(n_records) => return Self::Records(n_records),
            SkipExtent::Through(last) => {
                let is_passed = false;
                return Self::Through { last, is_passed };
            }
            SkipExtent::Batches(batches) => batches,
        };
        let mut lanes: Vec<Option<BatchEnds>> = (0..n_lanes).map(|_| None).collect();
        for batch in batches {
            match batch {
                RetriedBatch::FinalInvocation { window, is_early } => {
                    return Self::Window(window, is_early);
                }
                RetriedBatch::Records {
                    lane,
                    first,
                    last,
                    inner,
                } => {
                    if let Some(lane) = lanes.get_mut(lane) {
                        *lane = Some(BatchEnds { first, last, inner });
                    }
                }
            }
        }
        Self::Batches(lanes)
    }

    /// How many of the next records are of the extent, those between them included.
    fn count(&mut self, page: &MarkedRecords, settings: &ShardConsumerSettings) -> usize {
        for (index, record) in page.records.iter().enumerate() {
            match self {
                Self::Records(left) => {
                    if *left == 0 {
                        return index;
                    }
                    let is_resolved = page.resolved.get(index) == Some(&true);
                    let counts = !is_resolved && !is_before_start(record, settings);
                    *left -= u64::from(counts);
                }
                Self::Through { last, is_passed } => {
                    let number = SequenceNumber::from(record.sequence_number());
                    if *is_passed || last.is_lower_than(&number) {
                        *is_passed = true;
                        return index;
                    }
                    let is_last_inner = record.inner().is_none_or(|inner| inner.is_last);
                    *is_passed = *last == number && is_last_inner;
                }
                Self::Batches(_) | Self::Window(..) => break,
            }
        }
        page.records.len()
    }

    /// Whether a record that is not resolved is skipped.
    fn has(&mut self, lane: usize, record: &Record) -> bool {
        let Self::Batches(lanes) = self else {
            return true;
        };
        let Some(ends) = &lanes[lane] else {
            return false;
        };
        let (last, inner_last) = (&ends.last, ends.inner);
        let number = SequenceNumber::from(record.sequence_number());
        let inner = record.inner().map(|inner| inner.index);
        let is_before = number.is_lower_than(&ends.first);
        let is_beyond = last.is_lower_than(&number) || (*last == number && inner_last < inner);
        let is_last = *last == number && inner_last == inner;
        if is_last || is_beyond {
            lanes[lane] = None;
        }
        !is_before && !is_beyond
    }

    /// Whether no further record is skipped.
    fn is_passed(&self) -> bool {
        match self {
            Self::Records(left) => *left == 0,
            Self::Through { is_passed, .. } => *is_passed,
            Self::Batches(lanes) => lanes.iter().all(Option::is_none),
            Self::Window(..) => false,
        }
    }
}
