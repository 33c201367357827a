//! The messages of a consumer, and until when each is invisible to other readers.

use std::collections::BTreeSet;

use super::interface::RequestId;
use crate::batch::BatchId;
use crate::ids::{MessageId, ReceiptHandle};
use crate::message::Message;
use crate::time::Timestamp;

/// Identifies a message of the inbox; grows in the order of receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Token(u64);

/// One message, from its receipt until it is deleted or released.
#[derive(Debug)]
pub(super) struct ReceivedMessage {
    pub(super) message: Message,
    /// The newest one: every receive of a message returns another handle.
    pub(super) receipt: ReceiptHandle,
    pub(super) received: Timestamp,
    /// The receive that first returned it.
    pub(super) receive: RequestId,
    /// Until then no other reader receives it.
    pub(super) visible_at: Timestamp,
    buffered: bool,
    /// The batch in which it waits because the function was not reached.
    waits_in: Option<BatchId>,
    /// It only waits to be deleted.
    pub(super) filtered_out: bool,
    /// A deletion of it has failed.
    pub(super) deletion_failed: bool,
    /// Start of the receive that returned the handle.
    pub(super) requested: Timestamp,
    extension: Extension,
    /// When the next extension is due: half of the time is left that was left when `visible_at`
    /// became known. A long poll may use up most of a timeout that counts from its start.
    extend_at: Timestamp,
    /// It is or may be invisible for longer than the receive that returned it requested.
    pub(super) is_extended: bool,
}

/// The receive that returned a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) receive: RequestId,
    pub(super) sent: Timestamp,
    /// Counted from `sent`, since the queue's own clock starts later.
    pub(super) visible_at: Timestamp,
}

/// Whether visibility can be extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    Possible,
    InFlight,
    /// The queue has refused the handle.
    Refused,
}

/// A message in a request to the queue.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) token: Token,
    pub(super) receipt: ReceiptHandle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExtensionResult {
    /// The message is invisible until then.
    Until(Timestamp),
    /// If it was carried out nevertheless, the message is invisible until then.
    Failed {
        visible_at: Timestamp,
    },
    Refused,
}

/// The times of a message in the indexes of the inbox; `None`: it is not in the index.
#[derive(Clone, Copy, Debug, Default)]
struct IndexedAt {
    buffered: Option<Timestamp>,
    waiting: Option<Timestamp>,
    extendable: Option<Timestamp>,
}

/// A map that is not iterated. Ordered maps made large batches cost more for each message.
#[expect(clippy::disallowed_types, reason = "nothing depends on its order")]
type Lookup<K, V> = std::collections::HashMap<K, V>;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    by_token: Lookup<Token, ReceivedMessage>,
    by_id: Lookup<MessageId, Token>,
    /// The messages that wait to be put into a batch, by when they become visible.
    buffered: BTreeSet<(Timestamp, Token)>,
    /// The messages that wait in a batch, by when they become visible.
    waiting: BTreeSet<(Timestamp, Token)>,
    /// The messages whose visibility can be extended, by when that is due.
    extendable: BTreeSet<(Timestamp, Token)>,
    next_token: u64,
    bytes: usize,
}

impl Inbox {
    pub(super) fn len(&self) -> usize {
        self.by_token.len()
    }

    /// Messages that wait to be put into a batch, or in one.
    pub(super) fn n_waiting(&self) -> usize {
        self.buffered.len() + self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.by_id.contains_key(id)
    }

    /// Bytes of the events of all messages.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a received message. `None` if the message is in the
    /// inbox already, from another receive; then only its handle and visibility are updated.
    pub(super) fn insert(
        &mut self,
        message: Message,
        origin: Origin,
        now: Timestamp,
    ) -> Option<Token> {
        let Origin {
            receive,
            sent: requested,
            visible_at,
        } = origin;
        if let Some(token) = self.by_id.get(&message.message_id).copied() {
            // Receives may end in another order: the handle of an earlier one is outdated.
            if self.get(token).requested <= requested {
                self.update(token, |it| {
                    it.receipt = message.receipt_handle;
                    it.message.n_receives = message.n_receives;
                    it.set_visible_at(visible_at, now);
                    it.is_extended = true;
                    it.requested = requested;
                    if it.extension == Extension::Refused {
                        it.extension = Extension::Possible;
                    }
                });
            }
            return None;
        }
        let token = Token(self.next_token);
        self.next_token += 1;
        self.bytes += message.event.len();
        self.by_id.insert(message.message_id.clone(), token);
        let received = ReceivedMessage {
            receipt: message.receipt_handle.clone(),
            message,
            received: now,
            receive,
            visible_at,
            buffered: true,
            waits_in: None,
            filtered_out: false,
            deletion_failed: false,
            requested,
            extension: Extension::Possible,
            extend_at: midpoint(now, visible_at),
            is_extended: false,
        };
        self.buffered.insert((visible_at, token));
        self.extendable.insert((received.extend_at, token));
        self.by_token.insert(token, received);
        Some(token)
    }

    pub(super) fn get(&self, token: Token) -> &ReceivedMessage {
        self.by_token
            .get(&token)
            .expect("a token is valid while its message is in the inbox")
    }

    /// Refers to a message by its newest handle.
    pub(super) fn entry(&self, token: Token) -> Entry {
        let receipt = self.get(token).receipt.clone();
        Entry { token, receipt }
    }

    pub(super) fn mark_filtered_out(&mut self, token: Token) {
        self.update(token, |it| (it.buffered, it.filtered_out) = (false, true));
    }

