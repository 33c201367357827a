//! The invariants I1 to I10 of a [`ShardConsumer`](windlass_core::shard::ShardConsumer), one
//! function each; [`windlass_core::shard`] states them. That every record is resolved in the end,
//! the simulated world checks.
//!
//! Further checks: `marks` (nothing that is resolved is left out of a checkpoint), `attempt` (a batch is retried unchanged, and only a reached function uses an
//! attempt), `window` (which records a batch holds, and when it closes), `reading` (each read
//! starts where the last one ended), `slot` (when one is requested), `report`, `finish` and `view`.

mod lane;
mod marks;
mod model;
mod stretch;
mod windows;

use std::time::Duration;

use windlass_core::event::Event;
use windlass_core::failure::FailureRecord;
use windlass_core::outcome::Swap;
use windlass_core::position::{Checkpoint, Cursor, Position};
use windlass_core::record::Record;
use windlass_core::shard::{
    Batch, Finish, Report, ShardCommand, ShardConsumerSettings, ShardInput, ShardView, Waiting,
};
use windlass_core::time::Timestamp;

use self::lane::LaneModel;
use self::model::Model;
use super::due_range::DueRange;
use super::slot_request::Slot;
use super::{BrokenInvariant, ensure};
use crate::world::Contents;

/// Checks one consumer from its start to its end.
#[derive(Debug)]
pub struct ShardChecker(Model);

type Checked = Result<(), BrokenInvariant>;

impl ShardChecker {
    pub fn new(settings: ShardConsumerSettings, from: Checkpoint, now: Timestamp) -> Self {
        Self(Model::new(settings, from, now))
    }

    /// An input is about to be fed.
    ///
    /// # Errors
    /// The consumer has read records out of order.
    pub fn input(&mut self, input: &ShardInput, contents: &Contents, now: Timestamp) -> Checked {
        self.0.must_act = None;
        let checked = self.apply(input, contents, now);
        self.0.expire(now);
        checked
    }

    fn apply(&mut self, input: &ShardInput, contents: &Contents, now: Timestamp) -> Checked {
        match input {
            ShardInput::Read(result) => self.0.read(result, contents, now),
            ShardInput::Invoked { batch, outcome } => {
                self.0.invoked(*batch, outcome, now);
                Ok(())
            }
            ShardInput::Saved(Ok(Swap::Done)) => {
                self.0.saved();
                Ok(())
            }
            ShardInput::Saved(Ok(Swap::Conflict)) => {
                self.0.lease_lost = true;
                Ok(())
            }
            ShardInput::Saved(Err(fault)) => {
                self.0.save_failed(*fault, now);
                Ok(())
            }
            ShardInput::SlotGranted { max_records } => {
                self.0.slot = Slot::Granted;
                self.0.set_max_batch(*max_records);
                Ok(())
            }
            ShardInput::Delivered { delivery, result } => {
                self.0.delivered(*delivery, *result, now);
                Ok(())
            }
            ShardInput::SourceTime(time) => {
                self.0.source_ahead = Some(time.millis_since(now));
                Ok(())
            }
            ShardInput::Drain => {
                self.0.draining = true;
                Ok(())
            }
        }
    }

    /// `handle_timeout` is about to be called; `due` if `poll_timeout` is not later than `now`.
    pub fn timer(&mut self, due: bool, now: Timestamp) {
        self.0.must_act = Some(due);
        self.0.expire(now);
    }

