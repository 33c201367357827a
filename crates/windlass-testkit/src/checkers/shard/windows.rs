//! The reference model of tumbling windows: the window of each record, and the state that each
//! invocation must have.

use std::time::Duration;

use windlass_core::batch::BatchId;
use windlass_core::outcome::{Fault, Outcome, Response, ReturnedState};
use windlass_core::position::Checkpoint;
use windlass_core::shard::Waiting;
use windlass_core::time::Timestamp;
use windlass_core::window::{WindowBounds, WindowCall, WindowCheckpoint, WindowState};

use crate::checkers::due_range::DueRange;

#[derive(Debug)]
pub(super) struct WindowsModel {
    length: Duration,
    /// The latest arrival of all records, or the end of a window that is over.
    newest: Timestamp,
    pub(super) shard_ended: bool,
    /// Of the record that was read last.
    last: Option<WindowBounds>,
    /// The window and the state that a checkpoint must have.
    pub(super) kept: Option<WindowCheckpoint>,
    /// Changes of `kept`.
    pub(super) n_changes: usize,
    pub(super) final_call: Option<FinalModel>,
    /// What the invocation in flight returns is not kept.
    discards: bool,
}

/// A final invocation that has to succeed.
#[derive(Debug)]
pub(super) struct FinalModel {
    bounds: WindowBounds,
    is_early: bool,
    reached: u32,
    not_reached: u32,
    pub(super) due: DueRange,
    waiting: Option<Waiting>,
    pub(super) in_flight: Option<BatchId>,
}

impl WindowsModel {
    pub(super) fn new(length: Duration, from: &Checkpoint) -> Self {
        let kept = from.window.clone();
        let start = kept.as_ref().map(|it| it.bounds.start);
        Self {
            length,
            newest: start.max(from.arrival).unwrap_or(Timestamp::EPOCH),
            shard_ended: false,
            last: kept
                .clone()
                .filter(|it| it.state.is_some())
                .map(|it| it.bounds),
            kept,
            n_changes: 0,
            final_call: None,
            discards: false,
        }
    }

    /// A record was read. Returns its window if it is delivered.
    pub(super) fn read(&mut self, arrival: Timestamp, is_delivered: bool) -> Option<WindowBounds> {
        self.newest = self.newest.max(arrival);
        if !is_delivered {
            return None;
        }
        let last = self.last.filter(|last| self.newest < last.end);
        self.last = Some(last.unwrap_or_else(|| WindowBounds::of(self.newest, self.length)));
        self.last
    }

    /// Two minutes have brought no record.
    pub(super) fn idle(&mut self, source_time: Timestamp) {
        let last = self.last.filter(|last| last.end <= source_time);
        self.newest = self
            .newest
            .max(last.map_or(Timestamp::EPOCH, |last| last.end));
    }

    pub(super) fn is_over(&self, window: WindowBounds) -> bool {
        self.shard_ended || window.end <= self.newest
    }

    pub(super) fn state(&self) -> Option<&WindowState> {
        self.kept.as_ref()?.state.as_ref()
    }

    /// The window whose state is kept.
    pub(super) fn open(&self) -> Option<WindowBounds> {
        let kept = self.kept.as_ref().filter(|it| it.state.is_some());
        kept.map(|it| it.bounds)
    }

    /// By how many bytes the state is longer than the empty one; negative if it is shorter.
    pub(super) fn more_bytes(&self) -> i64 {
        let len = self.state().map_or(2, |state| state.json().len());
        i64::try_from(len).expect("a state is small") - 2
    }

    /// What the next invocation must say; `window` is that of its records.
    pub(super) fn call(&self, window: Option<WindowBounds>) -> Option<WindowCall> {
        let final_call = self.final_call.as_ref();
        Some(WindowCall {
            bounds: final_call.map(|it| it.bounds).or(window)?,
            state: self.state().cloned().unwrap_or_else(WindowState::empty),
            is_final: final_call.is_some(),
            is_terminated_early: final_call.is_some_and(|it| it.is_early),
        })
    }

