//! [`QueueConsumer`]: connects the parts of a queue slot's state and issues the commands.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::batch_buffer::{BatchBuffer, Closing};
use super::delete_queue::DeleteQueue;
use super::failures::{FailedMessage, RetryDelays, tokens_of};
use super::inbox::{Inbox, Origin, ReceivedMessage, Token, receipts_of};
use super::interface::{
    EntryResult, QueueAttributes, QueueCommand, QueueInput, QueueTimer, Report, RequestId,
    VisibilityChange,
};
use super::invocations::{InvocationEnd, Invocations};
use super::message_filter::{Item, filter_messages};
use super::receive_pacer::ReceivePacer;
use super::releases::Releases;
use super::requests::{Request, Requests};
use super::settings::QueueConsumerSettings;
use super::view::{QueueView, Waiting};
use super::visibility::Visibility;
use super::whole_receives::WholeReceives;
use crate::batch::{BatchId, BatchIds, BatchLimits};
use crate::ids::{KeyHash, ReceiptHandle};
use crate::lifecycle::Lifecycle;
use crate::message::Message;
use crate::outcome::{Fault, Outcome, OutcomeKind};
use crate::retry::Jitter;
use crate::slot_request::SlotRequest;
use crate::time::Timestamp;

/// Processes one slot of one mapping on a queue.
///
/// How to call it, and when it panics: [crate documentation](crate#how-to-call-a-consumer). Its
/// invariants: [module documentation](super#invariants).
#[derive(Debug)]
pub struct QueueConsumer {
    settings: QueueConsumerSettings,
    jitter: Jitter,
    batch_limits: BatchLimits,
    receive_pacer: ReceivePacer,
    whole_receives: WholeReceives,
    inbox: Inbox,
    visibility: Visibility,
    releases: Releases,
    retry_delays: RetryDelays,
    batch_buffer: BatchBuffer,
    slot: SlotRequest,
    /// See [`QueueConsumer::set_free_slots`].
    free_slots: usize,
    invocations: Invocations,
    delete_queue: DeleteQueue,
    batch_ids: BatchIds,
    requests: Requests,
    commands: VecDeque<QueueCommand>,
    lifecycle: Lifecycle,
    received: u64,
    last_outcome: Option<OutcomeKind>,
    now: Timestamp,
}

impl QueueConsumer {
    /// Starts with an empty inbox. `free_slots`: see [`QueueConsumer::set_free_slots`]. `seed`
    /// determines the jitter of the backoff.
    ///
    /// # Panics
    /// If a limit is zero.
    pub fn new(
        settings: QueueConsumerSettings,
        free_slots: usize,
        seed: u64,
        now: Timestamp,
    ) -> Self {
        let limits = &settings.limits;
        let counts = [settings.mapping.batch_size, limits.buffer_messages];
        assert!(!counts.contains(&0), "every limit is at least 1");
        let batch_limits = BatchLimits {
            // A batch that fills the inbox cannot grow.
            max_items: settings.mapping.batch_size.min(limits.buffer_messages),
            max_bytes: limits.payload_limit,
        };
        let visibility = Visibility::new(&settings, now);
        let window = settings.mapping.maximum_batching_window;
        let mut consumer = Self {
            jitter: Jitter::new(seed, limits.backoff_jitter_percent),
            batch_limits,
            receive_pacer: ReceivePacer::new(settings.mapping.pollers),
            whole_receives: WholeReceives::new(&settings),
            inbox: Inbox::default(),
            batch_buffer: BatchBuffer::new(batch_limits, window, visibility.reserve()),
            visibility,
            releases: Releases::default(),
            retry_delays: RetryDelays::new(&settings),
            slot: SlotRequest::None,
            free_slots,
            invocations: Invocations::new(&settings),
            delete_queue: DeleteQueue::default(),
            batch_ids: BatchIds::default(),
            requests: Requests::default(),
            commands: VecDeque::new(),
            lifecycle: Lifecycle::Running,
            received: 0,
            last_outcome: None,
            now,
            settings,
        };
        consumer.advance(now);
        consumer
    }

