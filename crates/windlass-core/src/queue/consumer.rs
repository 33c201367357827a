//! The queue machine itself: receives, batches, retries of what was not reached, deletion.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::held::{HeldMessages, Stage, Token};
use super::pause::Pause;
use super::receiving::Receiving;
use super::{
    Batch, EntryResult, QueueCommand, QueueConsumerSettings, QueueInput, QueueView, Report,
    RequestId, Waiting,
};
use crate::batch::{BatchId, BatchLimits};
use crate::outcome::{Fault, Outcome};
use crate::record::{KeyHash, Message, ReceiptHandle};
use crate::time::Timestamp;

/// With the heartbeat, no message is received for less: a shorter visibility would have to be
/// extended more often than a slow network can.
const SHORTEST_HEARTBEAT_VISIBILITY: Duration = Duration::from_secs(30);

/// Without the heartbeat, a batch closes so long before its function could outlast its visibility.
const CLOSING_MARGIN: Duration = Duration::from_secs(1);

/// A failed visibility change is repeated after so long; half the visibility is left by then.
const EXTENSION_RETRY: Duration = Duration::from_secs(2);

/// One slot of one mapping on a queue.
///
/// After every [`handle`](Self::handle) or [`handle_timeout`](Self::handle_timeout), take commands
/// until [`poll_command`](Self::poll_command) returns `None`, and only then read
/// [`poll_timeout`](Self::poll_timeout) and feed the next input. `now` must not decrease. `handle`
/// also fires any timer that is due; a late or repeated `handle_timeout` does nothing.
#[derive(Debug)]
pub struct QueueConsumer {
    settings: QueueConsumerSettings,
    limits: BatchLimits,
    rng: ChaCha8Rng,
    held: HeldMessages,
    /// Waiting to be put into a batch, in the order of receipt.
    gathered: VecDeque<Token>,
    gathered_bytes: usize,
    batches: BTreeMap<BatchId, InFlight>,
    requests: BTreeMap<RequestId, Request>,
    receiving: Receiving,
    /// Counts the probes that did not reach the function; nothing else is invoked meanwhile.
    unreached: Pause,
    unreached_cause: Fault,
    to_delete: VecDeque<Token>,
    deleting: Pause,
    extend_not_before: Timestamp,
    next_batch: u64,
    next_request: u64,
    commands: VecDeque<QueueCommand>,
    stage: Life,
    received: u64,
    last_outcome: Option<Outcome>,
}

#[derive(Debug)]
struct InFlight {
    batch: Batch,
    tokens: Vec<Token>,
    running: bool,
}

#[derive(Debug)]
enum Request {
    Receive {
        limit: u8,
        sent: Timestamp,
    },
    Delete(Vec<Token>),
    Extend(Vec<Token>, Timestamp),
    /// What it concerns is no longer held, and comes back by itself if this fails.
    Return,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Draining,
    Finished,
}

impl QueueConsumer {
    /// A consumer that holds nothing yet.
    pub fn new(settings: QueueConsumerSettings, seed: u64, now: Timestamp) -> Self {
        assert!(
            0 < settings.batch_size,
            "a batch holds at least one message"
        );
        assert!(
            0 < settings.maximum_concurrency,
            "nothing could ever be invoked"
        );
        let limits = BatchLimits {
            items: settings.batch_size,
            payload: settings.payload_limit,
        };
        let mut consumer = Self {
            settings,
            limits,
            rng: ChaCha8Rng::seed_from_u64(seed),
            held: HeldMessages::default(),
            gathered: VecDeque::new(),
            gathered_bytes: 0,
            batches: BTreeMap::new(),
            requests: BTreeMap::new(),
            receiving: Receiving::default(),
            unreached: Pause::default(),
            unreached_cause: Fault::Transient,
            to_delete: VecDeque::new(),
            deleting: Pause::default(),
            extend_not_before: now,
            next_batch: 1,
            next_request: 1,
            commands: VecDeque::new(),
            stage: Life::Running,
            received: 0,
            last_outcome: None,
        };
        consumer.advance(now);
        consumer
    }

