//! [`ShardConsumer`]: connects the parts of a shard's state and issues the commands.
//!
//! It has no rules of its own about batches ([`super::lane`]), retries ([`crate::retry`]) or
//! checkpoints ([`crate::progress`]).

use std::collections::VecDeque;
use std::time::Duration;

use super::checkpoint_writer::{CheckpointWriter, Watermark};
use super::interface::{Finish, Gap, ReadResult, Report, ShardCommand, ShardInput, ShardTimer};
use super::lane::Resolved;
use super::lanes::Lanes;
use super::page_filter::{Item, filter_page};
use super::read_state::{ReadEnd, ReadState, TipEnd};
use super::settings::ShardConsumerSettings;
use super::stretch_bounds::{StretchBounds, StretchTotals};
use super::view::{ShardView, Waiting};
use crate::batch::{BatchId, BatchIds};
use crate::event;
use crate::lifecycle::Lifecycle;
use crate::marks::{MarkReader, MarkedRecords};
use crate::outcome::{Fault, Outcome, OutcomeKind, Swap};
use crate::position::{Checkpoint, Position, ReplayCounts};
use crate::progress::Progress;
use crate::record::Record;
use crate::retry::Jitter;
use crate::slot_request::SlotRequest;
use crate::time::Timestamp;

/// How long the tip of a shard must bring no record until a tumbling window that is over by the clock
/// of the source ends.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-windows.html>
const WINDOW_IDLE: Duration = Duration::from_secs(120);

/// Processes one leased shard of one mapping.
///
/// How to call it, and when it panics: [crate documentation](crate#how-to-call-a-consumer). Its
/// invariants: [module documentation](super#invariants).
#[derive(Debug)]
pub struct ShardConsumer {
    settings: ShardConsumerSettings,
    jitter: Jitter,
    read_state: ReadState,
    /// `None`: every record of the shard is processed.
    stretch: Option<StretchBounds>,
    mark_reader: MarkReader,
    lanes: Lanes,
    slot: SlotRequest,
    progress: Progress,
    checkpoint_writer: CheckpointWriter,
    batch_ids: BatchIds,
    commands: VecDeque<ShardCommand>,
    lifecycle: Lifecycle,
    last_outcome: Option<OutcomeKind>,
    gap: Option<Gap>,
    n_read: usize,
    /// Those of the checkpoint from which it continued; `None` of a mapping, whose checkpoints have none.
    former_counts: Option<ReplayCounts>,
    /// Since the start, but for what is filtered out.
    counts: ReplayCounts,
    /// By how many milliseconds the clock of the source is ahead of `now`.
    source_ahead: Option<i64>,
    /// The same when the read in flight began.
    ahead_at_read: Option<i64>,
    now: Timestamp,
}

impl ShardConsumer {
    /// Continues at a stored checkpoint. `seed` determines the jitter of the backoff.
    ///
    /// # Panics
    /// If a limit is zero, or the payload limit is too small for any event.
    pub fn new(
        settings: ShardConsumerSettings,
        from: Checkpoint,
        seed: u64,
        now: Timestamp,
    ) -> Self {
        let limits = &settings.limits;
        let counts = [
            settings.mapping.batch_size,
            settings.mapping.parallelization_factor,
            limits.buffer_records,
            limits.buffer_bytes,
            limits.read_limit as usize,
        ];
        assert!(!counts.contains(&0), "every limit is at least 1");
        assert!(
            event::ENVELOPE_LEN + settings.window_len < limits.payload_limit,
            "an event fits the payload limit"
        );
        assert!(
            settings.mapping.tumbling_window.is_none()
                || settings.mapping.parallelization_factor == 1,
            "the state of a window belongs to one lane"
        );
        let stretch = settings.stretch.clone();
        let mut consumer = Self {
            stretch: stretch.map(|it| StretchBounds::new(it, &from.position)),
            jitter: Jitter::new(seed, limits.backoff_jitter_percent),
            read_state: ReadState::new(from.clone(), now),
            mark_reader: MarkReader::new(from.marks.clone()),
            former_counts: from.counts,
            counts: ReplayCounts::default(),
            lanes: Lanes::new(&settings, &from),
            slot: SlotRequest::None,
            progress: Progress::new(from.clone()),
            checkpoint_writer: CheckpointWriter::new(from),
            batch_ids: BatchIds::default(),
            commands: VecDeque::new(),
            lifecycle: Lifecycle::Running,
            last_outcome: None,
            gap: None,
            n_read: 0,
            source_ahead: None,
            ahead_at_read: None,
            now,
            settings,
        };
        if let Some(bounds) = consumer.lanes.dropped_window() {
            consumer.report(Report::WindowStateDropped(bounds));
        }
        consumer.advance(now);
        consumer
    }

