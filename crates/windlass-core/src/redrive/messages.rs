//! What a redrive does with each message of a queue: it is redriven as a document, sent to a function
//! or to another queue, or stays.
//!
//! Every message is looked at once in a run. What stays is given back, may be received again, and is
//! then invisible until the run has ended: so the run ends, and a message group waits behind its first
//! message that stays.
//!
//! Call [`poll_command`](MessageRun::poll_command), execute the command, report what the command asks
//! for, and so on until it returns `None`.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::document::FailureDocument;
use super::queue::{OutgoingMessage, body, duplicate_wait};
use super::verdict::{Decision, ItemEnd, ThrottleWait, failed_messages, judge};
use crate::event::{PAYLOAD_LIMIT, event_len};
use crate::ids::{KeyHash, MessageId};
use crate::message::Message;
use crate::outcome::Outcome;
use crate::time::Timestamp;

/// Documents that are put into order together.
const MAX_DOCUMENTS: usize = 10_000;

/// Messages of one run, since each is remembered.
const MAX_MESSAGES: usize = 1_000_000;

/// Whom the messages of a queue are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageRecipient {
    /// The functions that documents name. Other messages stay.
    OfDocuments,
    /// A function: of documents, or of messages, whichever the first receive has. The others stay: a
    /// function of a stream does not understand messages, nor one of a queue the events of a stream.
    Function,
    Queue {
        is_fifo: bool,
        /// Whether it would swallow messages as duplicates of what it has moved away.
        swallows: bool,
    },
}

/// The messages of one queue in one run.
#[derive(Clone, Debug)]
pub struct MessageRun {
    recipient: MessageRecipient,
    is_dry: bool,
    reports_item_failures: bool,
    kind: Option<Kind>,
    seen: BTreeSet<MessageId>,
    /// Groups with a message that stays.
    blocked: BTreeSet<KeyHash>,
    received: VecDeque<Received>,
    /// Sent, without a result yet.
    sent: Vec<(MessageId, Option<KeyHash>)>,
    throttled: ThrottleWait,
    commands: VecDeque<MessageCommand>,
    /// Documents that were taken out and not redriven yet.
    n_documents: usize,
    has_groups: bool,
    is_empty: bool,
    is_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Documents,
    Messages,
}

#[derive(Clone, Debug)]
struct Received {
    message: Message,
    /// What is wrong with it otherwise.
    document: Result<Box<FailureDocument>, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageCommand {
    /// Receive messages; then call `handle_received`.
    Receive,
    /// Invoke the function with all of them; then call `handle_outcome`.
    Invoke(Vec<Message>),
    /// Wait, and invoke it with the same; then call `handle_outcome`.
    Repeat(Duration),
    /// Nothing can be sent before that.
    Wait(Duration),
    /// Send it to the queue; then call `handle_sent`.
    Send(OutgoingMessage),
    /// Remember the document until `Redrive`. The message is not given back before that.
    Take(MessageId, Box<FailureDocument>),
    /// Redrive the documents that were taken.
    Redrive,
    /// Delete it: it was processed, or sent.
    Delete(MessageId),
    /// Give it back, and report why.
    Keep(MessageId, String),
    /// Report it, and do nothing.
    Show(MessageId),
    /// The run ends early; why.
    Stop(String),
}

impl MessageRun {
    /// `reports_item_failures`: see [`judge`].
    pub fn new(recipient: MessageRecipient, is_dry: bool, reports_item_failures: bool) -> Self {
        Self {
            recipient,
            is_dry,
            reports_item_failures,
            kind: None,
            seen: BTreeSet::new(),
            blocked: BTreeSet::new(),
            received: VecDeque::new(),
            sent: Vec::new(),
            throttled: ThrottleWait::default(),
            commands: VecDeque::new(),
            n_documents: 0,
            has_groups: false,
            is_empty: false,
            is_ended: false,
        }
    }