    /// Something happened. Answers to requests that were never made are ignored.
    pub fn handle(&mut self, input: QueueInput, now: Timestamp) {
        match input {
            QueueInput::Received { request, result } => self.received(request, result, now),
            QueueInput::Invoked { batch, outcome } => self.invoked(batch, outcome, now),
            QueueInput::Deleted { request, result } => self.deleted(request, result, now),
            QueueInput::VisibilityChanged { request, result } => {
                self.visibility_changed(request, result, now);
            }
            QueueInput::Drain if self.stage == Life::Running => self.stage = Life::Draining,
            QueueInput::Drain => {}
        }
        self.advance(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
    }

    /// What to do next, if anything.
    pub fn poll_command(&mut self) -> Option<QueueCommand> {
        self.commands.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), unless something happens before.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.stage == Life::Finished {
            return None;
        }
        let mut timers = vec![self.expiry(), self.extension_due(), self.deletion_due()];
        timers.push(self.hold_over());
        if self.stage == Life::Running {
            timers.push(self.invoke_due());
            timers.push(self.receive_due());
        }
        timers.into_iter().flatten().min()
    }

    /// What a person may want to know.
    pub fn view(&self) -> QueueView {
        let running = self.batches.values().filter(|flight| flight.running);
        let waiting = if let Some(fault) = self.receiving.fault() {
            Some(Waiting::Source(fault))
        } else {
            self.unreached
                .is_failing()
                .then_some(Waiting::NotInvoked(self.unreached_cause))
        };
        QueueView {
            received: self.received,
            held_messages: self.held.len(),
            held_bytes: self.held.bytes(),
            in_flight_messages: running.clone().map(|flight| flight.tokens.len()).sum(),
            concurrency: running.count(),
            last_outcome: self.last_outcome.clone(),
            waiting,
            next_at: self.poll_timeout(),
        }
    }

    // What happened.

    fn received(
        &mut self,
        request: RequestId,
        result: Result<Vec<Message>, Fault>,
        now: Timestamp,
    ) {
        let Some(Request::Receive { limit, sent }) = self.requests.remove(&request) else {
            return;
        };
        let messages = match result {
            Ok(messages) => messages,
            Err(fault) => return self.receiving.failed(limit, fault, now, &mut self.rng),
        };
        self.receiving.ended(limit, messages.len(), sent, now);
        // Counted from before the request: the queue's own clock starts later.
        let visible_at = sent + self.visibility();
        for message in messages {
            self.received += 1;
            if !self.limits.fits_alone(message.event.len()) {
                let bytes = message.event.len();
                let message_id = message.message_id.detached();
                self.report(Report::MessageTooLarge { message_id, bytes });
                self.let_followers_go(message.group.into_iter().collect());
                continue;
            }
            let size = message.event.len();
            if let Some(token) = self.held.insert(message, now, visible_at) {
                self.gathered.push_back(token);
                self.gathered_bytes += size;
            }
        }
    }

    fn invoked(&mut self, batch: BatchId, outcome: Outcome, now: Timestamp) {
        let Some(flight) = self.batches.get_mut(&batch) else {
            return;
        };
        assert!(
            flight.running,
            "an answer belongs to an invocation under way"
        );
        flight.running = false;
        match &outcome {
            Outcome::Success => {
                let flight = self.batches.remove(&batch).expect("it was just looked at");
                for token in flight.tokens {
                    self.held.set_stage(token, Stage::Deleting);
                    self.to_delete.push_back(token);
                }
                self.unreached.reset();
            }
            Outcome::FunctionError { .. } => {
                let flight = self.batches.remove(&batch).expect("it was just looked at");
                self.fail(&flight.tokens);
                self.unreached.reset();
            }
            Outcome::NotInvoked { cause } => {
                self.unreached_cause = *cause;
                // Of several that fail together only the first counts.
                if self.unreached.until().is_none_or(|until| until <= now) {
                    self.unreached.failed(*cause, now, &mut self.rng);
                }
            }
        }
        self.last_outcome = Some(outcome);
    }

    /// Leaves messages to the queue, which gives them again when their visibility ends.
    fn fail(&mut self, tokens: &[Token]) {
        let groups = tokens
            .iter()
            .filter_map(|token| self.held.get(*token).message.group);
        let groups: BTreeSet<_> = groups.collect();
        let receipts = self.release(tokens);
        if self.settings.visibility_timeout < self.visibility() {
            self.change_visibility(receipts, self.settings.visibility_timeout);
        }
        self.let_followers_go(groups);
    }

