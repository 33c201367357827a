//! The batches: those that run, and those that wait because their function was not reached.
//!
//! While the function cannot be reached nothing is invoked but one batch at a time, to see whether
//! it can be again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::held::{HeldMessages, Token};
use super::pause::Pause;
use super::{Batch, QueueConsumerSettings};
use crate::batch::BatchId;
use crate::ids::KeyHash;
use crate::message::Message;
use crate::outcome::{Fault, Outcome};
use crate::time::Timestamp;

/// The batches of one consumer.
#[derive(Debug)]
pub(super) struct Invoking {
    most: usize,
    fifo: bool,
    hold_limit: Duration,
    flights: BTreeMap<BatchId, Flight>,
    /// The message groups of which a batch is in flight, or waits to be tried again.
    blocked: BTreeSet<KeyHash>,
    unreached: Pause,
    /// Why the function was not reached last.
    cause: Fault,
    /// The batch that is to show whether the function can be reached.
    probe: Option<BatchId>,
    next: u64,
}

#[derive(Debug)]
struct Flight {
    batch: Batch,
    tokens: Vec<Token>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running { since: Timestamp },
    Waiting,
}

/// What has become of a batch.
#[derive(Debug)]
pub(super) enum Ended {
    Succeeded(Vec<Token>),
    Failed(Vec<Token>),
    /// The function was not reached: the batch will be tried again.
    Waits,
}