    /// `now` is by the clock of the queue. `None`: the run has ended.
    pub fn poll_command(&mut self, now: Timestamp) -> Option<MessageCommand> {
        loop {
            if let Some(command) = self.commands.pop_front() {
                return Some(command);
            }
            if self.is_ended {
                return None;
            }
            match self.received.pop_front() {
                Some(next) => self.decide(next, now),
                None => self.end_receive(),
            }
        }
    }

    /// The messages of a receive; none: there are no others.
    pub fn handle_received(&mut self, messages: Vec<Message>) {
        self.is_empty = messages.is_empty();
        for message in messages {
            self.has_groups |= message.group.is_some();
            if self.seen.insert(message.message_id.detached()) {
                let document = match self.recipient {
                    MessageRecipient::Queue { .. } => Err(String::new()),
                    MessageRecipient::OfDocuments | MessageRecipient::Function => read(&message),
                };
                self.received.push_back(Received { message, document });
            }
        }
        if self.kind.is_none() && !self.received.is_empty() {
            let has_document = self.received.iter().any(|it| it.document.is_ok());
            self.kind = Some(match self.recipient {
                MessageRecipient::Function if !has_document => Kind::Messages,
                MessageRecipient::Queue { .. } => Kind::Messages,
                MessageRecipient::Function | MessageRecipient::OfDocuments => Kind::Documents,
            });
        }
    }

    pub fn handle_outcome(&mut self, outcome: &Outcome) {
        let verdict = judge(outcome, self.reports_item_failures);
        let end = match self.throttled.decide(verdict) {
            Decision::Repeat(wait) => {
                self.commands.push_back(MessageCommand::Repeat(wait));
                return;
            }
            Decision::End(end) => end,
        };
        let sent = std::mem::take(&mut self.sent);
        let all = || (0..sent.len()).collect();
        let (failed, reason) = match end {
            ItemEnd::Redriven => (Vec::new(), String::new()),
            ItemEnd::Failed(reason) => {
                let ids: Vec<_> = sent.iter().map(|(id, _)| id.as_str()).collect();
                (failed_messages(outcome, &ids), reason)
            }
            ItemEnd::NotReached(reason) => {
                self.is_ended = true;
                (all(), reason)
            }
            ItemEnd::Unsent(reason) => (all(), reason.unwrap_or_default()),
        };
        for (index, (id, group)) in sent.into_iter().enumerate() {
            if failed.contains(&index) {
                self.keep(id, group, reason.clone());
            } else {
                self.commands.push_back(MessageCommand::Delete(id));
            }
        }
    }

    /// # Errors
    /// Why the message was not sent.
    pub fn handle_sent(&mut self, result: Result<(), String>) {
        for (id, group) in std::mem::take(&mut self.sent) {
            match &result {
                Ok(()) => self.commands.push_back(MessageCommand::Delete(id)),
                Err(reason) => self.keep(id, group, reason.clone()),
            }
        }
    }

    fn end_receive(&mut self) {
        let is_full = MAX_MESSAGES <= self.seen.len();
        if self.n_documents != 0 && (self.is_empty || is_full || MAX_DOCUMENTS <= self.n_documents)
        {
            self.n_documents = 0;
            // Those that were taken may have held back what follows them in their groups.
            self.is_empty &= !self.has_groups;
            self.commands.push_back(MessageCommand::Redrive);
        } else if self.is_empty {
            self.is_ended = true;
        } else if is_full {
            self.is_ended = true;
            let reason = format!("a run ends after {MAX_MESSAGES} messages; run it again");
            self.commands.push_back(MessageCommand::Stop(reason));
        } else {
            self.commands.push_back(MessageCommand::Receive);
        }
    }

