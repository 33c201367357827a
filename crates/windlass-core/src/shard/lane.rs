//! One lane: records that are invoked strictly one batch after the other.
//!
//! ```text
//!   idle ──record──▶ filling ──full, window over, shard ended──▶ in flight ──failed──▶ waiting
//!    ▲                  ▲                                         │   ▲                  │
//!    └──────────────────┴───────────────resolved──────────────────┘   └──────its time────┘
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::{Batch, ShardConsumerSettings, Waiting};
use crate::batch::{BatchId, BatchLimits};
use crate::event;
use crate::outcome::Outcome;
use crate::progress::Ticket;
use crate::record::Record;
use crate::retry::{Tries, Verdict};
use crate::time::Timestamp;

/// Records of one lane and what is being done with those at its head.
#[derive(Debug)]
pub(super) struct Lane {
    limits: BatchLimits,
    window: Duration,
    /// Records behind the batch, in the order of the shard.
    queue: VecDeque<Queued>,
    /// Rendered size of everything held, the batch included.
    bytes: usize,
    n_batches: u64,
    /// The last record that was put into a batch.
    last_batched: Option<Ticket>,
    state: State,
}

#[derive(Debug)]
struct Queued {
    ticket: Ticket,
    record: Record,
}

#[derive(Debug)]
enum State {
    /// There are no records. `window`: it is running since then, from the end of the last
    /// invocation.
    Idle { window: Option<Timestamp> },
    /// Records gather.
    Filling { window: Timestamp },
    /// The function works.
    InFlight(Held),
    /// The batch failed and is tried again later.
    Waiting {
        held: Held,
        until: Timestamp,
        why: Waiting,
    },
}

/// A batch on its way, with what is needed to try it again.
#[derive(Debug)]
struct Held {
    batch: Batch,
    tickets: Vec<Ticket>,
    bytes: usize,
    tries: Tries,
}

impl Lane {
    pub(super) fn new(settings: &ShardConsumerSettings) -> Self {
        Self {
            limits: BatchLimits {
                items: settings.mapping.batch_size,
                payload: settings.limits.payload_limit,
            },
            window: settings.mapping.maximum_batching_window,
            queue: VecDeque::new(),
            bytes: 0,
            n_batches: 0,
            last_batched: None,
            state: State::Idle { window: None },
        }
    }

    /// Takes in a record behind all others.
    ///
    /// A window begins when the invocation before it ends; if it passed without a record, or there
    /// was no invocation yet, with the first record.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html>
    pub(super) fn push(&mut self, ticket: Ticket, record: Record, now: Timestamp) {
        self.bytes += record.event_len();
        self.queue.push_back(Queued { ticket, record });
        if let State::Idle { window } = self.state {
            let running = window.filter(|&begun| now < begun + self.window);
            self.state = State::Filling {
                window: running.unwrap_or(now),
            };
        }
    }

    /// The batch that is due, if one is. `no_more`: nothing can be added, so that there is nothing
    /// to wait for.
    pub(super) fn next_batch(&mut self, no_more: bool, now: Timestamp) -> Option<Batch> {
        match self.state {
            State::Filling { window } => {
                let fill = self.limits.fill(self.sizes());
                if !(fill.full || no_more || window + self.window <= now) {
                    return None;
                }
                let held = self.take(fill.items);
                let batch = held.batch.clone();
                self.state = State::InFlight(held);
                Some(batch)
            }
            State::Waiting { until, .. } if until <= now => {
                let State::Waiting { held, .. } = self.replace(State::Idle { window: None }) else {
                    unreachable!("the state was just looked at");
                };
                let batch = held.batch.clone();
                self.state = State::InFlight(held);
                Some(batch)
            }
            State::Idle { .. } | State::InFlight(_) | State::Waiting { .. } => None,
        }
    }

