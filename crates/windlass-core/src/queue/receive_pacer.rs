//! How many receives are in flight at a time, and when the next may start.

use std::collections::VecDeque;
use std::time::Duration;

use super::pause::Pause;
use crate::mapping::Pollers;
use crate::outcome::Fault;
use crate::retry::Jitter;
use crate::time::Timestamp;

/// Messages of one receive.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const MAX_MESSAGES: usize = 10;

/// Receives in flight without provisioned pollers: one while the queue is idle, and up to what AWS
/// starts with.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
const DEFAULT_POLLERS: Pollers = Pollers {
    minimum: 1,
    maximum: 5,
};

/// From an empty receive to the next one, at least: without long polling, an empty queue would be
/// polled in a tight loop.
const EMPTY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct ReceivePacer {
    /// Bounds of `n_pollers`.
    pollers: Pollers,
    is_provisioned: bool,
    /// Receives that may be in flight: grows while they return full, shrinks while they return
    /// empty.
    n_pollers: usize,
    /// When the last receives of provisioned pollers started, one of each poller.
    started: VecDeque<Timestamp>,
    in_flight: usize,
    /// Messages that the receives in flight may return.
    requested: usize,
    not_before: Timestamp,
    pause: Pause,
    /// Why the last receive failed.
    fault: Option<Fault>,
}

impl ReceivePacer {
    pub(super) fn new(provisioned: Option<Pollers>) -> Self {
        let pollers = provisioned.unwrap_or(DEFAULT_POLLERS);
        Self {
            pollers,
            is_provisioned: provisioned.is_some(),
            n_pollers: pollers.minimum,
            started: VecDeque::new(),
            in_flight: 0,
            requested: 0,
            not_before: Timestamp::EPOCH,
            pause: Pause::default(),
            fault: None,
        }
    }

    pub(super) const fn n_pollers(&self) -> usize {
        self.n_pollers
    }

    /// How many invocations the pollers may run; `None` if they are not provisioned.
    pub(super) fn max_invocations(&self) -> Option<usize> {
        self.is_provisioned
            .then_some(self.n_pollers * Pollers::INVOCATIONS)
    }

    pub(super) const fn n_in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) const fn requested(&self) -> usize {
        self.requested
    }

    pub(super) const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    pub(super) const fn paused_until(&self) -> Option<Timestamp> {
        self.pause.until()
    }

    /// Starts a receive of up to `max_messages` if one is due and there is room for a message.
    /// Returns its limit.
    pub(super) fn start(&mut self, room: usize, max_messages: usize, now: Timestamp) -> Option<u8> {
        if self.due(room)? > now {
            return None;
        }
        let limit = room.min(max_messages).min(MAX_MESSAGES);
        self.in_flight += 1;
        self.requested += limit;
        if self.is_provisioned {
            self.started.push_back(now);
            let surplus = self.started.len().saturating_sub(self.pollers.maximum);
            self.started.drain(..surplus);
        }
        Some(u8::try_from(limit).expect("at most ten"))
    }

    /// When the next receive may start; `None` without room for a message and while enough receives
    /// are in flight.
    pub(super) fn due(&self, room: usize) -> Option<Timestamp> {
        let can_start = 0 < room && self.in_flight < self.n_pollers;
        let paused_until = self.pause.until().unwrap_or(Timestamp::EPOCH);
        let due = self.not_before.max(paused_until).max(self.poller_due());
        can_start.then_some(due)
    }

    /// When a provisioned poller may receive again: the pollers take turns.
    fn poller_due(&self) -> Timestamp {
        let turn = self.started.len().checked_sub(self.n_pollers);
        let last = turn.and_then(|index| self.started.get(index));
        last.map_or(Timestamp::EPOCH, |last| *last + Pollers::RECEIVE_INTERVAL)
    }

    pub(super) fn succeeded(
        &mut self,
        limit: u8,
        n_messages: usize,
        sent: Timestamp,
        now: Timestamp,
    ) {
        self.end(limit);
        self.pause.succeeded(sent);
        if self.pause.until().is_none() {
            self.fault = None;
        }
        let Pollers { minimum, maximum } = self.pollers;
        if n_messages == 0 {
            self.n_pollers = (self.n_pollers - 1).max(minimum);
            self.not_before = self.not_before.max(sent + EMPTY_INTERVAL);
        } else {
            self.not_before = now;
        }
        if usize::from(limit) <= n_messages {
            self.n_pollers = (self.n_pollers + 1).min(maximum);
        }
    }

    pub(super) fn failed(&mut self, limit: u8, fault: Fault, now: Timestamp, jitter: &mut Jitter) {
        self.end(limit);
        self.n_pollers = self.pollers.minimum;
        self.fault = Some(fault);
        self.pause.failed(fault, now, jitter);
    }

    fn end(&mut self, limit: u8) {
        self.in_flight -= 1;
        self.requested -= usize::from(limit);
    }
}
