//! The reference model of a queue consumer: the same facts, kept in a simpler way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use windlass_core::batch::BatchId;
use windlass_core::ids::{KeyHash, MessageId, ReceiptHandle};
use windlass_core::message::Message;
use windlass_core::outcome::{Fault, ItemFailures, Outcome, OutcomeKind};
use windlass_core::queue::{Batch, EntryResult, QueueConsumerSettings, Report, RequestId};
use windlass_core::time::Timestamp;

use super::backoff_bounds::BackoffBounds;
use super::entry_results::{entry_result, fault_of, first_fault};
use super::event_bytes;
use crate::checkers::slot_request::Slot;
use crate::sample_filter;

#[derive(Debug)]
pub(super) struct Model {
    pub(super) settings: QueueConsumerSettings,

    pub(super) receives: BTreeMap<RequestId, Receive>,
    /// How many receives should be in flight.
    pub(super) target_receives: usize,
    /// When receives of provisioned pollers began.
    pub(super) receives_begun: Vec<Timestamp>,
    /// No receive before this time.
    pub(super) receive_from: Timestamp,
    pub(super) receive_backoff: BackoffBounds,
    pub(super) receive_fault: Option<Fault>,
    pub(super) received: u64,
    /// The limit of receives, and until when: more messages did not fit into one batch.
    pub(super) reduced: Option<(usize, Timestamp)>,

    pub(super) held: BTreeMap<MessageId, HeldMessage>,
    n_accepted: u64,
    pub(super) slot: Slot,
    /// How many requests for a slot would be granted at once.
    pub(super) free_slots: usize,
    pub(super) batches: BTreeMap<BatchId, TrackedBatch>,
    /// The limit of invocations after a failure, and when that was.
    pub(super) reduced_concurrency: Option<(usize, Timestamp)>,
    pub(super) function_backoff: BackoffBounds,
    /// Why the function could not be reached last.
    pub(super) cause: Option<Fault>,
    /// The batch in tracked while the function is unreachable.
    pub(super) probe: Option<BatchId>,
    /// The last batch whose function was not reached, and how often in a row that was so.
    pub(super) last_unreached: Option<BatchId>,
    pub(super) n_unreached: u32,
    pub(super) last_outcome: Option<OutcomeKind>,

    pub(super) deletions: BTreeMap<RequestId, EntryRequest>,
    pub(super) delete_backoff: BackoffBounds,
    pub(super) delete_fault: Option<Fault>,
    pub(super) extensions: BTreeMap<RequestId, EntryRequest>,
    /// No extension before this time.
    pub(super) extend_from: Timestamp,
    /// Why the last visibility change failed.
    pub(super) change_fault: Option<Fault>,
    /// Releases in flight.
    pub(super) releases: BTreeMap<RequestId, Vec<ReceiptHandle>>,
    /// Releases that wait for an extension of the message, identified by [`HeldMessage::number`], and
    /// when it is to be visible.
    waiting_releases: BTreeMap<u64, (ReceiptHandle, Timestamp)>,

