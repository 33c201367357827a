//! Messages that are to become visible again, and wait for an extension of theirs that is in flight:
//! a queue may carry out requests in another order, so a message has one visibility change in flight
//! at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::inbox::{Entry, Inbox, ReceivedMessage, Token};
use super::interface::EntryResult;
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
    /// Returns the handle of a message that can be released now; another one waits.
    pub(super) fn add(
        &mut self,
        token: Token,
        message: ReceivedMessage,
        visible_at: Timestamp,
    ) -> Option<ReceiptHandle> {
        if !message.is_being_extended() {
            return Some(message.receipt);
        }
        let release = Release {
            message_id: message.message.message_id,
            receipt: message.receipt,
            visible_at,
        };
        self.waiting.insert(token, release);
        None
    }

    /// An extension has ended: the handles that can be released now, by their visibility timeouts in
    /// whole seconds. A message that was received again meanwhile keeps its new visibility.
    pub(super) fn ready(
        &mut self,
        entries: &[Entry],
        results: impl Iterator<Item = EntryResult>,
        inbox: &Inbox,
        now: Timestamp,
    ) -> BTreeMap<Duration, Vec<ReceiptHandle>> {
        let mut ready = BTreeMap::<_, Vec<_>>::new();
        for (entry, result) in entries.iter().zip(results) {
            let Some(release) = self.waiting.remove(&entry.token) else {
                continue;
            };
            let is_useless = result == EntryResult::Refused && release.receipt == entry.receipt;
            if is_useless || inbox.contains(&release.message_id) {
                continue;
            }
            let seconds = release.visible_at.since(now).as_millis().div_ceil(1_000);
            let timeout = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
            ready.entry(timeout).or_default().push(release.receipt);
        }
        ready
    }
}