    fn deleted(
        &mut self,
        request: RequestId,
        result: Result<Vec<EntryResult>, Fault>,
        now: Timestamp,
    ) {
        let Some(Request::Delete(tokens)) = self.requests.remove(&request) else {
            return;
        };
        let fault = result.as_ref().err().copied();
        let results = result.unwrap_or_default();
        let (mut done, mut lost) = (0, 0);
        for (index, token) in tokens.iter().enumerate() {
            match results.get(index).unwrap_or(&EntryResult::Failed) {
                EntryResult::Done => done += 1,
                EntryResult::Refused => lost += 1,
                EntryResult::Failed if self.held.get(*token).visible_at <= now => lost += 1,
                EntryResult::Failed => {
                    self.to_delete.push_back(*token);
                    continue;
                }
            }
            self.held.remove(*token);
        }
        if self.to_delete.is_empty() || 0 < done {
            self.deleting.reset();
        } else {
            self.deleting
                .failed(fault.unwrap_or(Fault::Transient), now, &mut self.rng);
        }
        if 0 < done {
            self.report(Report::Deleted { n_messages: done });
        }
        if 0 < lost {
            self.report(Report::NotDeleted { n_messages: lost });
        }
    }

    fn visibility_changed(
        &mut self,
        request: RequestId,
        result: Result<Vec<EntryResult>, Fault>,
        now: Timestamp,
    ) {
        let Some(Request::Extend(tokens, visible_at)) = self.requests.remove(&request) else {
            return;
        };
        let results = result.unwrap_or_default();
        for (index, token) in tokens.into_iter().enumerate() {
            let done = results.get(index) == Some(&EntryResult::Done);
            if !done {
                self.extend_not_before = now + EXTENSION_RETRY;
            }
            self.held.end_extension(token, done.then_some(visible_at));
        }
    }

    // What to do.

    /// Moves everything that can move.
    fn advance(&mut self, now: Timestamp) {
        if self.stage == Life::Finished {
            return;
        }
        self.let_expired_go(now);
        if self.stage == Life::Draining {
            self.return_held();
        }
        self.extend(now);
        self.delete(now);
        if self.stage == Life::Running {
            self.invoke(now);
            self.receive(now);
        } else if self.held.is_empty() && self.requests.is_empty() {
            self.stage = Life::Finished;
            self.commands.push_back(QueueCommand::Finish);
        }
        self.check();
    }

