//! The reference model of a shard consumer: the same facts, kept in a simpler way.

mod reading;

use std::collections::VecDeque;
use std::time::Duration;

use windlass_core::batch::BatchId;
use windlass_core::failure::DeliveryFault;
use windlass_core::marks::MarkedSection;
use windlass_core::outcome::{Fault, Outcome, OutcomeKind};
use windlass_core::position::{self, Cursor, Position};
use windlass_core::record::Record;
use windlass_core::shard::{Finish, Report, ShardConsumerSettings, Waiting};
use windlass_core::time::Timestamp;
use windlass_core::window::{WindowCheckpoint, WindowState};

use super::event_bytes;
use super::lane::{FailedCall, LaneModel, Resolved};
use super::marks::MarksModel;
use super::stretch::StretchModel;
use super::windows::{WindowsModel, returned};
use crate::checkers::due_range::DueRange;
use crate::checkers::slot_request::Slot;
use crate::checkers::{BrokenInvariant, ensure};
use crate::sample_filter;
use crate::world::Contents;

#[derive(Debug)]
pub(super) struct Model {
    pub(super) settings: ShardConsumerSettings,

    /// The last record that was read, or where reading begins.
    position: position::Checkpoint,
    /// Where reading began.
    start: Position,
    last_read: Option<usize>,
    /// When a page last showed what follows the position.
    proven: Option<Timestamp>,
    expects: Expected,
    /// Whether a page of this stream was read since an iterator last failed.
    knows_stream: bool,
    /// When a record last showed that.
    stream_shown: Option<Timestamp>,
    /// Whether the last read failed in a way that may be the fault of its iterator.
    pub(super) iterator_is_suspect: bool,
    /// The read in flight: from where, its limit, and when it was sent.
    pub(super) read: Option<(Cursor, usize, Timestamp)>,
    pub(super) read_due: DueRange,
    read_failures: u32,
    pub(super) read_waiting: Option<Waiting>,
    /// What reads that timed out have left of the limit, and the time of the next read.
    pub(super) max_records: u32,
    pub(super) timeout_secs: u64,
    pub(super) behind: Option<Duration>,
    /// Whether the end of the shard was read.
    pub(super) ended: bool,

    /// Every record that was read.
    records: Vec<TrackedRecord>,
    /// Length of the unbroken run of resolved records at the start of `records`.
    pub(super) resolved_prefix: usize,
    pub(super) lanes: Vec<LaneModel>,
    pub(super) marks: MarksModel,
    stretch: Option<StretchModel>,
    /// The records that a batch may have, by the settings and the rate.
    pub(super) max_batch: usize,
    /// The lane of the last invocation.
    pub(super) last_lane: usize,
    /// By how many milliseconds the clock of the source is ahead.
    pub(super) source_ahead: Option<i64>,

    pub(super) slot: Slot,
    pub(super) last_outcome: Option<OutcomeKind>,

    /// The checkpoint that is saved, and the one being saved.
    pub(super) saved: Checkpoint,
    pub(super) save: Option<Checkpoint>,
    pub(super) save_failed: Option<FailedCall>,

    pub(super) expected_reports: VecDeque<Report>,
    pub(super) draining: bool,
    pub(super) lease_lost: bool,
    pub(super) finished: Option<Finish>,
    /// After a timer: whether it must cause a command (it was due), or must not.
    pub(super) must_act: Option<bool>,
    /// The checkpoint has the window of a mapping that has none any more.
    drops_window: bool,
    /// The first and the last of the empty pages at the tip.
    empty_pages: Option<(Timestamp, Timestamp)>,
}

/// What the first record of the next page must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Next,
    /// The one at the position, which is not delivered again.
    AtPosition,
    /// The oldest one of the stream, whatever stream it is.
    Oldest,
}

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrackedRecord {
    /// Its index in the shard.
    pub(super) index: usize,
    bytes: usize,
    /// The function must not see it: filtered out, skipped, too large or marked.
    pub(super) unseen: bool,
    pub(super) was_marked: bool,
    pub(super) resolved: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    pub(super) n_resolved: usize,
    pub(super) window_changes: usize,
    pub(super) position: Position,
}

