//! How many receives are in flight at a time, and when the next may start.

use std::time::Duration;

use super::pause::Pause;
use crate::outcome::Fault;
use crate::retry::Jitter;
use crate::time::Timestamp;

/// Messages of one receive.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const MAX_MESSAGES: usize = 10;

/// Receives in flight: what AWS starts with.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
const MAX_RECEIVES: usize = 5;

/// From an empty receive to the next one, at least: without long polling, an empty queue would be
/// polled in a tight loop.
const EMPTY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct ReceivePacer {
    /// Receives that may be in flight: grows while they return full, shrinks while they return
    /// empty.
    target: usize,
    in_flight: usize,
    /// Messages that the receives in flight may return.
    requested: usize,
    not_before: Timestamp,
    pause: Pause,
    /// Why the last receive failed.
    fault: Option<Fault>,
}

impl Default for ReceivePacer {
    fn default() -> Self {
        Self {
            target: 1,
            in_flight: 0,
            requested: 0,
            not_before: Timestamp::EPOCH,
            pause: Pause::default(),
            fault: None,
        }
    }
}

impl ReceivePacer {
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
        Some(u8::try_from(limit).expect("at most ten"))
    }

    /// When the next receive may start; `None` without room for a message and while enough receives
    /// are in flight.
    pub(super) fn due(&self, room: usize) -> Option<Timestamp> {
        let can_start = 0 < room && self.in_flight < self.target;
        let paused_until = self.pause.until().unwrap_or(Timestamp::EPOCH);
        can_start.then_some(self.not_before.max(paused_until))
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
        if n_messages == 0 {
            self.target = self.target.saturating_sub(1).max(1);
            self.not_before = self.not_before.max(sent + EMPTY_INTERVAL);
        } else {
            self.not_before = now;
        }
        if usize::from(limit) <= n_messages {
            self.target = (self.target + 1).min(MAX_RECEIVES);
        }
    }

    pub(super) fn failed(&mut self, limit: u8, fault: Fault, now: Timestamp, jitter: &mut Jitter) {
        self.end(limit);
        self.target = 1;
        self.fault = Some(fault);
        self.pause.failed(fault, now, jitter);
    }

    fn end(&mut self, limit: u8) {
        self.in_flight -= 1;
        self.requested -= usize::from(limit);
    }
}
