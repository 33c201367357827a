//! The messages that are processed or filtered out, until the queue has deleted them.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;

use super::inbox::{Entry, Inbox, Token};
use super::interface::EntryResult;
use super::pause::Pause;
use crate::outcome::Fault;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct DeleteQueue {
    tokens: VecDeque<Token>,
    pause: Pause,
}

/// Messages that left the inbox at the end of a deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    /// After the function processed them.
    pub(super) n_processed: usize,
    n_filtered_out: usize,
    /// They may be received again.
    pub(super) n_not_deleted: usize,
}

impl DeleteQueue {
    pub(super) fn push(&mut self, tokens: Vec<Token>) {
        self.tokens.extend(tokens);
    }

    /// When the next deletion may start; `None` if there is nothing to delete.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let until = self.pause.until().unwrap_or(Timestamp::EPOCH);
        (!self.tokens.is_empty()).then_some(until)
    }

    /// Starts to delete all messages of the queue, if a deletion is due.
    pub(super) fn start(&mut self, inbox: &Inbox, now: Timestamp) -> Vec<Entry> {
        if self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        let tokens = self.tokens.drain(..);
        tokens.map(|token| inbox.entry(token)).collect()
    }

    /// Ends a deletion that started at `started`. Removes from the inbox what will not be tried
    /// again.
    pub(super) fn end(
        &mut self,
        entries: &[Entry],
        started: Timestamp,
        result: &Result<Vec<EntryResult>, Fault>,
        inbox: &mut Inbox,
        now: Timestamp,
        rng: &mut ChaCha8Rng,
    ) -> Deleted {
        let results = result.as_deref().unwrap_or_default();
        let mut deleted = Deleted::default();
        let mut failed = false;
        for (index, entry) in entries.iter().enumerate() {
            let result = results.get(index).unwrap_or(&EntryResult::Failed);
            failed |= *result == EntryResult::Failed;
            let message = inbox.get(entry.token);
            if message.receipt != entry.receipt {
                // It was received again meanwhile: only the newest handle is sure to delete it.
                self.tokens.push_back(entry.token);
                continue;
            }
            match result {
                EntryResult::Done if message.filtered_out => deleted.n_filtered_out += 1,
                EntryResult::Done => deleted.n_processed += 1,
                EntryResult::Refused => deleted.n_not_deleted += 1,
                EntryResult::Failed if message.visible_at <= now => deleted.n_not_deleted += 1,
                EntryResult::Failed => {
                    self.tokens.push_back(entry.token);
                    continue;
                }
            }
            inbox.remove(entry.token);
        }
        if !failed || 0 < deleted.n_processed + deleted.n_filtered_out {
            self.pause.succeeded(started);
        }
        if failed {
            let fault = result.as_ref().err().copied();
            self.pause
                .failed(fault.unwrap_or(Fault::Transient), now, rng);
        }
        deleted
    }
}