    /// The consumer gave a command.
    ///
    /// # Errors
    /// The command breaks an invariant.
    pub fn command(
        &mut self,
        command: &ShardCommand,
        contents: &Contents,
        now: Timestamp,
    ) -> Checked {
        let model = &mut self.0;
        ensure(model.finished.is_none(), "finish", || {
            format!("a command after Finish: {command:?}")
        })?;
        i8_nothing_after_the_lease_is_lost(model, command)?;
        i7_nothing_begins_after_drain(model, command)?;
        i10_timers_do_something(model.must_act != Some(false), || format!("{command:?}"))?;
        model.must_act = None;
        match command {
            ShardCommand::Read {
                from,
                limit,
                timeout,
            } => {
                i6_reads_fit_the_buffer(model, *limit)?;
                reads_have_their_pace(model, *limit, *timeout)?;
                i10_reads_respect_their_interval(model, now)?;
                reads_continue(model, from, *limit, now)?;
                model.begin_read(from, *limit as usize, now);
            }
            ShardCommand::RequestSlot => {
                slots_are_requested_for_a_batch(model, now)?;
                model.slot = Slot::Requested;
            }
            ShardCommand::CancelSlot => {
                slots_are_cancelled_with_a_cause(model, now)?;
                model.slot = Slot::None;
            }
            ShardCommand::Invoke(batch) => {
                let slot = std::mem::take(&mut model.slot);
                ensure(slot == Slot::Granted, "I7", || {
                    "an invocation without a slot".to_owned()
                })?;
                let first = batch.records.first();
                let lane = first.map_or(0, |first| model.lane_of(first));
                let max_batch = model.max_batch;
                model.lanes[lane].cut_head(max_batch, now);
                i3_one_call(model, lane)?;
                lanes_take_turns(model, lane, now)?;
                i4_in_order(&model.lanes[lane], batch, contents)?;
                windows_have_their_state(&model.lanes[lane], batch)?;
                i5_batches_respect_their_limits(model, batch)?;
                i10_invocations_respect_their_backoff(&model.lanes[lane], now)?;
                attempts_count(model, lane, batch)?;
                batches_hold_the_next_records(model, lane, batch, now)?;
                model.lanes[lane].begin_invocation(batch, now);
                model.last_lane = lane;
            }
            ShardCommand::Deliver { delivery, failure } => {
                let lane = model.lane_of(&failure.records[0]);
                i3_one_call(model, lane)?;
                deliveries_are_expected(&model.lanes[lane], failure, now)?;
                model.lanes[lane].delivery_in_flight = Some(*delivery);
            }
            ShardCommand::Save(checkpoint) => {
                i1_only_resolved(model, checkpoint, contents)?;
                i2_forward(model, &checkpoint.position)?;
                i10_saves_respect_their_backoff(model, now)?;
                model.begin_save(&checkpoint.position);
            }
            ShardCommand::Report(report) => reports_are_expected(model, report, contents)?,
            ShardCommand::Finish(how) => {
                finishes_when_done(model, *how)?;
                model.finished = Some(*how);
            }
        }
        Ok(())
    }

    /// All commands were taken.
    ///
    /// # Errors
    /// The view is wrong, or the consumer has left something undone.
    pub fn settled(
        &mut self,
        view: &ShardView,
        timeout: Option<Timestamp>,
        now: Timestamp,
    ) -> Checked {
        let model = &mut self.0;
        i10_timers_do_something(model.must_act != Some(true), || "nothing".to_owned())?;
        let missing = model.expected_reports.front();
        ensure(missing.is_none(), "report", || {
            format!("missing: {missing:?}")
        })?;
        views_match(model, view, timeout, now)?;
        if model.finished.is_some() {
            return Ok(());
        }
        i6_the_buffer_is_bounded(model)?;
        i9_nothing_gets_stuck(model, timeout, now)?;
        i10_timers_are_in_the_future(timeout, now)
    }

    pub const fn finished(&self) -> Option<Finish> {
        self.0.finished
    }

    /// Whether everything that was read is resolved and saved.
    pub fn is_at_rest(&self) -> bool {
        let lanes = &self.0.lanes;
        let is_empty = lanes.iter().all(|lane| lane.pending.is_empty());
        let has_state = 0 < self.0.state_bytes();
        is_empty && !has_state && self.0.marks.held.is_empty() && !self.0.has_unsaved()
    }