    /// Says how the invocation under way has ended. Gives the records that are resolved by that.
    pub(super) fn end(
        &mut self,
        batch: BatchId,
        outcome: &Outcome,
        random: &mut ChaCha8Rng,
        now: Timestamp,
    ) -> Vec<Ticket> {
        let State::InFlight(mut held) = self.replace(State::Idle { window: None }) else {
            panic!("an invocation ends that was not begun: {batch:?}");
        };
        assert_eq!(held.batch.id, batch, "one invocation is in flight");
        match held.tries.judge(outcome, random) {
            Verdict::Resolve => {
                self.bytes -= held.bytes;
                self.state = if self.queue.is_empty() {
                    State::Idle { window: Some(now) }
                } else {
                    State::Filling { window: now }
                };
                held.tickets
            }
            Verdict::Retry(delay) => {
                held.batch.attempt = held.tries.attempt();
                let why = match outcome {
                    Outcome::NotInvoked { cause } => Waiting::NotInvoked(*cause),
                    Outcome::Success | Outcome::FunctionError { .. } => Waiting::FunctionErrors {
                        attempt: held.batch.attempt,
                    },
                };
                self.state = State::Waiting {
                    held,
                    until: now + delay,
                    why,
                };
                Vec::new()
            }
        }
    }

    /// When a batch will be due without anything else happening.
    pub(super) fn timeout(&self) -> Option<Timestamp> {
        match &self.state {
            State::Idle { .. } | State::InFlight(_) => None,
            State::Filling { window } => Some(*window + self.window),
            State::Waiting { until, .. } => Some(*until),
        }
    }

    /// The first record held.
    pub(super) fn first(&self) -> Option<Ticket> {
        let in_batch = self.held().and_then(|held| held.tickets.first());
        let in_queue = || self.queue.front().map(|queued| &queued.ticket);
        in_batch.or_else(in_queue).copied()
    }

    /// When the first record held arrived at the stream.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let in_batch = self.held().and_then(|held| held.batch.records.first());
        let in_queue = || self.queue.front().map(|queued| &queued.record);
        in_batch.or_else(in_queue).map(Record::approximate_arrival)
    }

    /// The rendered size of all records held.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many records are held.
    pub(super) fn n_records(&self) -> usize {
        self.queue.len() + self.held().map_or(0, |held| held.tickets.len())
    }

    /// How many records the function has been given and not yet answered for.
    pub(super) fn n_in_flight(&self) -> usize {
        match &self.state {
            State::InFlight(held) => held.tickets.len(),
            State::Idle { .. } | State::Filling { .. } | State::Waiting { .. } => 0,
        }
    }

    /// The attempt of the batch at the head.
    pub(super) fn attempt(&self) -> u32 {
        self.held().map_or(1, |held| held.batch.attempt)
    }

    /// Why the batch at the head waits, if it does.
    pub(super) fn waiting(&self) -> Option<&Waiting> {
        match &self.state {
            State::Waiting { why, .. } => Some(why),
            State::Idle { .. } | State::Filling { .. } | State::InFlight(_) => None,
        }
    }

    fn take(&mut self, n_records: usize) -> Held {
        let mut tickets = Vec::with_capacity(n_records);
        let mut records = Vec::with_capacity(n_records);
        let mut bytes = 0;
        for Queued { ticket, record } in self.queue.drain(..n_records) {
            assert!(self.last_batched < Some(ticket), "a lane keeps its order");
            self.last_batched = Some(ticket);
            bytes += record.event_len();
            tickets.push(ticket);
            records.push(record);
        }
        assert!(
            (1..=self.limits.items).contains(&n_records)
                && event::event_len(n_records, bytes) <= self.limits.payload,
            "a batch keeps within its limits"
        );
        self.n_batches += 1;
        let tries = Tries::default();
        let batch = Batch {
            id: BatchId(self.n_batches),
            attempt: tries.attempt(),
            records: records.into(),
        };
        Held {
            batch,
            tickets,
            bytes,
            tries,
        }
    }

    fn replace(&mut self, state: State) -> State {
        std::mem::replace(&mut self.state, state)
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        self.queue.iter().map(|queued| queued.record.event_len())
    }

    fn held(&self) -> Option<&Held> {
        match &self.state {
            State::InFlight(held) | State::Waiting { held, .. } => Some(held),
            State::Idle { .. } | State::Filling { .. } => None,
        }
    }
}