    pub fn handle(&mut self, input: ShardInput, now: Timestamp) {
        assert!(self.commands.is_empty(), "commands are taken before input");
        if self.lifecycle == Lifecycle::Finished {
            return;
        }
        match input {
            ShardInput::Read(result) => self.handle_read(result, now),
            ShardInput::Invoked { batch, outcome } => self.handle_invoked(batch, outcome, now),
            ShardInput::Saved(result) => self.handle_saved(result, now),
            ShardInput::SlotGranted { max_records } => {
                self.slot.grant();
                self.lanes.set_max_records(max_records);
            }
            ShardInput::Delivered { delivery, result } => {
                let lanes = &mut self.lanes;
                let resolved = lanes.delivered(delivery, result, &mut self.jitter, now);
                self.counts.given_up += resolved.len() as u64;
                self.progress.resolve(resolved);
            }
            ShardInput::SourceTime(time) => self.source_ahead = Some(time.millis_since(now)),
            ShardInput::Drain => self.drain(),
        }
        self.advance(now);
    }

    pub fn handle_timeout(&mut self, now: Timestamp) {
        assert!(self.commands.is_empty(), "commands are taken before input");
        self.advance(now);
    }

    pub fn poll_command(&mut self) -> Option<ShardCommand> {
        self.commands.pop_front()
    }

