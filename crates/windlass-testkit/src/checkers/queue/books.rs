//! What a checker remembers of one consumer: the same facts as the machine, kept another way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use windlass_core::batch::BatchId;
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::queue::{Batch, EntryResult, QueueConsumerSettings, Report, RequestId};
use windlass_core::record::{KeyHash, Message, MessageId, ReceiptHandle};
use windlass_core::time::Timestamp;

use super::event_bytes;
use super::pausing::Pausing;
use crate::sample_filter;

#[derive(Debug)]
pub(super) struct Books {
    pub(super) settings: QueueConsumerSettings,

    pub(super) receives: BTreeMap<RequestId, Receive>,
    /// How many receives there should be at a time.
    pub(super) wanted: usize,
    pub(super) receive_from: Timestamp,
    pub(super) receive_pause: Pausing,
    pub(super) receive_fault: Option<Fault>,
    pub(super) received: u64,

    pub(super) held: BTreeMap<MessageId, Hold>,
    n_taken: u64,
    pub(super) flights: BTreeMap<BatchId, Flight>,
    pub(super) unreached: Pausing,
    pub(super) cause: Option<Fault>,
    /// The batch that is tried while the function cannot be reached.
    pub(super) probe: Option<BatchId>,
    pub(super) last_outcome: Option<Outcome>,

    pub(super) deletions: BTreeMap<RequestId, Asked>,
    pub(super) delete_pause: Pausing,
    pub(super) extensions: BTreeMap<RequestId, Asked>,
    pub(super) extend_from: Timestamp,
    pub(super) returns: BTreeSet<RequestId>,

    /// Messages that must be given back at once, and for how long they stay invisible.
    pub(super) owed_returns: BTreeMap<ReceiptHandle, Duration>,
    pub(super) owed_reports: Vec<Report>,
    pub(super) draining: bool,
    pub(super) finished: bool,
    /// Whether the timer that was fired must do something, or must not.
    pub(super) must_act: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Receive {
    pub(super) limit: usize,
    pub(super) sent: Timestamp,
}

#[derive(Clone, Debug)]
pub(super) struct Hold {
    /// Grows in the order of receipt.
    pub(super) number: u64,
    pub(super) message: Message,
    pub(super) receipt: ReceiptHandle,
    asked: Timestamp,
    pub(super) received: Timestamp,
    pub(super) visible_at: Timestamp,
    pub(super) state: State,
    /// The function is not to see it.
    filtered_out: bool,
    pub(super) extension: Extension,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Gathered,
    InBatch,
    /// To be deleted.
    Owed,
    Deleting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    Possible,
    UnderWay,
    Refused,
}

#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) messages: Vec<MessageId>,
    /// Since when it runs; `None` while it waits to be tried again.
    pub(super) since: Option<Timestamp>,
}

/// Messages about which something was asked of the queue.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) entries: Vec<Entry>,
    pub(super) sent: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: MessageId,
    /// The number of its hold: a message may be let go and taken in again.
    pub(super) number: u64,
    pub(super) receipt: ReceiptHandle,
}

impl Books {
    pub(super) fn new(settings: QueueConsumerSettings, now: Timestamp) -> Self {
        Self {
            settings,
            receives: BTreeMap::new(),
            wanted: 1,
            receive_from: now,
            receive_pause: Pausing::default(),
            receive_fault: None,
            received: 0,
            held: BTreeMap::new(),
            n_taken: 0,
            flights: BTreeMap::new(),
            unreached: Pausing::default(),
            cause: None,
            probe: None,
            last_outcome: None,
            deletions: BTreeMap::new(),
            delete_pause: Pausing::default(),
            extensions: BTreeMap::new(),
            extend_from: now,
            returns: BTreeSet::new(),
            owed_returns: BTreeMap::new(),
            owed_reports: Vec::new(),
            draining: false,
            finished: false,
            must_act: None,
        }
    }

    pub(super) fn received(
        &mut self,
        request: RequestId,
        result: &Result<Vec<Message>, Fault>,
        now: Timestamp,
    ) {
        let receive = self.receives.remove(&request).expect("it was asked for");
        let messages = match result {
            Ok(messages) => messages,
            Err(fault) => {
                self.wanted = 1;
                self.receive_fault = Some(*fault);
                return self.receive_pause.failed(*fault, now);
            }
        };
        self.receive_pause.worked(receive.sent);
        if self.receive_pause.is_clear() {
            self.receive_fault = None;
        }
        if messages.is_empty() {
            self.wanted = (self.wanted - 1).max(1);
            let soonest = receive.sent + Duration::from_secs(1);
            self.receive_from = self.receive_from.max(soonest);
        } else {
            self.receive_from = now;
        }
        if messages.len() == receive.limit {
            self.wanted = (self.wanted + 1).min(5);
        }
        self.received += messages.len() as u64;
        if now < receive.sent + self.visibility() {
            self.take_in(messages, receive.sent, now);
        } else {
            self.expire(messages.len());
        }
    }