    /// Of the shard, the records that were read and are resolved.
    pub fn resolved(&self) -> impl Iterator<Item = usize> {
        self.0.resolved()
    }

    /// Whether the marks were those of a stream that no longer exists.
    pub const fn are_marks_dropped(&self) -> bool {
        self.0.marks.are_dropped
    }

    /// Of the shard, the records that are delivered again although they may have been marked: what was
    /// read did not match the marks.
    pub fn unrecognized(&self) -> impl Iterator<Item = usize> {
        self.0.marks.unrecognized.iter().copied()
    }
}

fn i1_only_resolved(model: &Model, checkpoint: &Checkpoint, contents: &Contents) -> Checked {
    let resolved_end = model.resolved_end();
    let holds = match &checkpoint.position {
        Position::ShardEnd => model.is_at_end(),
        position @ (Position::After(_) | Position::Within(..)) => {
            let last = resolved_end.and_then(|end| end.checked_sub(1));
            let arrival = last.map(|last| contents.records()[last].approximate_arrival());
            last.is_some_and(|last| contents.position_after(last) == *position)
                && arrival == checkpoint.arrival
        }
        Position::TrimHorizon | Position::AtTimestamp(_) | Position::At(_) => false,
    };
    let holds = holds || model.is_at_start(&checkpoint.position);
    ensure(holds, "I1", || {
        format!("saves {checkpoint:?}, but the resolved prefix ends at {resolved_end:?}")
    })?;
    if checkpoint.position == Position::ShardEnd {
        let is_alone = checkpoint.marks.is_empty() && checkpoint.window.is_none();
        return ensure(is_alone, "I1", || {
            "marks or a window after the end of the shard".to_owned()
        });
    }
    let window = model.window_checkpoint();
    ensure(checkpoint.window.as_ref() == window, "windows", || {
        format!("saves {checkpoint:?} instead of {window:?}")
    })?;
    model.check_marks(&checkpoint.marks, contents)
}

fn i2_forward(model: &Model, position: &Position) -> Checked {
    ensure(model.save.is_none(), "I2", || {
        "two saves at a time".to_owned()
    })?;
    let is_new_end = *position == Position::ShardEnd && model.saved.position != Position::ShardEnd;
    let moves = model.saved.n_resolved < model.n_resolved()
        || model.saved.window_changes < model.window_changes()
        || is_new_end;
    ensure(moves, "I2", || {
        format!("saves {position:?} after {:?}", model.saved.position)
    })
}

fn i3_one_call(model: &Model, lane: usize) -> Checked {
    ensure(!model.lanes[lane].is_busy(), "I3", || {
        format!("a second invocation or delivery of lane {lane} begins")
    })
}

fn slots_are_requested_for_a_batch(model: &Model, now: Timestamp) -> Checked {
    ensure(model.slot == Slot::None, "slot", || {
        "a second request for a slot".to_owned()
    })?;
    let is_due = !model.due_lanes(|due| due.earliest <= now).is_empty();
    ensure(is_due, "window", || {
        let lanes = 0..model.lanes.len();
        let due: Vec<_> = lanes.map(|lane| model.batch_due(lane)).collect();
        format!("a slot is requested at {now:?}, the batches are due at {due:?}")
    })
}

fn slots_are_cancelled_with_a_cause(model: &Model, now: Timestamp) -> Checked {
    let is_due = !model.due_lanes(|due| due.latest <= now).is_empty();
    let holds = model.slot != Slot::None && (model.draining || !is_due);
    ensure(holds, "slot", || "a cancel without a cause".to_owned())
}

/// A slot belongs to the next lane in turn whose batch is due. Backoff has jitter, so not all lanes
/// are known to be due.
fn lanes_take_turns(model: &Model, lane: usize, now: Timestamp) -> Checked {
    let n_lanes = model.lanes.len();
    let turn = |lane: usize| (lane + n_lanes - model.last_lane - 1) % n_lanes;
    let due = model.due_lanes(|due| due.latest <= now);
    let next = due.iter().find(|other| turn(**other) < turn(lane));
    ensure(next.is_none(), "slot", || {
        format!("lane {lane} is invoked instead of {next:?}")
    })
}

