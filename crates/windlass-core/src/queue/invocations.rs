//! The batches in flight, and those that wait because their function was not reached, or did not
//! accept a larger batch.
//!
//! While the function cannot be reached, one batch at a time is invoked as a probe. The batches take
//! turns: a gateway answers that a function cannot be reached when one of its messages ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::concurrency::Concurrency;
use super::failures::{FailedMessage, split};
use super::inbox::{Inbox, Token};
use super::interface::{Batch, QueueTimer};
use super::pause::Pause;
use super::settings::QueueConsumerSettings;
use crate::batch::BatchId;
use crate::message::Message;
use crate::outcome::{Fault, ItemFailures, Outcome};
use crate::retry::Jitter;
use crate::time::Timestamp;

/// Attempts in a row that did not reach the function after which another message is received, if none is
/// held: about 15 s, with the pauses between them.
const MIN_UNREACHED: u32 = 5;

#[derive(Debug)]
pub(super) struct Invocations {
    strict_order: bool,
    hold_limit: Duration,
    by_id: BTreeMap<BatchId, Invocation>,
    /// The batches that wait.
    waiting: BTreeSet<BatchId>,
    /// Messages of the batches in flight, and of those that wait.
    n_messages_in_flight: usize,
    n_messages_waiting: usize,
    concurrency: Concurrency,
    pause: Pause,
    /// Why the function was last not reached.
    cause: Fault,
    /// The batch that shows whether the function can be reached again.
    probe: Option<BatchId>,
    /// The last batch whose function was not reached, and how often in a row that was so of any.
    last_unreached: Option<BatchId>,
    n_unreached: u32,
}

/// A batch that is in flight or waits.
#[derive(Debug)]
struct Invocation {
    batch: Batch,
    tokens: Vec<Token>,
    /// When its last attempt began.
    begun: Timestamp,
    /// When it must be released if it waits.
    held_until: Timestamp,
}

/// What a finished invocation means for its messages.
#[derive(Debug)]
pub(super) enum InvocationEnd {
    Ended {
        succeeded: Vec<Token>,
        failed: Vec<FailedMessage>,
    },
    /// The whole batch failed: the function reports items that are not in it.
    UnknownItems(Vec<FailedMessage>),
    /// The function was not reached; the batch will be retried.
    Waits,
    /// The batch was larger than the function accepts. Its first half is retried; the second half
    /// waits to be put into a batch again.
    Halved {
        first: Vec<Token>,
        second: Vec<Token>,
    },
}

impl Invocations {
    pub(super) fn new(settings: &QueueConsumerSettings) -> Self {
        Self {
            strict_order: settings.mapping.strict_order,
            hold_limit: settings.limits.hold_limit,
            by_id: BTreeMap::new(),
            waiting: BTreeSet::new(),
            n_messages_in_flight: 0,
            n_messages_waiting: 0,
            concurrency: Concurrency::new(settings.limits.concurrency),
            pause: Pause::default(),
            cause: Fault::Transient,
            probe: None,
            last_unreached: None,
            n_unreached: 0,
        }
    }

    /// Whether no batch is in flight or waits.
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Invocations in flight.
    pub(super) fn n_in_flight(&self) -> usize {
        self.by_id.len() - self.waiting.len()
    }

    /// Messages of the invocations in flight.
    pub(super) const fn n_messages_in_flight(&self) -> usize {
        self.n_messages_in_flight
    }

    /// Batches that wait.
    pub(super) fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Messages of the batches that wait.
    pub(super) const fn n_messages_waiting(&self) -> usize {
        self.n_messages_waiting
    }

    /// How many invocations may be in flight; `None` while only slots limit them.
    pub(super) fn limit(&self) -> Option<usize> {
        self.concurrency.limit()
    }