    /// By the clock of the queue, when the last input came.
    pub(super) source_time: Option<Timestamp>,
    /// Messages to release at once, and the visibility timeout to set.
    pub(super) expected_releases: BTreeMap<ReceiptHandle, Duration>,
    pub(super) expected_reports: Vec<Report>,
    /// When the drain began.
    pub(super) drained_at: Option<Timestamp>,
    pub(super) finished: bool,
    /// After a timer: whether it must cause a command (it was due), or must not.
    pub(super) must_act: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Receive {
    pub(super) limit: usize,
    pub(super) sent: Timestamp,
    pub(super) visibility: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct HeldMessage {
    /// Grows in the order of receipt.
    pub(super) number: u64,
    pub(super) message: Message,
    /// The receive that first brought it.
    pub(super) receive: RequestId,
    pub(super) receipt: ReceiptHandle,
    /// When the receive that brought it was sent.
    pub(super) requested: Timestamp,
    pub(super) received: Timestamp,
    pub(super) visible_at: Timestamp,
    pub(super) state: State,
    filtered_out: bool,
    deletion_failed: bool,
    pub(super) extension: Extension,
    /// When the next extension is due.
    pub(super) extend_at: Timestamp,
    /// It may be invisible for longer than its receive requested.
    is_extended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Buffered,
    InBatch,
    ToDelete,
    Deleting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    Possible,
    InFlight,
    Refused,
}

#[derive(Clone, Debug)]
pub(super) struct TrackedBatch {
    pub(super) messages: Vec<MessageId>,
    /// When the attempt in tracked began; `None` while the batch waits for the next one.
    pub(super) since: Option<Timestamp>,
}

/// A deletion or visibility change in tracked.
#[derive(Clone, Debug)]
pub(super) struct EntryRequest {
    pub(super) entries: Vec<Entry>,
    pub(super) sent: Timestamp,
    /// The new visibility timeout, if it is an extension.
    timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: MessageId,
    /// [`HeldMessage::number`]: a message may be released and received again.
    pub(super) number: u64,
    pub(super) receipt: ReceiptHandle,
}

impl Model {
    pub(super) fn new(settings: QueueConsumerSettings, free_slots: usize, now: Timestamp) -> Self {
        Self {
            receives: BTreeMap::new(),
            target_receives: settings.mapping.pollers.map_or(1, |it| it.minimum),
            receives_begun: Vec::new(),
            receive_from: now,
            receive_backoff: BackoffBounds::default(),
            receive_fault: None,
            received: 0,
            reduced: None,
            held: BTreeMap::new(),
            n_accepted: 0,
            slot: Slot::None,
            free_slots,
            batches: BTreeMap::new(),
            function_backoff: BackoffBounds::default(),
            cause: None,
            probe: None,
            last_unreached: None,
            n_unreached: 0,
            last_outcome: None,
            deletions: BTreeMap::new(),
            delete_backoff: BackoffBounds::default(),
            delete_fault: None,
            extensions: BTreeMap::new(),
            extend_from: now,
            change_fault: None,
            releases: BTreeMap::new(),
            waiting_releases: BTreeMap::new(),
            source_time: None,
            expected_releases: BTreeMap::new(),
            expected_reports: Vec::new(),
            drained_at: None,
            finished: false,
            must_act: None,
            reduced_concurrency: None,
            settings,
        }
    }

    pub(super) fn received(
        &mut self,
        request: RequestId,
        result: &Result<Vec<Message>, Fault>,
        now: Timestamp,
    ) {
        let receive = self.receives.remove(&request).expect("it was requested");
        let pollers = self.settings.mapping.pollers;
        let (min_receives, max_receives) = pollers.map_or((1, 5), |it| (it.minimum, it.maximum));
        let messages = match result {
            Ok(messages) => messages,
            Err(fault) => {
                self.target_receives = min_receives;
                self.receive_fault = Some(*fault);
                return self.receive_backoff.record_failure(*fault, now);
            }
        };
        self.receive_backoff.record_success(receive.sent);
        if self.receive_backoff.is_clear() {
            self.receive_fault = None;
        }
        if messages.is_empty() {
            self.target_receives = (self.target_receives - 1).max(min_receives);
            let soonest = receive.sent + Duration::from_secs(1);
            self.receive_from = self.receive_from.max(soonest);
        } else {
            self.receive_from = now;
        }
        if receive.limit <= messages.len() {
            self.target_receives = (self.target_receives + 1).min(max_receives);
        }
        self.received += messages.len() as u64;
        let visible_at = receive.sent + receive.visibility;
        if now < visible_at {
            self.accept(messages, request, receive, now);
        } else {
            self.expire(messages.len());
        }
    }

    fn expire(&mut self, n_messages: usize) {
        if 0 < n_messages {
            self.expected_reports.push(Report::Expired { n_messages });
        }
    }

    fn accept(
        &mut self,
        messages: &[Message],
        request: RequestId,
        receive: Receive,
        now: Timestamp,
    ) {
        let (mut blocked_groups, mut all_blocked) = (BTreeSet::new(), false);
        let (mut sizes, mut max_messages) = (Vec::new(), None);
        let mut n_filtered_out = 0;
        let excess = self.release_excess(messages, receive.limit);
        let has_room = |message: &&Message| !excess.contains(&message.receipt_handle);
        for message in messages.iter().filter(has_room) {
            let bytes = message.event.len();
            if let Some(reason) = message.unreadable {
                self.leave_unreadable(message, reason, receive);
                max_messages = Some(1);
                all_blocked |= self.settings.mapping.fifo && message.group.is_none();
                blocked_groups.extend(message.group);
                continue;
            }
            let filtered_out =
                self.settings.filter.is_some() && !sample_filter::matches(&message.event);
            n_filtered_out += usize::from(filtered_out);
            if !filtered_out
                && self.settings.limits.payload_limit < event_bytes(std::iter::once(bytes))
            {
                let message_id = message.message_id.clone();
                self.expected_reports
                    .push(Report::MessageTooLarge { message_id, bytes });
                self.leave_to_queue(message.receipt_handle.clone(), receive);
                max_messages = Some(1);
                blocked_groups.extend(message.group);
                continue;
            }
            let group_blocked = message
                .group
                .is_some_and(|group| blocked_groups.contains(&group));
            if !filtered_out && (all_blocked || group_blocked) {
                let receipt = message.receipt_handle.clone();
                self.expected_releases.insert(receipt, Duration::ZERO);
                continue;
            }
            if self.held.contains_key(&message.message_id) {
                self.update_held(message, receive, now);
                continue;
            }
            if !filtered_out && self.receives_are_whole() {
                sizes.push(bytes);
                // A receive that was sent before the queue had the policy may have more messages.
                let too_many = self.max_batch_messages() < sizes.len();
                let bytes = event_bytes(sizes.iter().copied());
                if too_many || self.settings.limits.payload_limit < bytes {
                    let receipt = message.receipt_handle.clone();
                    self.expected_releases.insert(receipt, Duration::ZERO);
                    max_messages = max_messages.or_else(|| Some(sizes.len() - 1));
                    continue;
                }
            }
            self.hold(message, request, receive, filtered_out, now);
        }
        if let Some(n_messages) = max_messages.filter(|_| self.receives_are_whole()) {
            self.reduced = Some((n_messages, self.reduced_until(now)));
        }
        if n_filtered_out != 0 {
            let n_messages = n_filtered_out;
            self.expected_reports
                .push(Report::FilteredOut { n_messages });
        }
    }

    /// A message came again.
    fn update_held(&mut self, message: &Message, receive: Receive, now: Timestamp) {
        let held = self.held.get_mut(&message.message_id).expect("it is held");
        if receive.sent < held.requested {
            return;
        }
        let visible_at = receive.sent + receive.visibility;
        held.receipt = message.receipt_handle.clone();
        (held.requested, held.visible_at) = (receive.sent, visible_at);
        (held.extend_at, held.is_extended) = (middle(now, visible_at), true);
        held.message.n_receives = message.n_receives;
        if held.extension == Extension::Refused {
            held.extension = Extension::Possible;
        }
    }

    fn hold(
        &mut self,
        message: &Message,
        request: RequestId,
        receive: Receive,
        filtered_out: bool,
        now: Timestamp,
    ) {
        let visible_at = receive.sent + receive.visibility;
        let state = if filtered_out {
            State::ToDelete
        } else {
            State::Buffered
        };
        self.n_accepted += 1;
        let held = HeldMessage {
            number: self.n_accepted,
            receive: request,
            receipt: message.receipt_handle.clone(),
            message: message.clone(),
            requested: receive.sent,
            received: now,
            visible_at,
            state,
            filtered_out,
            deletion_failed: false,
            extension: Extension::Possible,
            extend_at: middle(now, visible_at),
            is_extended: false,
        };
        self.held.insert(message.message_id.clone(), held);
    }

    /// Until when receives are smaller: a minute from when failed messages are visible again.
    fn reduced_until(&self, now: Timestamp) -> Timestamp {
        now + self.settings.attributes.visibility_timeout + Duration::from_secs(60)
    }

    fn leave_unreadable(&mut self, message: &Message, reason: &'static str, receive: Receive) {
        let message_id = message.message_id.clone();
        self.expected_reports
            .push(Report::Unreadable { message_id, reason });
        self.leave_to_queue(message.receipt_handle.clone(), receive);
    }

    /// Releases the new messages without room and returns them.
    fn release_excess(&mut self, messages: &[Message], limit: usize) -> Vec<ReceiptHandle> {
        let limit = if self.receives_are_whole() {
            limit
        } else {
            usize::MAX
        };
        let new = messages
            .iter()
            .filter(|message| !self.held.contains_key(&message.message_id));
        let excess = new.skip(self.buffer_room().min(limit));
        let excess: Vec<_> = excess.map(|it| it.receipt_handle.clone()).collect();
        if !excess.is_empty() {
            let n_messages = excess.len();
            self.expected_reports.push(Report::Excess { n_messages });
            let releases = excess.iter().map(|it| (it.clone(), Duration::ZERO));
            self.expected_releases.extend(releases);
        }
        excess
    }

    pub(super) fn invoked(&mut self, batch: BatchId, outcome: &Outcome, now: Timestamp) {
        let n_running = self.n_running();
        let tracked = self.batches.get_mut(&batch).expect("it was invoked");
        let since = tracked.since.take().expect("it is in flight");
        if self.probe == Some(batch) {
            self.probe = None;
        }
        if matches!(outcome, Outcome::NotInvoked { .. }) {
            self.last_unreached = Some(batch);
            self.n_unreached += 1;
        } else {
            self.n_unreached = 0;
        }
        let n_messages = tracked.messages.len();
        if outcome.is_too_large() && 1 < n_messages {
            let second = tracked.messages.split_off(n_messages.div_ceil(2));
            let n_first = tracked.messages.len();
            for id in second {
                let held = self.held.get_mut(&id).expect("its messages are held");
                held.state = State::Buffered;
            }
            if self.receives_are_whole() {
                self.reduced = Some((n_first, self.reduced_until(now)));
            }
            return self.function_backoff.record_success(since);
        }
        self.last_outcome = Some(outcome.kind());
        self.adjust_concurrency(n_running, since, outcome, now);
        if let Outcome::NotInvoked { cause } = outcome {
            self.cause = Some(*cause);
            return self.function_backoff.record_failure(*cause, now);
        }
        self.function_backoff.record_success(since);
        let tracked = self.batches.remove(&batch).expect("it was just found");
        let (succeeded, failed) = self.split(tracked.messages, outcome);
        let delays = self.delays(&failed, outcome, now);
        for id in succeeded {
            let held = self.held.get_mut(&id).expect("its messages are held");
            held.state = State::ToDelete;
        }
        if failed.is_empty() {
            return;
        }
        let groups = self.groups_of(&failed);
        let longest = delays.iter().map(|it| it.unwrap_or(self.failed_timeout()));
        let longest = longest.max().expect("a message failed");
        for (id, delay) in failed.iter().zip(delays) {
            self.release_failed(id, delay, now);
        }
        self.release_groups(&groups, now);
        if self.reduced.is_some_and(|(_, until)| now < until) {
            let until = now + longest + Duration::from_secs(60);
            self.reduced = self.reduced.map(|(n_messages, _)| (n_messages, until));
        }
    }

    /// A failure of an invocation that began after the last one leaves half of those that ran, at
    /// least five; each success allows one more.
    fn adjust_concurrency(
        &mut self,
        n_running: usize,
        since: Timestamp,
        outcome: &Outcome,
        now: Timestamp,
    ) {
        let failed = matches!(
            outcome,
            Outcome::FunctionError { .. } | Outcome::NotInvoked { .. }
        );
        let reduced = self.reduced_concurrency;
        self.reduced_concurrency = match reduced {
            Some((_, at)) if failed && since <= at => return,
            _ if failed => {
                let limit = reduced.map_or(n_running, |(limit, _)| limit.min(n_running));
                Some(((limit / 2).max(5), now))
            }
            Some((limit, at)) => Some((limit + 1, at)),
            None => None,
        };
        let maximum = self.settings.limits.concurrency;
        self.reduced_concurrency = self.reduced_concurrency.filter(|it| it.0 < maximum);
    }

    /// The messages of a batch that its function has processed, and those that failed.
    fn split(
        &mut self,
        batch: Vec<MessageId>,
        outcome: &Outcome,
    ) -> (Vec<MessageId>, Vec<MessageId>) {
        match outcome {
            Outcome::Success => (batch, Vec::new()),
            Outcome::ItemFailures {
                failures: ItemFailures::Items(reported),
                ..
            } => {
                let is_known = |id: &str| batch.iter().any(|it| it.as_str() == id);
                if reported.keys().all(|id| is_known(id)) {
                    let is_reported = |id: &MessageId| reported.contains_key(id.as_str());
                    let follows_reported = |at: usize| {
                        let group = self.held[&batch[at]].message.group;
                        let mut earlier = batch[..at].iter().filter(|id| is_reported(id));
                        let of_group = |id: &MessageId| self.held[id].message.group == group;
                        self.settings.mapping.strict_order && earlier.any(of_group)
                    };
                    let is_failed = |at: usize| is_reported(&batch[at]) || follows_reported(at);
                    let (failed, done) =
                        (0..batch.len()).partition::<Vec<_>, _>(|at| is_failed(*at));
                    let ids = |at: Vec<usize>| at.into_iter().map(|at| batch[at].clone()).collect();
                    return (ids(done), ids(failed));
                }
                let n_messages = batch.len();
                self.expected_reports
                    .push(Report::UnknownItems { n_messages });
                (Vec::new(), batch)
            }
            Outcome::ItemFailures { .. }
            | Outcome::FunctionError { .. }
            | Outcome::NotInvoked { .. }
            | Outcome::Windowed(_) => (Vec::new(), batch),
        }
    }

    pub(super) fn deleted(
        &mut self,
        id: RequestId,
        results: &Result<Vec<EntryResult>, Fault>,
        now: Timestamp,
    ) {
        let request = self.deletions.remove(&id).expect("it was requested");
        let (mut n_done, mut n_filtered, mut n_not_deleted, mut failed) = (0, 0, 0, None);
        let repeated = self.drained_at.is_some_and(|at| at <= request.sent);
        for (index, entry) in request.entries.iter().enumerate() {
            let result = entry_result(results, index);
            let fault = fault_of(result);
            failed = failed.or(fault);
            let held = self.held.get_mut(&entry.id);
            let held = held.expect("it is held until deleted");
            if held.receipt != entry.receipt {
                held.state = State::ToDelete;
                continue;
            }
            let lasting = matches!(fault, Some(Fault::Denied | Fault::Gone));
            let given_up =
                self.drained_at.is_some() && (lasting || repeated && held.deletion_failed);
            if fault.is_some() && now < held.visible_at && !given_up {
                held.state = State::ToDelete;
                held.deletion_failed = true;
                continue;
            }
            if result == EntryResult::Done {
                n_done += usize::from(!held.filtered_out);
                n_filtered += usize::from(held.filtered_out);
            }
            n_not_deleted += usize::from(result != EntryResult::Done);
            self.held.remove(&entry.id);
        }
        if failed.is_none() || 0 < n_done + n_filtered {
            self.delete_backoff.record_success(request.sent);
        }
        if let Some(fault) = failed {
            self.delete_fault = Some(fault);
            let draining = self.drained_at.is_some();
            let fault = if draining { Fault::Transient } else { fault };
            self.delete_backoff.record_failure(fault, now);
        }
        if 0 < n_done {
            let n_messages = n_done;
            self.expected_reports.push(Report::Deleted { n_messages });
        }
        if 0 < n_not_deleted {
            let n_messages = n_not_deleted;
            self.expected_reports
                .push(Report::NotDeleted { n_messages });
        }
    }

    pub(super) fn visibility_changed(
        &mut self,
        id: RequestId,
        results: &Result<Vec<EntryResult>, Fault>,
        now: Timestamp,
    ) {
        if let Some(receipts) = self.releases.remove(&id) {
            self.change_fault = first_fault(results, receipts.len());
            return;
        }
        let request = self.extensions.remove(&id).expect("it was requested");
        self.change_fault = first_fault(results, request.entries.len());
        for (index, entry) in request.entries.iter().enumerate() {
            let result = entry_result(results, index);
            if fault_of(result).is_some() {
                self.extend_from = now + Duration::from_secs(2);
            }
            self.end_waiting_release(entry, result, now);
            let held = self.held.get_mut(&entry.id);
            let Some(held) = held.filter(|held| held.number == entry.number) else {
                continue;
            };
            held.extension = Extension::Possible;
            if held.receipt != entry.receipt {
                continue;
            }
            match result {
                EntryResult::Done => {
                    held.visible_at = request.sent + request.timeout;
                    held.extend_at = middle(now, held.visible_at);
                    held.is_extended = true;
                }
                EntryResult::Refused => {
                    held.extension = Extension::Refused;
                    held.visible_at = held.visible_at.min(now);
                }
                EntryResult::Failed(_) => {
                    held.visible_at = held.visible_at.min(request.sent + request.timeout);
                    held.is_extended = true;
                }
            }
        }
    }

    /// The drain begins: deletions that failed are repeated at once.
    pub(super) fn drain(&mut self, now: Timestamp) {
        if self.drained_at.is_none() {
            self.drained_at = Some(now);
            self.delete_backoff = BackoffBounds::default();
        }
    }

    /// Advances to `now`: messages that are visible again expire, and batches that have waited too
    /// long are released.
    pub(super) fn pass_time(&mut self, now: Timestamp) {
        self.function_backoff.expire(now);
        let expired: Vec<_> = self
            .buffered()
            .into_iter()
            .filter(|id| self.held[id].visible_at <= now)
            .collect();
        self.expire(expired.len());
        let mut groups = self.groups_of(&expired);
        for id in expired {
            self.held.remove(&id);
        }
        let late: Vec<_> = self
            .buffered()
            .into_iter()
            .filter(|id| {
                self.buffered_until(&self.held[id])
                    .is_some_and(|at| at <= now)
            })
            .collect();
        if !late.is_empty() {
            let n_messages = late.len();
            self.expected_reports.push(Report::Released { n_messages });
        }
        groups.append(&mut self.groups_of(&late));
        for id in late {
            self.release(&id, now);
        }
        let mut released = Vec::new();
        for (id, tracked) in &self.batches {
            let is_late = self.release_at(tracked).is_some_and(|at| at <= now);
            if is_late || (self.drained_at.is_some() && tracked.since.is_none()) {
                released.push((*id, is_late));
            }
        }
        for (id, is_late) in released {
            let tracked = self.batches.remove(&id).expect("it was just seen");
            if is_late {
                let n_messages = tracked.messages.len();
                self.expected_reports.push(Report::Released { n_messages });
            }
            groups.append(&mut self.groups_of(&tracked.messages));
            for id in tracked.messages {
                self.release(&id, now);
            }
        }
        if self.drained_at.is_some() {
            for id in self.buffered() {
                self.release(&id, now);
            }
        }
        self.release_groups(&groups, now);
    }

    fn release_groups(&mut self, groups: &BTreeSet<KeyHash>, now: Timestamp) {
        for id in self.buffered() {
            let group = self.held[&id].message.group;
            if group.is_some_and(|group| groups.contains(&group)) {
                self.release(&id, now);
            }
        }
    }

    fn release(&mut self, id: &MessageId, now: Timestamp) {
        let held = self.held.remove(id).expect("it is held");
        self.release_held(held, Duration::ZERO, now);
    }

    fn release_failed(&mut self, id: &MessageId, delay: Option<Duration>, now: Timestamp) {
        let held = self.held.remove(id).expect("it is held");
        let timeout = self.failed_timeout();
        let is_extended = held.is_extended || held.extension == Extension::InFlight;
        if delay.is_some() || is_extended || held.visible_at != held.requested + timeout {
            self.release_held(held, delay.unwrap_or(timeout), now);
        }
    }

    fn release_held(&mut self, held: HeldMessage, timeout: Duration, now: Timestamp) {
        if held.extension == Extension::InFlight {
            let release = (held.receipt, now + timeout);
            self.waiting_releases.insert(held.number, release);
        } else {
            self.expected_releases.insert(held.receipt, timeout);
        }
    }

    fn end_waiting_release(&mut self, entry: &Entry, result: EntryResult, now: Timestamp) {
        let Some((receipt, visible_at)) = self.waiting_releases.remove(&entry.number) else {
            return;
        };
        let is_useless = result == EntryResult::Refused && receipt == entry.receipt;
        if !is_useless && !self.held.contains_key(&entry.id) {
            let seconds = visible_at.since(now).as_secs_f64().ceil();
            let timeout = Duration::from_secs_f64(seconds);
            self.expected_releases.insert(receipt, timeout);
        }
    }

    pub(super) fn failed_timeout(&self) -> Duration {
        let timeout = self.settings.attributes.visibility_timeout;
        timeout.max(Duration::from_secs(1))
    }

    fn leave_to_queue(&mut self, receipt: ReceiptHandle, receive: Receive) {
        let timeout = self.failed_timeout();
        if receive.visibility != timeout {
            self.expected_releases.insert(receipt, timeout);
        }
    }

    pub(super) fn begin_deletion(
        &mut self,
        request: RequestId,
        entries: Vec<Entry>,
        sent: Timestamp,
    ) {
        for entry in &entries {
            let held = self.held.get_mut(&entry.id);
            held.expect("it is to be deleted").state = State::Deleting;
        }
        self.delete_backoff.begin_attempt();
        let timeout = Duration::ZERO;
        let deletion = EntryRequest {
            entries,
            sent,
            timeout,
        };
        self.deletions.insert(request, deletion);
    }

    pub(super) fn begin_extension(
        &mut self,
        request: RequestId,
        entries: Vec<Entry>,
        sent: Timestamp,
    ) {
        for entry in &entries {
            let held = self.held.get_mut(&entry.id);
            held.expect("it is held").extension = Extension::InFlight;
        }
        let timeout = self.visibility();
        let extension = EntryRequest {
            entries,
            sent,
            timeout,
        };
        self.extensions.insert(request, extension);
    }

    pub(super) fn begin_invocation(&mut self, batch: &Batch, now: Timestamp) {
        let ids = batch.messages.iter().map(|it| it.message_id.clone());
        let tracked = TrackedBatch {
            messages: ids.collect(),
            since: Some(now),
        };
        for id in &tracked.messages {
            self.held.get_mut(id).expect("it is held").state = State::InBatch;
        }
        self.batches.insert(batch.id, tracked);
        self.function_backoff.begin_attempt();
        self.function_backoff.expire(now);
        if self.function_backoff.is_failing() {
            self.probe = Some(batch.id);
        }
    }
}

impl HeldMessage {
    pub(super) fn entry(&self, id: &MessageId) -> Entry {
        Entry {
            id: id.clone(),
            number: self.number,
            receipt: self.receipt.clone(),
        }
    }
}

fn middle(now: Timestamp, later: Timestamp) -> Timestamp {
    now + later.since(now) / 2
}