impl Model {
    pub(super) fn new(
        settings: ShardConsumerSettings,
        from: position::Checkpoint,
        now: Timestamp,
    ) -> Self {
        let n_lanes = settings.mapping.parallelization_factor;
        let windows = settings.mapping.tumbling_window;
        let mut lanes: Vec<_> = (0..n_lanes).map(|_| LaneModel::default()).collect();
        lanes[0].windows = windows.map(|length| WindowsModel::new(length, &from));
        let dropped = from.window.as_ref().filter(|_| windows.is_none());
        let state = dropped.filter(|it| it.state.is_some());
        let report = state.map(|it| Report::WindowStateDropped(it.bounds));
        let stretch = settings.stretch.clone();
        let stretch = stretch.map(|it| StretchModel::new(it, &from.position));
        let max_batch = settings.mapping.batch_size;
        let mut model = Self {
            drops_window: dropped.is_some(),
            empty_pages: None,
            settings,
            start: from.position.clone(),
            last_read: None,
            position: from.clone(),
            proven: None,
            expects: Expected::Next,
            knows_stream: false,
            stream_shown: None,
            iterator_is_suspect: false,
            read: None,
            read_due: DueRange::exactly(now),
            read_failures: 0,
            read_waiting: None,
            max_records: u32::MAX,
            timeout_secs: 40,
            behind: None,
            ended: from.position == Position::ShardEnd,
            records: Vec::new(),
            resolved_prefix: 0,
            lanes,
            marks: MarksModel::new(from.marks),
            stretch,
            max_batch,
            last_lane: n_lanes - 1,
            source_ahead: None,
            slot: Slot::None,
            last_outcome: None,
            saved: Checkpoint {
                n_resolved: 0,
                window_changes: 0,
                position: from.position,
            },
            save: None,
            save_failed: None,
            expected_reports: report.into_iter().collect(),
            draining: false,
            lease_lost: false,
            finished: None,
            must_act: None,
        };
        model.expire(now);
        model
    }

    fn accept(
        &mut self,
        records: &[Record],
        contents: &Contents,
        now: Timestamp,
    ) -> Result<(), BrokenInvariant> {
        for record in records {
            let index = contents.index_of(record);
            let index = index.expect("the source returns its own records");
            let last = self.last_read.replace(index);
            ensure(last.is_none_or(|last| last < index), "reading", || {
                format!("record {index} was read after record {last:?}")
            })?;
        }
        let records = self.marks.read(records, contents);
        self.deliver(records, contents, now);
        Ok(())
    }

    fn deliver(&mut self, records: Vec<(Record, bool)>, contents: &Contents, now: Timestamp) {
        let (mut n_filtered_out, mut n_before_start, mut n_outside) = (0, 0, 0);
        for (record, was_marked) in records {
            let index = contents.index_of(&record);
            let index = index.expect("it was read");
            let size = record.event_len();
            let has_time = !contents.is_undated(index);
            let early = |earliest| has_time && record.approximate_arrival() < earliest;
            let filtered_out =
                self.settings.filter.is_some() && !sample_filter::matches(record.event());
            let is_unreadable = record.unreadable().is_some();
            let is_early = self.settings.mapping.skip_before.is_some_and(early);
            let unwanted = (filtered_out && !is_unreadable) || is_early;
            let limit = self.settings.limits.payload_limit - self.settings.window_len;
            let too_large = limit < event_bytes(std::iter::once(size));
            let is_dropped = (too_large || is_unreadable) && !self.settings.delivers_given_up;
            let unseen = was_marked || unwanted || is_dropped;
            let windows = self.lanes[0].windows.as_mut();
            let arrival = record.approximate_arrival();
            let of_record = windows.and_then(|windows| windows.read(arrival, !unseen));
            self.records.push(TrackedRecord {
                index,
                bytes: size,
                unseen,
                was_marked,
                resolved: unseen,
            });
            let inner = record.inner().filter(|_| !was_marked);
            n_outside += usize::from(inner.is_some_and(|it| it.is_outside_hash_key_range));
            n_before_start += usize::from(is_early && !was_marked);
            n_filtered_out += usize::from(unwanted && !is_early && !was_marked);
            if was_marked || unwanted {
                continue;
            }
            if is_dropped {
                let sequence_number = record.sequence_number().into();
                let report = match record.unreadable() {
                    Some(reason) => Report::UnreadableDropped {
                        sequence_number,
                        reason,
                    },
                    None => Report::RecordTooLarge {
                        sequence_number,
                        bytes: size,
                    },
                };
                self.expected_reports.push_back(report);
                continue;
            }
            let window = self.window();
            let lane = self.lane_of(&record);
            let lane = &mut self.lanes[lane];
            if lane.pending.is_empty() {
                let last_end = lane.window.take();
                let still_open = last_end.filter(|&end| now < end + window);
                lane.window = Some(still_open.unwrap_or(now));
            }
            lane.push(index, record, of_record);
        }
        let filtered_out = (n_filtered_out != 0).then_some(Report::FilteredOut {
            n_records: n_filtered_out,
        });
        let outside = (n_outside != 0).then_some(Report::OutsideHashKeyRange {
            n_records: n_outside,
        });
        let before_start = (n_before_start != 0).then_some(Report::BeforeStart {
            n_records: n_before_start,
        });
        let counts = [filtered_out, before_start, outside];
        self.expected_reports.extend(counts.into_iter().flatten());
        self.advance_resolved();
    }