    /// Why the function cannot be reached.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.pause.until().map(|_| self.cause)
    }

    pub(super) const fn paused_until(&self) -> Option<Timestamp> {
        self.pause.until()
    }

    /// Whether a probe must precede other invocations.
    pub(super) const fn is_failing(&self) -> bool {
        self.pause.is_failing()
    }

    /// Ends the pause if its time has passed and no probe is needed.
    pub(super) fn end_elapsed_pause(&mut self, now: Timestamp) {
        self.pause.end_if_elapsed(now);
    }

    pub(super) fn can_start(&self, now: Timestamp) -> bool {
        let Some(until) = self.pause.until() else {
            return true;
        };
        until <= now && self.probe.is_none()
    }

    /// When an invocation can start, and why then, if a new batch closes at `closes_at`; `None` if
    /// only the end of another invocation makes that possible.
    pub(super) fn due(&self, closes_at: Option<Timestamp>) -> Option<(Timestamp, QueueTimer)> {
        let is_probing = self.pause.is_failing() && self.probe.is_some();
        if is_probing {
            return None;
        }
        let ready_at = if self.any_waits() {
            Timestamp::EPOCH
        } else {
            closes_at?
        };
        match self.pause.until() {
            Some(until) if ready_at < until => Some((until, QueueTimer::Retry)),
            Some(_) | None => Some((ready_at, QueueTimer::Window)),
        }
    }

    /// Whether a batch waits for its next attempt.
    pub(super) fn any_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether another batch than the one that waits could show that the function can be reached:
    /// a function may not be reached with a certain message only.
    pub(super) fn needs_another_probe(&self) -> bool {
        self.by_id.len() == 1 && MIN_UNREACHED <= self.n_unreached
    }

    /// Starts the first of the batches that wait. While the function cannot be reached they take
    /// turns, and a new batch, if there is one (`is_new`), has the last turn: then this is `None`.
    pub(super) fn retry(
        &mut self,
        is_new: bool,
        inbox: &mut Inbox,
        now: Timestamp,
    ) -> Option<Batch> {
        let last = self.last_unreached.filter(|_| self.is_failing());
        let following = last.and_then(|last| self.waiting.range(last..).find(|it| **it != last));
        if last.is_some() && following.is_none() && is_new {
            return None;
        }
        let id = *following.or_else(|| self.waiting.first())?;
        self.waiting.remove(&id);
        let invocation = self.by_id.get_mut(&id)?;
        invocation.begun = now;
        inbox.mark_waiting(&invocation.tokens, None);
        let batch = invocation.batch.clone();
        self.n_messages_waiting -= invocation.tokens.len();
        self.n_messages_in_flight += invocation.tokens.len();
        self.mark_probe(batch.id);
        Some(batch)
    }

    /// Starts a new batch.
    pub(super) fn start(
        &mut self,
        id: BatchId,
        tokens: Vec<Token>,
        inbox: &Inbox,
        now: Timestamp,
    ) -> Batch {
        let messages = tokens.iter().map(|token| &inbox.get(*token).message);
        let batch = Batch {
            id,
            attempt: 1,
            messages: messages.cloned().collect::<Vec<Message>>().into(),
        };
        self.n_messages_in_flight += tokens.len();
        let invocation = Invocation {
            batch: batch.clone(),
            begun: now,
            held_until: held_until(&tokens, inbox, self.hold_limit),
            tokens,
        };
        self.by_id.insert(id, invocation);
        self.mark_probe(id);
        batch
    }

    /// Ends an invocation in flight.
    pub(super) fn end(
        &mut self,
        id: BatchId,
        outcome: &Outcome,
        inbox: &mut Inbox,
        now: Timestamp,
        jitter: &mut Jitter,
    ) -> InvocationEnd {
        let n_in_flight = self.n_in_flight();
        let invocation = self.by_id.get(&id);
        let invocation = invocation.filter(|_| !self.waiting.contains(&id));
        let Some(&Invocation {
            begun, ref tokens, ..
        }) = invocation
        else {
            panic!("no invocation is in flight: {id:?}");
        };
        let n_messages = tokens.len();
        if self.probe == Some(id) {
            self.probe = None;
        }
        if outcome.is_too_large() && 1 < n_messages {
            self.reached(begun);
            return self.halve(id, inbox);
        }
        match outcome {
            Outcome::NotInvoked { .. } | Outcome::FunctionError { .. } | Outcome::Windowed(_) => {
                self.concurrency.failed(n_in_flight, begun, now);
            }
            Outcome::Success | Outcome::ItemFailures { .. } => {
                self.concurrency.succeeded();
            }
        }
        if let Outcome::NotInvoked { cause } = outcome {
            self.wait(id, inbox);
            self.last_unreached = Some(id);
            self.n_unreached = self.n_unreached.saturating_add(1);
            self.cause = *cause;
            self.pause.failed(*cause, now, jitter);
            return InvocationEnd::Waits;
        }
        self.reached(begun);
        let Invocation { batch, tokens, .. } = self.remove(id);
        match outcome {
            Outcome::ItemFailures { failures, .. } => {
                match (
                    split(failures, &batch, &tokens, self.strict_order),
                    failures,
                ) {
                    (Some((succeeded, failed)), _) => InvocationEnd::Ended { succeeded, failed },
                    (None, ItemFailures::Items(_)) => {
                        InvocationEnd::UnknownItems(FailedMessage::all(tokens))
                    }
                    (None, ItemFailures::Malformed) => all_failed(tokens),
                }
            }
            Outcome::Success => InvocationEnd::Ended {
                succeeded: tokens,
                failed: Vec::new(),
            },
            // A queue has no windows.
            Outcome::FunctionError { .. } | Outcome::NotInvoked { .. } | Outcome::Windowed(_) => {
                all_failed(tokens)
            }
        }
    }

    /// An invocation that began at `begun` has reached the function.
    fn reached(&mut self, begun: Timestamp) {
        self.pause.succeeded(begun);
        self.n_unreached = 0;
    }

    /// A batch in flight waits for its next attempt.
    fn wait(&mut self, id: BatchId, inbox: &mut Inbox) {
        let tokens = &self.by_id[&id].tokens;
        self.n_messages_in_flight -= tokens.len();
        self.n_messages_waiting += tokens.len();
        inbox.mark_waiting(tokens, Some(id));
        self.waiting.insert(id);
    }

    /// Takes the second half out of a batch in flight; the first half, of ⌈n/2⌉ messages, waits.
    fn halve(&mut self, id: BatchId, inbox: &mut Inbox) -> InvocationEnd {
        let invocation = self.by_id.get_mut(&id).expect("the id was just found");
        let Invocation { batch, tokens, .. } = invocation;
        let second = tokens.split_off(tokens.len().div_ceil(2));
        batch.messages = batch.messages[..tokens.len()].into();
        let first = tokens.clone();
        invocation.held_until = held_until(&first, inbox, self.hold_limit);
        self.n_messages_in_flight -= second.len();
        self.wait(id, inbox);
        InvocationEnd::Halved { first, second }
    }

    /// When the first of the batches that wait must be released.
    pub(super) fn next_expiry(&self, inbox: &Inbox) -> Option<Timestamp> {
        let held_until = self.waiting.iter().map(|id| self.by_id[id].held_until);
        held_until.chain(inbox.next_waiting_expiry()).min()
    }

    /// Removes the batches that must wait no longer: a message has become visible, or they reached
    /// the hold limit.
    pub(super) fn take_expired(&mut self, inbox: &Inbox, now: Timestamp) -> Vec<Vec<Token>> {
        let waiting = self.waiting.iter().copied();
        let held_too_long = waiting.filter(|id| self.by_id[id].held_until <= now);
        let mut expired = inbox.expired_batches(now);
        expired.extend(held_too_long);
        let expired = expired.into_iter();
        expired.map(|id| self.remove(id).tokens).collect()
    }

    /// Removes all batches that wait.
    pub(super) fn take_waiting(&mut self) -> Vec<Token> {
        let waiting: Vec<_> = self.waiting.iter().copied().collect();
        let tokens = waiting.into_iter().map(|id| self.remove(id).tokens);
        tokens.flatten().collect()
    }

    fn remove(&mut self, id: BatchId) -> Invocation {
        let invocation = self.by_id.remove(&id).expect("the id was just found");
        let n_messages = invocation.tokens.len();
        if self.waiting.remove(&id) {
            self.n_messages_waiting -= n_messages;
        } else {
            self.n_messages_in_flight -= n_messages;
        }
        invocation
    }

    fn mark_probe(&mut self, id: BatchId) {
        if self.pause.until().is_some() {
            self.probe = Some(id);
        }
    }
}

/// When the messages of a batch must be released if they wait.
fn held_until(tokens: &[Token], inbox: &Inbox, limit: Duration) -> Timestamp {
    let received = tokens.iter().map(|token| inbox.get(*token).received);
    let first = received.min().expect("a batch has at least one message");
    first + limit
}

fn all_failed(tokens: Vec<Token>) -> InvocationEnd {
    InvocationEnd::Ended {
        succeeded: Vec::new(),
        failed: FailedMessage::all(tokens),
    }
}