    fn expire(&mut self, n_messages: usize) {
        if 0 < n_messages {
            self.owed_reports.push(Report::Expired { n_messages });
        }
    }

    fn take_in(&mut self, messages: &[Message], asked: Timestamp, now: Timestamp) {
        let visible_at = asked + self.visibility();
        let (mut barred, mut n_filtered_out) = (BTreeSet::new(), 0);
        for message in messages {
            let bytes = message.event.len();
            let filtered_out =
                self.settings.filter.is_some() && !sample_filter::matches(&message.event);
            n_filtered_out += usize::from(filtered_out);
            if !filtered_out && self.settings.payload_limit < event_bytes(std::iter::once(bytes)) {
                let message_id = message.message_id.clone();
                self.owed_reports
                    .push(Report::MessageTooLarge { message_id, bytes });
                self.leave(message.receipt_handle.clone());
                barred.extend(message.group);
                continue;
            }
            if !filtered_out && message.group.is_some_and(|group| barred.contains(&group)) {
                let receipt = message.receipt_handle.clone();
                self.owed_returns.insert(receipt, Duration::ZERO);
                continue;
            }
            if let Some(hold) = self.held.get_mut(&message.message_id) {
                if hold.asked <= asked {
                    hold.receipt = message.receipt_handle.clone();
                    (hold.asked, hold.visible_at) = (asked, visible_at);
                    if hold.extension == Extension::Refused {
                        hold.extension = Extension::Possible;
                    }
                }
                continue;
            }
            self.n_taken += 1;
            let hold = Hold {
                number: self.n_taken,
                receipt: message.receipt_handle.clone(),
                message: message.clone(),
                asked,
                received: now,
                visible_at,
                state: if filtered_out {
                    State::Owed
                } else {
                    State::Gathered
                },
                filtered_out,
                extension: Extension::Possible,
            };
            self.held.insert(message.message_id.clone(), hold);
        }
        if n_filtered_out != 0 {
            let n_messages = n_filtered_out;
            self.owed_reports.push(Report::FilteredOut { n_messages });
        }
    }

    pub(super) fn invoked(&mut self, batch: BatchId, outcome: &Outcome, now: Timestamp) {
        let flight = self.flights.get_mut(&batch).expect("it was invoked");
        let since = flight.since.take().expect("it runs");
        self.last_outcome = Some(outcome.clone());
        if self.probe == Some(batch) {
            self.probe = None;
        }
        if let Outcome::NotInvoked { cause } = outcome {
            self.cause = Some(*cause);
            return self.unreached.failed(*cause, now);
        }
        self.unreached.worked(since);
        let flight = self.flights.remove(&batch).expect("it was there");
        if *outcome == Outcome::Success {
            for id in flight.messages {
                let hold = self.held.get_mut(&id).expect("its messages are held");
                hold.state = State::Owed;
            }
            return;
        }
        let groups = self.groups_of(&flight.messages);
        for id in flight.messages {
            let hold = self.held.remove(&id).expect("its messages are held");
            self.leave(hold.receipt);
        }
        self.return_groups(&groups);
    }

    pub(super) fn deleted(
        &mut self,
        request: RequestId,
        result: &Result<Vec<EntryResult>, Fault>,
        now: Timestamp,
    ) {
        let asked = self.deletions.remove(&request).expect("it was asked for");
        let (mut n_done, mut n_unseen, mut n_lost, mut failed) = (0, 0, 0, false);
        for (index, entry) in asked.entries.iter().enumerate() {
            let how = entry_result(result, index);
            failed |= how == EntryResult::Failed;
            let hold = self.held.get_mut(&entry.id);
            let hold = hold.expect("it is held until deleted");
            let again = how == EntryResult::Failed && now < hold.visible_at;
            if again || hold.receipt != entry.receipt {
                hold.state = State::Owed;
                continue;
            }
            if how == EntryResult::Done {
                n_done += usize::from(!hold.filtered_out);
                n_unseen += usize::from(hold.filtered_out);
            }
            n_lost += usize::from(how != EntryResult::Done);
            self.held.remove(&entry.id);
        }
        if !failed || 0 < n_done + n_unseen {
            self.delete_pause.worked(asked.sent);
        }
        if failed {
            let fault = result.as_ref().err().copied();
            self.delete_pause
                .failed(fault.unwrap_or(Fault::Transient), now);
        }
        if 0 < n_done {
            let n_messages = n_done;
            self.owed_reports.push(Report::Deleted { n_messages });
        }
        if 0 < n_lost {
            let n_messages = n_lost;
            self.owed_reports.push(Report::NotDeleted { n_messages });
        }
    }

