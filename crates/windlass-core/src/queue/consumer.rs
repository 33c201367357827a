//! The queue machine itself: it brings its parts together and is the one place that issues commands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use windlass_filter::{Event, MatchBuffers};

use super::deleting::Deleting;
use super::gathered::Gathered;
use super::held::{Entry, HeldMessages, Token};
use super::invoking::{Ended, Invoking};
use super::receiving::Receiving;
use super::visibility::Visibility;
use super::{
    EntryResult, QueueCommand, QueueConsumerSettings, QueueInput, QueueView, Report, RequestId,
    Waiting,
};
use crate::batch::{BatchId, BatchLimits};
use crate::ids::{KeyHash, ReceiptHandle};
use crate::message::Message;
use crate::outcome::{Fault, Outcome};
use crate::time::Timestamp;

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
    visibility: Visibility,
    rng: ChaCha8Rng,
    held: HeldMessages,
    gathered: Gathered,
    invoking: Invoking,
    deleting: Deleting,
    receiving: Receiving,
    requests: BTreeMap<RequestId, Request>,
    next_request: u64,
    commands: VecDeque<QueueCommand>,
    life: Life,
    received: u64,
    last_outcome: Option<Outcome>,
    now: Timestamp,
}

#[derive(Debug)]
enum Request {
    Receive {
        limit: u8,
        sent: Timestamp,
    },
    Delete {
        entries: Vec<Entry>,
        sent: Timestamp,
    },
    Extend {
        entries: Vec<Entry>,
        sent: Timestamp,
    },
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
    ///
    /// # Panics
    /// If a setting leaves no room for a single message.
    pub fn new(settings: QueueConsumerSettings, seed: u64, now: Timestamp) -> Self {
        let least = settings
            .mapping
            .batch_size
            .min(settings.limits.buffer_messages);
        assert!(0 < least, "a batch holds at least one message");
        assert!(
            0 < settings.limits.maximum_concurrency,
            "something can be invoked"
        );
        let limits = BatchLimits {
            // A buffer that is full of one batch can bring it nothing more.
            items: least,
            payload: settings.limits.payload_limit,
        };
        let visibility = Visibility::new(&settings, now);
        let window = settings.mapping.maximum_batching_window;
        let mut consumer = Self {
            limits,
            rng: ChaCha8Rng::seed_from_u64(seed),
            held: HeldMessages::default(),
            gathered: Gathered::new(limits, window, visibility.reserve()),
            visibility,
            invoking: Invoking::new(&settings),
            deleting: Deleting::default(),
            receiving: Receiving::default(),
            requests: BTreeMap::new(),
            next_request: 1,
            commands: VecDeque::new(),
            life: Life::Running,
            received: 0,
            last_outcome: None,
            now,
            settings,
        };
        consumer.advance(now);
        consumer
    }

    /// Something happened. Answers to requests that were never made are ignored.
    pub fn handle(&mut self, input: QueueInput, now: Timestamp) {
        assert!(self.commands.is_empty(), "commands are taken before input");
        match input {
            QueueInput::Received { request, result } => self.received(request, result, now),
            QueueInput::Invoked { batch, outcome } => self.invoked(batch, outcome, now),
            QueueInput::Deleted { request, result } => self.deleted(request, &result, now),
            QueueInput::VisibilityChanged { request, result } => {
                self.visibility_changed(request, &result, now);
            }
            QueueInput::Drain if self.life == Life::Running => self.life = Life::Draining,
            QueueInput::Drain => {}
        }
        self.advance(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        assert!(self.commands.is_empty(), "commands are taken before input");
        self.advance(now);
    }

    /// What to do next, if anything.
    pub fn poll_command(&mut self) -> Option<QueueCommand> {
        self.commands.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), unless something happens before.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.life == Life::Finished {
            return None;
        }
        let expiry = self.held.gathered_until();
        let over = self.invoking.next_over(&self.held);
        let mut due = [
            expiry,
            over,
            self.visibility.due(&self.held),
            self.deleting.due(),
        ]
        .into_iter()
        .flatten()
        .min();
        if self.life == Life::Running {
            let blocked = self.invoking.blocked();
            let ready_at = self.gathered.ready_at(blocked, &self.held);
            let running = [self.invoking.due(ready_at), self.receive_due()];
            due = running.into_iter().flatten().chain(due).min();
        }
        due
    }

    /// What a person may want to know.
    pub fn view(&self) -> QueueView {
        let (waiting, next_at) = self.waiting();
        QueueView {
            received: self.received,
            buffered_messages: self.held.len(),
            buffered_bytes: self.held.bytes(),
            in_flight_messages: self.invoking.n_in_flight(),
            concurrency: self.invoking.running(),
            last_outcome: self.last_outcome.clone(),
            waiting,
            next_at,
        }
    }

