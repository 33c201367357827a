//! The messages that wait to be put into a batch, and when the next batch closes.
//!
//! They are kept by message group, so that the costs of a message do not grow with the number of
//! those that wait.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use super::inbox::{Inbox, Token};
use super::interface::RequestId;
use crate::batch::BatchLimits;
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
    /// None of them is empty.
    groups: BTreeMap<GroupKey, Group>,
    /// The groups that no other batch may contain: one of their batches is in flight or waits.
    blocked: BTreeSet<KeyHash>,
    /// The first message of each group that is not blocked.
    free_firsts: BTreeMap<Token, GroupKey>,
    /// The first message of each blocked group.
    blocked_firsts: BTreeMap<Token, GroupKey>,
    /// Messages of all groups.
    n_messages: usize,
    /// Messages and bytes of the groups that are not blocked.
    n_free: usize,
    free_bytes: usize,
    /// How many of the messages each receive returned.
    receives: BTreeMap<RequestId, usize>,
}

/// `None`: the messages of a standard queue, which are never blocked.
type GroupKey = Option<KeyHash>;

/// The buffered messages of a group, in the order of receipt.
#[derive(Debug, Default)]
struct Group {
    messages: VecDeque<Buffered>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Buffered {
    token: Token,
    /// Of its event.
    bytes: usize,
    received: Timestamp,
    receive: RequestId,
}

/// What decides about the next batch in addition to its messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
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
            groups: BTreeMap::new(),
            blocked: BTreeSet::new(),
            free_firsts: BTreeMap::new(),
            blocked_firsts: BTreeMap::new(),
            n_messages: 0,
            n_free: 0,
            free_bytes: 0,
            receives: BTreeMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.n_messages == 0
    }

    pub(super) fn len(&self) -> usize {
        self.n_messages
    }

    /// The receives that returned the messages.
    pub(super) fn n_receives(&self) -> usize {
        self.receives.len()
    }

    /// All messages, in the order of receipt.
    pub(super) fn tokens(&self) -> Vec<Token> {
        sorted(self.groups.values().flat_map(Group::tokens))
    }

    /// Adds a message that was just received.
    pub(super) fn push(&mut self, token: Token, inbox: &Inbox) {
        self.insert(token, inbox, VecDeque::len);
    }

    /// Adds messages that were taken before, in the order of receipt.
    pub(super) fn put_back(&mut self, tokens: &[Token], inbox: &Inbox) {
        for token in tokens {
            self.insert(*token, inbox, |messages| {
                messages.partition_point(|it| it.token < *token)
            });
        }
    }

    /// `index`: where to insert the message among those of its group.
    fn insert(
        &mut self,
        token: Token,
        inbox: &Inbox,
        index: impl FnOnce(&VecDeque<Buffered>) -> usize,
    ) {
        let message = inbox.get(token);
        let key = message.message.group;
        let buffered = Buffered {
            token,
            bytes: message.message.event.len(),
            received: message.received,
            receive: message.receive,
        };
        *self.receives.entry(buffered.receive).or_default() += 1;
        self.n_messages += 1;
        if !self.is_blocked(key) {
            self.n_free += 1;
            self.free_bytes += buffered.bytes;
        }
        let group = self.groups.entry(key).or_default();
        let first = group.first();
        group.bytes += buffered.bytes;
        let index = index(&group.messages);
        group.messages.insert(index, buffered);
        if index == 0 {
            let firsts = self.firsts(key);
            first.map(|first| firsts.remove(&first));
            firsts.insert(token, key);
        }
    }

    /// When the first message has been buffered for `limit`.
    pub(super) fn held_until(&self, limit: Duration) -> Option<Timestamp> {
        let firsts = [&self.free_firsts, &self.blocked_firsts];
        let firsts = firsts.into_iter().filter_map(BTreeMap::first_key_value);
        let (_, key) = firsts.min()?;
        let first = self.groups[key].messages.front()?;
        Some(first.received + limit)
    }

    /// The messages that have been buffered for `limit`.
    pub(super) fn held_too_long(&self, limit: Duration, now: Timestamp) -> Vec<Token> {
        if self.held_until(limit).is_none_or(|until| now < until) {
            return Vec::new();
        }
        let is_late = |it: &&Buffered| it.received + limit <= now;
        let late = |group: &Group| {
            let late = group.messages.iter().take_while(is_late);
            late.map(|it| it.token).collect::<Vec<_>>()
        };
        sorted(self.groups.values().flat_map(late))
    }

    /// Removes those of the messages that are buffered. All of them must still be in the inbox.
    pub(super) fn remove(&mut self, tokens: &[Token], inbox: &Inbox) {
        let mut by_group = BTreeMap::<GroupKey, BTreeSet<Token>>::new();
        for token in tokens {
            let message = inbox.get(*token);
            if message.is_buffered() {
                let of_group = by_group.entry(message.message.group).or_default();
                of_group.insert(*token);
            }
        }
        for (key, tokens) in by_group {
            self.take(key, |messages| {
                let first = messages.iter().take(tokens.len());
                if first.map(|it| it.token).eq(tokens.iter().copied()) {
                    return messages.drain(..tokens.len()).collect();
                }
                let all = std::mem::take(messages);
                let is_removed = |it: &Buffered| tokens.contains(&it.token);
                let (removed, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(is_removed);
                *messages = kept.into();
                removed
            });
        }
    }

    /// The buffered messages of these groups, in the order of receipt.
    pub(super) fn of_groups(&self, groups: &BTreeSet<KeyHash>) -> Vec<Token> {
        let groups = groups.iter();
        let groups = groups.filter_map(|group| self.groups.get(&Some(*group)));
        sorted(groups.flat_map(Group::tokens))
    }

    /// When the next batch closes: the epoch if it is full; `None` without a message for it.
    pub(super) fn closes_at(&self, closing: Closing, inbox: &Inbox) -> Option<Timestamp> {
        let (_, first) = self.candidates(closing).next()?;
        if closing.at_once || closing.whole_receives || self.is_full() {
            return Some(Timestamp::EPOCH);
        }
        let window_end = first.received + self.window;
        let Some(reserve) = self.reserve else {
            return Some(window_end);
        };
        let visible_at = inbox.next_expiry()?;
        let reserve = u64::try_from(reserve.as_millis()).unwrap_or(u64::MAX);
        let latest = visible_at.as_millis().saturating_sub(reserve);
        Some(window_end.min(Timestamp::from_millis(latest)))
    }

    /// Takes the messages of the next batch, and blocks their groups; none if no batch closes by now.
    pub(super) fn take_batch(
        &mut self,
        closing: Closing,
        inbox: &Inbox,
        now: Timestamp,
    ) -> Vec<Token> {
        let closes_at = self.closes_at(closing, inbox);
        if closes_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let mut batch = Vec::new();
        let sizes = self.candidates(closing).map(|(key, message)| {
            batch.push((key, message.token));
            message.bytes
        });
        let n_messages = self.limits.fill(sizes).n_items;
        batch.truncate(n_messages);
        let mut of_groups = BTreeMap::<GroupKey, usize>::new();
        for (key, _) in &batch {
            *of_groups.entry(*key).or_default() += 1;
        }
        for (key, n_messages) in of_groups {
            self.take(key, |messages| messages.drain(..n_messages).collect());
            self.block(key);
        }
        batch.into_iter().map(|(_, token)| token).collect()
    }

    /// A batch of these groups has ended.
    pub(super) fn unblock(&mut self, groups: &BTreeSet<KeyHash>) {
        for group in groups {
            let key = Some(*group);
            let first = self.groups.get(&key).and_then(Group::first);
            if let Some(first) = first {
                self.firsts(key).remove(&first);
            }
            assert!(self.blocked.remove(group), "a batch blocks its groups");
            if let Some(first) = first {
                self.firsts(key).insert(first, key);
                self.n_free += self.groups[&key].messages.len();
                self.free_bytes += self.groups[&key].bytes;
            }
        }
    }

    fn block(&mut self, key: GroupKey) {
        let Some(group) = key else {
            return;
        };
        let first = self.groups.get(&key).and_then(Group::first);
        if let Some(first) = first {
            self.firsts(key).remove(&first);
            self.n_free -= self.groups[&key].messages.len();
            self.free_bytes -= self.groups[&key].bytes;
        }
        assert!(self.blocked.insert(group), "Q4: a group has one batch");
        if let Some(first) = first {
            self.firsts(key).insert(first, key);
        }
    }

    fn is_blocked(&self, key: GroupKey) -> bool {
        key.is_some_and(|group| self.blocked.contains(&group))
    }

    /// The index that a group is in.
    fn firsts(&mut self, key: GroupKey) -> &mut BTreeMap<Token, GroupKey> {
        if self.is_blocked(key) {
            &mut self.blocked_firsts
        } else {
            &mut self.free_firsts
        }
    }

    /// Removes messages of a group that has some.
    fn take(
        &mut self,
        key: GroupKey,
        remove: impl FnOnce(&mut VecDeque<Buffered>) -> Vec<Buffered>,
    ) {
        let group = self.groups.get_mut(&key);
        let group = group.expect("a group exists while it has messages");
        let first = group.messages.front().map(|it| it.token);
        let removed = remove(&mut group.messages);
        let bytes: usize = removed.iter().map(|it| it.bytes).sum();
        group.bytes -= bytes;
        let next = group.messages.front().map(|it| it.token);
        if next.is_none() {
            self.groups.remove(&key);
        }
        self.n_messages -= removed.len();
        if !self.is_blocked(key) {
            self.n_free -= removed.len();
            self.free_bytes -= bytes;
        }
        if first != next {
            let firsts = self.firsts(key);
            first.map(|first| firsts.remove(&first));
            next.map(|next| firsts.insert(next, key));
        }
        for receive in removed.iter().map(|it| it.receive) {
            let left = self.receives.get_mut(&receive);
            let left = left.expect("its messages are counted");
            *left -= 1;
            if *left == 0 {
                self.receives.remove(&receive);
            }
        }
    }

    /// Whether no message can be added to the next batch.
    fn is_full(&self) -> bool {
        self.limits.max_items <= self.n_free
            || self.limits.max_bytes <= event::event_len(self.n_free, self.free_bytes)
    }

    /// The messages that may be in the next batch, in the order of receipt.
    fn candidates(&self, closing: Closing) -> impl Iterator<Item = (GroupKey, Buffered)> {
        let mut receive = None;
        self.free_messages().take_while(move |(_, message)| {
            let of_message = message.receive;
            !closing.whole_receives || of_message == *receive.get_or_insert(of_message)
        })
    }

    /// The messages of the groups that are not blocked, in the order of receipt.
    fn free_messages(&self) -> impl Iterator<Item = (GroupKey, Buffered)> {
        let mut firsts = self.free_firsts.iter().peekable();
        // The next message of each group whose first one has been returned, with its index.
        let mut next = BinaryHeap::<Reverse<(Token, GroupKey, usize)>>::new();
        std::iter::from_fn(move || {
            let is_first = match (firsts.peek(), next.peek()) {
                (Some((first, _)), Some(Reverse((token, ..)))) => *first < token,
                (first, _) => first.is_some(),
            };
            let (key, index) = if is_first {
                let (_, key) = firsts.next()?;
                (*key, 0)
            } else {
                let Reverse((_, key, index)) = next.pop()?;
                (key, index)
            };
            let messages = &self.groups[&key].messages;
            if let Some(following) = messages.get(index + 1) {
                next.push(Reverse((following.token, key, index + 1)));
            }
            Some((key, messages[index]))
        })
    }
}

impl Group {
    fn first(&self) -> Option<Token> {
        self.messages.front().map(|it| it.token)
    }

    fn tokens(&self) -> impl Iterator<Item = Token> {
        self.messages.iter().map(|it| it.token)
    }
}

fn sorted(tokens: impl Iterator<Item = Token>) -> Vec<Token> {
    let mut tokens: Vec<_> = tokens.collect();
    tokens.sort_unstable();
    tokens
}
