//! Which messages of a queue can be received next.
//!
//! A standard queue gives the oldest first, which AWS does not promise but usually does. A FIFO
//! queue gives a group's messages in order, and none of a group of which one is in flight.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The numbers of the messages that are visible, in the order of sending.
#[derive(Debug)]
pub(super) enum Shelf {
    Standard(BTreeSet<u64>),
    Fifo(Groups),
}

/// The groups of a FIFO queue.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: BTreeMap<Arc<str>, Group>,
    /// The first message of each group that may be received.
    open: BTreeMap<u64, Arc<str>>,
}

/// The messages of a group that are still in the queue.
#[derive(Debug, Default)]
struct Group {
    visible: BTreeSet<u64>,
    delayed: BTreeSet<u64>,
    n_in_flight: usize,
    /// Where it stands among the open ones.
    listed: Option<u64>,
}

impl Shelf {
    pub(super) fn new(fifo: bool) -> Self {
        if fifo {
            Self::Fifo(Groups::default())
        } else {
            Self::Standard(BTreeSet::new())
        }
    }

    /// A message was sent that cannot be received yet.
    pub(super) fn delay(&mut self, number: u64, group: Option<&Arc<str>>) {
        if let (Self::Fifo(groups), Some(name)) = (self, group) {
            groups.change(name, |group| {
                group.delayed.insert(number);
            });
        }
    }

    /// A message can be received: it is new, or its delay is over.
    pub(super) fn put(&mut self, number: u64, group: Option<&Arc<str>>) {
        match (self, group) {
            (Self::Fifo(groups), Some(name)) => groups.change(name, |group| {
                group.delayed.remove(&number);
                group.visible.insert(number);
            }),
            (Self::Standard(visible), _) => {
                visible.insert(number);
            }
            (Self::Fifo(_), None) => unreachable!("messages of FIFO queues have a group"),
        }
    }

    /// A message in flight comes back.
    pub(super) fn put_back(&mut self, number: u64, group: Option<&Arc<str>>) {
        match (self, group) {
            (Self::Fifo(groups), Some(name)) => groups.change(name, |group| {
                group.n_in_flight -= 1;
                group.visible.insert(number);
            }),
            (shelf, group) => shelf.put(number, group),
        }
    }

    /// Takes up to `limit` messages, which are in flight from then on.
    ///
    /// From a FIFO queue it takes as many of one group as it can.
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

    /// A message in flight is gone. Answers whether others can be received because of it.
    pub(super) fn settle(&mut self, group: Option<&Arc<str>>) -> bool {
        let (Self::Fifo(groups), Some(name)) = (self, group) else {
            return false;
        };
        groups.change(name, |group| group.n_in_flight -= 1);
        groups
            .by_name
            .get(name)
            .is_some_and(|group| group.listed.is_some())
    }

    /// A message that is not in flight is gone.
    pub(super) fn forget(&mut self, number: u64, group: Option<&Arc<str>>) {
        match (self, group) {
            (Self::Standard(visible), _) => {
                visible.remove(&number);
            }
            (Self::Fifo(groups), Some(name)) => groups.change(name, |group| {
                group.visible.remove(&number);
                group.delayed.remove(&number);
            }),
            (Self::Fifo(_), None) => unreachable!("messages of FIFO queues have a group"),
        }
    }
}

impl Groups {
    fn take(&mut self, limit: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        while taken.len() < limit {
            let Some(name) = self.open.values().next().cloned() else {
                break;
            };
            self.change(&name, |group| {
                let room = limit - taken.len();
                let before = group.delayed.first().copied().unwrap_or(u64::MAX);
                let numbers: Vec<u64> = group.visible.range(..before).take(room).copied().collect();
                for number in &numbers {
                    group.visible.remove(number);
                }
                group.n_in_flight += numbers.len();
                taken.extend(numbers);
            });
        }
        taken
    }

    /// Changes a group and puts it into its place among the open ones.
    fn change(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Group)) {
        let group = self.by_name.entry(Arc::clone(name)).or_default();
        change(group);
        let first = group.first();
        if group.listed != first {
            if let Some(listed) = group.listed {
                self.open.remove(&listed);
            }
            if let Some(first) = first {
                self.open.insert(first, Arc::clone(name));
            }
            group.listed = first;
        }
        if group.is_empty() {
            self.by_name.remove(name);
        }
    }
}

impl Group {
    /// The message that can be received next.
    fn first(&self) -> Option<u64> {
        let first = self.visible.first().copied();
        let first = first.filter(|_| self.n_in_flight == 0);
        // What is behind a delayed message waits with it.
        first.filter(|first| self.delayed.first().is_none_or(|delayed| first < delayed))
    }

    fn is_empty(&self) -> bool {
        self.visible.is_empty() && self.delayed.is_empty() && self.n_in_flight == 0
    }
}