    /// How many requests for a slot would be granted at once, for the next input. More is received
    /// for slots that are free; the number may be outdated.
    pub fn set_free_slots(&mut self, free_slots: usize) {
        self.free_slots = free_slots;
    }

    /// Wall time by the clock of the queue, for the next input: until then the age of messages is
    /// unknown.
    pub fn set_source_time(&mut self, source_time: Timestamp) {
        self.retry_delays.set_source_time(source_time);
    }

    pub fn handle(&mut self, input: QueueInput, now: Timestamp) {
        assert!(self.commands.is_empty(), "commands are taken before input");
        if self.lifecycle == Lifecycle::Finished {
            return;
        }
        match input {
            QueueInput::Received { request, result } => self.handle_received(request, result, now),
            QueueInput::Invoked { batch, outcome } => self.handle_invoked(batch, outcome, now),
            QueueInput::SlotGranted => self.slot.grant(),
            QueueInput::Deleted { request, result } => self.handle_deleted(request, &result, now),
            QueueInput::VisibilityChanged { request, result } => {
                self.handle_visibility_changed(request, &result, now);
            }
            QueueInput::Attributes(attributes) => self.set_attributes(attributes),
            QueueInput::Drain if self.lifecycle == Lifecycle::Running => {
                self.lifecycle = Lifecycle::Draining;
                self.delete_queue.drain(now);
            }
            QueueInput::Drain => {}
        }
        self.advance(now);
    }

    pub fn handle_timeout(&mut self, now: Timestamp) {
        assert!(self.commands.is_empty(), "commands are taken before input");
        self.advance(now);
    }

    pub fn poll_command(&mut self) -> Option<QueueCommand> {
        self.commands.pop_front()
    }