impl Invoking {
    pub(super) fn new(settings: &QueueConsumerSettings) -> Self {
        Self {
            most: settings.limits.maximum_concurrency,
            fifo: settings.mapping.fifo,
            hold_limit: settings.limits.hold_limit,
            flights: BTreeMap::new(),
            blocked: BTreeSet::new(),
            unreached: Pause::default(),
            cause: Fault::Transient,
            probe: None,
            next: 1,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// How many invocations are under way.
    pub(super) fn running(&self) -> usize {
        self.flights.values().filter(|it| it.is_running()).count()
    }

    /// How many messages they have.
    pub(super) fn n_in_flight(&self) -> usize {
        let running = self.flights.values().filter(|it| it.is_running());
        running.map(|it| it.tokens.len()).sum()
    }

    /// Why nothing is invoked, if the function cannot be reached.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.unreached.until().map(|_| self.cause)
    }

    /// Until when the pause after a failure lasts, if there is one.
    pub(super) const fn until(&self) -> Option<Timestamp> {
        self.unreached.until()
    }

    /// Whether one try comes before all others.
    pub(super) const fn is_failing(&self) -> bool {
        self.unreached.is_failing()
    }

    /// The message groups of which nothing else may be invoked.
    pub(super) const fn blocked(&self) -> &BTreeSet<KeyHash> {
        &self.blocked
    }

    /// Ends the pause if it is over and nothing needs to be tried first.
    pub(super) fn lapse(&mut self, now: Timestamp) {
        self.unreached.lapse(now);
    }

    /// Whether an invocation may start.
    pub(super) fn may_start(&self, now: Timestamp) -> bool {
        if self.most <= self.running() {
            return false;
        }
        let Some(until) = self.unreached.until() else {
            return true;
        };
        until <= now && self.probe.is_none()
    }

    /// When an invocation may start, if a new batch is ready at `ready_at`; `None` if only an answer
    /// can bring that about.
    pub(super) fn due(&self, ready_at: Option<Timestamp>) -> Option<Timestamp> {
        let tries = self.unreached.is_failing() && self.probe.is_some();
        if tries || self.most <= self.running() {
            return None;
        }
        let waits = self.flights.values().any(|it| !it.is_running());
        let ready_at = if waits { Timestamp::EPOCH } else { ready_at? };
        Some(
            self.unreached
                .until()
                .map_or(ready_at, |until| until.max(ready_at)),
        )
    }

    /// Starts the first of the batches that wait.
    pub(super) fn restart(&mut self, now: Timestamp) -> Option<Batch> {
        let flight = self.flights.values_mut().find(|it| !it.is_running())?;
        flight.state = State::Running { since: now };
        let batch = flight.batch.clone();
        self.mark_probe(batch.id);
        Some(batch)
    }

    /// Starts a new batch.
    pub(super) fn start(
        &mut self,
        tokens: Vec<Token>,
        held: &HeldMessages,
        now: Timestamp,
    ) -> Batch {
        assert!(self.running() < self.most, "one more may run");
        let messages = tokens.iter().map(|token| &held.get(*token).message);
        let batch = Batch {
            id: BatchId(self.next),
            attempt: 1,
            messages: messages.cloned().collect::<Vec<Message>>().into(),
        };
        self.next += 1;
        let groups = groups_of(&batch).filter(|_| self.fifo);
        for group in groups.collect::<BTreeSet<_>>() {
            assert!(self.blocked.insert(group), "a group has one batch");
        }
        let flight = Flight {
            batch: batch.clone(),
            tokens,
            state: State::Running { since: now },
        };
        self.flights.insert(batch.id, flight);
        self.mark_probe(batch.id);
        batch
    }

    /// An invocation has ended; `None` if it is of no batch that is known.
    pub(super) fn end(
        &mut self,
        id: BatchId,
        outcome: &Outcome,
        now: Timestamp,
        rng: &mut ChaCha8Rng,
    ) -> Option<Ended> {
        let flight = self.flights.get_mut(&id)?;
        let State::Running { since } = flight.state else {
            unreachable!("an answer belongs to an invocation under way");
        };
        flight.state = State::Waiting;
        if self.probe == Some(id) {
            self.probe = None;
        }
        let ended: fn(Vec<Token>) -> Ended = match outcome {
            Outcome::Success => Ended::Succeeded,
            Outcome::FunctionError { .. } => Ended::Failed,
            Outcome::NotInvoked { cause } => {
                self.cause = *cause;
                self.unreached.failed(*cause, now, rng);
                return Some(Ended::Waits);
            }
        };
        self.unreached.worked(since);
        Some(ended(self.remove(id)))
    }

    /// When the first of the batches that wait goes back to the queue.
    pub(super) fn next_over(&self, held: &HeldMessages) -> Option<Timestamp> {
        let waiting = self.flights.values().filter(|it| !it.is_running());
        waiting.map(|flight| self.over_at(flight, held)).min()
    }

    /// Takes out the batches that wait no longer: another reader may get one of their messages, or
    /// they were held for too long.
    pub(super) fn take_over(&mut self, held: &HeldMessages, now: Timestamp) -> Vec<Vec<Token>> {
        let waiting = self.flights.iter().filter(|(_, it)| !it.is_running());
        let over: Vec<_> = waiting
            .filter(|(_, flight)| self.over_at(flight, held) <= now)
            .map(|(id, _)| *id)
            .collect();
        over.into_iter().map(|id| self.remove(id)).collect()
    }

    /// Takes out all batches that wait.
    pub(super) fn take_waiting(&mut self) -> Vec<Token> {
        let waiting = self.flights.iter().filter(|(_, it)| !it.is_running());
        let waiting: Vec<_> = waiting.map(|(id, _)| *id).collect();
        let tokens = waiting.into_iter().map(|id| self.remove(id));
        tokens.flatten().collect()
    }

    /// Takes out a batch that there is.
    fn remove(&mut self, id: BatchId) -> Vec<Token> {
        let flight = self.flights.remove(&id).expect("it was just found");
        for group in groups_of(&flight.batch) {
            self.blocked.remove(&group);
        }
        flight.tokens
    }

    fn mark_probe(&mut self, id: BatchId) {
        if self.unreached.until().is_some() {
            self.probe = Some(id);
        }
    }

    fn over_at(&self, flight: &Flight, held: &HeldMessages) -> Timestamp {
        let messages = flight.tokens.iter().map(|token| held.get(*token));
        let ends = messages.map(|it| it.visible_at.min(it.received + self.hold_limit));
        ends.min().expect("a batch holds at least one message")
    }
}

impl Flight {
    const fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
}

fn groups_of(batch: &Batch) -> impl Iterator<Item = KeyHash> {
    batch.messages.iter().filter_map(|message| message.group)
}
