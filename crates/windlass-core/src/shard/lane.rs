//! One ordered sub-stream of a shard: its batches are invoked strictly one after the other.
//!
//! ```text
//!   idle ──record──▶ filling ──full, window over, shard ended──▶ in flight ──failed──▶ waiting
//!    ▲                  ▲ │                                       │  │   ▲                │  │
//!    │                  │ │                                       │  │   └──backoff over──┘  │
//!    ├──────────────────┴─│───────────────────────resolved────────┘  │                       │
//!    │                    └──too old──▶ delivering ◀──no attempts────┴────────too old────────┘
//!    └──────────────────────────────────────┘
//! ```
//!
//! What a failure leaves of a batch are its *pieces*. They are at the head of the lane, before the
//! records that were not in a batch yet, and each is invoked as a batch of its own.

use std::collections::VecDeque;
use std::time::Duration;

use super::delivery::Delivery;
use super::interface::{Batch, ShardTimer};
use super::piece::{Piece, Run, Runs};
use super::settings::ShardConsumerSettings;
use super::view::Waiting;
use crate::batch::{BatchId, BatchIds, BatchLimits};
use crate::event;
use crate::failure::FailureRecord;
use crate::mapping::RetrySettings;
use crate::outcome::{Fault, Outcome};
use crate::progress::Ticket;
use crate::record::Record;
use crate::retry::{Jitter, RetryDecision};
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Lane {
    limits: BatchLimits,
    window: Duration,
    retries: RetrySettings,
    has_destination: bool,
    /// The pieces after the one that is in flight or waits.
    pieces: VecDeque<Piece>,
    /// Records after the current batch, in the order of the shard.
    queue: VecDeque<Queued>,
    /// Records that were ever added to the queue.
    n_queued: u64,
    /// Those of the queue that arrived before every later one, so the first is the oldest. Empty
    /// without a maximum age.
    oldest: VecDeque<(Ticket, Timestamp)>,
    /// Bytes of the events of all records in memory.
    bytes: usize,
    /// The last record that was put into a batch or given up.
    last_batched: Option<Ticket>,
    state: State,
}

#[derive(Debug)]
struct Queued {
    ticket: Ticket,
    /// See [`Piece::ordinals`].
    ordinal: u64,
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
    InFlight(Piece),
    /// The piece is invoked when it is due: after a backoff, or at once.
    Waiting(Piece),
    /// What is given up goes to the destination before anything else of the lane.
    Delivering {
        delivery: Delivery,
        /// The end of the last invocation.
        window_start: Timestamp,
    },
}

/// Records with which the lane has finished.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) tickets: Vec<Ticket>,
    /// Those among them that were given up without a destination.
    pub(super) dropped: Vec<FailureRecord>,
}