fn deliveries_are_expected(lane: &LaneModel, failure: &FailureRecord, now: Timestamp) -> Checked {
    let expected = lane.deliveries.front().map(|it| &it.failure);
    ensure(expected == Some(failure), "deliver", || {
        format!("{failure:?} instead of {expected:?}")
    })?;
    let earliest = lane.delivery_failed.map(|failed| failed.due.earliest);
    ensure(earliest.is_none_or(|at| at <= now), "I10", || {
        format!("a delivery is repeated at {now:?}, due at {earliest:?}")
    })
}

fn i4_in_order(lane: &LaneModel, batch: &Batch, contents: &Contents) -> Checked {
    let given: Vec<_> = batch
        .records
        .iter()
        .map(|record| contents.index_of(record))
        .collect();
    let pending = &lane.pending;
    let expected = pending.iter().map(|it| Some(it.index));
    let holds = given.len() <= pending.len() && expected.zip(&given).all(|(a, b)| a == *b);
    ensure(holds && !lane.is_delivering(), "I4", || {
        format!("invokes {given:?} while {pending:?} are pending")
    })?;
    let same = batch
        .records
        .iter()
        .zip(pending)
        .all(|(record, it)| *record == contents.records()[it.index]);
    ensure(same, "I4", || {
        "a record differs from what was read".to_owned()
    })?;
    let events: Vec<_> = batch.records.iter().map(Record::event).collect();
    let whole = [br#"{"Records":["#, &*events.join(&b','), b"]}"].concat();
    let sent = Event::of_records(&batch.records);
    ensure(sent.to_bytes() == whole, "I4", || {
        "the event does not equal its records".to_owned()
    })
}

/// A batch has records of one window and the state that was kept last; a final invocation has no
/// records.
fn windows_have_their_state(lane: &LaneModel, batch: &Batch) -> Checked {
    let windows = lane.windows.as_ref();
    let window = lane.pending.front().and_then(|first| first.window);
    let expected = windows.and_then(|windows| windows.call(window));
    ensure(batch.window == expected, "windows", || {
        format!("{batch:?} instead of {expected:?}")
    })?;
    let of_window = lane.pending.iter().take_while(|it| it.window == window);
    ensure(batch.records.len() <= of_window.count(), "windows", || {
        format!("{batch:?} crosses the end of its window")
    })
}

fn i5_batches_respect_their_limits(model: &Model, batch: &Batch) -> Checked {
    let n_records = batch.records.len();
    let settings = &model.settings;
    let records = event_bytes(batch.records.iter().map(Record::event_len));
    let state = batch.window.as_ref().map_or(0, |it| it.state.json().len());
    let bytes = records + settings.window_len.saturating_sub(2) + state;
    let is_final = batch.window.as_ref().is_some_and(|it| it.is_final);
    let fewest = usize::from(!is_final);
    let holds =
        (fewest..=model.max_batch).contains(&n_records) && bytes <= settings.limits.payload_limit;
    ensure(holds, "I5", || {
        format!("a batch of {n_records} records and {bytes} bytes")
    })
}

fn i6_reads_fit_the_buffer(model: &Model, limit: u32) -> Checked {
    let room = model.read_room();
    ensure(0 < limit && limit as usize <= room, "I6", || {
        format!("requests {limit} records with room for {room}")
    })?;
    ensure(limit <= model.settings.limits.read_limit, "I6", || {
        format!("requests {limit} records at once")
    })
}

fn reads_have_their_pace(model: &Model, limit: u32, timeout: Duration) -> Checked {
    let room = u32::try_from(model.read_room()).unwrap_or(u32::MAX);
    let expected = room
        .min(model.settings.limits.read_limit)
        .min(model.max_records);
    let expected = if model.looks_at_the_oldest() {
        1
    } else {
        expected
    };
    let holds = limit == expected && timeout == Duration::from_secs(model.timeout_secs);
    ensure(holds, "reading", || {
        let seconds = model.timeout_secs;
        format!("reads {limit} records in {timeout:?} instead of {expected} in {seconds} s")
    })
}

fn i6_the_buffer_is_bounded(model: &Model) -> Checked {
    let buffered = model.n_buffered();
    ensure(
        buffered <= model.settings.limits.buffer_records,
        "I6",
        || format!("{buffered} records are buffered"),
    )
}

fn i7_nothing_begins_after_drain(model: &Model, command: &ShardCommand) -> Checked {
    let begins = matches!(
        command,
        ShardCommand::Invoke(_)
            | ShardCommand::Read { .. }
            | ShardCommand::RequestSlot
            | ShardCommand::Deliver { .. }
    );
    ensure(!(model.draining && begins), "I7", || {
        format!("{command:?} while draining")
    })
}

fn i8_nothing_after_the_lease_is_lost(model: &Model, command: &ShardCommand) -> Checked {
    let ends = matches!(command, ShardCommand::Finish(Finish::LeaseLost));
    ensure(ends == model.lease_lost, "I8", || {
        let lost = if model.lease_lost { "lost" } else { "held" };
        format!("{command:?} while the lease is {lost}")
    })
}

fn i9_nothing_gets_stuck(model: &Model, timeout: Option<Timestamp>, now: Timestamp) -> Checked {
    let by = |due: Timestamp, what: &str| {
        ensure(timeout.is_some_and(|at| at <= due), "I9", || {
            format!("{what} is due at {due:?}, the timer is at {timeout:?}")
        })
    };
    ensure(!model.lease_lost, "I9", || {
        "the lease is lost, but the consumer continues".to_owned()
    })?;
    let unsaved = model.has_unsaved();
    if unsaved && model.save.is_none() {
        let due = model.save_failed.map(|failed| failed.due.latest);
        by(due.unwrap_or(now), "a save")?;
    }
    ensure(model.slot != Slot::Granted, "I9", || {
        "a slot is not used".to_owned()
    })?;
    if model.draining {
        ensure(model.slot == Slot::None, "I7", || {
            "a drain waits for a slot".to_owned()
        })?;
        let busy = model.is_busy() || model.save.is_some() || unsaved;
        return ensure(busy, "I9", || {
            "a drain with nothing to wait for does not end".to_owned()
        });
    }
    let waits = model.slot == Slot::Requested;
    let due = (0..model.lanes.len()).filter_map(|lane| model.batch_due(lane));
    let latest = due.map(|due| due.latest).min();
    if let Some(latest) = latest.filter(|_| !waits) {
        by(latest, "a batch")?;
    }
    let is_due = !model.due_lanes(|due| due.earliest <= now).is_empty();
    ensure(!waits || is_due, "slot", || {
        "a slot is waited for that is not needed".to_owned()
    })?;
    if let Some(at) = model.next_expiry() {
        by(at, "a record that is too old")?;
    }
    for lane in &model.lanes {
        if lane.is_delivering() && lane.delivery_in_flight.is_none() {
            let due = lane.delivery_failed.map(|failed| failed.due.latest);
            by(due.unwrap_or(now), "a delivery")?;
        }
    }
    if model.read.is_none() && !model.ended && 0 < model.read_room() {
        by(model.read_due.latest, "a read")?;
    }
    let begun = model.read.is_some() || model.is_busy() || model.save.is_some();
    let begun = begun || waits;
    ensure(begun || timeout.is_some(), "I9", || "stuck".to_owned())
}

fn i10_timers_are_in_the_future(timeout: Option<Timestamp>, now: Timestamp) -> Checked {
    ensure(timeout.is_none_or(|at| now < at), "I10", || {
        format!("the timer is at {timeout:?}, now is {now:?}")
    })
}

fn i10_timers_do_something(holds: bool, what: impl FnOnce() -> String) -> Checked {
    ensure(holds, "I10", || format!("a timer causes {}", what()))
}

fn i10_reads_respect_their_interval(model: &Model, now: Timestamp) -> Checked {
    ensure(model.read.is_none(), "I10", || {
        "two reads at a time".to_owned()
    })?;
    let due = model.read_due.earliest;
    ensure(!model.ended && due <= now, "I10", || {
        format!("a read at {now:?}, due at {due:?}")
    })
}

fn i10_invocations_respect_their_backoff(lane: &LaneModel, now: Timestamp) -> Checked {
    let earliest = lane.retry_due().map(|due| due.earliest);
    ensure(earliest.is_none_or(|at| at <= now), "I10", || {
        format!("a batch is retried at {now:?}, due at {earliest:?}")
    })
}

fn i10_saves_respect_their_backoff(model: &Model, now: Timestamp) -> Checked {
    let earliest = model.save_failed.map(|failed| failed.due.earliest);
    ensure(earliest.is_none_or(|at| at <= now), "I10", || {
        format!("a save is retried at {now:?}, due at {earliest:?}")
    })
}

fn attempts_count(model: &Model, lane: usize, batch: &Batch) -> Checked {
    let expected = model.lanes[lane].attempt();
    ensure(batch.attempt == expected, "attempt", || {
        format!("attempt {} instead of {expected}", batch.attempt)
    })?;
    let maximum = model.settings.mapping.retries.maximum_attempts;
    let maximum = maximum.filter(|_| model.lanes[lane].final_call().is_none());
    ensure(
        maximum.is_none_or(|retries| batch.attempt <= retries + 1),
        "attempt",
        || format!("attempt {} exceeds {maximum:?} retries", batch.attempt),
    )
}

fn batches_hold_the_next_records(
    model: &Model,
    lane: usize,
    batch: &Batch,
    now: Timestamp,
) -> Checked {
    let next = model.lanes[lane].next_batch(&model.settings, model.max_batch);
    let n_records = batch.records.len();
    ensure(n_records == next.n_records, "window", || {
        format!(
            "a batch of {n_records} records instead of {}",
            next.n_records
        )
    })?;
    let due = model.batch_due(lane).map(|due| due.earliest);
    ensure(due.is_some_and(|due| due <= now), "window", || {
        format!("a batch at {now:?}, due at {due:?}")
    })
}

fn reads_continue(model: &Model, from: &Cursor, limit: u32, now: Timestamp) -> Checked {
    let next = model.next_read(now);
    let asked = (&from.after, from.inclusive);
    ensure(asked == (&next.after, next.inclusive), "reading", || {
        format!("reads at {asked:?} instead of {next:?}")
    })?;
    ensure(
        !model.looks_at_the_oldest() || limit == 1,
        "reading",
        || format!("looks at the oldest record and {limit} more"),
    )?;
    let iterator = from.iterator.as_ref();
    ensure(
        iterator.is_none() || !model.iterator_is_suspect,
        "reading",
        || format!("the iterator {iterator:?} is used after a failure"),
    )
}

fn reports_are_expected(model: &mut Model, report: &Report, contents: &Contents) -> Checked {
    let expected = model.expected_reports.pop_front();
    ensure(expected.as_ref() == Some(report), "report", || {
        format!("{report:?} instead of {expected:?}")
    })?;
    let known = match report {
        Report::RecordTooLarge {
            sequence_number, ..
        }
        | Report::UnreadableDropped {
            sequence_number, ..
        } => contents.first_of(sequence_number.as_str()).is_some(),
        Report::FilteredOut { .. }
        | Report::BeforeStart { .. }
        | Report::OutsideHashKeyRange { .. }
        | Report::Dropped(_)
        | Report::Unreadable(_)
        | Report::WindowStateDropped(_)
        | Report::Gap(_) => true,
    };
    ensure(known, "report", || {
        format!("{report:?} is not about a record of the shard")
    })
}

fn finishes_when_done(model: &Model, how: Finish) -> Checked {
    let is_saved = model.saved.position == Position::ShardEnd;
    let holds = match how {
        Finish::LeaseLost => model.lease_lost,
        Finish::ShardEnd => is_saved && !model.is_stretch_end(),
        Finish::StretchEnd => is_saved && model.is_stretch_end(),
        Finish::Drained => {
            model.draining && !model.is_busy() && model.save.is_none() && !model.has_unsaved()
        }
    };
    ensure(holds, "finish", || format!("Finish({how:?}) too early"))
}

fn views_match(
    model: &Model,
    view: &ShardView,
    timeout: Option<Timestamp>,
    now: Timestamp,
) -> Checked {
    let lanes = || model.lanes.iter();
    let pending = lanes().flat_map(|lane| &lane.pending);
    let oldest = pending.min_by_key(|it| it.index);
    let waiting = lanes().filter(|lane| lane.waiting().is_some());
    let holds = view.buffered_records == lanes().map(|lane| lane.pending.len()).sum::<usize>()
        && view.buffered_bytes == lanes().map(LaneModel::bytes).sum::<usize>()
        && view.in_flight_records == lanes().map(LaneModel::n_in_flight).sum::<usize>()
        && view.n_lanes == model.lanes.len()
        && view.waiting_lanes == waiting.count()
        && Some(view.attempt) == lanes().map(LaneModel::attempt).max()
        && view.checkpoint == model.saved.position
        && view.behind == model.behind
        && view.last_outcome == model.last_outcome
        && view.oldest == oldest.map(|it| it.record.approximate_arrival())
        && view.waiting == expected_waiting(model)
        && next_at_matches(model, view, timeout, now);
    ensure(holds, "view", || {
        format!("{view:?} does not match {model:?}")
    })
}

fn next_at_matches(
    model: &Model,
    view: &ShardView,
    timeout: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let failed = |due: Option<DueRange>| {
        let next = view.next_at.zip(due);
        next.is_some_and(|(at, due)| due.earliest <= at && at <= due.latest)
    };
    match view.waiting {
        _ if model.draining || model.finished.is_some() => view.next_at == timeout,
        None => view.next_at == timeout,
        Some(
            Waiting::FunctionErrors { .. }
            | Waiting::NotInvoked(_)
            | Waiting::FinalInvocation { .. },
        ) => {
            let due = model.worst_lane().and_then(LaneModel::retry_due);
            let waits_for_slot = model.slot == Slot::Requested && view.next_at.is_none();
            failed(due) || (waits_for_slot && due.is_some_and(|due| due.earliest <= now))
        }
        Some(Waiting::Delivery(_)) => {
            let failure = model.worst_lane().and_then(|lane| lane.delivery_failed);
            failed(failure.map(|failed| failed.due))
        }
        Some(Waiting::Store(_)) => failed(model.save_failed.map(|failed| failed.due)),
        Some(Waiting::Source(_) | Waiting::Unreadable(_)) => match model.read {
            Some(_) => view.next_at.is_none(),
            None => failed(Some(model.read_due)),
        },
    }
}

fn expected_waiting(model: &Model) -> Option<Waiting> {
    let store = model.save_failed.filter(|_| model.save.is_none());
    let lane = model.worst_lane().and_then(LaneModel::waiting);
    lane.or_else(|| store.map(|failed| Waiting::Store(failed.fault)))
        .or_else(|| model.read_waiting.clone())
}

/// The size of `{"Records":[a,b]}` in bytes, computed a second time.
fn event_bytes(sizes: impl Iterator<Item = usize>) -> usize {
    let (n_records, total) = sizes.fold((0, 0), |(n, total), size| (n + 1, total + size));
    r#"{"Records":[]}"#.len() + total + usize::saturating_sub(n_records, 1)
}
