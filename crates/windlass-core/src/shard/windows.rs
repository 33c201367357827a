//! [`Windows`]: the tumbling windows of a shard, and the state of the one that is open.
//!
//! A record belongs to the window of the latest arrival of all records up to it, so windows only move
//! forward: a late record belongs to the window that is open. A window ends with the arrival of a
//! later one, whether the function receives that record or not.
//!
//! A window that has a state ends with a final invocation. It is repeated
//! until it succeeds, and nothing else of the shard is invoked before.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-windows.html>

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::interface::Batch;
use super::view::Waiting;
use crate::batch::{BatchId, BatchIds, BatchLimits};
use crate::mapping::RetrySettings;
use crate::outcome::{Fault, Outcome};
use crate::position::Checkpoint;
use crate::progress::Ticket;
use crate::retry::{Attempts, Jitter, RetryDecision};
use crate::time::Timestamp;
use crate::window::{WindowBounds, WindowCall, WindowCheckpoint, WindowState};

#[derive(Debug)]
pub(super) struct Windows {
    length: Duration,
    /// The latest arrival of the records that were read, or the end of a window that is over.
    newest: Timestamp,
    /// The shard has no more records.
    is_at_shard_end: bool,
    /// The window of the first records of the lane, or of the state.
    open: Option<WindowBounds>,
    /// The windows after it, each with its first record.
    later: VecDeque<(Ticket, WindowBounds)>,
    /// The window and the state that a checkpoint has. There is no state but that of the open
    /// window.
    kept: Option<WindowCheckpoint>,
    /// Grows with every change of `kept`.
    version: u64,
    /// The invocation in flight began with a state that was dropped since: what it returns is not
    /// kept.
    discards_next: bool,
}

/// The final invocation of a window.
#[derive(Debug)]
pub(super) struct FinalCall {
    /// Assigned with the first invocation.
    pub(super) id: Option<BatchId>,
    pub(super) attempts: Attempts,
    /// When it may be invoked.
    due: Timestamp,
    is_in_flight: bool,
    /// Why it may not be invoked earlier.
    cause: Option<FinalCause>,
    /// The state would be too large: the window continues with an empty one.
    is_early: bool,
}

#[derive(Clone, Copy, Debug)]
enum FinalCause {
    Failed,
    NotInvoked(Fault),
}

impl Windows {
    /// Continues at a stored checkpoint.
    pub(super) fn new(length: Duration, from: &Checkpoint) -> Self {
        let kept = from.window.clone();
        let newest = kept.as_ref().map_or(Timestamp::EPOCH, |it| it.bounds.start);
        let open = kept.as_ref().filter(|it| it.state.is_some());
        Self {
            length,
            newest: newest.max(from.arrival.unwrap_or(Timestamp::EPOCH)),
            is_at_shard_end: false,
            open: open.map(|it| it.bounds),
            later: VecDeque::new(),
            kept,
            version: 0,
            discards_next: false,
        }
    }

    /// The next record of the lane.
    pub(super) fn push(&mut self, ticket: Ticket, arrival: Timestamp) {
        self.pass(arrival);
        let last = self.later.back().map(|(_, bounds)| *bounds).or(self.open);
        if last.is_some_and(|last| self.newest < last.end) {
            return;
        }
        let bounds = WindowBounds::of(self.newest, self.length);
        if self.open.is_none() {
            self.open = Some(bounds);
        } else {
            self.later.push_back((ticket, bounds));
        }
    }

    /// A record was read that arrived at this time.
    pub(super) fn pass(&mut self, arrival: Timestamp) {
        self.newest = self.newest.max(arrival);
    }

    /// No record has arrived for some time, and it is `source_time` by the clock that stamps them.
    pub(super) fn idle(&mut self, source_time: Timestamp) {
        let last = self.later.back().map(|(_, bounds)| *bounds).or(self.open);
        if let Some(last) = last.filter(|last| last.end <= source_time) {
            self.pass(last.end);
        }
    }

    pub(super) const fn end_shard(&mut self) {
        self.is_at_shard_end = true;
    }

    /// Moves to the window of the next record of the lane. Returns whether the open window has to be
    /// finished before.
    pub(super) fn advance(&mut self, next: Option<Ticket>) -> bool {
        loop {
            let has_records = next.is_some_and(|next| self.has(next));
            if has_records || !self.is_over() {
                return false;
            }
            if self.state().is_some() {
                return true;
            }
            let next = self.later.pop_front();
            self.open = next.map(|(_, bounds)| bounds);
            if self.open.is_none() {
                return false;
            }
        }
    }

    /// Whether a record of the lane belongs to the open window.
    pub(super) fn has(&self, ticket: Ticket) -> bool {
        self.later.front().is_none_or(|(first, _)| ticket < *first)
    }

    /// Whether no further record can belong to the open window.
    pub(super) fn is_over(&self) -> bool {
        self.open
            .is_some_and(|open| self.is_at_shard_end || open.end <= self.newest)
    }

    /// The limits of a batch whose event has the state.
    pub(super) fn limits(&self, of_empty: BatchLimits) -> BatchLimits {
        let more = WindowState::empty().json().len();
        let state = self.state().map_or(more, |state| state.json().len());
        BatchLimits {
            max_bytes: (of_empty.max_bytes + more).saturating_sub(state),
            ..of_empty
        }
    }