    fn let_expired_go(&mut self, now: Timestamp) {
        let mut groups = BTreeSet::new();
        for token in self.held.expired(now) {
            groups.extend(self.held.get(token).message.group);
            self.release(&[token]);
        }
        let over: Vec<_> = (self.batches.iter())
            .filter(|(_, flight)| !flight.running && self.is_over(flight, now))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            let flight = self.batches.remove(&id).expect("it was just found");
            self.report(Report::Returned {
                n_messages: flight.tokens.len(),
            });
            let of_flight = flight.tokens.iter();
            groups.extend(of_flight.filter_map(|token| self.held.get(*token).message.group));
            let receipts = self.release(&flight.tokens);
            self.change_visibility(receipts, Duration::ZERO);
        }
        self.let_followers_go(groups);
    }

    /// Returns the gathered messages of groups of which an earlier message has gone back: were
    /// they kept, they would overtake it.
    fn let_followers_go(&mut self, groups: BTreeSet<KeyHash>) {
        if groups.is_empty() {
            return;
        }
        let of_groups = |token: &&Token| {
            self.held
                .get(**token)
                .message
                .group
                .is_some_and(|group| groups.contains(&group))
        };
        let followers: Vec<_> = self.gathered.iter().filter(of_groups).copied().collect();
        let receipts = self.release(&followers);
        self.change_visibility(receipts, Duration::ZERO);
    }

    fn return_held(&mut self) {
        let mut tokens: Vec<_> = self.gathered.iter().copied().collect();
        let waiting: Vec<_> = self
            .batches
            .iter()
            .filter(|(_, it)| !it.running)
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            tokens.extend(self.batches.remove(&id).expect("it was just found").tokens);
        }
        let receipts = self.release(&tokens);
        self.change_visibility(receipts, Duration::ZERO);
    }

    fn extend(&mut self, now: Timestamp) {
        if !self.settings.visibility_heartbeat || now < self.extend_not_before {
            return;
        }
        let visibility = self.visibility();
        let tokens = self.held.start_extension(visibility, now);
        if tokens.is_empty() {
            return;
        }
        let receipts = tokens
            .iter()
            .map(|token| self.held.get(*token).receipt.clone())
            .collect();
        let request = self.request(Request::Extend(tokens, now + visibility));
        let timeout = visibility;
        self.commands.push_back(QueueCommand::ChangeVisibility {
            request,
            receipts,
            timeout,
        });
    }

    fn delete(&mut self, now: Timestamp) {
        if self.to_delete.is_empty() || self.deleting.until().is_some_and(|until| now < until) {
            return;
        }
        let tokens: Vec<_> = self.to_delete.drain(..).collect();
        let receipts = tokens
            .iter()
            .map(|token| self.held.get(*token).receipt.clone())
            .collect();
        let request = self.request(Request::Delete(tokens));
        self.commands
            .push_back(QueueCommand::Delete { request, receipts });
    }

    fn invoke(&mut self, now: Timestamp) {
        let mut room = self
            .settings
            .maximum_concurrency
            .saturating_sub(self.running());
        if self.unreached.is_failing() {
            // One at a time goes ahead to see whether the function can be reached again.
            let due = self.unreached.until().is_none_or(|until| until <= now);
            room = usize::from(due && self.running() == 0);
        }
        let waiting: Vec<_> = self
            .batches
            .iter()
            .filter(|(_, it)| !it.running)
            .map(|(id, _)| *id)
            .collect();
        for id in waiting.into_iter().take(room) {
            room -= 1;
            let flight = self.batches.get_mut(&id).expect("it was just found");
            flight.running = true;
            self.commands
                .push_back(QueueCommand::Invoke(flight.batch.clone()));
        }
        while 0 < room && self.invoke_next(now) {
            room -= 1;
        }
    }

    /// Invokes a batch of what has gathered, if it is full or may wait no longer.
    fn invoke_next(&mut self, now: Timestamp) -> bool {
        let window_over = self.closes_at().is_some_and(|at| at <= now);
        let may_be_full = self.gathered.len() >= self.limits.items
            || crate::event::event_len(self.gathered.len(), self.gathered_bytes)
                >= self.limits.payload;
        if self.gathered.is_empty() || !(window_over || may_be_full) {
            return false;
        }
        let mut candidates = self.candidates();
        let sizes = candidates
            .iter()
            .map(|token| self.held.get(*token).message.event.len());
        let fill = self.limits.fill(sizes);
        if fill.items == 0 || !(fill.full || window_over) {
            return false;
        }
        candidates.truncate(fill.items);
        let id = BatchId(self.next_batch);
        self.next_batch += 1;
        self.ungather(&candidates);
        for token in &candidates {
            self.held.set_stage(*token, Stage::InBatch(id));
        }
        let messages = candidates
            .iter()
            .map(|token| self.held.get(*token).message.clone());
        let batch = Batch {
            id,
            attempt: 1,
            messages: messages.collect(),
        };
        self.commands.push_back(QueueCommand::Invoke(batch.clone()));
        self.batches.insert(
            id,
            InFlight {
                batch,
                tokens: candidates,
                running: true,
            },
        );
        true
    }

    /// What may go into the next batch, in order: not the groups of which a batch is in flight.
    fn candidates(&self) -> Vec<Token> {
        if !self.settings.fifo {
            // One more than fits says that the batch is full.
            return self
                .gathered
                .iter()
                .take(self.limits.items + 1)
                .copied()
                .collect();
        }
        let in_flight = self
            .batches
            .values()
            .flat_map(|flight| flight.batch.messages.iter());
        let blocked: BTreeSet<_> = in_flight.filter_map(|message| message.group).collect();
        let free = |token: &&Token| {
            self.held
                .get(**token)
                .message
                .group
                .is_none_or(|group| !blocked.contains(&group))
        };
        self.gathered
            .iter()
            .filter(free)
            .take(self.limits.items + 1)
            .copied()
            .collect()
    }

    fn receive(&mut self, now: Timestamp) {
        if self.holds_enough() {
            return;
        }
        while let Some(limit) = self.receiving.start(self.room(), now) {
            let request = self.request(Request::Receive { limit, sent: now });
            let (wait, visibility) = (self.settings.wait_time, self.visibility());
            self.commands.push_back(QueueCommand::Receive {
                request,
                limit,
                wait,
                visibility,
            });
        }
    }

    // Timers.

    /// When what has gathered is invoked although the batch is not full.
    fn closes_at(&self) -> Option<Timestamp> {
        let first = self.held.get(*self.gathered.front()?);
        let window = first.received + self.settings.maximum_batching_window;
        if self.settings.visibility_heartbeat {
            return Some(window);
        }
        let spent = self.settings.function_timeout + CLOSING_MARGIN;
        let spent = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
        let latest = Timestamp::from_millis(first.visible_at.as_millis().saturating_sub(spent));
        Some(window.min(latest))
    }

    fn invoke_due(&self) -> Option<Timestamp> {
        if self.unreached.is_failing() {
            let work = !self.batches.is_empty() || !self.gathered.is_empty();
            return if work && self.running() == 0 {
                self.unreached.until()
            } else {
                None
            };
        }
        if self.settings.maximum_concurrency <= self.running() {
            return None;
        }
        let fifo_blocked = self.settings.fifo && self.candidates().is_empty();
        if fifo_blocked { None } else { self.closes_at() }
    }

    fn receive_due(&self) -> Option<Timestamp> {
        if self.unreached.is_failing() {
            None
        } else {
            self.receiving.due(self.room())
        }
    }

    fn extension_due(&self) -> Option<Timestamp> {
        if !self.settings.visibility_heartbeat {
            return None;
        }
        let due = self.held.next_extension(self.visibility())?;
        Some(due.max(self.extend_not_before))
    }

    fn deletion_due(&self) -> Option<Timestamp> {
        if self.to_delete.is_empty() {
            None
        } else {
            self.deleting.until()
        }
    }

    fn expiry(&self) -> Option<Timestamp> {
        self.gathered
            .iter()
            .map(|token| self.held.get(*token).visible_at)
            .min()
    }

    fn hold_over(&self) -> Option<Timestamp> {
        let waiting = self.batches.values().filter(|flight| !flight.running);
        waiting.map(|flight| self.over_at(flight)).min()
    }

    fn is_over(&self, flight: &InFlight, now: Timestamp) -> bool {
        self.over_at(flight) <= now
    }

    /// When a batch whose function was not reached is returned.
    fn over_at(&self, flight: &InFlight) -> Timestamp {
        let held = flight.tokens.iter().map(|token| self.held.get(*token));
        let ends = held.map(|held| {
            held.visible_at
                .min(held.received + self.settings.hold_limit)
        });
        ends.min().expect("a batch holds at least one message")
    }

    // Small things.

    /// For how long messages are received and extended.
    fn visibility(&self) -> Duration {
        if self.settings.visibility_heartbeat {
            self.settings
                .visibility_timeout
                .max(SHORTEST_HEARTBEAT_VISIBILITY)
        } else {
            self.settings.visibility_timeout
        }
    }

    /// While the function is out of reach, one batch to try it with is enough.
    fn holds_enough(&self) -> bool {
        self.unreached.is_failing() && !(self.batches.is_empty() && self.gathered.is_empty())
    }

    fn running(&self) -> usize {
        self.batches
            .values()
            .filter(|flight| flight.running)
            .count()
    }

    /// How many more messages may be asked for.
    fn room(&self) -> usize {
        let taken = self.held.len() + self.receiving.asked_for();
        self.settings.buffer_messages.saturating_sub(taken)
    }

    fn request(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.requests.insert(id, request);
        id
    }

    fn report(&mut self, report: Report) {
        self.commands.push_back(QueueCommand::Report(report));
    }

    /// Holds messages no longer, and gives their handles.
    fn release(&mut self, tokens: &[Token]) -> Vec<ReceiptHandle> {
        self.ungather(tokens);
        let released = tokens.iter().filter_map(|token| self.held.remove(*token));
        released.map(|held| held.receipt).collect()
    }

    /// Takes messages out of those that wait for a batch, where they are among them.
    fn ungather(&mut self, tokens: &[Token]) {
        let leaving: BTreeSet<_> = tokens.iter().copied().collect();
        let (held, bytes) = (&self.held, &mut self.gathered_bytes);
        self.gathered.retain(|token| {
            let stays = !leaving.contains(token);
            if !stays {
                *bytes -= held.get(*token).message.event.len();
            }
            stays
        });
    }

    fn change_visibility(&mut self, receipts: Vec<ReceiptHandle>, timeout: Duration) {
        if receipts.is_empty() {
            return;
        }
        let request = self.request(Request::Return);
        self.commands.push_back(QueueCommand::ChangeVisibility {
            request,
            receipts,
            timeout,
        });
    }

    fn check(&self) {
        assert!(self.running() <= self.settings.maximum_concurrency, "Q5");
        if self.settings.fifo {
            let mut groups = BTreeSet::new();
            for flight in self.batches.values() {
                let of_batch: BTreeSet<_> = flight
                    .batch
                    .messages
                    .iter()
                    .filter_map(|message| message.group)
                    .collect();
                assert!(of_batch.iter().all(|group| groups.insert(*group)), "Q4");
            }
        }
    }
}