    /// A slot was granted for a batch of up to `max_records`.
    pub(super) fn set_max_batch(&mut self, max_records: Option<usize>) {
        let of_mapping = self.settings.mapping.batch_size;
        self.max_batch = max_records.unwrap_or(of_mapping).min(of_mapping);
    }

    /// Whether the stretch has ended before the shard.
    pub(super) fn is_stretch_end(&self) -> bool {
        let stretch = self.stretch.as_ref();
        stretch.is_some_and(|it| it.ended && !it.may_have_children)
    }

    /// The lane of the key of a record.
    pub(super) fn lane_of(&self, record: &Record) -> usize {
        let n_lanes = self.lanes.len() as u64;
        usize::try_from(record.key().0 % n_lanes).expect("there are at most ten lanes")
    }

    pub(super) fn invoked(&mut self, batch: BatchId, outcome: &Outcome, now: Timestamp) {
        let mut lanes = self.lanes.iter_mut();
        let lane = lanes.find(|lane| lane.invocation() == Some(batch));
        let lane = lane.expect("an invocation was requested");
        let (outcome, state) = if lane.windows.is_some() {
            returned(outcome)
        } else {
            (outcome.clone(), None)
        };
        let resolved = lane.invoked(&outcome, state, &self.settings, now);
        self.resolve(resolved);
        self.last_outcome = Some(outcome.kind());
    }

    pub(super) fn delivered(
        &mut self,
        delivery: BatchId,
        result: Result<(), DeliveryFault>,
        now: Timestamp,
    ) {
        let mut lanes = self.lanes.iter_mut();
        let lane = lanes.find(|lane| lane.delivery_in_flight == Some(delivery));
        let lane = lane.expect("a delivery was requested");
        let resolved = lane.delivered(result, now);
        self.resolve(resolved);
    }

