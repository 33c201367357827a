//! The messages that wait to be put into a batch, and when the next batch closes.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::inbox::{Inbox, Token};
use crate::batch::{BatchLimits, Fill};
use crate::event;
use crate::ids::KeyHash;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct BatchBuffer {
    limits: BatchLimits,
    window: Duration,
    /// A batch closes this long before the first buffered message becomes visible; `None` if
    /// visibility is extended.
    reserve: Option<Duration>,
    /// In the order of receipt.
    tokens: VecDeque<Token>,
    /// Bytes of their events.
    bytes: usize,
}

/// What decides about the next batch in addition to its messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing<'a> {
    /// Messages of these groups do not count: a batch of these groups is in flight.
    pub(super) blocked: &'a BTreeSet<KeyHash>,
    /// No batch waits for more messages.
    pub(super) at_once: bool,
    /// A batch has messages of one receive only.
    pub(super) whole_receives: bool,
}

impl BatchBuffer {
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

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The receives that returned the messages.
    pub(super) fn n_receives(&self, inbox: &Inbox) -> usize {
        let receives = self.tokens.iter().map(|token| inbox.get(*token).receive);
        receives.collect::<BTreeSet<_>>().len()
    }

    pub(super) fn tokens(&self) -> Vec<Token> {
        self.tokens.iter().copied().collect()
    }

    pub(super) fn push(&mut self, token: Token, inbox: &Inbox) {
        self.bytes += inbox.size(token);
        self.tokens.push_back(token);
    }

    /// When the first message has been buffered for `limit`.
    pub(super) fn held_until(&self, limit: Duration, inbox: &Inbox) -> Option<Timestamp> {
        let first = self.tokens.front()?;
        Some(inbox.get(*first).received + limit)
    }

    /// The messages that have been buffered for `limit`.
    pub(super) fn held_too_long(
        &self,
        limit: Duration,
        inbox: &Inbox,
        now: Timestamp,
    ) -> Vec<Token> {
        let tokens = self.tokens.iter().copied();
        let is_late = |token: &Token| inbox.get(*token).received + limit <= now;
        tokens.take_while(is_late).collect()
    }

    /// Removes those of the messages that are buffered. All of them must still be in the inbox.
    pub(super) fn remove(&mut self, tokens: &[Token], inbox: &Inbox) {
        let removed: BTreeSet<_> = tokens.iter().copied().collect();
        let bytes = &mut self.bytes;
        self.tokens.retain(|token| {
            let stays = !removed.contains(token);
            if !stays {
                *bytes -= inbox.size(*token);
            }
            stays
        });
    }

    /// The buffered messages of these groups.
    pub(super) fn of_groups(&self, groups: &BTreeSet<KeyHash>, inbox: &Inbox) -> Vec<Token> {
        let group = |token: &Token| inbox.get(*token).message.group;
        let tokens = self.tokens.iter().copied();
        tokens
            .filter(|token| group(token).is_some_and(|group| groups.contains(&group)))
            .collect()
    }

    /// When the next batch closes: the epoch if it is full; `None` without a message for it.
    pub(super) fn closes_at(&self, closing: Closing<'_>, inbox: &Inbox) -> Option<Timestamp> {
        let first = self.candidates(closing, inbox).next()?;
        let at_once = closing.at_once || closing.whole_receives;
        if at_once || (self.may_be_full() && self.fill(closing, inbox).is_full) {
            return Some(Timestamp::EPOCH);
        }
        let window_end = inbox.get(first).received + self.window;
        let Some(reserve) = self.reserve else {
            return Some(window_end);
        };
        let visible_at = inbox.next_expiry()?;
        let reserve = u64::try_from(reserve.as_millis()).unwrap_or(u64::MAX);
        let latest = visible_at.as_millis().saturating_sub(reserve);
        Some(window_end.min(Timestamp::from_millis(latest)))
    }

    /// The messages of the next batch; empty if none closes by now.
    pub(super) fn next_batch(
        &self,
        closing: Closing<'_>,
        inbox: &Inbox,
        now: Timestamp,
    ) -> Vec<Token> {
        let closes_at = self.closes_at(closing, inbox);
        if closes_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let n_messages = self.fill(closing, inbox).n_items;
        let candidates = self.candidates(closing, inbox);
        candidates.take(n_messages).collect()
    }

    /// A cheap test that spares most calls a look at every message.
    fn may_be_full(&self) -> bool {
        let n_messages = self.tokens.len();
        self.limits.max_items <= n_messages
            || self.limits.max_bytes <= event::event_len(n_messages, self.bytes)
    }

    fn fill(&self, closing: Closing<'_>, inbox: &Inbox) -> Fill {
        let candidates = self.candidates(closing, inbox);
        self.limits.fill(candidates.map(|token| inbox.size(token)))
    }

    fn candidates(&self, closing: Closing<'_>, inbox: &Inbox) -> impl Iterator<Item = Token> {
        let Closing {
            blocked,
            whole_receives,
            ..
        } = closing;
        let mut receive = None;
        let tokens = self.tokens.iter().copied();
        let free = tokens.filter(move |token| {
            let group = inbox.get(*token).message.group;
            group.is_none_or(|group| !blocked.contains(&group))
        });
        free.take_while(move |token| {
            let of_token = inbox.get(*token).receive;
            !whole_receives || of_token == *receive.get_or_insert(of_token)
        })
    }
}
