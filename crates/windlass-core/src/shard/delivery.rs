//! [`Delivery`]: brings what a lane has given up to where it goes, one run after the other, each until
//! it is accepted.

use std::collections::VecDeque;

use super::piece::Run;
use crate::batch::{BatchId, BatchIds};
use crate::failure::{DeliveryFault, FailureRecord};
use crate::retry::{Backoff, Jitter};
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Delivery {
    /// Not delivered yet; the first is next.
    runs: VecDeque<Run>,
    /// Of the first run, once it was sent.
    id: Option<BatchId>,
    state: State,
    backoff: Backoff,
    /// Of the last try, if it failed.
    fault: Option<DeliveryFault>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Due(Timestamp),
    InFlight,
}

impl Delivery {
    pub(super) fn new(runs: Vec<Run>, now: Timestamp) -> Self {
        Self {
            runs: runs.into(),
            id: None,
            state: State::Due(now),
            backoff: Backoff::default(),
            fault: None,
        }
    }

    pub(super) fn start(
        &mut self,
        ids: &mut BatchIds,
        now: Timestamp,
    ) -> Option<(BatchId, FailureRecord)> {
        self.due().filter(|at| *at <= now)?;
        let run = self.runs.front()?;
        let id = *self.id.get_or_insert_with(|| ids.assign());
        self.state = State::InFlight;
        Some((id, run.failure.clone()))
    }

    /// Ends the try in flight. Returns what was delivered.
    pub(super) fn end(
        &mut self,
        id: BatchId,
        result: Result<(), DeliveryFault>,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> Option<Run> {
        assert_eq!(self.in_flight(), Some(id), "I3: one delivery is in flight");
        self.fault = result.err();
        match result {
            Ok(()) => {
                self.backoff.reset();
                self.id = None;
                self.state = State::Due(now);
                self.runs.pop_front()
            }
            Err(fault) => {
                self.state = State::Due(now + self.backoff.next(fault.fault(), jitter));
                None
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.runs.is_empty()
    }

    /// The try in flight.
    pub(super) fn in_flight(&self) -> Option<BatchId> {
        self.id.filter(|_| matches!(self.state, State::InFlight))
    }

    /// When the next try is due, unless one is in flight.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        match self.state {
            State::Due(at) => Some(at),
            State::InFlight => None,
        }
    }

    /// Why the next try waits.
    pub(super) fn fault(&self) -> Option<DeliveryFault> {
        self.fault.filter(|_| self.in_flight().is_none())
    }

    /// Whether a try has failed since the last that was accepted.
    pub(super) const fn is_retried(&self) -> bool {
        self.fault.is_some()
    }

    /// What is not delivered yet, in the order of the lane.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }
}