    /// What an invocation with records of a window would say.
    pub(super) fn call_of(&self, window: WindowBounds) -> Option<WindowCall> {
        let mut call = WindowCall {
            is_final: false,
            is_terminated_early: false,
            bounds: window,
            ..self.call(Some(window))?
        };
        if self.open() != Some(window) {
            call.state = WindowState::empty();
        }
        Some(call)
    }

    pub(super) fn keep(&mut self, window: WindowBounds, state: WindowState) {
        if !self.discards {
            self.set(window, Some(state));
        }
    }

    /// An invocation has ended.
    pub(super) fn answered(&mut self) {
        self.discards = false;
    }

    pub(super) fn begin_final(&mut self, is_early: bool, now: Timestamp) {
        self.final_call = self.open().map(|bounds| FinalModel {
            bounds,
            is_early,
            reached: 0,
            not_reached: 0,
            due: DueRange::exactly(now),
            waiting: None,
            in_flight: None,
        });
    }

    /// Ends the final invocation in flight. Returns whether it has succeeded.
    pub(super) fn end_final(&mut self, outcome: &Outcome, has_state: bool, now: Timestamp) -> bool {
        let call = self.final_call.as_mut().expect("it is in flight");
        call.in_flight = None;
        if has_state && !matches!(outcome, Outcome::ItemFailures { .. }) {
            let FinalModel {
                bounds, is_early, ..
            } = self.final_call.take().expect("it was in flight");
            self.discards = false;
            if is_early {
                self.set(bounds, None);
            } else {
                let length = bounds.end.since(bounds.start);
                let next = WindowBounds {
                    start: bounds.end,
                    end: bounds.end + length,
                };
                self.newest = self.newest.max(bounds.end);
                self.set(next, None);
            }
            return true;
        }
        let (n, fault, cause) = if let Outcome::NotInvoked { cause } = outcome {
            call.not_reached += 1;
            (call.not_reached, *cause, Some(*cause))
        } else {
            call.reached += 1;
            call.not_reached = 0;
            (call.reached, Fault::Transient, None)
        };
        call.due = DueRange::after_failure(n, fault, now);
        call.waiting = Some(Waiting::FinalInvocation {
            attempt: call.reached + 1,
            cause,
        });
        false
    }

    /// The stream is another one. Returns the window whose state was dropped, and whether its final
    /// invocation is not needed any more.
    pub(super) fn drop_state(&mut self, is_in_flight: bool) -> (Option<WindowBounds>, bool) {
        let dropped = self.open();
        self.discards = is_in_flight;
        if let Some(bounds) = dropped {
            self.set(bounds, None);
        }
        let is_due = self
            .final_call
            .as_ref()
            .is_some_and(|it| it.in_flight.is_none());
        if is_due {
            self.final_call = None;
        }
        (dropped, is_due)
    }

    fn set(&mut self, bounds: WindowBounds, state: Option<WindowState>) {
        self.n_changes += 1;
        self.kept = Some(WindowCheckpoint { bounds, state });
    }
}

impl FinalModel {
    pub(super) const fn attempt(&self) -> u32 {
        self.reached + 1
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        self.waiting.clone().filter(|_| self.in_flight.is_none())
    }
}

/// What an outcome means in a window: without a state the function has failed.
pub(super) fn returned(outcome: &Outcome) -> (Outcome, Option<ReturnedState>) {
    let failed = |error: &str, response: &Response| Outcome::FunctionError {
        error: error.to_owned(),
        response: Box::new(response.clone()),
    };
    match outcome {
        Outcome::Success => (failed("no state", &Response::default()), None),
        Outcome::ItemFailures { response, .. } => (failed("no state", response), None),
        Outcome::FunctionError { .. } | Outcome::NotInvoked { .. } => (outcome.clone(), None),
        Outcome::Windowed(answer) => {
            let outcome = match (&answer.state, &answer.failures) {
                (ReturnedState::TooLarge, _) => failed("state too large", &answer.response),
                (ReturnedState::Json(_), None) => Outcome::Success,
                (ReturnedState::Json(_), Some(failures)) => Outcome::ItemFailures {
                    failures: failures.clone(),
                    response: Box::new(answer.response.clone()),
                },
            };
            (outcome, Some(answer.state.clone()))
        }
    }
}
