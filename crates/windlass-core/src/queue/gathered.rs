//! The messages that wait to be put into a batch, and when the next batch closes.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::held::{HeldMessages, Token};
use crate::batch::{BatchLimits, Fill};
use crate::event;
use crate::ids::KeyHash;
use crate::time::Timestamp;

/// What waits, in the order of receipt.
#[derive(Debug)]
pub(super) struct Gathered {
    limits: BatchLimits,
    window: Duration,
    /// A batch closes so long before the first of its messages becomes visible; `None` if
    /// visibility is extended.
    reserve: Option<Duration>,
    tokens: VecDeque<Token>,
    bytes: usize,
}

impl Gathered {
    pub(super) const fn new(
        limits: BatchLimits,
        window: Duration,
        reserve: Option<Duration>,
    ) -> Self {
        Self {
            limits,
            window,
            reserve,
            tokens: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    pub(super) fn tokens(&self) -> Vec<Token> {
        self.tokens.iter().copied().collect()
    }

    pub(super) fn push(&mut self, token: Token, held: &HeldMessages) {
        self.bytes += held.size(token);
        self.tokens.push_back(token);
    }

    /// Takes out those of the messages that wait; all of them must still be held.
    pub(super) fn remove(&mut self, tokens: &[Token], held: &HeldMessages) {
        let leaving: BTreeSet<_> = tokens.iter().copied().collect();
        let bytes = &mut self.bytes;
        self.tokens.retain(|token| {
            let stays = !leaving.contains(token);
            if !stays {
                *bytes -= held.size(*token);
            }
            stays
        });
    }

    /// The messages of these groups.
    pub(super) fn of_groups(&self, groups: &BTreeSet<KeyHash>, held: &HeldMessages) -> Vec<Token> {
        let group = |token: &Token| held.get(*token).message.group;
        let tokens = self.tokens.iter().copied();
        tokens
            .filter(|token| group(token).is_some_and(|group| groups.contains(&group)))
            .collect()
    }

    /// When the next batch may be invoked: long ago if it is full; `None` if there is nothing to
    /// make it of. Groups that are `blocked` have a batch in flight.
    pub(super) fn ready_at(
        &self,
        blocked: &BTreeSet<KeyHash>,
        held: &HeldMessages,
    ) -> Option<Timestamp> {
        let first = self.candidates(blocked, held).next()?;
        if self.may_be_full() && self.fill(blocked, held).full {
            return Some(Timestamp::EPOCH);
        }
        let window_ends = held.get(first).received + self.window;
        let Some(reserve) = self.reserve else {
            return Some(window_ends);
        };
        let visible_at = held.gathered_until()?;
        let reserve = u64::try_from(reserve.as_millis()).unwrap_or(u64::MAX);
        let latest = visible_at.as_millis().saturating_sub(reserve);
        Some(window_ends.min(Timestamp::from_millis(latest)))
    }

    /// Takes out the messages of the next batch; none if it is not ready.
    pub(super) fn take_batch(
        &mut self,
        blocked: &BTreeSet<KeyHash>,
        held: &HeldMessages,
        now: Timestamp,
    ) -> Vec<Token> {
        let ready_at = self.ready_at(blocked, held);
        if ready_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let n_messages = self.fill(blocked, held).items;
        let candidates = self.candidates(blocked, held);
        let batch: Vec<_> = candidates.take(n_messages).collect();
        self.remove(&batch, held);
        batch
    }

    /// Whether it is worth the trouble to look at every message.
    fn may_be_full(&self) -> bool {
        let n_messages = self.tokens.len();
        self.limits.items <= n_messages
            || self.limits.payload <= event::event_len(n_messages, self.bytes)
    }

    fn fill(&self, blocked: &BTreeSet<KeyHash>, held: &HeldMessages) -> Fill {
        let candidates = self.candidates(blocked, held);
        self.limits.fill(candidates.map(|token| held.size(token)))
    }

    fn candidates(
        &self,
        blocked: &BTreeSet<KeyHash>,
        held: &HeldMessages,
    ) -> impl Iterator<Item = Token> {
        let group = |token: &Token| held.get(*token).message.group;
        let tokens = self.tokens.iter().copied();
        tokens.filter(move |token| group(token).is_none_or(|group| !blocked.contains(&group)))
    }
}