    fn decide(&mut self, next: Received, now: Timestamp) {
        let Received { message, document } = &next;
        let (id, group) = (message.message_id.detached(), message.group);
        if let Some(reason) = message.unreadable {
            return self.keep(id, group, reason.to_owned());
        }
        match (self.kind, document) {
            (Some(Kind::Messages), Ok(_)) => {
                let reason = "it is an on-failure document, and this run sends the other messages; run \
                              it again when they are gone, to send the records of documents";
                self.keep(id, group, reason.to_owned());
            }
            (Some(Kind::Documents) | None, Ok(document)) => {
                self.n_documents += 1;
                let document = document.clone();
                self.commands.push_back(MessageCommand::Take(id, document));
            }
            (Some(Kind::Documents) | None, Err(reason)) => {
                let reason = match self.recipient {
                    MessageRecipient::Function => format!(
                        "{reason}; this run sends the records of documents: run it again when they are \
                         gone, to send other messages"
                    ),
                    MessageRecipient::OfDocuments | MessageRecipient::Queue { .. } => {
                        reason.clone()
                    }
                };
                self.keep(id, group, reason);
            }
            (Some(Kind::Messages), Err(_)) => self.pass_on(next, now),
        }
    }

    /// Sends a message to the function, with those that follow, or to the queue.
    fn pass_on(&mut self, next: Received, now: Timestamp) {
        let message = &next.message;
        let (id, group) = (message.message_id.detached(), message.group);
        if group.is_some_and(|group| self.blocked.contains(&group)) {
            let reason = "an earlier message of its group stays";
            return self.keep(id, group, reason.to_owned());
        }
        let MessageRecipient::Queue { is_fifo, swallows } = self.recipient else {
            return self.invoke(next.message);
        };
        let Some(outgoing) = OutgoingMessage::of(message) else {
            return self.keep(id, group, "the message cannot be read".to_owned());
        };
        if is_fifo && outgoing.group.is_none() {
            let reason = "it has no message group, which a FIFO queue needs";
            return self.keep(id, group, reason.to_owned());
        }
        if self.is_dry {
            return self.commands.push_back(MessageCommand::Show(id));
        }
        let wait = if swallows {
            duplicate_wait(message.sent, now)
        } else {
            Duration::ZERO
        };
        if wait.is_zero() {
            self.sent.push((id, group));
            self.commands.push_back(MessageCommand::Send(outgoing));
        } else {
            self.received.push_front(next);
            self.commands.push_back(MessageCommand::Wait(wait));
        }
    }

    /// Invokes the function with a message and those that follow, as many as fit into one event.
    fn invoke(&mut self, first: Message) {
        if self.is_dry {
            let id = first.message_id.detached();
            return self.commands.push_back(MessageCommand::Show(id));
        }
        let mut bytes = first.event.len();
        let mut batch = vec![first];
        while let Some(next) = self.received.front() {
            let message = &next.message;
            let is_blocked = message.group.is_some_and(|it| self.blocked.contains(&it));
            bytes += message.event.len();
            let fits = event_len(batch.len() + 1, bytes) <= PAYLOAD_LIMIT;
            if is_blocked || !fits || message.unreadable.is_some() || next.document.is_ok() {
                break;
            }
            batch.extend(self.received.pop_front().map(|next| next.message));
        }
        let ids = batch.iter().map(|it| (it.message_id.detached(), it.group));
        self.sent = ids.collect();
        self.throttled = ThrottleWait::default();
        self.commands.push_back(MessageCommand::Invoke(batch));
    }

    fn keep(&mut self, id: MessageId, group: Option<KeyHash>, reason: String) {
        self.blocked.extend(group);
        self.commands.push_back(MessageCommand::Keep(id, reason));
    }
}

/// The document that a message is; what is wrong with it otherwise.
fn read(message: &Message) -> Result<Box<FailureDocument>, String> {
    let body = body(message).ok_or_else(|| "the message cannot be read".to_owned())?;
    let document = FailureDocument::parse(body.as_bytes());
    document.map(Box::new).map_err(|error| error.to_string())
}
