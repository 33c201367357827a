//! One ordered sub-stream of a shard: its batches are invoked strictly one after the other.
//!
//! ```text
//!   idle ──record──▶ filling ──full, window over, shard ended──▶ in flight ──failed──▶ waiting
//!    ▲                  ▲                                         │   ▲                  │
//!    └──────────────────┴───────────────resolved──────────────────┘   └───backoff over───┘
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use super::interface::{Batch, ShardTimer};
use super::settings::ShardConsumerSettings;
use super::view::Waiting;
use crate::batch::{BatchId, BatchIds, BatchLimits};
use crate::event;
use crate::outcome::Outcome;
use crate::progress::Ticket;
use crate::record::Record;
use crate::retry::{Attempts, Jitter, RetryDecision};
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Lane {
    limits: BatchLimits,
    window: Duration,
    /// Records after the current batch, in the order of the shard.
    queue: VecDeque<Queued>,
    /// Bytes of the events of all records, the current batch included.
    bytes: usize,
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
    /// There are no records. `window_start` is the end of the last invocation.
    Idle {
        window_start: Option<Timestamp>,
    },
    /// Records wait for the batch to fill.
    Filling {
        window_start: Timestamp,
    },
    InFlight(CurrentBatch),
    /// The batch failed and is repeated after a backoff.
    Waiting {
        current: CurrentBatch,
        until: Timestamp,
        cause: Waiting,
    },
}

/// The batch at the head of the lane, with what is needed to repeat it.
#[derive(Debug)]
struct CurrentBatch {
    batch: Batch,
    tickets: Vec<Ticket>,
    bytes: usize,
    attempts: Attempts,
}

impl Lane {
    pub(super) fn new(settings: &ShardConsumerSettings) -> Self {
        Self {
            limits: BatchLimits {
                max_items: settings.mapping.batch_size,
                max_bytes: settings.limits.payload_limit,
            },
            window: settings.mapping.maximum_batching_window,
            queue: VecDeque::new(),
            bytes: 0,
            last_batched: None,
            state: State::Idle { window_start: None },
        }
    }

    /// Appends a record.
    ///
    /// A batching window starts when the previous invocation ends. If that window passed without a
    /// record, or nothing was invoked yet, it starts with the first record.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html>
    pub(super) fn push(&mut self, ticket: Ticket, record: Record, now: Timestamp) {
        self.bytes += record.event_len();
        self.queue.push_back(Queued { ticket, record });
        if let State::Idle { window_start } = self.state {
            let running = window_start.filter(|&start| now < start + self.window);
            self.state = State::Filling {
                window_start: running.unwrap_or(now),
            };
        }
    }

    /// Whether a batch should be invoked: a new one or a repeated one. `no_more`: no record can be
    /// added, so there is nothing to wait for.
    pub(super) fn is_due(&self, no_more: bool, now: Timestamp) -> bool {
        match self.state {
            State::Filling { window_start } => {
                let is_over = no_more || window_start + self.window <= now;
                is_over || self.limits.fill(self.sizes()).is_full
            }
            State::Waiting { until, .. } => until <= now,
            State::Idle { .. } | State::InFlight(_) => false,
        }
    }

    /// Starts the batch that was due, with the records that were added since.
    pub(super) fn start(&mut self, ids: &mut BatchIds) -> Batch {
        let current = match self.replace(State::Idle { window_start: None }) {
            State::Filling { .. } => {
                let n_records = self.limits.fill(self.sizes()).n_items;
                self.take_batch(n_records, ids.assign())
            }
            State::Waiting { current, .. } => current,
            State::Idle { .. } | State::InFlight(_) => panic!("no batch is due"),
        };
        let batch = current.batch.clone();
        self.state = State::InFlight(current);
        batch
    }

