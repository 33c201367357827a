//! The invariants Q1 to Q12 of a [`QueueConsumer`](windlass_core::queue::QueueConsumer), one
//! function each; [`windlass_core::queue`] states them.
//!
//! What only the queue or the function knows, the simulated world checks: the order within a group
//! (Q4), and that everything is finished in the end.
//!
//! Further checks: `window` (which messages a batch holds, and when it closes), `release` (what is
//! released), `report`, `finish` and `view`.

mod backoff_bounds;
mod deadlines;
mod delays;
mod entry_results;
mod model;
mod rules;

use windlass_core::ids::MessageId;
use windlass_core::queue::{QueueCommand, QueueConsumerSettings, QueueInput, QueueView};
use windlass_core::time::Timestamp;

use self::model::{Model, Receive};
use super::slot_request::Slot;
use super::{BrokenInvariant, ensure};

/// Checks one consumer from its start to its end.
#[derive(Debug)]
pub struct QueueChecker(Model);

type Checked = Result<(), BrokenInvariant>;

impl QueueChecker {
    pub fn new(settings: QueueConsumerSettings, free_slots: usize, now: Timestamp) -> Self {
        Self(Model::new(settings, free_slots, now))
    }

    /// The consumer was told how many slots are free.
    pub fn set_free_slots(&mut self, free_slots: usize) {
        self.0.free_slots = free_slots;
    }

    /// The consumer was told the time of the queue's clock.
    pub fn set_source_time(&mut self, source_time: Timestamp) {
        self.0.source_time = Some(source_time);
    }

    /// An input is about to be fed.
    pub fn input(&mut self, input: &QueueInput, now: Timestamp) {
        let model = &mut self.0;
        model.must_act = None;
        match input {
            QueueInput::Received { request, result } => model.received(*request, result, now),
            QueueInput::Invoked { batch, outcome } => model.invoked(*batch, outcome, now),
            QueueInput::Deleted { request, result } => model.deleted(*request, result, now),
            QueueInput::VisibilityChanged { request, result } => {
                model.visibility_changed(*request, result, now);
            }
            QueueInput::SlotGranted => model.slot = Slot::Granted,
            QueueInput::Attributes(attributes) => model.settings.attributes = *attributes,
            QueueInput::Drain => model.drain(now),
        }
        model.pass_time(now);
    }

    /// `handle_timeout` is about to be called; `due` if `poll_timeout` is not later than `now`.
    pub fn timer(&mut self, due: bool, now: Timestamp) {
        self.0.must_act = Some(due);
        self.0.pass_time(now);
    }

    /// The consumer gave a command.
    ///
    /// # Errors
    /// The command breaks an invariant.
    pub fn command(&mut self, command: &QueueCommand, now: Timestamp) -> Checked {
        let model = &mut self.0;
        ensure(!model.finished, "finish", || {
            format!("a command after Finish: {command:?}")
        })?;
        rules::q7_nothing_begins_after_drain(model, command)?;
        rules::q10_timers_do_something(model.must_act != Some(false), || format!("{command:?}"))?;
        model.must_act = None;
        match command {
            QueueCommand::Receive {
                request,
                limit,
                wait,
                visibility,
            } => {
                rules::q6_receives_have_room(model, *limit, now)?;
                rules::q6_receives_scale(model, *wait, *visibility)?;
                rules::q8_receives_stop_while_the_function_is_unreachable(model)?;
                rules::q10_receives_respect_their_backoff(model, now)?;
                rules::q6_pollers_respect_their_interval(model, now)?;
                let receive = Receive {
                    limit: usize::from(*limit),
                    sent: now,
                    visibility: *visibility,
                };
                model.receive_backoff.begin_attempt();
                model.receives_begun.push(now);
                model.receives.insert(*request, receive);
            }
            QueueCommand::RequestSlot => {
                rules::q5_slots_are_requested_for_a_batch(model, now)?;
                model.slot = Slot::Requested;
            }
            QueueCommand::CancelSlot => {
                rules::q5_slots_are_cancelled_without_a_batch(model, now)?;
                model.slot = Slot::None;
            }
            QueueCommand::Invoke(batch) => {
                let slot = std::mem::take(&mut model.slot);
                ensure(slot == Slot::Granted, "Q5", || {
                    "an invocation without a slot".to_owned()
                })?;
                rules::invocations_are_allowed(model, batch, now)?;
                model.begin_invocation(batch, now);
            }
            QueueCommand::Delete { request, receipts } => {
                let entries = rules::q1_only_what_succeeded(model, receipts)?;
                rules::q10_deletions_respect_their_backoff(model, now)?;
                model.begin_deletion(*request, entries, now);
            }
            QueueCommand::ChangeVisibility { request, changes } => {
                rules::q3_one_change_at_a_time(model, changes)?;
                if rules::releases_are_expected(model, changes)? {
                    let receipts = changes.iter().map(|it| it.receipt.clone());
                    model.releases.insert(*request, receipts.collect());
                    return Ok(());
                }
                let entries = rules::q3_extensions_are_due(model, changes, now)?;
                model.begin_extension(*request, entries, now);
            }
            QueueCommand::Report(report) => rules::reports_are_expected(model, report)?,
            QueueCommand::Finish => {
                rules::finishes_when_idle(model)?;
                model.finished = true;
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
        view: &QueueView,
        timeout: Option<Timestamp>,
        now: Timestamp,
    ) -> Checked {
        let model = &self.0;
        rules::q10_timers_do_something(model.must_act != Some(true), || "nothing".to_owned())?;
        rules::nothing_is_missing(model)?;
        rules::views_match(model, view, timeout, now)?;
        if model.finished {
            return Ok(());
        }
        rules::q6_the_buffer_is_bounded(model)?;
        rules::q6_pollers_stay_within_their_bounds(model, view)?;
        rules::q9_nothing_gets_stuck(model, timeout, now)?;
        rules::q10_timers_are_in_the_future(timeout, now)
    }

    pub const fn is_draining(&self) -> bool {
        self.0.drained_at.is_some()
    }

    pub const fn is_finished(&self) -> bool {
        self.0.finished
    }

    pub fn holds(&self, id: &MessageId) -> bool {
        self.0.held.contains_key(id)
    }
}

/// The size of `{"Records":[a,b]}` in bytes, computed a second time.
fn event_bytes(sizes: impl Iterator<Item = usize>) -> usize {
    let (n_messages, total) = sizes.fold((0, 0), |(n, total), size| (n + 1, total + size));
    r#"{"Records":[]}"#.len() + total + usize::saturating_sub(n_messages, 1)
}
