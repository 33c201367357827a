//! The messages of a queue that can be received.
//!
//! A standard queue returns the oldest first, which AWS does not promise but usually does. A FIFO
//! queue returns the messages of a group in order, and none of a group that has a message in
//! flight.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The numbers of the visible messages, in the order of sending.
#[derive(Debug)]
pub(super) enum Available {
    Standard(BTreeSet<u64>),
    Fifo(Groups),
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: BTreeMap<Arc<str>, Group>,
    /// The first message of each group without messages in flight.
    unlocked: BTreeMap<u64, Arc<str>>,
}

#[derive(Debug, Default)]
struct Group {
    visible: BTreeSet<u64>,
    n_in_flight: usize,
    /// The key in [`Groups::unlocked`].
    unlocked: Option<u64>,
}

impl Available {
    pub(super) fn new(fifo: bool) -> Self {
        if fifo {
            Self::Fifo(Groups::default())
        } else {
            Self::Standard(BTreeSet::new())
        }
    }

    /// Adds a new message.
    pub(super) fn add(&mut self, number: u64, group: Option<&Arc<str>>) {
        match self {
            Self::Standard(visible) => {
                visible.insert(number);
            }
            Self::Fifo(groups) => groups.update(group, |group| {
                group.visible.insert(number);
            }),
        }
    }

    /// Adds a message that was in flight.
    pub(super) fn release(&mut self, number: u64, group: Option<&Arc<str>>) {
        match self {
            Self::Standard(visible) => {
                visible.insert(number);
            }
            Self::Fifo(groups) => groups.update(group, |group| {
                group.n_in_flight -= 1;
                group.visible.insert(number);
            }),
        }
    }

    /// Takes up to `limit` messages, which are in flight afterwards: from a FIFO queue, as many of
    /// one group as possible.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html#FIFO-receiving-messages>
    pub(super) fn take(&mut self, limit: usize) -> Vec<u64> {
        match self {
            Self::Standard(visible) => std::iter::from_fn(|| visible.pop_first())
                .take(limit)
                .collect(),
            Self::Fifo(groups) => groups.take(limit),
        }
    }

    /// Removes a visible message.
    pub(super) fn remove(&mut self, number: u64, group: Option<&Arc<str>>) {
        match self {
            Self::Standard(visible) => {
                visible.remove(&number);
            }
            Self::Fifo(groups) => groups.update(group, |group| {
                group.visible.remove(&number);
            }),
        }
    }

    /// Removes a message in flight, which may unlock its group.
    pub(super) fn remove_in_flight(&mut self, group: Option<&Arc<str>>) {
        if let Self::Fifo(groups) = self {
            groups.update(group, |group| group.n_in_flight -= 1);
        }
    }
}

impl Groups {
    fn take(&mut self, limit: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(name) = self.unlocked.values().next().cloned()
        {
            self.update(Some(&name), |group| {
                while taken.len() < limit
                    && let Some(number) = group.visible.pop_first()
                {
                    group.n_in_flight += 1;
                    taken.push(number);
                }
            });
        }
        taken
    }

    /// Changes a group, and its entry among the unlocked ones.
    fn update(&mut self, name: Option<&Arc<str>>, change: impl FnOnce(&mut Group)) {
        let name = name.expect("messages of FIFO queues have a group");
        let group = self.by_name.entry(Arc::clone(name)).or_default();
        change(group);
        let unlocked = group.visible.first().copied();
        let unlocked = unlocked.filter(|_| group.n_in_flight == 0);
        if group.unlocked != unlocked {
            if let Some(number) = group.unlocked {
                self.unlocked.remove(&number);
            }
            if let Some(number) = unlocked {
                self.unlocked.insert(number, Arc::clone(name));
            }
            group.unlocked = unlocked;
        }
        if group.visible.is_empty() && group.n_in_flight == 0 {
            self.by_name.remove(name);
        }
    }
}