    /// Ends the invocation in flight. Returns the records that are resolved by that.
    pub(super) fn end(
        &mut self,
        batch: BatchId,
        outcome: &Outcome,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> Vec<Ticket> {
        let State::InFlight(mut current) = self.replace(State::Idle { window_start: None }) else {
            panic!("no invocation is in flight: {batch:?}");
        };
        assert_eq!(current.batch.id, batch, "I3: one invocation is in flight");
        match current.attempts.decide(outcome, jitter) {
            RetryDecision::Resolve => {
                self.bytes -= current.bytes;
                self.state = if self.queue.is_empty() {
                    State::Idle {
                        window_start: Some(now),
                    }
                } else {
                    State::Filling { window_start: now }
                };
                current.tickets
            }
            RetryDecision::Retry(delay) => {
                current.batch.attempt = current.attempts.next_attempt();
                let cause = match outcome {
                    Outcome::NotInvoked { cause } => Waiting::NotInvoked(*cause),
                    Outcome::Success | Outcome::FunctionError { .. } => Waiting::FunctionErrors {
                        attempt: current.batch.attempt,
                    },
                };
                self.state = State::Waiting {
                    current,
                    until: now + delay,
                    cause,
                };
                Vec::new()
            }
        }
    }

    /// When a batch will be due if nothing else happens, and why.
    pub(super) fn due(&self) -> Option<(Timestamp, ShardTimer)> {
        match &self.state {
            State::Idle { .. } | State::InFlight(_) => None,
            State::Filling { window_start } => {
                Some((*window_start + self.window, ShardTimer::Window))
            }
            State::Waiting { until, .. } => Some((*until, ShardTimer::Retry)),
        }
    }

    /// The first record in memory.
    pub(super) fn first(&self) -> Option<Ticket> {
        let in_batch = self.current().and_then(|current| current.tickets.first());
        let in_queue = || self.queue.front().map(|queued| &queued.ticket);
        in_batch.or_else(in_queue).copied()
    }

    /// Arrival at the stream of the first record in memory.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let in_batch = self
            .current()
            .and_then(|current| current.batch.records.first());
        let in_queue = || self.queue.front().map(|queued| &queued.record);
        in_batch.or_else(in_queue).map(Record::approximate_arrival)
    }

    /// Bytes of the events of all records in memory.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records in memory.
    pub(super) fn n_records(&self) -> usize {
        self.queue.len() + self.current().map_or(0, |current| current.tickets.len())
    }

    /// Records of the invocation in flight.
    pub(super) fn n_in_flight(&self) -> usize {
        match &self.state {
            State::InFlight(current) => current.tickets.len(),
            State::Idle { .. } | State::Filling { .. } | State::Waiting { .. } => 0,
        }
    }

    /// The invocation in flight.
    pub(super) fn in_flight(&self) -> Option<BatchId> {
        match &self.state {
            State::InFlight(current) => Some(current.batch.id),
            State::Idle { .. } | State::Filling { .. } | State::Waiting { .. } => None,
        }
    }

    /// Of the batch at the head; 1 if there is none.
    pub(super) fn attempt(&self) -> u32 {
        self.current().map_or(1, |current| current.batch.attempt)
    }

    pub(super) fn waiting(&self) -> Option<&Waiting> {
        match &self.state {
            State::Waiting { cause, .. } => Some(cause),
            State::Idle { .. } | State::Filling { .. } | State::InFlight(_) => None,
        }
    }

    fn take_batch(&mut self, n_records: usize, id: BatchId) -> CurrentBatch {
        let mut tickets = Vec::with_capacity(n_records);
        let mut records = Vec::with_capacity(n_records);
        let mut bytes = 0;
        for Queued { ticket, record } in self.queue.drain(..n_records) {
            assert!(
                self.last_batched < Some(ticket),
                "I4: a lane keeps its order"
            );
            self.last_batched = Some(ticket);
            bytes += record.event_len();
            tickets.push(ticket);
            records.push(record);
        }
        assert!(
            (1..=self.limits.max_items).contains(&n_records)
                && event::event_len(n_records, bytes) <= self.limits.max_bytes,
            "I5: a batch does not exceed its limits"
        );
        let attempts = Attempts::default();
        let batch = Batch {
            id,
            attempt: attempts.next_attempt(),
            records: records.into(),
        };
        CurrentBatch {
            batch,
            tickets,
            bytes,
            attempts,
        }
    }

    fn replace(&mut self, state: State) -> State {
        std::mem::replace(&mut self.state, state)
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        self.queue.iter().map(|queued| queued.record.event_len())
    }

    fn current(&self) -> Option<&CurrentBatch> {
        match &self.state {
            State::InFlight(current) | State::Waiting { current, .. } => Some(current),
            State::Idle { .. } | State::Filling { .. } => None,
        }
    }
}