    /// When to call [`ShardConsumer::handle_timeout`]; `None` if only an input can cause a command.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.next_timer().map(|(at, _)| at)
    }

    /// The next timeout, and what the consumer does then.
    pub fn next_timer(&self) -> Option<(Timestamp, ShardTimer)> {
        if self.lifecycle == Lifecycle::Finished {
            return None;
        }
        let save = self.checkpoint_writer.due().filter(|_| self.has_unsaved());
        let save = save.map(|at| (at, ShardTimer::Save));
        if self.lifecycle == Lifecycle::Draining {
            return save;
        }
        let read = self.read_state.due().filter(|_| 0 < self.read_room());
        let read = read.map(|at| (at, ShardTimer::Read));
        let expiry = self.expiry().map(|at| (at, ShardTimer::Expiry));
        let timers = [read, save, self.lanes_due(), expiry];
        timers.into_iter().flatten().min()
    }

    /// Records that were read since the start, each counted once.
    pub const fn n_read(&self) -> usize {
        self.n_read
    }

    /// What was read of the stretch; `None` of a mapping.
    pub fn stretch_totals(&self) -> Option<&StretchTotals> {
        self.stretch.as_ref().map(StretchBounds::totals)
    }

    /// Bytes of the state of a tumbling window.
    pub fn state_bytes(&self) -> usize {
        self.lanes.state_bytes()
    }

    pub fn view(&self) -> ShardView {
        let (waiting, next_at) = self.waiting();
        ShardView {
            checkpoint: self.checkpoint_writer.saved().checkpoint.position.clone(),
            reached: self.progress.low_watermark().arrival,
            behind: self.read_state.behind(),
            oldest: self.lanes.oldest(),
            buffered_records: self.lanes.n_records(),
            buffered_bytes: self.lanes.bytes(),
            in_flight_records: self.lanes.n_in_flight(),
            n_lanes: self.lanes.n_lanes(),
            waiting_lanes: self.lanes.n_waiting(),
            attempt: self.lanes.attempt(),
            retried: self.lanes.retried(),
            last_outcome: self.last_outcome,
            waiting,
            gap: self.gap.clone(),
            next_at,
        }
    }

    /// The fault that delays the shard and the time of the next try; without a fault, the next
    /// timer.
    fn waiting(&self) -> (Option<Waiting>, Option<Timestamp>) {
        let (lane, retry_at) = self.lanes.waiting().unzip();
        // A lane that is due waits for its slot.
        let retry_at = retry_at.flatten().filter(|at| self.now < *at);
        let store = self.checkpoint_writer.fault().map(Waiting::Store);
        let source = self.read_state.waiting().cloned();
        let causes = [
            (lane, retry_at),
            (store, self.checkpoint_writer.due()),
            (source, self.read_state.due()),
        ];
        let first = causes.into_iter().find(|(waiting, _)| waiting.is_some());
        match first {
            Some(first) if self.lifecycle == Lifecycle::Running => first,
            // A drain repeats nothing but the save.
            first => (first.and_then(|(waiting, _)| waiting), self.poll_timeout()),
        }
    }

    // Inputs

    fn handle_read(&mut self, result: Result<ReadResult, Fault>, now: Timestamp) {
        if self.lifecycle == Lifecycle::Draining {
            // Its records are dropped, so its end of the shard must not count either.
            return;
        }
        let tip_end = self.tip_end();
        let (limits, jitter) = (&self.settings.limits, &mut self.jitter);
        match self.read_state.end(result, limits, tip_end, jitter, now) {
            ReadEnd::Failed => {}
            ReadEnd::Page {
                gap,
                records,
                unreadable,
            } => {
                if let Some(gap) = gap {
                    self.handle_gap(gap, now);
                }
                let is_empty = records.is_empty();
                let records = self.cut_to_stretch(records);
                let unreadable = unreadable.filter(|_| !self.read_state.is_at_shard_end());
                self.accept(records, now);
                if self.holds_in_vain(is_empty) || unreadable.is_some() {
                    let held = self.mark_reader.release();
                    self.route(held, now);
                }
                self.end_windows(now);
                if let Some(record) = unreadable {
                    self.report(Report::Unreadable(record));
                }
            }
        }
        let buffered = self.progress.pending_len() + self.mark_reader.n_held();
        assert!(
            buffered <= self.settings.limits.buffer_records,
            "I6: the buffer is bounded"
        );
    }

    fn handle_gap(&mut self, gap: Gap, now: Timestamp) {
        let held = self.mark_reader.release();
        self.route(held, now);
        if gap.cause == Fault::UnknownPosition {
            self.mark_reader.drop_sections();
            if let Some(stretch) = &mut self.stretch {
                stretch.lose_stream();
            }
            if let Some(bounds) = self.lanes.drop_window_state(now) {
                self.report(Report::WindowStateDropped(bounds));
            }
        }
        self.gap = Some(gap.clone());
        self.report(Report::Gap(gap));
    }

    /// Which tip ends the stretch: by what was known of the clock of the source when the read in flight
    /// began, and by what is known since.
    fn tip_end(&self) -> Option<TipEnd> {
        let ahead = self.source_ahead?.min(self.ahead_at_read?);
        self.stretch.as_ref()?.tip_end(ahead)
    }

    /// Records that are not of the stretch are neither processed nor counted.
    fn cut_to_stretch(&mut self, records: Vec<Record>) -> Vec<Record> {
        let Some(stretch) = &mut self.stretch else {
            return records;
        };
        let records = stretch.cut(records);
        if stretch.has_ended() {
            self.read_state.end_stretch(true);
        }
        records
    }

    /// The end of the shard, or of a time without records, ends a tumbling window.
    fn end_windows(&mut self, now: Timestamp) {
        if self.read_state.is_at_shard_end() {
            self.lanes.end_shard();
        } else if let Some(ahead) = self.source_ahead
            && WINDOW_IDLE <= self.read_state.idle()
        {
            self.lanes.idle(now.shifted(ahead));
        }
    }

    /// Whether the records that are held for their section wait for records that do not come: the
    /// shard has none, or the buffer has no room for them.
    fn holds_in_vain(&self, page_is_empty: bool) -> bool {
        let limits = &self.settings.limits;
        let is_at_tip = page_is_empty && self.read_state.behind() == Some(Duration::ZERO);
        let held = &self.mark_reader;
        let fills_buffer =
            limits.buffer_records <= held.n_held() || limits.buffer_bytes <= held.held_bytes();
        0 < held.n_held() && (is_at_tip || fills_buffer || self.read_state.is_at_shard_end())
    }

    fn accept(&mut self, records: Vec<Record>, now: Timestamp) {
        self.n_read += records.len();
        if let (Some(gap), Some(first)) = (&mut self.gap, records.first()) {
            gap.until.get_or_insert(first.approximate_arrival());
        }
        let records = self.mark_reader.read(records);
        self.route(records, now);
    }

    /// Gives records to the lanes, except those that the function does not receive.
    fn route(&mut self, records: MarkedRecords, now: Timestamp) {
        if let Some(first) = records.records.first() {
            let arrival = first.approximate_arrival();
            self.counts.first_arrival.get_or_insert(arrival);
        }
        let page = filter_page(records, &self.settings);
        for item in page.items {
            match item {
                Item::Deliver(record) => {
                    let ticket = self.progress.track(record.clone());
                    self.lanes.push(ticket, record, now);
                }
                Item::Skip {
                    n_records,
                    skipped,
                    last,
                    newest,
                    was_marked,
                } => {
                    self.lanes.pass(newest);
                    self.progress.skip(n_records, last, was_marked);
                    self.progress.count_skipped(skipped);
                }
            }
        }
        for report in page.reports {
            self.report(report);
        }
    }

    fn handle_invoked(&mut self, batch: BatchId, outcome: Outcome, now: Timestamp) {
        let outcome = if self.settings.mapping.tumbling_window.is_some() {
            outcome.in_window(None)
        } else {
            outcome
        };
        self.last_outcome = Some(outcome.kind());
        // One that is larger than the function accepts is halved, and nothing has failed.
        let is_halved = outcome.is_too_large() && 1 < self.lanes.batch_len(batch);
        let is_failed = matches!(outcome, Outcome::FunctionError { .. }) && !is_halved;
        self.counts.failed_invocations += u64::from(is_failed);
        let jitter = &mut self.jitter;
        let resolved = self.lanes.end(batch, outcome, jitter, now);
        self.resolve(resolved);
    }

    fn resolve(&mut self, resolved: Resolved) {
        let dropped = resolved.dropped.iter().map(|it| it.records.len());
        let n_dropped = dropped.sum::<usize>() as u64;
        self.counts.given_up += n_dropped;
        self.counts.delivered += resolved.tickets.len() as u64 - n_dropped;
        self.progress.resolve(resolved.tickets);
        for failure in resolved.dropped {
            self.report(Report::Dropped(failure));
        }
    }

    fn drain(&mut self) {
        if self.slot.is_waiting() {
            self.cancel_slot();
        }
        self.lifecycle = Lifecycle::Draining;
    }

    fn handle_saved(&mut self, result: Result<Swap, Fault>, now: Timestamp) {
        match result {
            Ok(Swap::Done) => self.checkpoint_writer.succeeded(),
            Ok(Swap::Conflict) => self.finish(Finish::LeaseLost),
            Err(fault) => self.checkpoint_writer.failed(fault, &mut self.jitter, now),
        }
    }

    // Commands

    /// Issues every command that is possible at `now`.
    fn advance(&mut self, now: Timestamp) {
        assert!(self.now <= now, "time does not decrease");
        self.now = now;
        if self.lifecycle == Lifecycle::Finished {
            return;
        }
        if self.lifecycle == Lifecycle::Running {
            self.advance_lanes(now);
            self.advance_reads(now);
        }
        self.advance_checkpoint(now);
        self.check(now);
    }

    fn advance_lanes(&mut self, now: Timestamp) {
        self.expire_records(now);
        self.lanes.give_up_too_large(now);
        self.lanes.advance_window(now);
        while let Some((delivery, failure)) = self.lanes.deliver(&mut self.batch_ids, now) {
            self.command(ShardCommand::Deliver { delivery, failure });
        }
        self.advance_slot(now);
    }

    /// A slot is waited for as long as the batch of any lane is due, and it belongs to the next of
    /// these lanes in turn.
    fn advance_slot(&mut self, now: Timestamp) {
        let no_more = self.read_state.is_at_shard_end() || self.buffer_room() == 0;
        match (self.slot, self.lanes.next_due(no_more, now)) {
            (SlotRequest::None, Some(_)) => {
                self.slot = SlotRequest::Waiting;
                self.command(ShardCommand::RequestSlot);
            }
            (SlotRequest::Granted, Some(lane)) => {
                self.slot = SlotRequest::None;
                let batch = self.lanes.start(lane, &mut self.batch_ids, now);
                self.command(ShardCommand::Invoke(batch));
                self.advance_slot(now);
            }
            (SlotRequest::Waiting | SlotRequest::Granted, None) => self.cancel_slot(),
            (SlotRequest::None, None) | (SlotRequest::Waiting, Some(_)) => {}
        }
    }

    /// Gives up the records that are too old.
    fn expire_records(&mut self, now: Timestamp) {
        let Some(ahead) = self.source_ahead else {
            return;
        };
        for expired in self.lanes.expire(now.shifted(ahead), now) {
            self.resolve(expired);
        }
    }

    fn cancel_slot(&mut self) {
        self.slot = SlotRequest::None;
        self.command(ShardCommand::CancelSlot);
    }

    /// When the next record is too old.
    fn expiry(&self) -> Option<Timestamp> {
        let ahead = self.source_ahead?;
        Some(self.lanes.expiry()?.shifted(-ahead))
    }

    /// When the next batch or delivery of a lane will be due. While a slot is waited for, no other
    /// batch is: the next one requests it again.
    fn lanes_due(&self) -> Option<(Timestamp, ShardTimer)> {
        let is_next = |timer| self.slot.is_none() || timer == ShardTimer::Delivery;
        self.lanes.due(is_next)
    }

    fn advance_reads(&mut self, now: Timestamp) {
        let room = self.read_room();
        if room == 0 {
            return;
        }
        let limit = self.settings.limits.read_limit;
        let limit = limit.min(u32::try_from(room).unwrap_or(u32::MAX));
        if let Some((from, limit, timeout)) = self.read_state.start(limit, now) {
            assert!(limit as usize <= room, "I6: a read fits the buffer");
            self.ahead_at_read = self.source_ahead;
            self.command(ShardCommand::Read {
                from,
                limit,
                timeout,
            });
        }
    }

    fn advance_checkpoint(&mut self, now: Timestamp) {
        let watermark = self.watermark();
        if let Some(mut checkpoint) = self.checkpoint_writer.start(&watermark, now) {
            if checkpoint.position != Position::ShardEnd {
                let unread = self.mark_reader.unread();
                if let Some(counts) = &mut checkpoint.counts {
                    let skipped = self.progress.skipped_after(unread.len());
                    counts.filtered_out += skipped.filtered_out;
                    counts.given_up += skipped.given_up;
                }
                checkpoint.marks = self.progress.marks(unread);
            }
            let unresolved = self.lanes.first();
            assert!(
                unresolved.is_none_or(|ticket| self.progress.is_pending(ticket)),
                "I1: a checkpoint never passes an unresolved record"
            );
            self.command(ShardCommand::Save(checkpoint));
        }
        if self.checkpoint_writer.differs_from_saved(&watermark)
            || self.checkpoint_writer.is_in_flight()
        {
            return;
        }
        if watermark.checkpoint.position == Position::ShardEnd {
            let is_stretch_end = self.read_state.is_at_stretch_end();
            self.finish(if is_stretch_end {
                Finish::StretchEnd
            } else {
                Finish::ShardEnd
            });
        } else if self.lifecycle == Lifecycle::Draining && !self.lanes.are_in_flight() {
            self.finish(Finish::Drained);
        }
    }

    fn watermark(&self) -> Watermark {
        let is_complete = self.read_state.is_at_shard_end()
            && self.progress.all_resolved()
            && self.lanes.window().is_none_or(|it| it.state.is_none());
        let mut checkpoint = self.progress.low_watermark().clone();
        if is_complete {
            checkpoint.position = Position::ShardEnd;
        } else {
            checkpoint.window = self.lanes.window().cloned();
        }
        checkpoint.counts = self.former_counts.map(|former| {
            let skipped = self.progress.skipped();
            former
                + ReplayCounts {
                    filtered_out: skipped.filtered_out,
                    given_up: self.counts.given_up + skipped.given_up,
                    ..self.counts
                }
        });
        Watermark {
            n_resolved: self.progress.n_resolved(),
            window_version: self.lanes.window_version(),
            checkpoint,
        }
    }

    fn has_unsaved(&self) -> bool {
        self.checkpoint_writer.differs_from_saved(&self.watermark())
    }

    /// How many more records the buffer can hold.
    fn buffer_room(&self) -> usize {
        let limits = &self.settings.limits;
        let held = &self.mark_reader;
        if limits.buffer_bytes <= self.progress.pending_bytes() + held.held_bytes() {
            return 0;
        }
        limits.buffer_records - self.progress.pending_len() - held.n_held()
    }

    /// How many more records may be read. Records that are resolved and not saved are repeated after
    /// a crash, so their number is limited too.
    fn read_room(&self) -> usize {
        let saved = self.checkpoint_writer.saved().n_resolved;
        let unsaved = self.progress.n_resolved() - saved;
        if self.settings.limits.buffer_records as u64 <= unsaved {
            return 0;
        }
        self.buffer_room()
    }

    fn report(&mut self, report: Report) {
        self.command(ShardCommand::Report(report));
    }

    fn finish(&mut self, finish: Finish) {
        self.command(ShardCommand::Finish(finish));
        self.lifecycle = Lifecycle::Finished;
    }

    fn command(&mut self, command: ShardCommand) {
        let starts = matches!(
            command,
            ShardCommand::Invoke(_)
                | ShardCommand::Read { .. }
                | ShardCommand::RequestSlot
                | ShardCommand::Deliver { .. }
        );
        match self.lifecycle {
            Lifecycle::Running => {}
            Lifecycle::Draining => assert!(!starts, "I7: a drain starts nothing"),
            Lifecycle::Finished => panic!("I8: nothing follows the end"),
        }
        self.commands.push_back(command);
    }

    fn check(&self, now: Timestamp) {
        if self.lifecycle == Lifecycle::Finished {
            return;
        }
        let in_flight = self.read_state.is_in_flight()
            || self.checkpoint_writer.is_in_flight()
            || self.slot.is_waiting()
            || self.lanes.are_in_flight();
        let timeout = self.poll_timeout();
        assert!(in_flight || timeout.is_some(), "I9: it never gets stuck");
        assert!(
            timeout.is_none_or(|at| now < at),
            "I10: everything that was due is done"
        );
    }
}
