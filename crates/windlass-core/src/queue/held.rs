//! The messages that a consumer holds, and how long each stays invisible to others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::{MessageId, ReceiptHandle};
use crate::message::Message;
use crate::time::Timestamp;

/// Names a held message; grows in the order of receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(u64);

/// One message, from its receipt until it is deleted or left to the queue.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) message: Message,
    /// The newest handle: a message that was received again has a new one.
    pub(super) receipt: ReceiptHandle,
    pub(super) received: Timestamp,
    /// Until when no other reader gets it.
    pub(super) visible_at: Timestamp,
    /// It waits to be put into a batch.
    gathered: bool,
    /// The function is not to see it: it only waits to be deleted.
    pub(super) given_up: bool,
    /// When the receive began that gave the handle.
    asked: Timestamp,
    extension: Extension,
}

/// Whether visibility can be extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    Possible,
    UnderWay,
    /// The queue has said that the handle is of no use.
    Refused,
}

/// A held message with the handle by which something was asked of the queue.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) token: Token,
    pub(super) receipt: ReceiptHandle,
}

/// How an extension has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extended {
    /// It is invisible until then.
    Until(Timestamp),
    Failed,
    Refused,
}

/// All held messages.
#[derive(Debug, Default)]
pub(super) struct HeldMessages {
    by_token: BTreeMap<Token, Held>,
    by_id: BTreeMap<MessageId, Token>,
    /// The gathered ones, by when they become visible.
    gathered: BTreeSet<(Timestamp, Token)>,
    /// Those whose visibility can be extended, by when they become visible.
    extendable: BTreeSet<(Timestamp, Token)>,
    next: u64,
    bytes: usize,
}

impl HeldMessages {
    pub(super) fn len(&self) -> usize {
        self.by_token.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// Their rendered size in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a message in that a receive has given which began at `asked`; `None` if it is held
    /// already, from another receive. Then only its handle is new.
    pub(super) fn insert(
        &mut self,
        message: Message,
        asked: Timestamp,
        visible_at: Timestamp,
        now: Timestamp,
    ) -> Option<Token> {
        if let Some(token) = self.by_id.get(&message.message_id).copied() {
            // Answers may overtake each other: the handle of an older receive is outdated.
            if self.get(token).asked <= asked {
                self.change(token, |held| {
                    held.receipt = message.receipt_handle;
                    held.visible_at = visible_at;
                    held.asked = asked;
                    if held.extension == Extension::Refused {
                        held.extension = Extension::Possible;
                    }
                });
            }
            return None;
        }
        let token = Token(self.next);
        self.next += 1;
        self.bytes += message.event.len();
        self.by_id.insert(message.message_id.clone(), token);
        let held = Held {
            receipt: message.receipt_handle.clone(),
            message,
            received: now,
            visible_at,
            gathered: true,
            given_up: false,
            asked,
            extension: Extension::Possible,
        };
        self.gathered.insert((visible_at, token));
        self.extendable.insert((visible_at, token));
        self.by_token.insert(token, held);
        Some(token)
    }

    pub(super) fn get(&self, token: Token) -> &Held {
        self.by_token
            .get(&token)
            .expect("a token lives as long as its message is held")
    }

    /// How many bytes its event takes.
    pub(super) fn size(&self, token: Token) -> usize {
        self.get(token).message.event.len()
    }

    /// The token with the handle that is to be used.
    pub(super) fn entry(&self, token: Token) -> Entry {
        let receipt = self.get(token).receipt.clone();
        Entry { token, receipt }
    }

    /// The function is not to see it.
    pub(super) fn give_up(&mut self, token: Token) {
        self.change(token, |held| (held.gathered, held.given_up) = (false, true));
    }

    /// They are put into a batch.
    pub(super) fn leave_gathering(&mut self, tokens: &[Token]) {
        for token in tokens {
            self.change(*token, |held| held.gathered = false);
        }
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Held> {
        let held = self.by_token.remove(&token)?;
        self.gathered.remove(&(held.visible_at, token));
        self.extendable.remove(&(held.visible_at, token));
        self.by_id.remove(&held.message.message_id);
        self.bytes -= held.message.event.len();
        Some(held)
    }

    /// When the first of the gathered messages becomes visible.
    pub(super) fn gathered_until(&self) -> Option<Timestamp> {
        self.gathered.first().map(|(at, _)| *at)
    }

    /// The gathered messages that another reader may get.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<Token> {
        let expired = self.gathered.iter().take_while(|(at, _)| *at <= now);
        expired.map(|(_, token)| *token).collect()
    }

    /// When the next visibility must be extended, so that half of `visibility` remains; `None` if
    /// there is none to extend.
    pub(super) fn next_extension(&self, visibility: Duration) -> Option<Timestamp> {
        let (visible_at, _) = self.extendable.first()?;
        Some(extension_due(*visible_at, visibility))
    }

    /// Marks the messages whose visibility must be extended by now, and gives them.
    pub(super) fn start_extension(&mut self, visibility: Duration, now: Timestamp) -> Vec<Entry> {
        let due: Vec<_> = (self.extendable.iter())
            .take_while(|(visible_at, _)| extension_due(*visible_at, visibility) <= now)
            .map(|(_, token)| *token)
            .collect();
        for token in &due {
            self.change(*token, |held| held.extension = Extension::UnderWay);
        }
        due.into_iter().map(|token| self.entry(token)).collect()
    }

    /// An extension has ended. What it says of an outdated handle is of no interest.
    pub(super) fn end_extension(&mut self, entry: &Entry, how: Extended, now: Timestamp) {
        if !self.by_token.contains_key(&entry.token) {
            return;
        }
        self.change(entry.token, |held| {
            held.extension = Extension::Possible;
            if held.receipt != entry.receipt {
                return;
            }
            match how {
                Extended::Until(visible_at) => held.visible_at = held.visible_at.max(visible_at),
                Extended::Failed => {}
                Extended::Refused => {
                    held.extension = Extension::Refused;
                    held.visible_at = held.visible_at.min(now);
                }
            }
        });
    }

    fn change(&mut self, token: Token, change: impl FnOnce(&mut Held)) {
        let held = self
            .by_token
            .get_mut(&token)
            .expect("a token lives as long as its message is held");
        self.gathered.remove(&(held.visible_at, token));
        self.extendable.remove(&(held.visible_at, token));
        change(held);
        if held.gathered {
            self.gathered.insert((held.visible_at, token));
        }
        if held.extension == Extension::Possible {
            self.extendable.insert((held.visible_at, token));
        }
    }
}

fn extension_due(visible_at: Timestamp, visibility: Duration) -> Timestamp {
    let half = u64::try_from(visibility.as_millis() / 2).unwrap_or(u64::MAX);
    Timestamp::from_millis(visible_at.as_millis().saturating_sub(half))
}