    /// What holds the queue back, and when it is tried again; without such a thing, when the
    /// consumer goes on by itself.
    fn waiting(&self) -> (Option<Waiting>, Option<Timestamp>) {
        let source = self.receiving.fault().map(Waiting::Source);
        let function = self.invoking.fault().map(Waiting::NotInvoked);
        let (waiting, until) = match source {
            Some(_) => (source, self.receiving.until()),
            None => (function, self.invoking.until()),
        };
        if waiting.is_none() || self.life != Life::Running {
            return (waiting, self.poll_timeout());
        }
        // A pause that is over ends with the try under way.
        (waiting, until.filter(|until| self.now < *until))
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
        self.received += messages.len() as u64;
        // Counted from before the request: the queue's own clock starts later.
        let visible_at = sent + self.visibility.timeout();
        if visible_at <= now {
            return self.report_expired(messages.len());
        }
        let (mut too_large, mut behind) = (Vec::new(), Vec::new());
        let (mut barred, mut n_filtered_out) = (BTreeSet::new(), 0);
        let mut scratch = MatchBuffers::default();
        for message in messages {
            let bytes = message.event.len();
            if !self.is_wanted(&message, &mut scratch) {
                n_filtered_out += 1;
                if let Some(token) = self.held.insert(message, sent, visible_at, now) {
                    self.held.give_up(token);
                    self.deleting.push(vec![token]);
                }
            } else if !self.limits.fits_alone(bytes) {
                let message_id = message.message_id.detached();
                self.report(Report::MessageTooLarge { message_id, bytes });
                barred.extend(message.group);
                too_large.push(message.receipt_handle);
            } else if message.group.is_some_and(|it| barred.contains(&it)) {
                behind.push(message.receipt_handle);
            } else if let Some(token) = self.held.insert(message, sent, visible_at, now) {
                self.gathered.push(token, &self.held);
            }
        }
        if n_filtered_out != 0 {
            let n_messages = n_filtered_out;
            self.report(Report::FilteredOut { n_messages });
        }
        self.leave(too_large);
        self.change_visibility(behind, Duration::ZERO);
    }

    /// Whether a filter lets a message through.
    fn is_wanted(&self, message: &Message, scratch: &mut MatchBuffers) -> bool {
        self.settings.filter.as_ref().is_none_or(|filter| {
            let event = Event {
                json: &message.event,
                data: &message.event[message.body.clone()],
            };
            filter.matches(event, scratch)
        })
    }

    fn invoked(&mut self, batch: BatchId, outcome: Outcome, now: Timestamp) {
        match self.invoking.end(batch, &outcome, now, &mut self.rng) {
            Some(Ended::Succeeded(tokens)) => self.deleting.push(tokens),
            Some(Ended::Failed(tokens)) => {
                let groups = self.groups_of(&tokens);
                let receipts = self.release(&tokens);
                self.leave(receipts);
                self.let_followers_go(&groups);
            }
            Some(Ended::Waits) => {}
            None => return,
        }
        self.last_outcome = Some(outcome);
    }

    fn deleted(
        &mut self,
        request: RequestId,
        result: &Result<Vec<EntryResult>, Fault>,
        now: Timestamp,
    ) {
        let Some(Request::Delete { entries, sent }) = self.requests.remove(&request) else {
            return;
        };
        let (held, rng) = (&mut self.held, &mut self.rng);
        let deleted = self.deleting.end(&entries, sent, result, held, now, rng);
        if 0 < deleted.n_done {
            let n_messages = deleted.n_done;
            self.report(Report::Deleted { n_messages });
        }
        if 0 < deleted.n_lost {
            let n_messages = deleted.n_lost;
            self.report(Report::NotDeleted { n_messages });
        }
    }

    fn visibility_changed(
        &mut self,
        request: RequestId,
        result: &Result<Vec<EntryResult>, Fault>,
        now: Timestamp,
    ) {
        let Some(Request::Extend { entries, sent }) = self.requests.remove(&request) else {
            return;
        };
        self.visibility
            .end(&entries, sent, result, &mut self.held, now);
    }

    // What to do.

    /// Moves everything that can move.
    fn advance(&mut self, now: Timestamp) {
        assert!(self.now <= now, "time does not run backwards");
        self.now = now;
        if self.life == Life::Finished {
            return;
        }
        self.invoking.lapse(now);
        self.let_expired_go(now);
        if self.life == Life::Draining {
            let mut tokens = self.gathered.tokens();
            tokens.extend(self.invoking.take_waiting());
            let receipts = self.release(&tokens);
            self.change_visibility(receipts, Duration::ZERO);
        }
        self.extend(now);
        self.delete(now);
        if self.life == Life::Running {
            self.invoke(now);
            self.receive(now);
        } else if self.held.is_empty() && self.requests.is_empty() {
            self.life = Life::Finished;
            self.commands.push_back(QueueCommand::Finish);
            return;
        }
        self.check(now);
    }