impl Lane {
    pub(super) fn new(settings: &ShardConsumerSettings) -> Self {
        Self {
            limits: BatchLimits {
                max_items: settings.mapping.batch_size,
                max_bytes: settings.limits.payload_limit,
            },
            window: settings.mapping.maximum_batching_window,
            retries: settings.mapping.retries.clone(),
            has_destination: settings.mapping.on_failure.is_some(),
            pieces: VecDeque::new(),
            queue: VecDeque::new(),
            n_queued: 0,
            oldest: VecDeque::new(),
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
        self.n_queued += 1;
        self.enqueue(Queued {
            ticket,
            ordinal: self.n_queued,
            record,
        });
        if let State::Idle { window_start } = self.state {
            let running = window_start.filter(|&start| now < start + self.window);
            self.state = State::Filling {
                window_start: running.unwrap_or(now),
            };
        }
    }

    /// Whether a batch should be invoked: a new one, or what is left of one that failed. `no_more`:
    /// no record can be added, so there is nothing to wait for.
    pub(super) fn is_due(&self, no_more: bool, now: Timestamp) -> bool {
        match &self.state {
            State::Filling { window_start } => {
                let is_over = no_more || *window_start + self.window <= now;
                is_over || self.limits.fill(self.sizes()).is_full
            }
            State::Waiting(piece) => piece.due <= now,
            State::Idle { .. } | State::InFlight(_) | State::Delivering { .. } => false,
        }
    }

    /// Starts the batch that was due, with the records that were added since.
    pub(super) fn start(&mut self, ids: &mut BatchIds, now: Timestamp) -> Batch {
        let mut piece = match self.replace(State::Idle { window_start: None }) {
            State::Filling { .. } => {
                let n_records = self.limits.fill(self.sizes()).n_items;
                self.take_batch(n_records, now)
            }
            State::Waiting(piece) => piece,
            State::Idle { .. } | State::InFlight(_) | State::Delivering { .. } => {
                panic!("no batch is due")
            }
        };
        let batch = piece.batch(ids);
        self.state = State::InFlight(piece);
        batch
    }

    /// Ends the invocation in flight.
    pub(super) fn end(
        &mut self,
        batch: BatchId,
        outcome: &Outcome,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> Resolved {
        let State::InFlight(mut piece) = self.replace(State::Idle { window_start: None }) else {
            panic!("no invocation is in flight: {batch:?}");
        };
        assert_eq!(piece.id, Some(batch), "I3: one invocation is in flight");
        let n_records = piece.records.len();
        piece.answered(outcome);
        let done = piece.done(outcome, self.retries.strict_order);
        let any_done = !done.is_empty();
        let attempts = &mut piece.attempts;
        match attempts.decide(outcome, n_records, any_done, &self.retries, jitter) {
            RetryDecision::Resolve => {
                self.bytes -= piece.bytes;
                self.proceed(now);
                Resolved {
                    tickets: piece.tickets,
                    dropped: Vec::new(),
                }
            }
            RetryDecision::ResolveDone => {
                let (done, rest) = piece.divide(&done, now);
                self.bytes -= done.bytes;
                self.pieces.push_front(rest);
                self.proceed(now);
                Resolved {
                    tickets: done.tickets,
                    dropped: Vec::new(),
                }
            }
            RetryDecision::Bisect => {
                let (first, second) = piece.split(n_records.div_ceil(2), now);
                self.pieces.push_front(second);
                self.pieces.push_front(first);
                self.proceed(now);
                Resolved::default()
            }
            RetryDecision::Retry(delay) => {
                piece.due = now + delay;
                piece.waiting = Some(match outcome {
                    Outcome::NotInvoked { cause } => Waiting::NotInvoked(*cause),
                    Outcome::Success
                    | Outcome::ItemFailures { .. }
                    | Outcome::FunctionError { .. } => Waiting::FunctionErrors {
                        attempt: piece.attempts.next_attempt(),
                        maximum: self.retries.maximum_attempts.map(|retries| retries + 1),
                    },
                });
                self.state = State::Waiting(piece);
                Resolved::default()
            }
            RetryDecision::GiveUp => {
                let runs = piece.give_up(outcome);
                self.give_up(runs, now, now)
            }
        }
    }

    /// Gives up the records whose maximum age has passed, each judged by itself. While an invocation
    /// or a delivery is in flight, none is: its result decides first. `None`: no record is too old.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>
    pub(super) fn expire(&mut self, source_time: Timestamp, now: Timestamp) -> Option<Resolved> {
        self.expiry().filter(|at| *at <= source_time)?;
        let age = self.retries.maximum_record_age?;
        let window_start = match self.replace(State::Idle { window_start: None }) {
            State::Filling { window_start } => window_start,
            State::Waiting(piece) => {
                self.pieces.push_front(piece);
                now
            }
            State::Idle { .. } | State::InFlight(_) | State::Delivering { .. } => {
                panic!("no record waits for an invocation")
            }
        };
        let is_too_old = |record: &Record| record.approximate_arrival() + age <= source_time;
        let mut given_up = Vec::new();
        for piece in std::mem::take(&mut self.pieces) {
            let left = piece.cut(is_too_old, self.limits, &mut given_up);
            self.pieces.extend(left);
        }
        let mut runs = Runs::new(self.limits, 0, None);
        self.oldest.clear();
        for queued in std::mem::take(&mut self.queue) {
            if is_too_old(&queued.record) {
                runs.push(queued.record, queued.ticket, queued.ordinal);
            } else {
                self.enqueue(queued);
            }
        }
        given_up.extend(runs.finish());
        Some(self.give_up(given_up, window_start, now))
    }

    /// Gives up the next record if it alone exceeds the payload limit. Without a destination there is
    /// none in the lane.
    pub(super) fn give_up_too_large(&mut self, now: Timestamp) {
        let State::Filling { window_start } = self.state else {
            return;
        };
        if !self.has_destination {
            return;
        }
        let limits = self.limits;
        let is_too_large = |next: &mut Queued| !limits.fits_alone(next.record.event_len());
        let next = self.queue.pop_front_if(is_too_large);
        if let Some(Queued { ticket, record, .. }) = next {
            self.forget_ages(ticket);
            let run = Run::of_too_large(record, ticket);
            self.give_up(vec![run], window_start, now);
        }
    }

    /// When the next record is too old, by the clock of the source.
    pub(super) fn expiry(&self) -> Option<Timestamp> {
        let age = self.retries.maximum_record_age?;
        let head = match &self.state {
            State::Filling { .. } => None,
            State::Waiting(piece) => Some(piece),
            State::Idle { .. } | State::InFlight(_) | State::Delivering { .. } => return None,
        };
        let pieces = head.into_iter().chain(&self.pieces);
        let pieces = pieces.filter_map(|piece| piece.oldest);
        let queue = self.oldest.front().map(|(_, arrival)| *arrival);
        Some(pieces.chain(queue).min()? + age)
    }

    /// The delivery that should be sent.
    pub(super) fn deliver(
        &mut self,
        ids: &mut BatchIds,
        now: Timestamp,
    ) -> Option<(BatchId, FailureRecord)> {
        match &mut self.state {
            State::Delivering { delivery, .. } => delivery.start(ids, now),
            State::Idle { .. } | State::Filling { .. } | State::InFlight(_) | State::Waiting(_) => {
                None
            }
        }
    }

    /// Ends the delivery in flight.
    pub(super) fn delivered(
        &mut self,
        batch: BatchId,
        result: Result<(), Fault>,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> Vec<Ticket> {
        let State::Delivering {
            delivery,
            window_start,
        } = &mut self.state
        else {
            panic!("no delivery is in flight: {batch:?}");
        };
        let Some(run) = delivery.end(batch, result, jitter, now) else {
            return Vec::new();
        };
        self.bytes -= run.bytes;
        if delivery.is_done() {
            let window_start = *window_start;
            self.proceed(window_start);
        }
        run.tickets
    }

    /// When something will be due if nothing else happens, and what.
    pub(super) fn due(&self) -> Option<(Timestamp, ShardTimer)> {
        match &self.state {
            State::Idle { .. } | State::InFlight(_) => None,
            State::Filling { window_start } => {
                Some((*window_start + self.window, ShardTimer::Window))
            }
            State::Waiting(piece) => Some((piece.due, ShardTimer::Retry)),
            State::Delivering { delivery, .. } => {
                delivery.due().map(|at| (at, ShardTimer::Delivery))
            }
        }
    }

    /// The first record in memory.
    pub(super) fn first(&self) -> Option<Ticket> {
        Some(self.first_record()?.0)
    }

    /// Arrival at the stream of the first record in memory.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        Some(self.first_record()?.1.approximate_arrival())
    }

    /// Bytes of the events of all records in memory.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records in memory.
    pub(super) fn n_records(&self) -> usize {
        let pieces = self.head().into_iter().chain(&self.pieces);
        let in_pieces: usize = pieces.map(|piece| piece.tickets.len()).sum();
        let given_up: usize = self.given_up().map(|run| run.tickets.len()).sum();
        self.queue.len() + in_pieces + given_up
    }

    /// Records of the invocation in flight.
    pub(super) fn n_in_flight(&self) -> usize {
        match &self.state {
            State::InFlight(piece) => piece.tickets.len(),
            State::Idle { .. }
            | State::Filling { .. }
            | State::Waiting(_)
            | State::Delivering { .. } => 0,
        }
    }

    /// The invocation or delivery in flight.
    pub(super) fn in_flight(&self) -> Option<BatchId> {
        match &self.state {
            State::InFlight(piece) => piece.id,
            State::Delivering { delivery, .. } => delivery.in_flight(),
            State::Idle { .. } | State::Filling { .. } | State::Waiting(_) => None,
        }
    }

    /// Of the batch at the head; 1 if there is none.
    pub(super) fn attempt(&self) -> u32 {
        self.head().map_or(1, |piece| piece.attempts.next_attempt())
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        match &self.state {
            State::Waiting(piece) => piece.waiting.clone(),
            State::Delivering { delivery, .. } => delivery.fault().map(Waiting::Destination),
            State::Idle { .. } | State::Filling { .. } | State::InFlight(_) => None,
        }
    }

    fn enqueue(&mut self, queued: Queued) {
        if self.retries.maximum_record_age.is_some() {
            let arrival = queued.record.approximate_arrival();
            let is_later = |last: &mut (Ticket, Timestamp)| arrival < last.1;
            while self.oldest.pop_back_if(is_later).is_some() {}
            self.oldest.push_back((queued.ticket, arrival));
        }
        self.queue.push_back(queued);
    }

    /// Records up to this one have left the queue.
    fn forget_ages(&mut self, last: Ticket) {
        let has_left = |first: &mut (Ticket, Timestamp)| first.0 <= last;
        while self.oldest.pop_front_if(has_left).is_some() {}
    }

    fn take_batch(&mut self, n_records: usize, now: Timestamp) -> Piece {
        let mut tickets = Vec::with_capacity(n_records);
        let mut ordinals = Vec::with_capacity(n_records);
        let mut records = Vec::with_capacity(n_records);
        for queued in self.queue.drain(..n_records) {
            let Queued {
                ticket,
                ordinal,
                record,
            } = queued;
            assert!(
                self.last_batched < Some(ticket),
                "I4: a lane keeps its order"
            );
            self.last_batched = Some(ticket);
            tickets.push(ticket);
            ordinals.push(ordinal);
            records.push(record);
        }
        if let Some(last) = self.last_batched {
            self.forget_ages(last);
        }
        let have_maximum_age = self.retries.maximum_record_age.is_some();
        let piece = Piece::new(records.into(), tickets, ordinals, have_maximum_age, now);
        assert!(
            (1..=self.limits.max_items).contains(&n_records)
                && event::event_len(n_records, piece.bytes) <= self.limits.max_bytes,
            "I5: a batch does not exceed its limits"
        );
        piece
    }

    /// Delivers records, or drops them where there is no destination.
    fn give_up(&mut self, runs: Vec<Run>, window_start: Timestamp, now: Timestamp) -> Resolved {
        if self.has_destination {
            self.state = State::Delivering {
                delivery: Delivery::new(runs, now),
                window_start,
            };
            return Resolved::default();
        }
        let mut resolved = Resolved::default();
        for run in runs {
            self.bytes -= run.bytes;
            resolved.tickets.extend(run.tickets);
            resolved.dropped.push(run.failure);
        }
        self.proceed(window_start);
        resolved
    }

    /// Nothing of the lane is in flight or delivered any more. The next batching window starts at
    /// `window_start`.
    fn proceed(&mut self, window_start: Timestamp) {
        self.state = match self.pieces.pop_front() {
            Some(piece) => State::Waiting(piece),
            None if self.queue.is_empty() => State::Idle {
                window_start: Some(window_start),
            },
            None => State::Filling { window_start },
        };
    }

    fn replace(&mut self, state: State) -> State {
        std::mem::replace(&mut self.state, state)
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        self.queue.iter().map(|queued| queued.record.event_len())
    }

    /// The piece that is in flight or waits.
    fn head(&self) -> Option<&Piece> {
        match &self.state {
            State::InFlight(piece) | State::Waiting(piece) => Some(piece),
            State::Idle { .. } | State::Filling { .. } | State::Delivering { .. } => None,
        }
    }

    fn given_up(&self) -> impl Iterator<Item = &Run> {
        let delivery = match &self.state {
            State::Delivering { delivery, .. } => Some(delivery),
            State::Idle { .. } | State::Filling { .. } | State::InFlight(_) | State::Waiting(_) => {
                None
            }
        };
        delivery.into_iter().flat_map(Delivery::runs)
    }

    fn first_record(&self) -> Option<(Ticket, &Record)> {
        let pieces = self.head().into_iter().chain(&self.pieces);
        let piece = pieces
            .map(|piece| (piece.tickets[0], &piece.records[0]))
            .next();
        let queued = self
            .queue
            .front()
            .map(|queued| (queued.ticket, &queued.record));
        let given_up = self.given_up().next();
        let given_up = given_up.map(|run| (run.tickets[0], &run.failure.records[0]));
        let first = [piece, queued, given_up].into_iter().flatten();
        first.min_by_key(|(ticket, _)| *ticket)
    }
}
