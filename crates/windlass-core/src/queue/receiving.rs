//! How many receives are under way at a time, and when the next may start.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::pause::Pause;
use crate::outcome::Fault;
use crate::time::Timestamp;

/// Most messages of one receive.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const RECEIVE_LIMIT: usize = 10;

/// Most receives at a time, as many as AWS starts with.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
const MOST_RECEIVES: usize = 5;

/// After an empty answer, the next receive starts at the earliest so long after the last one: a
/// queue that does not wait is not asked in a tight loop.
const EMPTY_INTERVAL: Duration = Duration::from_secs(1);

/// The receives of one consumer: more while they come back full, fewer while they come back empty.
#[derive(Debug)]
pub(super) struct Receiving {
    wanted: usize,
    under_way: usize,
    asked_for: usize,
    not_before: Timestamp,
    failures: Pause,
    fault: Option<Fault>,
}

impl Default for Receiving {
    fn default() -> Self {
        Self {
            wanted: 1,
            under_way: 0,
            asked_for: 0,
            not_before: Timestamp::EPOCH,
            failures: Pause::default(),
            fault: None,
        }
    }
}

impl Receiving {
    /// Messages that receives under way may still bring.
    pub(super) const fn asked_for(&self) -> usize {
        self.asked_for
    }

    /// Why the last receive failed, if it did.
    pub(super) const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Until when the pause after a failure lasts, if there is one.
    pub(super) const fn until(&self) -> Option<Timestamp> {
        self.failures.until()
    }

    /// Starts a receive if one may start with room for so many messages; gives its limit.
    pub(super) fn start(&mut self, room: usize, now: Timestamp) -> Option<u8> {
        if self.due(room)? > now {
            return None;
        }
        let limit = room.min(RECEIVE_LIMIT);
        self.under_way += 1;
        self.asked_for += limit;
        Some(u8::try_from(limit).expect("at most ten"))
    }

    /// When the next receive may start; `None` while the ones under way are enough.
    pub(super) fn due(&self, room: usize) -> Option<Timestamp> {
        let may = 0 < room && self.under_way < self.wanted;
        let not_before = self
            .not_before
            .max(self.failures.until().unwrap_or(Timestamp::EPOCH));
        may.then_some(not_before)
    }

    /// A receive has brought so many messages.
    pub(super) fn ended(&mut self, limit: u8, n_messages: usize, sent: Timestamp, now: Timestamp) {
        self.end(limit);
        self.failures.worked(sent);
        if self.failures.until().is_none() {
            self.fault = None;
        }
        if n_messages == 0 {
            self.wanted = self.wanted.saturating_sub(1).max(1);
            self.not_before = self.not_before.max(sent + EMPTY_INTERVAL);
        } else {
            self.not_before = now;
        }
        if usize::from(limit) <= n_messages {
            self.wanted = (self.wanted + 1).min(MOST_RECEIVES);
        }
    }

    /// A receive has failed.
    pub(super) fn failed(&mut self, limit: u8, fault: Fault, now: Timestamp, rng: &mut ChaCha8Rng) {
        self.end(limit);
        self.wanted = 1;
        self.fault = Some(fault);
        self.failures.failed(fault, now, rng);
    }

    fn end(&mut self, limit: u8) {
        self.under_way -= 1;
        self.asked_for -= usize::from(limit);
    }
}