    /// What the function receives with records of the open window.
    pub(super) fn call(&self) -> WindowCall {
        WindowCall {
            bounds: self.open.expect("a record opens its window"),
            state: self.state().cloned().unwrap_or_else(WindowState::empty),
            is_final: false,
            is_terminated_early: false,
        }
    }

    /// What the function would receive with a record of the lane.
    pub(super) fn call_of(&self, record: Ticket) -> WindowCall {
        let mut later = self.later.iter().rev();
        match later.find(|(first, _)| *first <= record) {
            Some((_, bounds)) => WindowCall {
                bounds: *bounds,
                state: WindowState::empty(),
                ..self.call()
            },
            None => self.call(),
        }
    }

    /// Whether a record of the lane is the first of its window, which is not the open one.
    pub(super) fn begins_with(&self, record: Ticket) -> bool {
        self.later.iter().any(|(first, _)| *first == record)
    }

    pub(super) fn state(&self) -> Option<&WindowState> {
        self.kept.as_ref()?.state.as_ref()
    }

    /// Keeps what the function has returned for the open window.
    pub(super) fn keep(&mut self, state: WindowState) {
        if std::mem::take(&mut self.discards_next) {
            return;
        }
        if let Some(bounds) = self.open {
            self.set(WindowCheckpoint {
                bounds,
                state: Some(state),
            });
        }
    }

    /// Drops the state. What the invocation in flight returns is not kept either.
    pub(super) fn drop_state(&mut self, is_in_flight: bool) -> Option<WindowBounds> {
        self.discards_next = is_in_flight;
        let bounds = self.kept.as_ref().filter(|it| it.state.is_some())?.bounds;
        self.set(WindowCheckpoint {
            bounds,
            state: None,
        });
        Some(bounds)
    }

    /// The final invocation of the open window has succeeded.
    pub(super) fn finish(&mut self, is_early: bool) {
        let Some(bounds) = self.open else {
            return;
        };
        let bounds = if is_early {
            bounds
        } else {
            // A record that arrives late must not open it again.
            self.pass(bounds.end);
            self.open = self.later.pop_front().map(|(_, bounds)| bounds);
            bounds.next()
        };
        self.set(WindowCheckpoint {
            bounds,
            state: None,
        });
    }

    /// What the function receives when the open window ends.
    pub(super) fn final_call(&self, is_early: bool) -> WindowCall {
        WindowCall {
            is_final: true,
            is_terminated_early: is_early,
            ..self.call()
        }
    }

    pub(super) const fn checkpoint(&self) -> Option<&WindowCheckpoint> {
        self.kept.as_ref()
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// An invocation has ended.
    pub(super) const fn answered(&mut self) {
        self.discards_next = false;
    }

    fn set(&mut self, kept: WindowCheckpoint) {
        self.kept = Some(kept);
        self.version += 1;
    }
}

impl FinalCall {
    pub(super) fn new(is_early: bool, now: Timestamp) -> Self {
        Self {
            id: None,
            attempts: Attempts::default(),
            due: now,
            is_in_flight: false,
            cause: None,
            is_early,
        }
    }

    pub(super) fn start(&mut self, windows: &Windows, ids: &mut BatchIds) -> Batch {
        self.is_in_flight = true;
        Batch {
            id: *self.id.get_or_insert_with(|| ids.assign()),
            attempt: self.attempts.next_attempt(),
            records: Arc::new([]),
            window: Some(windows.final_call(self.is_early)),
        }
    }

    /// Ends the invocation in flight. Returns whether it has succeeded; otherwise it is repeated, as
    /// often as it takes.
    pub(super) fn end(
        &mut self,
        outcome: &Outcome,
        retries: &RetrySettings,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> bool {
        self.is_in_flight = false;
        let retries = RetrySettings {
            maximum_attempts: None,
            bisect_batch: false,
            ..retries.clone()
        };
        let decision = self.attempts.decide(outcome, 0, false, &retries, jitter);
        let RetryDecision::Retry(delay) = decision else {
            return true;
        };
        self.due = now + delay;
        self.cause = Some(match outcome {
            Outcome::NotInvoked { cause } => FinalCause::NotInvoked(*cause),
            Outcome::Success
            | Outcome::ItemFailures { .. }
            | Outcome::FunctionError { .. }
            | Outcome::Windowed(_) => FinalCause::Failed,
        });
        false
    }

    pub(super) const fn is_early(&self) -> bool {
        self.is_early
    }

    pub(super) const fn is_retried(&self) -> bool {
        self.cause.is_some()
    }

    /// When it may be invoked; `None` while it is.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        if self.is_in_flight {
            None
        } else {
            Some(self.due)
        }
    }

    pub(super) fn in_flight(&self) -> Option<BatchId> {
        self.id.filter(|_| self.is_in_flight)
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        let cause = self.cause.filter(|_| !self.is_in_flight)?;
        Some(Waiting::FinalInvocation {
            attempt: self.attempts.next_attempt(),
            cause: match cause {
                FinalCause::Failed => None,
                FinalCause::NotInvoked(fault) => Some(fault),
            },
        })
    }
}