    /// When to call [`QueueConsumer::handle_timeout`]; `None` if only an input can cause a command.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.next_timer().map(|(at, _)| at)
    }

    /// The next timeout, and what the consumer does then.
    pub fn next_timer(&self) -> Option<(Timestamp, QueueTimer)> {
        if self.lifecycle == Lifecycle::Finished {
            return None;
        }
        let inbox = &self.inbox;
        let always = [
            (inbox.next_expiry(), QueueTimer::Expiry),
            (self.invocations.next_expiry(inbox), QueueTimer::Release),
            (self.buffered_until(), QueueTimer::Release),
            (self.visibility.due(inbox), QueueTimer::Visibility),
            (self.delete_queue.due(), QueueTimer::Delete),
        ];
        let timers = always
            .into_iter()
            .filter_map(|(at, timer)| Some((at?, timer)));
        if self.lifecycle == Lifecycle::Draining {
            return timers.min();
        }
        let closes_at = self.batch_buffer.closes_at(self.closing(), inbox);
        let receive = self.receive_due().map(|at| (at, QueueTimer::Receive));
        let may_begin = self.slot.is_none() && 0 < self.invocation_room();
        let invocation = self.invocations.due(closes_at).filter(|_| may_begin);
        let running = [invocation, receive];
        timers.chain(running.into_iter().flatten()).min()
    }

    pub fn view(&self) -> QueueView {
        let (waiting, next_at) = self.waiting();
        QueueView {
            received: self.received,
            buffered_messages: self.inbox.len(),
            buffered_bytes: self.inbox.bytes(),
            waiting_messages: self.inbox.n_waiting(),
            in_flight_messages: self.invocations.n_messages_in_flight(),
            concurrency: self.invocations.n_in_flight(),
            reduced_concurrency: self.invocations.limit(),
            pollers: self.receive_pacer.n_pollers(),
            last_outcome: self.last_outcome,
            waiting,
            next_at,
        }
    }

    /// The fault that delays the queue and the time of the next try; without a fault, the next
    /// timer.
    fn waiting(&self) -> (Option<Waiting>, Option<Timestamp>) {
        let source = self.receive_pacer.fault().map(Waiting::Source);
        let function = self.invocations.fault().map(Waiting::NotInvoked);
        let deleting = self.delete_queue.fault().map(Waiting::Deleting);
        let extending = self.visibility.fault(self.now).map(Waiting::Extending);
        let causes = [
            (source, self.receive_pacer.paused_until()),
            (function, self.invocations.paused_until()),
            (deleting, self.delete_queue.paused_until()),
            (extending, Some(self.visibility.paused_until())),
        ];
        let first = causes.into_iter().find(|(waiting, _)| waiting.is_some());
        match first {
            // A pause whose time has passed ends with the probe in flight.
            Some((waiting, until)) if self.lifecycle == Lifecycle::Running => {
                (waiting, until.filter(|until| self.now < *until))
            }
            first => (first.and_then(|(waiting, _)| waiting), self.poll_timeout()),
        }
    }

    // Inputs

    fn handle_received(
        &mut self,
        request: RequestId,
        result: Result<Vec<Message>, Fault>,
        now: Timestamp,
    ) {
        let Request::Receive {
            limit,
            sent,
            visibility,
        } = self.requests.end(request)
        else {
            panic!("{request:?} is not a receive");
        };
        match result {
            Ok(messages) => {
                self.receive_pacer
                    .succeeded(limit, messages.len(), sent, now);
                let origin = Origin {
                    receive: request,
                    sent,
                    visible_at: sent + visibility,
                };
                self.accept(messages, usize::from(limit), origin, now);
            }
            Err(fault) => self
                .receive_pacer
                .failed(limit, fault, now, &mut self.jitter),
        }
    }

    /// Accepts the messages of a receive that requested up to `limit`.
    fn accept(&mut self, messages: Vec<Message>, limit: usize, origin: Origin, now: Timestamp) {
        self.received += messages.len() as u64;
        if origin.visible_at <= now {
            return self.report_expired(messages.len());
        }
        let (messages, excess) = self.split_off_excess(messages, limit);
        if !excess.is_empty() {
            let n_messages = excess.len();
            self.report(Report::Excess { n_messages });
            self.release(excess);
        }
        let mut filtered = filter_messages(messages, &self.settings, self.batch_limits);
        if self.whole_receives.apply() {
            let (limits, queue_timeout) = (self.batch_limits, self.visibility.queue_timeout());
            self.whole_receives.cut_to_one_batch(
                &mut filtered,
                &self.inbox,
                limits,
                queue_timeout,
                now,
            );
        }
        for item in filtered.items {
            match item {
                Item::Deliver(message) => {
                    if let Some(token) = self.inbox.insert(message, origin, now) {
                        self.batch_buffer.push(token, &self.inbox);
                    }
                }
                Item::Delete(message) => {
                    if let Some(token) = self.inbox.insert(message, origin, now) {
                        self.inbox.mark_filtered_out(token);
                        self.delete_queue.push(vec![token]);
                    }
                }
            }
        }
        for report in filtered.reports {
            self.report(report);
        }
        self.release_undeliverable(filtered.undeliverable, origin);
        self.release(filtered.followers);
    }

    /// Splits off the messages without room: a queue may return more than was requested.
    fn split_off_excess(
        &self,
        messages: Vec<Message>,
        limit: usize,
    ) -> (Vec<Message>, Vec<ReceiptHandle>) {
        let mut room = self.buffer_room();
        if self.whole_receives.apply() {
            room = room.min(limit);
        }
        let (mut accepted, mut excess) = (Vec::with_capacity(messages.len()), Vec::new());
        for message in messages {
            if self.inbox.contains(&message.message_id) {
                accepted.push(message);
            } else if 0 < room {
                room -= 1;
                accepted.push(message);
            } else {
                excess.push(message.receipt_handle);
            }
        }
        (accepted, excess)
    }

    fn set_attributes(&mut self, attributes: QueueAttributes) {
        self.visibility
            .set_queue_timeout(attributes.visibility_timeout);
        self.whole_receives.set_attributes(attributes);
        self.retry_delays.set_attributes(attributes);
    }

    fn handle_invoked(&mut self, batch: BatchId, outcome: Outcome, now: Timestamp) {
        let (inbox, jitter) = (&mut self.inbox, &mut self.jitter);
        match self.invocations.end(batch, &outcome, inbox, now, jitter) {
            InvocationEnd::Ended { succeeded, failed } => {
                let failed_groups = self.groups_of(&tokens_of(&failed));
                let mut groups = self.groups_of(&succeeded);
                groups.retain(|group| !failed_groups.contains(group));
                self.batch_buffer.unblock(&groups);
                self.delete_queue.push(succeeded);
                self.handle_failed(&failed, now);
            }
            InvocationEnd::UnknownItems(failed) => {
                let n_messages = failed.len();
                self.report(Report::UnknownItems { n_messages });
                self.handle_failed(&failed, now);
            }
            InvocationEnd::Waits => {}
            InvocationEnd::Halved { first, second } => {
                return self.handle_halved(&first, &second, now);
            }
        }
        self.last_outcome = Some(outcome.kind());
    }

    /// A batch was larger than the function accepts: the first half waits for its next attempt.
    fn handle_halved(&mut self, first: &[Token], second: &[Token], now: Timestamp) {
        let blocked = self.groups_of(first);
        let mut groups = self.groups_of(second);
        groups.retain(|group| !blocked.contains(group));
        self.batch_buffer.unblock(&groups);
        self.inbox.mark_buffered(second);
        self.batch_buffer.put_back(second, &self.inbox);
        if self.whole_receives.apply() {
            let queue_timeout = self.visibility.queue_timeout();
            self.whole_receives.reduce(first.len(), queue_timeout, now);
        }
    }

    /// Failed messages become visible again after their delays, or the queue's own visibility timeout,
    /// which count from now.
    fn handle_failed(&mut self, failed: &[FailedMessage], now: Timestamp) {
        if failed.is_empty() {
            return;
        }
        let tokens = tokens_of(failed);
        let groups = self.groups_of(&tokens);
        self.batch_buffer.unblock(&groups);
        let queue_timeout = self.visibility.failed_timeout();
        let delays = &self.retry_delays;
        let delays = delays.of(failed, &self.inbox, queue_timeout, now);
        let longest = delays.iter().map(|it| it.unwrap_or(queue_timeout)).max();
        let removed = self.remove(&tokens).into_iter().zip(delays);
        let mut changes = self.releases.add_failed(removed, queue_timeout, now);
        if self.settings.mapping.fifo {
            // Otherwise the first message of a group could be received without the others.
            changes.reverse();
        }
        self.change_visibility(changes);
        self.release_followers(&groups);
        self.whole_receives
            .batch_failed(longest.unwrap_or_default(), now);
    }

    fn handle_deleted(
        &mut self,
        request: RequestId,
        result: &Result<Vec<EntryResult>, Fault>,
        now: Timestamp,
    ) {
        let Request::Delete { entries, sent } = self.requests.end(request) else {
            panic!("{request:?} is not a deletion");
        };
        let (inbox, jitter) = (&mut self.inbox, &mut self.jitter);
        let deleted = self
            .delete_queue
            .end(&entries, sent, result, inbox, now, jitter);
        if 0 < deleted.n_processed {
            let n_messages = deleted.n_processed;
            self.report(Report::Deleted { n_messages });
        }
        if 0 < deleted.n_not_deleted {
            let n_messages = deleted.n_not_deleted;
            self.report(Report::NotDeleted { n_messages });
        }
    }

    fn handle_visibility_changed(
        &mut self,
        request: RequestId,
        result: &Result<Vec<EntryResult>, Fault>,
        now: Timestamp,
    ) {
        match self.requests.end(request) {
            Request::Extend {
                entries,
                visible_at,
            } => {
                let inbox = &mut self.inbox;
                self.visibility
                    .end(&entries, visible_at, result, inbox, now);
                let results = EntryResult::of_each(result, entries.len());
                let ready = self.releases.ready(&entries, results, &self.inbox, now);
                self.change_visibility(ready);
            }
            Request::Release { n_messages } => self.visibility.end_release(n_messages, result),
            Request::Receive { .. } | Request::Delete { .. } => {
                panic!("{request:?} is not a visibility change")
            }
        }
    }

    // Commands

    /// Issues every command that is possible at `now`.
    fn advance(&mut self, now: Timestamp) {
        assert!(self.now <= now, "time does not decrease");
        self.now = now;
        if self.lifecycle == Lifecycle::Finished {
            return;
        }
        self.invocations.end_elapsed_pause(now);
        self.release_expired(now);
        if self.lifecycle == Lifecycle::Draining {
            self.cancel_slot();
            self.release_not_in_flight();
        }
        self.advance_visibility(now);
        self.advance_deletes(now);
        if self.lifecycle == Lifecycle::Running {
            self.advance_invocations(now);
            self.advance_receives(now);
        } else if self.inbox.is_empty() && self.requests.is_empty() {
            self.finish();
        }
        self.check(now);
    }

    fn advance_visibility(&mut self, now: Timestamp) {
        let entries = self.visibility.start(&mut self.inbox, now);
        if entries.is_empty() {
            return;
        }
        let timeout = self.visibility.timeout();
        let changes = VisibilityChange::all(receipts_of(&entries), timeout);
        let visible_at = now + timeout;
        let request = self.requests.start(Request::Extend {
            entries,
            visible_at,
        });
        self.command(QueueCommand::ChangeVisibility { request, changes });
    }

    fn advance_deletes(&mut self, now: Timestamp) {
        let entries = self.delete_queue.start(&self.inbox, now);
        if entries.is_empty() {
            return;
        }
        let receipts = receipts_of(&entries);
        let request = self.requests.start(Request::Delete { entries, sent: now });
        self.command(QueueCommand::Delete { request, receipts });
    }

    fn advance_invocations(&mut self, now: Timestamp) {
        let is_due = self.is_batch_due(now);
        if self.slot == SlotRequest::Granted && is_due {
            self.slot = SlotRequest::None;
            self.invoke(now);
            if self.is_batch_due(now) {
                self.request_slot();
            }
        } else if self.slot.is_none() && is_due {
            self.request_slot();
        } else if !is_due {
            self.cancel_slot();
        }
    }

    fn invoke(&mut self, now: Timestamp) {
        let closing = self.closing();
        let is_new =
            (self.batch_buffer.closes_at(closing, &self.inbox)).is_some_and(|at| at <= now);
        let batch = if let Some(batch) = self.invocations.retry(is_new, &mut self.inbox, now) {
            batch
        } else {
            let tokens = self.batch_buffer.take_batch(closing, &self.inbox, now);
            self.inbox.mark_batched(&tokens);
            let id = self.batch_ids.assign();
            self.invocations.start(id, tokens, &self.inbox, now)
        };
        self.command(QueueCommand::Invoke(batch));
    }

    /// Whether a batch would be invoked if there was a slot.
    fn is_batch_due(&self, now: Timestamp) -> bool {
        let closes_at = || self.batch_buffer.closes_at(self.closing(), &self.inbox);
        self.invocations.can_start(now)
            && 0 < self.invocation_room()
            && (self.invocations.any_waits() || closes_at().is_some_and(|at| at <= now))
    }

    fn request_slot(&mut self) {
        self.slot = SlotRequest::Waiting;
        self.command(QueueCommand::RequestSlot);
    }

    /// The batch that the slot was for is gone: its messages have become visible, or must wait.
    fn cancel_slot(&mut self) {
        if !self.slot.is_none() {
            self.slot = SlotRequest::None;
            self.command(QueueCommand::CancelSlot);
        }
    }

    /// How many more invocations may begin if there are slots for them.
    fn invocation_room(&self) -> usize {
        // A probe is the only one that begins, however many are in flight.
        let is_probe = self.invocations.is_failing();
        let reduced = self.invocations.limit().filter(|_| !is_probe);
        let limits = [reduced, self.receive_pacer.max_invocations()];
        let limit = limits.into_iter().flatten().min();
        let n_in_flight = self.invocations.n_in_flight();
        limit.map_or(usize::MAX, |limit| limit.saturating_sub(n_in_flight))
    }

    fn closing(&self) -> Closing {
        Closing {
            // A probe does not wait for other messages: it might be released before.
            at_once: self.visibility.is_denied() || self.invocations.is_failing(),
            whole_receives: self.whole_receives.apply(),
        }
    }

    fn advance_receives(&mut self, now: Timestamp) {
        while !self.has_enough()
            && let Some(limit) = self.start_receive(now)
        {
            let visibility = self.visibility.timeout();
            let request = self.requests.start(Request::Receive {
                limit,
                sent: now,
                visibility,
            });
            self.command(QueueCommand::Receive {
                request,
                limit,
                wait: self.visibility.wait(self.settings.limits.wait_time),
                visibility,
            });
        }
    }

    /// A probe of a function that cannot be reached needs one message.
    fn start_receive(&mut self, now: Timestamp) -> Option<u8> {
        let max_messages = if self.invocations.is_failing() {
            1
        } else {
            self.whole_receives.max_messages(now)
        };
        let room = self.receive_room();
        self.receive_pacer.start(room, max_messages, now)
    }

    fn receive_due(&self) -> Option<Timestamp> {
        if self.has_enough() {
            return None;
        }
        self.receive_pacer.due(self.receive_room())
    }

    /// Whether there are, or may soon be, batches to probe a function with that cannot be reached.
    fn has_enough(&self) -> bool {
        let needs_more = self.invocations.is_empty() || self.invocations.needs_another_probe();
        let needs_more = needs_more && self.batch_buffer.is_empty();
        self.invocations.is_failing() && !(needs_more && self.receive_pacer.requested() == 0)
    }

    /// How many more messages may be requested: those of one batch that waits, and of the batches
    /// that can begin at once. What waits for its turn waits in the queue.
    fn receive_room(&self) -> usize {
        let max_items = self.batch_limits.max_items;
        let free_slots = self.free_slots.min(self.invocation_room());
        let places = max_items.saturating_mul(free_slots.saturating_add(1));
        let taken = if self.whole_receives.apply() {
            // However few messages a receive returns, no other can be added.
            let n_receives = self.batch_buffer.n_receives() + self.receive_pacer.n_in_flight();
            max_items.saturating_mul(n_receives + self.invocations.n_waiting())
        } else {
            let n_requested = self.receive_pacer.requested();
            self.batch_buffer.len() + self.invocations.n_messages_waiting() + n_requested
        };
        places.saturating_sub(taken).min(self.buffer_room())
    }

    /// How many more messages the buffer can hold.
    fn buffer_room(&self) -> usize {
        let taken = self.inbox.len() + self.receive_pacer.requested();
        self.settings.limits.buffer_messages.saturating_sub(taken)
    }

    // Releasing messages

    /// Releases what must not be invoked any more: messages that have become visible, and batches
    /// that waited for too long.
    fn release_expired(&mut self, now: Timestamp) {
        let expired = self.inbox.expired(now);
        let mut groups = self.groups_of(&expired);
        self.remove(&expired);
        self.report_expired(expired.len());
        let mut held_too_long = self.invocations.take_expired(&self.inbox, now);
        for tokens in &held_too_long {
            self.batch_buffer.unblock(&self.groups_of(tokens));
        }
        if self.invocations.is_failing() {
            let limit = self.settings.limits.hold_limit;
            held_too_long.push(self.batch_buffer.held_too_long(limit, now));
        }
        for tokens in held_too_long.into_iter().filter(|it| !it.is_empty()) {
            let n_messages = tokens.len();
            self.report(Report::Released { n_messages });
            groups.append(&mut self.groups_of(&tokens));
            self.remove_and_release(&tokens);
        }
        self.release_followers(&groups);
    }

    /// When the first buffered message must be released, since the function cannot be reached.
    fn buffered_until(&self) -> Option<Timestamp> {
        let limit = self.settings.limits.hold_limit;
        let until = self.batch_buffer.held_until(limit);
        until.filter(|_| self.invocations.is_failing())
    }

    fn release_not_in_flight(&mut self) {
        let mut tokens = self.batch_buffer.tokens();
        let waiting = self.invocations.take_waiting();
        self.batch_buffer.unblock(&self.groups_of(&waiting));
        tokens.extend(waiting);
        self.remove_and_release(&tokens);
    }

    /// Releases the buffered messages of groups whose earlier messages were released: they would
    /// overtake them.
    fn release_followers(&mut self, groups: &BTreeSet<KeyHash>) {
        if groups.is_empty() {
            // This is called at every step, and the buffer may be long.
            return;
        }
        let followers = self.batch_buffer.of_groups(groups);
        self.remove_and_release(&followers);
    }

    /// Removes messages from the inbox.
    fn remove(&mut self, tokens: &[Token]) -> Vec<(Token, ReceivedMessage)> {
        if tokens.is_empty() {
            return Vec::new();
        }
        self.batch_buffer.remove(tokens, &self.inbox);
        let inbox = &mut self.inbox;
        let removed = tokens.iter();
        removed
            .filter_map(|token| Some((*token, inbox.remove(*token)?)))
            .collect()
    }

    /// Removes messages from the inbox and makes them visible again at once.
    fn remove_and_release(&mut self, tokens: &[Token]) {
        let (now, removed) = (self.now, self.remove(tokens));
        let removed = removed.into_iter();
        let changes =
            removed.filter_map(|(token, it)| self.releases.add(token, it, Duration::ZERO, now));
        let changes = changes.collect();
        self.change_visibility(changes);
    }

    /// Makes messages visible again at once.
    fn release(&mut self, receipts: Vec<ReceiptHandle>) {
        self.change_visibility(VisibilityChange::all(receipts, Duration::ZERO));
    }

    /// Makes messages that were just received visible again after the queue's own timeout.
    fn release_undeliverable(&mut self, receipts: Vec<ReceiptHandle>, origin: Origin) {
        let timeout = self.visibility.failed_timeout();
        if origin.visible_at != origin.sent + timeout {
            self.change_visibility(VisibilityChange::all(receipts, timeout));
        }
    }

    /// Changes the visibility of messages that have left the inbox.
    fn change_visibility(&mut self, changes: Vec<VisibilityChange>) {
        if changes.is_empty() {
            return;
        }
        let request = self.requests.start(Request::Release {
            n_messages: changes.len(),
        });
        self.command(QueueCommand::ChangeVisibility { request, changes });
    }

    fn groups_of(&self, tokens: &[Token]) -> BTreeSet<KeyHash> {
        if !self.settings.mapping.fifo {
            return BTreeSet::new();
        }
        let messages = tokens.iter().map(|token| &self.inbox.get(*token).message);
        messages.filter_map(|message| message.group).collect()
    }

    fn report_expired(&mut self, n_messages: usize) {
        if 0 < n_messages {
            self.report(Report::Expired { n_messages });
        }
    }

    fn report(&mut self, report: Report) {
        self.command(QueueCommand::Report(report));
    }

    fn finish(&mut self) {
        self.command(QueueCommand::Finish);
        self.lifecycle = Lifecycle::Finished;
    }

    fn command(&mut self, command: QueueCommand) {
        let starts = matches!(
            command,
            QueueCommand::Invoke(_) | QueueCommand::Receive { .. } | QueueCommand::RequestSlot
        );
        match self.lifecycle {
            Lifecycle::Running => {}
            Lifecycle::Draining => assert!(!starts, "Q7: a drain starts nothing"),
            Lifecycle::Finished => panic!("nothing follows the end"),
        }
        self.commands.push_back(command);
    }

    fn check(&self, now: Timestamp) {
        if self.lifecycle == Lifecycle::Finished {
            return;
        }
        let requested = self.inbox.len() + self.receive_pacer.requested();
        assert!(
            requested <= self.settings.limits.buffer_messages,
            "Q6: the buffer is bounded"
        );
        let in_flight = !self.requests.is_empty()
            || self.slot.is_waiting()
            || 0 < self.invocations.n_in_flight();
        let timeout = self.poll_timeout();
        assert!(in_flight || timeout.is_some(), "Q9: it never gets stuck");
        assert!(
            timeout.is_none_or(|at| now < at),
            "Q10: everything that was due is done"
        );
    }
}