    fn let_expired_go(&mut self, now: Timestamp) {
        let expired = self.held.expired(now);
        let mut groups = self.groups_of(&expired);
        self.release(&expired);
        self.report_expired(expired.len());
        for tokens in self.invoking.take_over(&self.held, now) {
            let n_messages = tokens.len();
            self.report(Report::Released { n_messages });
            groups.append(&mut self.groups_of(&tokens));
            let receipts = self.release(&tokens);
            self.change_visibility(receipts, Duration::ZERO);
        }
        self.let_followers_go(&groups);
    }

    /// Returns the gathered messages of groups of which an earlier message has gone back: were
    /// they kept, they would overtake it.
    fn let_followers_go(&mut self, groups: &BTreeSet<KeyHash>) {
        let followers = self.gathered.of_groups(groups, &self.held);
        let receipts = self.release(&followers);
        self.change_visibility(receipts, Duration::ZERO);
    }

    fn extend(&mut self, now: Timestamp) {
        let entries = self.visibility.start(&mut self.held, now);
        if entries.is_empty() {
            return;
        }
        let receipts = receipts_of(&entries);
        let timeout = self.visibility.timeout();
        let request = self.request(Request::Extend { entries, sent: now });
        self.commands.push_back(QueueCommand::ChangeVisibility {
            request,
            receipts,
            timeout,
        });
    }

    fn delete(&mut self, now: Timestamp) {
        let entries = self.deleting.start(&self.held, now);
        if entries.is_empty() {
            return;
        }
        let receipts = receipts_of(&entries);
        let request = self.request(Request::Delete { entries, sent: now });
        self.commands
            .push_back(QueueCommand::Delete { request, receipts });
    }

    fn invoke(&mut self, now: Timestamp) {
        while self.invoking.may_start(now) {
            let batch = if let Some(batch) = self.invoking.restart(now) {
                batch
            } else {
                let blocked = self.invoking.blocked();
                let tokens = self.gathered.take_batch(blocked, &self.held, now);
                if tokens.is_empty() {
                    return;
                }
                self.held.leave_gathering(&tokens);
                self.invoking.start(tokens, &self.held, now)
            };
            self.commands.push_back(QueueCommand::Invoke(batch));
        }
    }

    fn receive(&mut self, now: Timestamp) {
        if self.holds_enough() {
            return;
        }
        while let Some(limit) = self.receiving.start(self.room(), now) {
            let request = self.request(Request::Receive { limit, sent: now });
            self.commands.push_back(QueueCommand::Receive {
                request,
                limit,
                wait: self.visibility.wait(self.settings.limits.wait_time),
                visibility: self.visibility.timeout(),
            });
        }
    }

    fn receive_due(&self) -> Option<Timestamp> {
        if self.holds_enough() {
            return None;
        }
        self.receiving.due(self.room())
    }

    /// While the function is out of reach, one batch to try it with is enough.
    fn holds_enough(&self) -> bool {
        self.invoking.is_failing() && !(self.invoking.is_empty() && self.gathered.is_empty())
    }

    /// How many more messages may be asked for.
    fn room(&self) -> usize {
        let taken = self.held.len() + self.receiving.asked_for();
        self.settings.limits.buffer_messages.saturating_sub(taken)
    }

    fn groups_of(&self, tokens: &[Token]) -> BTreeSet<KeyHash> {
        let messages = tokens.iter().map(|token| &self.held.get(*token).message);
        messages.filter_map(|message| message.group).collect()
    }

    /// Holds messages no longer, and gives their handles.
    fn release(&mut self, tokens: &[Token]) -> Vec<ReceiptHandle> {
        if tokens.is_empty() {
            return Vec::new();
        }
        self.gathered.remove(tokens, &self.held);
        let released = tokens.iter().filter_map(|token| self.held.remove(*token));
        released.map(|held| held.receipt).collect()
    }

    /// Leaves messages to the queue, which gives them again when its visibility timeout has passed.
    fn leave(&mut self, receipts: Vec<ReceiptHandle>) {
        if let Some(timeout) = self.visibility.shorter() {
            self.change_visibility(receipts, timeout);
        }
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

    fn request(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.requests.insert(id, request);
        id
    }

    fn report_expired(&mut self, n_messages: usize) {
        if 0 < n_messages {
            self.report(Report::Expired { n_messages });
        }
    }

    fn report(&mut self, report: Report) {
        self.commands.push_back(QueueCommand::Report(report));
    }

    fn check(&self, now: Timestamp) {
        let asked_for = self.held.len() + self.receiving.asked_for();
        assert!(
            asked_for <= self.settings.limits.buffer_messages,
            "the buffer is bounded"
        );
        let timeout = self.poll_timeout();
        let under_way = !self.requests.is_empty() || 0 < self.invoking.running();
        assert!(under_way || timeout.is_some(), "it is never stuck");
        assert!(
            timeout.is_none_or(|at| now < at),
            "what is due has been done"
        );
    }
}

fn receipts_of(entries: &[Entry]) -> Vec<ReceiptHandle> {
    entries.iter().map(|entry| entry.receipt.clone()).collect()
}