    pub(super) fn visibility_changed(
        &mut self,
        request: RequestId,
        result: &Result<Vec<EntryResult>, Fault>,
        now: Timestamp,
    ) {
        if self.returns.remove(&request) {
            return;
        }
        let asked = self.extensions.remove(&request).expect("it was asked for");
        let visibility = self.visibility();
        for (index, entry) in asked.entries.iter().enumerate() {
            let how = entry_result(result, index);
            if how == EntryResult::Failed {
                self.extend_from = now + Duration::from_secs(2);
            }
            let hold = self.held.get_mut(&entry.id);
            let Some(hold) = hold.filter(|hold| hold.number == entry.number) else {
                continue;
            };
            hold.extension = Extension::Possible;
            if hold.receipt != entry.receipt {
                continue;
            }
            match how {
                EntryResult::Done => {
                    hold.visible_at = hold.visible_at.max(asked.sent + visibility);
                }
                EntryResult::Refused => {
                    hold.extension = Extension::Refused;
                    hold.visible_at = hold.visible_at.min(now);
                }
                EntryResult::Failed => {}
            }
        }
    }

    /// Time has come to `now`: what has become visible is gone, what waits too long goes back.
    pub(super) fn pass_time(&mut self, now: Timestamp) {
        self.unreached.lapse(now);
        let gone: Vec<_> = self
            .gathered()
            .into_iter()
            .filter(|id| self.held[id].visible_at <= now)
            .collect();
        self.expire(gone.len());
        let mut groups = self.groups_of(&gone);
        for id in gone {
            self.held.remove(&id);
        }
        let mut over = Vec::new();
        for (id, flight) in &self.flights {
            let ends = self.over_at(flight).is_some_and(|at| at <= now);
            if ends || (self.draining && flight.since.is_none()) {
                over.push((*id, ends));
            }
        }
        for (id, ends) in over {
            let flight = self.flights.remove(&id).expect("it was just seen");
            if ends {
                let n_messages = flight.messages.len();
                self.owed_reports.push(Report::Returned { n_messages });
            }
            groups.append(&mut self.groups_of(&flight.messages));
            for id in flight.messages {
                self.give_back(&id);
            }
        }
        if self.draining {
            for id in self.gathered() {
                self.give_back(&id);
            }
        }
        self.return_groups(&groups);
    }

    fn return_groups(&mut self, groups: &BTreeSet<KeyHash>) {
        for id in self.gathered() {
            let group = self.held[&id].message.group;
            if group.is_some_and(|group| groups.contains(&group)) {
                self.give_back(&id);
            }
        }
    }

    fn give_back(&mut self, id: &MessageId) {
        let hold = self.held.remove(id).expect("it is held");
        self.owed_returns.insert(hold.receipt, Duration::ZERO);
    }

    fn leave(&mut self, receipt: ReceiptHandle) {
        let left = self.settings.visibility_timeout;
        let left = left.max(Duration::from_secs(1));
        if left < self.visibility() {
            self.owed_returns.insert(receipt, left);
        }
    }

    pub(super) fn begin_invocation(&mut self, batch: &Batch, now: Timestamp) {
        let ids = batch.messages.iter().map(|it| it.message_id.clone());
        let flight = Flight {
            messages: ids.collect(),
            since: Some(now),
        };
        for id in &flight.messages {
            self.held.get_mut(id).expect("it is held").state = State::InBatch;
        }
        self.flights.insert(batch.id, flight);
        self.unreached.begin();
        self.unreached.lapse(now);
        if self.unreached.is_failing() {
            self.probe = Some(batch.id);
        }
    }
}

impl Hold {
    pub(super) fn entry(&self, id: &MessageId) -> Entry {
        Entry {
            id: id.clone(),
            number: self.number,
            receipt: self.receipt.clone(),
        }
    }
}

fn entry_result(result: &Result<Vec<EntryResult>, Fault>, index: usize) -> EntryResult {
    let results = result.as_ref().ok();
    let result = results.and_then(|results| results.get(index).copied());
    result.unwrap_or(EntryResult::Failed)
}
