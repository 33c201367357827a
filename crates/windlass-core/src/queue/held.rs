//! The messages that a consumer holds, and how long each stays invisible to others.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::batch::BatchId;
use crate::record::{Message, MessageId, ReceiptHandle};
use crate::time::Timestamp;

/// Names a held message; grows in the order of receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(u64);

/// What is being done with a held message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits to be put into a batch.
    Gathered,
    /// It is part of a batch that runs or waits to be tried again.
    InBatch(BatchId),
    /// The function has succeeded; it remains to be deleted.
    Deleting,
}

/// One message, from its receipt until it is deleted or left to the queue.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) message: Message,
    /// The newest handle: a message that was received again has a new one.
    pub(super) receipt: ReceiptHandle,
    pub(super) received: Timestamp,
    /// Until when no other reader gets it.
    pub(super) visible_at: Timestamp,
    pub(super) stage: Stage,
    /// A visibility change is under way or must not be repeated yet.
    extending: bool,
}

/// All held messages.
#[derive(Debug, Default)]
pub(super) struct HeldMessages {
    by_token: BTreeMap<Token, Held>,
    by_id: BTreeMap<MessageId, Token>,
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

    /// Takes a message in; `None` if it is held already, from an earlier receive whose visibility
    /// has ended. Then only its handle is new.
    pub(super) fn insert(
        &mut self,
        message: Message,
        received: Timestamp,
        visible_at: Timestamp,
    ) -> Option<Token> {
        if let Some(held) = self
            .by_id
            .get(&message.message_id)
            .and_then(|token| self.by_token.get_mut(token))
        {
            held.receipt = message.receipt_handle;
            held.visible_at = visible_at;
            return None;
        }
        let token = Token(self.next);
        self.next += 1;
        self.bytes += message.event.len();
        self.by_id.insert(message.message_id.clone(), token);
        let receipt = message.receipt_handle.clone();
        let stage = Stage::Gathered;
        let held = Held {
            message,
            receipt,
            received,
            visible_at,
            stage,
            extending: false,
        };
        self.by_token.insert(token, held);
        Some(token)
    }

    pub(super) fn get(&self, token: Token) -> &Held {
        self.by_token
            .get(&token)
            .expect("a token lives as long as its message is held")
    }

    pub(super) fn set_stage(&mut self, token: Token, stage: Stage) {
        let held = self.by_token.get_mut(&token);
        held.expect("a token lives as long as its message is held")
            .stage = stage;
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Held> {
        let held = self.by_token.remove(&token)?;
        self.by_id.remove(&held.message.message_id);
        self.bytes -= held.message.event.len();
        Some(held)
    }

    /// When the next visibility must be extended, so that half of `visibility` remains; `None` if
    /// every message has an extension under way.
    pub(super) fn next_extension(&self, visibility: Duration) -> Option<Timestamp> {
        let idle = self.by_token.values().filter(|held| !held.extending);
        idle.map(|held| extension_due(held, visibility)).min()
    }

    /// Marks the messages whose visibility must be extended by now, and gives them.
    pub(super) fn start_extension(&mut self, visibility: Duration, now: Timestamp) -> Vec<Token> {
        let mut due = Vec::new();
        for (token, held) in &mut self.by_token {
            if !held.extending && extension_due(held, visibility) <= now {
                held.extending = true;
                due.push(*token);
            }
        }
        due
    }

    /// An extension has ended; `visible_at` is when it was done, `None` if it failed.
    pub(super) fn end_extension(&mut self, token: Token, visible_at: Option<Timestamp>) {
        let Some(held) = self.by_token.get_mut(&token) else {
            return;
        };
        held.extending = false;
        if let Some(visible_at) = visible_at {
            held.visible_at = held.visible_at.max(visible_at);
        }
    }

    /// The gathered messages of which another reader may have taken possession.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<Token> {
        let gathered = self
            .by_token
            .iter()
            .filter(|(_, held)| held.stage == Stage::Gathered);
        gathered
            .filter(|(_, held)| held.visible_at <= now)
            .map(|(token, _)| *token)
            .collect()
    }
}

fn extension_due(held: &Held, visibility: Duration) -> Timestamp {
    let half = u64::try_from(visibility.as_millis() / 2).unwrap_or(u64::MAX);
    Timestamp::from_millis(held.visible_at.as_millis().saturating_sub(half))
}