    /// Gives up what is too old or too large, as the consumer must after every input and timer.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let runs = !self.draining && !self.lease_lost && self.finished.is_none();
        if let Some(ahead) = self.source_ahead.filter(|_| runs) {
            for lane in 0..self.lanes.len() {
                let source_time = now.shifted(ahead);
                let expired = self.lanes[lane].expire(&self.settings, source_time, now);
                self.resolve(expired);
            }
        }
        if runs {
            for lane in &mut self.lanes {
                lane.give_up_too_large(&self.settings);
                lane.advance_window(&self.settings, now);
            }
        }
    }

    /// When the next record is too old, if it is given up then.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        let ahead = self.source_ahead?;
        let lanes = self.lanes.iter();
        let waits = |lane: &&LaneModel| {
            !lane.is_busy() && !lane.is_delivering() && lane.final_call().is_none()
        };
        let lanes = lanes.filter(waits);
        let next = lanes.filter_map(|lane| lane.next_expiry(&self.settings));
        Some(next.min()?.shifted(-ahead))
    }

    fn resolve(&mut self, resolved: Resolved) {
        for index in resolved.indices {
            let at = self.records.binary_search_by_key(&index, |it| it.index);
            self.records[at.expect("it was read")].resolved = true;
        }
        let dropped = resolved.dropped.into_iter().map(Report::Dropped);
        self.expected_reports.extend(dropped);
        self.advance_resolved();
    }

    pub(super) fn begin_save(&mut self, position: &Position) {
        self.save = Some(Checkpoint {
            n_resolved: self.n_resolved(),
            window_changes: self.window_changes(),
            position: position.clone(),
        });
    }

    pub(super) fn saved(&mut self) {
        self.saved = self.save.take().expect("a save was requested");
        self.save_failed = None;
    }

    pub(super) fn save_failed(&mut self, fault: Fault, now: Timestamp) {
        self.save = None;
        let n = self.save_failed.map_or(1, |failed| failed.n + 1);
        let due = DueRange::after_failure(n, fault, now);
        self.save_failed = Some(FailedCall { n, fault, due });
    }

    /// The index in the shard after the resolved prefix; `None` if nothing is resolved yet.
    pub(super) fn resolved_end(&self) -> Option<usize> {
        let last = self.resolved_prefix.checked_sub(1)?;
        Some(self.records[last].index + 1)
    }

    /// Whether nothing was resolved yet, and a position is where reading began.
    pub(super) fn is_at_start(&self, position: &Position) -> bool {
        self.resolved_prefix == 0 && self.start == *position
    }

    /// Records that are resolved, but for those after the resolved prefix that the function does not
    /// see.
    pub(super) fn n_resolved(&self) -> usize {
        let later = self.records[self.resolved_prefix..].iter();
        self.resolved_prefix + later.filter(|it| it.resolved && !it.unseen).count()
    }

    /// Of the shard, the records that are resolved.
    pub(super) fn resolved(&self) -> impl Iterator<Item = usize> {
        let resolved = self.records.iter().filter(|it| it.resolved);
        resolved.map(|it| it.index)
    }

    pub(super) fn check_marks(
        &self,
        sections: &[MarkedSection],
        contents: &Contents,
    ) -> Result<(), BrokenInvariant> {
        let prefix = self.resolved_prefix;
        self.marks.check(sections, &self.records, prefix, contents)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.lanes.iter().any(LaneModel::is_busy)
    }

    /// Of the lanes that wait, the first with the most attempts.
    pub(super) fn worst_lane(&self) -> Option<&LaneModel> {
        let mut worst: Option<&LaneModel> = None;
        for lane in self.lanes.iter().filter(|lane| lane.waiting().is_some()) {
            if worst.is_none_or(|worst| worst.attempt() < lane.attempt()) {
                worst = Some(lane);
            }
        }
        worst
    }

    /// Number of records after the resolved prefix that the function has to see.
    pub(super) fn pending_len(&self) -> usize {
        let pending = self.records[self.resolved_prefix..].iter();
        pending.filter(|it| !it.unseen).count()
    }

    pub(super) fn has_unsaved(&self) -> bool {
        let at_end = self.is_at_end();
        self.saved.n_resolved < self.n_resolved()
            || self.saved.window_changes < self.window_changes()
            || (at_end && self.saved.position != Position::ShardEnd)
    }

    /// Whether there is nothing more to do for the shard.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended && self.pending_len() == 0 && self.state().is_none()
    }

    fn state(&self) -> Option<&WindowState> {
        self.lanes[0].windows.as_ref()?.state()
    }

    /// Bytes of the state of a window.
    pub(super) fn state_bytes(&self) -> usize {
        self.state().map_or(0, |state| state.json().len())
    }

    /// What a checkpoint before the end of the shard must have of the windows.
    pub(super) fn window_checkpoint(&self) -> Option<&WindowCheckpoint> {
        self.lanes[0].windows.as_ref()?.kept.as_ref()
    }

    pub(super) fn window_changes(&self) -> usize {
        let windows = self.lanes[0].windows.as_ref();
        windows.map_or(usize::from(self.drops_window), |windows| windows.n_changes)
    }

    pub(super) fn read_room(&self) -> usize {
        let settings = &self.settings;
        let unsaved = self.n_resolved() - self.saved.n_resolved;
        if self.buffer_is_full() || settings.limits.buffer_records <= unsaved {
            return 0;
        }
        settings.limits.buffer_records - self.n_buffered()
    }

    /// Records that take room in the buffer.
    pub(super) fn n_buffered(&self) -> usize {
        self.pending_len() + self.marks.held.len()
    }

    /// When the next batch of a lane must be invoked; `None` if it has nothing to invoke.
    pub(super) fn batch_due(&self, lane: usize) -> Option<DueRange> {
        let lane = &self.lanes[lane];
        let has_nothing = lane.pending.is_empty() && lane.final_call().is_none();
        if has_nothing || lane.is_delivering() || lane.is_busy() {
            return None;
        }
        if let Some(due) = lane.retry_due() {
            return Some(due);
        }
        let window = lane.window?;
        let of_first = lane.pending.front().and_then(|first| first.window);
        let is_over = |windows: &WindowsModel| of_first.is_some_and(|it| windows.is_over(it));
        let is_closed = lane.next_batch(&self.settings, self.max_batch).full
            || self.ended
            || self.buffer_is_full()
            || lane.windows.as_ref().is_some_and(is_over);
        Some(DueRange::exactly(if is_closed {
            window
        } else {
            window + self.window()
        }))
    }

    /// The lanes whose batch is due.
    pub(super) fn due_lanes(&self, is_due: impl Fn(DueRange) -> bool) -> Vec<usize> {
        let lanes = 0..self.lanes.len();
        let is_due = |lane: &usize| self.batch_due(*lane).is_some_and(&is_due);
        lanes.filter(is_due).collect()
    }

    fn buffer_is_full(&self) -> bool {
        let pending = self.records[self.resolved_prefix..].iter();
        let bytes: usize = pending.filter(|it| !it.unseen).map(|it| it.bytes).sum();
        self.settings.limits.buffer_records <= self.n_buffered()
            || self.settings.limits.buffer_bytes <= bytes + self.marks.held_bytes()
    }

    fn window(&self) -> Duration {
        self.settings.mapping.maximum_batching_window
    }

    fn advance_resolved(&mut self) {
        while self
            .records
            .get(self.resolved_prefix)
            .is_some_and(|it| it.resolved)
        {
            self.resolved_prefix += 1;
        }
    }
}
