//! The messages that the function is done with, until the queue has deleted them.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;

use super::EntryResult;
use super::held::{Entry, HeldMessages, Token};
use super::pause::Pause;
use crate::outcome::Fault;
use crate::time::Timestamp;

/// What remains to be deleted.
#[derive(Debug, Default)]
pub(super) struct Deleting {
    owed: VecDeque<Token>,
    pause: Pause,
}

/// What a deletion has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    /// After the function had them.
    pub(super) n_done: usize,
    /// The function was not to see them.
    n_unseen: usize,
    /// They may come again.
    pub(super) n_lost: usize,
}

impl Deleting {
    pub(super) fn push(&mut self, tokens: Vec<Token>) {
        self.owed.extend(tokens);
    }

    /// When something is deleted, if anything is owed.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let until = self.pause.until().unwrap_or(Timestamp::EPOCH);
        (!self.owed.is_empty()).then_some(until)
    }

    /// Starts to delete everything that is owed, if it may start now.
    pub(super) fn start(&mut self, held: &HeldMessages, now: Timestamp) -> Vec<Entry> {
        if self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        let owed = self.owed.drain(..);
        owed.map(|token| held.entry(token)).collect()
    }

    /// A deletion has ended that began at `begun`. What is finished with is held no longer.
    pub(super) fn end(
        &mut self,
        entries: &[Entry],
        begun: Timestamp,
        result: &Result<Vec<EntryResult>, Fault>,
        held: &mut HeldMessages,
        now: Timestamp,
        rng: &mut ChaCha8Rng,
    ) -> Deleted {
        let results = result.as_deref().unwrap_or_default();
        let mut deleted = Deleted::default();
        let mut failed = false;
        for (index, entry) in entries.iter().enumerate() {
            let result = results.get(index).unwrap_or(&EntryResult::Failed);
            failed |= *result == EntryResult::Failed;
            let message = held.get(entry.token);
            if message.receipt != entry.receipt {
                // It was received again meanwhile: only the newest handle is sure to delete it.
                self.owed.push_back(entry.token);
                continue;
            }
            match result {
                EntryResult::Done if message.given_up => deleted.n_unseen += 1,
                EntryResult::Done => deleted.n_done += 1,
                EntryResult::Refused => deleted.n_lost += 1,
                EntryResult::Failed if message.visible_at <= now => deleted.n_lost += 1,
                EntryResult::Failed => {
                    self.owed.push_back(entry.token);
                    continue;
                }
            }
            held.remove(entry.token);
        }
        if !failed || 0 < deleted.n_done + deleted.n_unseen {
            self.pause.worked(begun);
        }
        if failed {
            let fault = result.as_ref().err().copied();
            self.pause
                .failed(fault.unwrap_or(Fault::Transient), now, rng);
        }
        deleted
    }
}