    pub(super) fn mark_deletion_failed(&mut self, token: Token) {
        self.update(token, |it| it.deletion_failed = true);
    }

    pub(super) fn mark_batched(&mut self, tokens: &[Token]) {
        for token in tokens {
            self.update(*token, |it| it.buffered = false);
        }
    }

    /// Messages of a batch wait to be put into another one.
    pub(super) fn mark_buffered(&mut self, tokens: &[Token]) {
        for token in tokens {
            self.update(*token, |it| it.buffered = true);
        }
    }

    /// Marks the messages of a batch that waits; `None`: they do not wait any more.
    pub(super) fn mark_waiting(&mut self, tokens: &[Token], batch: Option<BatchId>) {
        for token in tokens {
            self.update(*token, |it| it.waits_in = batch);
        }
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<ReceivedMessage> {
        let removed = self.by_token.remove(&token)?;
        self.move_entries(token, removed.indexed_at(), IndexedAt::default());
        self.by_id.remove(&removed.message.message_id);
        self.bytes -= removed.message.event.len();
        Some(removed)
    }

    /// When the first of the buffered messages becomes visible.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.buffered.first().map(|(at, _)| *at)
    }

    /// The buffered messages that have become visible.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<Token> {
        let expired = self.buffered.iter().take_while(|(at, _)| *at <= now);
        expired.map(|(_, token)| *token).collect()
    }

    /// When the first message of a batch that waits becomes visible.
    pub(super) fn next_waiting_expiry(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// The batches that wait and have a message that has become visible.
    pub(super) fn expired_batches(&self, now: Timestamp) -> BTreeSet<BatchId> {
        let expired = self.waiting.iter().take_while(|(at, _)| *at <= now);
        let batches = expired.filter_map(|(_, token)| self.get(*token).waits_in);
        batches.collect()
    }

    /// When the next extension is due.
    pub(super) fn next_extension(&self) -> Option<Timestamp> {
        self.extendable.first().map(|(at, _)| *at)
    }

    /// Marks and returns the messages whose extension is due.
    pub(super) fn start_extensions(&mut self, now: Timestamp) -> Vec<Entry> {
        let due: Vec<_> = (self.extendable.iter())
            .take_while(|(at, _)| *at <= now)
            .map(|(_, token)| *token)
            .collect();
        for token in &due {
            self.update(*token, |it| it.extension = Extension::InFlight);
        }
        due.into_iter().map(|token| self.entry(token)).collect()
    }

    /// Ends the extension of a message. The result for an outdated handle has no effect.
    pub(super) fn end_extension(&mut self, entry: &Entry, result: ExtensionResult, now: Timestamp) {
        if !self.by_token.contains_key(&entry.token) {
            return;
        }
        self.update(entry.token, |it| {
            it.extension = Extension::Possible;
            if it.receipt != entry.receipt {
                return;
            }
            match result {
                ExtensionResult::Until(visible_at) => {
                    it.set_visible_at(visible_at, now);
                    it.is_extended = true;
                }
                ExtensionResult::Failed { visible_at } => {
                    // It may have been carried out, and the queue's own timeout may be shorter now.
                    it.visible_at = it.visible_at.min(visible_at);
                    it.is_extended = true;
                }
                ExtensionResult::Refused => {
                    it.extension = Extension::Refused;
                    it.visible_at = it.visible_at.min(now);
                }
            }
        });
    }

    /// Changes a message and keeps the indexes in step.
    fn update(&mut self, token: Token, change: impl FnOnce(&mut ReceivedMessage)) {
        let message = self
            .by_token
            .get_mut(&token)
            .expect("a token is valid while its message is in the inbox");
        let before = message.indexed_at();
        change(message);
        let after = message.indexed_at();
        self.move_entries(token, before, after);
    }

    fn move_entries(&mut self, token: Token, from: IndexedAt, to: IndexedAt) {
        move_entry(&mut self.buffered, token, from.buffered, to.buffered);
        move_entry(&mut self.waiting, token, from.waiting, to.waiting);
        move_entry(&mut self.extendable, token, from.extendable, to.extendable);
    }
}

pub(super) fn receipts_of(entries: &[Entry]) -> Vec<ReceiptHandle> {
    entries.iter().map(|entry| entry.receipt.clone()).collect()
}

/// Changes the time of a message in an index.
fn move_entry(
    index: &mut BTreeSet<(Timestamp, Token)>,
    token: Token,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) {
    if from == to {
        return;
    }
    if let Some(from) = from {
        index.remove(&(from, token));
    }
    if let Some(to) = to {
        index.insert((to, token));
    }
}

impl ReceivedMessage {
    /// Whether it waits to be put into a batch.
    pub(super) const fn is_buffered(&self) -> bool {
        self.buffered
    }

    fn indexed_at(&self) -> IndexedAt {
        IndexedAt {
            buffered: self.buffered.then_some(self.visible_at),
            waiting: self.waits_in.map(|_| self.visible_at),
            extendable: self.extendable_at(),
        }
    }

    /// When its next extension is due, if it can be extended.
    fn extendable_at(&self) -> Option<Timestamp> {
        (self.extension == Extension::Possible).then_some(self.extend_at)
    }

    pub(super) fn is_being_extended(&self) -> bool {
        self.extension == Extension::InFlight
    }

    fn set_visible_at(&mut self, visible_at: Timestamp, now: Timestamp) {
        self.visible_at = visible_at;
        self.extend_at = midpoint(now, visible_at);
    }
}

fn midpoint(now: Timestamp, later: Timestamp) -> Timestamp {
    now + later.since(now) / 2
}
