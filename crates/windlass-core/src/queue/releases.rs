//! Messages that are to become visible again, and wait for an extension of theirs that is in flight:
//! a queue may carry out requests in another order, so a message has one visibility change in flight
//! at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::inbox::{Entry, Inbox, ReceivedMessage, Token};
use super::interface::{EntryResult, VisibilityChange};
use crate::ids::{MessageId, ReceiptHandle};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Releases {
    waiting: BTreeMap<Token, Release>,
}

#[derive(Debug)]
struct Release {
    message_id: MessageId,
    receipt: ReceiptHandle,
    visible_at: Timestamp,
}

impl Releases {
    /// Returns the change of a message that can be released now; another one waits.
    pub(super) fn add(
        &mut self,
        token: Token,
        message: ReceivedMessage,
        timeout: Duration,
        now: Timestamp,
    ) -> Option<VisibilityChange> {
        let receipt = message.receipt.clone();
        if !message.is_being_extended() {
            return Some(VisibilityChange { receipt, timeout });
        }
        let release = Release {
            message_id: message.message.message_id,
            receipt,
            visible_at: now + timeout,
        };
        self.waiting.insert(token, release);
        None
    }

    /// As [`Self::add`], for failed messages with their delays. One without a delay is left to the
    /// queue, whose own timeout it has already unless it was extended.
    pub(super) fn add_failed(
        &mut self,
        failed: impl Iterator<Item = ((Token, ReceivedMessage), Option<Duration>)>,
        queue_timeout: Duration,
        now: Timestamp,
    ) -> Vec<VisibilityChange> {
        let mut changes = Vec::new();
        for ((token, message), delay) in failed {
            let is_extended = message.is_extended || message.is_being_extended();
            let is_kept = !is_extended && message.visible_at == message.requested + queue_timeout;
            if delay.is_some() || !is_kept {
                let timeout = delay.unwrap_or(queue_timeout);
                changes.extend(self.add(token, message, timeout, now));
            }
        }
        changes
    }

    /// An extension has ended: what can be released now, after whole seconds. A message that was
    /// received again meanwhile keeps its new visibility.
    pub(super) fn ready(
        &mut self,
        entries: &[Entry],
        results: impl Iterator<Item = EntryResult>,
        inbox: &Inbox,
        now: Timestamp,
    ) -> Vec<VisibilityChange> {
        let mut ready = Vec::new();
        for (entry, result) in entries.iter().zip(results) {
            let Some(release) = self.waiting.remove(&entry.token) else {
                continue;
            };
            let is_useless = result == EntryResult::Refused && release.receipt == entry.receipt;
            if is_useless || inbox.contains(&release.message_id) {
                continue;
            }
            let seconds = release.visible_at.since(now).as_millis().div_ceil(1_000);
            ready.push(VisibilityChange {
                receipt: release.receipt,
                timeout: Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)),
            });
        }
        ready
    }
}
