//! The messages that are processed or filtered out, until the queue has deleted them.

use std::collections::VecDeque;

use super::inbox::{Entry, Inbox, Token};
use super::interface::EntryResult;
use super::pause::Pause;
use crate::outcome::Fault;
use crate::retry::Jitter;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct DeleteQueue {
    tokens: VecDeque<Token>,
    /// Messages of the deletions in flight.
    n_in_flight: usize,
    pause: Pause,
    /// Why a deletion last failed.
    cause: Fault,
    drained_at: Option<Timestamp>,
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

impl Default for DeleteQueue {
    fn default() -> Self {
        Self {
            tokens: VecDeque::new(),
            n_in_flight: 0,
            pause: Pause::default(),
            cause: Fault::Transient,
            drained_at: None,
        }
    }
}

impl DeleteQueue {
    /// From now on no message is kept for long: each deletion that has failed is repeated once, at
    /// once.
    pub(super) fn drain(&mut self, now: Timestamp) {
        self.drained_at = Some(now);
        self.pause = Pause::default();
    }

    /// Why messages cannot be deleted.
    pub(super) fn fault(&self) -> Option<Fault> {
        let any = !self.tokens.is_empty() || 0 < self.n_in_flight;
        (any && self.pause.is_failing()).then_some(self.cause)
    }

    pub(super) const fn paused_until(&self) -> Option<Timestamp> {
        self.pause.until()
    }

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
        self.n_in_flight += self.tokens.len();
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
        jitter: &mut Jitter,
    ) -> Deleted {
        self.n_in_flight -= entries.len();
        let is_repeat = self.drained_at.is_some_and(|at| at <= started);
        let mut deleted = Deleted::default();
        let mut failed = None;
        for (entry, result) in entries
            .iter()
            .zip(EntryResult::of_each(result, entries.len()))
        {
            failed = failed.or(result.fault());
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
                EntryResult::Failed(_) if message.visible_at <= now => deleted.n_not_deleted += 1,
                EntryResult::Failed(fault)
                    if self.drained_at.is_some()
                        && (is_lasting(fault) || is_repeat && message.deletion_failed) =>
                {
                    deleted.n_not_deleted += 1;
                }
                EntryResult::Failed(_) => {
                    inbox.mark_deletion_failed(entry.token);
                    self.tokens.push_back(entry.token);
                    continue;
                }
            }
            inbox.remove(entry.token);
        }
        if failed.is_none() || 0 < deleted.n_processed + deleted.n_filtered_out {
            self.pause.succeeded(started);
        }
        if let Some(fault) = failed {
            self.cause = fault;
            // A drain does not wait as long as the queue may request.
            let draining = self.drained_at.is_some();
            let fault = if draining { Fault::Transient } else { fault };
            self.pause.failed(fault, now, jitter);
        }
        deleted
    }
}

/// Whether only an operator can remove the fault.
const fn is_lasting(fault: Fault) -> bool {
    matches!(fault, Fault::Denied | Fault::Gone)
}
