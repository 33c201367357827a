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
//!
//! The final invocation of a tumbling window is a state of its own: nothing else of the lane is invoked
//! or given up before it has succeeded.

mod retried;

use std::collections::VecDeque;
use std::time::Duration;

use super::delivery::Delivery;
use super::interface::{Batch, ShardTimer};
use super::piece::{Piece, Run, Runs};
use super::settings::ShardConsumerSettings;
use super::view::Waiting;
use super::windows::{FinalCall, Windows};
use crate::batch::{BatchId, BatchIds, BatchLimits, Fill};
use crate::event;
use crate::failure::{DeliveryFault, FailureRecord};
use crate::mapping::RetrySettings;
use crate::outcome::{Outcome, ReturnedState};
use crate::position::Checkpoint;
use crate::progress::Ticket;
use crate::record::Record;
use crate::retry::{Jitter, RetryDecision};
use crate::time::Timestamp;
use crate::window::WindowBounds;

#[derive(Debug)]
pub(super) struct Lane {
    /// By the settings alone.
    limits: BatchLimits,
    /// Of a batch: at most those of `limits`, fewer at a low rate.
    max_records: usize,
    window: Duration,
    retries: RetrySettings,
    delivers_given_up: bool,
    /// The pieces after the one that is in flight or waits.
    pieces: VecDeque<Piece>,
    /// Records after the current batch, in the order of the shard.
    queue: VecDeque<Queued>,
    /// Records that were ever added to the queue.
    n_queued: u64,
    /// Those of the queue that arrived before every later one, so the first is the oldest. Empty
    /// without a maximum age.
    oldest: VecDeque<(Ticket, Timestamp)>,
    /// Records of the queue that cannot be rendered.
    n_unreadable: usize,
    /// Bytes of the events of all records in memory.
    bytes: usize,
    /// The last record that was put into a batch or given up.
    last_batched: Option<Ticket>,
    windows: Option<Windows>,
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
    /// The final invocation of a tumbling window comes before anything else of the lane. No record is
    /// given up meanwhile.
    Finishing(FinalCall),
    /// What is given up is delivered before anything else of the lane.
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
    /// Those among them that were given up and are not delivered.
    pub(super) dropped: Vec<FailureRecord>,
}

impl Lane {
    pub(super) fn new(settings: &ShardConsumerSettings, from: &Checkpoint) -> Self {
        let tumbling_window = settings.mapping.tumbling_window;
        let limits = settings.batch_limits();
        Self {
            limits,
            max_records: limits.max_items,
            window: settings.mapping.maximum_batching_window,
            retries: settings.mapping.retries.clone(),
            delivers_given_up: settings.delivers_given_up,
            pieces: VecDeque::new(),
            queue: VecDeque::new(),
            n_queued: 0,
            oldest: VecDeque::new(),
            n_unreadable: 0,
            bytes: 0,
            last_batched: None,
            windows: tumbling_window.map(|length| Windows::new(length, from)),
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
        if let Some(windows) = &mut self.windows {
            windows.push(ticket, record.approximate_arrival());
        }
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
                let no_more = no_more || self.windows.as_ref().is_some_and(Windows::is_over);
                let is_over = no_more || *window_start + self.window <= now;
                is_over || self.is_full()
            }
            State::Waiting(piece) => piece.due <= now,
            State::Finishing(call) => call.due().is_some_and(|at| at <= now),
            State::Idle { .. } | State::InFlight(_) | State::Delivering { .. } => false,
        }
    }

    /// Starts the batch that was due, with the records that were added since.
    pub(super) fn start(&mut self, ids: &mut BatchIds, now: Timestamp) -> Batch {
        let mut piece = match self.replace(State::Idle { window_start: None }) {
            State::Filling { .. } => {
                let n_records = self.next_batch().n_items;
                self.take_batch(n_records, now)
            }
            State::Waiting(piece) => self.cut_to_rate(piece, now),
            State::Finishing(call) => return self.start_final(call, ids),
            State::Idle { .. } | State::InFlight(_) | State::Delivering { .. } => {
                panic!("no batch is due")
            }
        };
        let window = self.windows.as_ref().map(Windows::call);
        let batch = piece.batch(window, ids);
        self.state = State::InFlight(piece);
        batch
    }

    /// See [`Lanes::set_max_records`](super::lanes::Lanes::set_max_records).
    pub(super) fn set_max_records(&mut self, max_records: Option<usize>) {
        let of_mapping = self.limits.max_items;
        let max_records = max_records.unwrap_or(of_mapping);
        self.max_records = max_records.clamp(1, of_mapping);
    }

    /// A piece may be larger than the rate allows since that was lowered: its rest follows it.
    fn cut_to_rate(&mut self, piece: Piece, now: Timestamp) -> Piece {
        if piece.records.len() <= self.max_records {
            return piece;
        }
        let (first, rest) = piece.split(self.max_records, now);
        self.pieces.push_front(rest);
        first
    }

    /// Ends the invocation in flight.
    pub(super) fn end(
        &mut self,
        batch: BatchId,
        outcome: Outcome,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> Resolved {
        let (outcome, state) = outcome.take_state();
        let outcome = &outcome;
        let mut piece = match self.replace(State::Idle { window_start: None }) {
            State::InFlight(piece) => piece,
            State::Finishing(call) => {
                assert_eq!(call.id, Some(batch), "I3: one invocation is in flight");
                self.end_final(call, outcome, state, jitter, now);
                return Resolved::default();
            }
            State::Idle { .. }
            | State::Filling { .. }
            | State::Waiting(_)
            | State::Delivering { .. } => panic!("no invocation is in flight: {batch:?}"),
        };
        assert_eq!(piece.id, Some(batch), "I3: one invocation is in flight");
        if state == Some(ReturnedState::TooLarge) && self.has_state() {
            piece.due = now;
            piece.waiting = None;
            self.terminate_window(piece, now);
            return Resolved::default();
        }
        let n_records = piece.records.len();
        piece.answered(outcome);
        let done = piece.done(outcome, self.retries.strict_order);
        let any_done = !done.is_empty();
        let attempts = &mut piece.attempts;
        let decision = attempts.decide(outcome, n_records, any_done, &self.retries, jitter);
        self.keep_state(&decision, state);
        match decision {
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
                piece.wait(outcome, now + delay, self.retries.maximum_attempts);
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
            State::Idle { .. }
            | State::InFlight(_)
            | State::Finishing(_)
            | State::Delivering { .. } => panic!("no record waits for an invocation"),
        };
        let from = self.retries.age_from;
        let is_too_old = |record: &Record| {
            let arrival = record.approximate_arrival();
            from.map_or(arrival, |from| arrival.max(from)) + age <= source_time
        };
        let mut given_up = Vec::new();
        for piece in std::mem::take(&mut self.pieces) {
            let left = piece.cut(is_too_old, self.limits, &mut given_up);
            self.pieces.extend(left);
        }
        let mut runs = Runs::new(self.limits);
        self.oldest.clear();
        self.n_unreadable = 0;
        for queued in std::mem::take(&mut self.queue) {
            let windows = self.windows.as_ref();
            if windows.is_some_and(|windows| windows.begins_with(queued.ticket)) {
                runs.end();
            }
            if is_too_old(&queued.record) {
                runs.push(queued.record, queued.ticket, queued.ordinal);
            } else {
                self.enqueue(queued);
            }
        }
        given_up.extend(runs.finish());
        Some(self.give_up(given_up, window_start, now))
    }

    /// Gives up the next record if it alone exceeds the payload limit or cannot be rendered. The lane
    /// never holds such a record unless what is given up is delivered.
    pub(super) fn give_up_too_large(&mut self, now: Timestamp) {
        let State::Filling { window_start } = self.state else {
            return;
        };
        if !self.delivers_given_up {
            return;
        }
        let limits = self.limits;
        let is_too_large = |next: &mut Queued| !limits.fits_alone(limits.size_of(&next.record));
        let next = self.queue.pop_front_if(is_too_large);
        if let Some(Queued { ticket, record, .. }) = next {
            self.n_unreadable -= usize::from(record.unreadable().is_some());
            self.forget_ages(ticket);
            let run = Run::alone(record, ticket);
            self.give_up(vec![run], window_start, now);
        }
    }

    /// When the next record is too old, by the clock of the source.
    pub(super) fn expiry(&self) -> Option<Timestamp> {
        let age = self.retries.maximum_record_age?;
        let head = match &self.state {
            State::Filling { .. } => None,
            State::Waiting(piece) => Some(piece),
            State::Idle { .. }
            | State::InFlight(_)
            | State::Finishing(_)
            | State::Delivering { .. } => return None,
        };
        let pieces = head.into_iter().chain(&self.pieces);
        let pieces = pieces.filter_map(|piece| piece.oldest);
        let queue = self.oldest.front().map(|(_, arrival)| *arrival);
        let oldest = pieces.chain(queue).min()?;
        Some(
            self.retries
                .age_from
                .map_or(oldest, |from| oldest.max(from))
                + age,
        )
    }

    /// The delivery that should be sent.
    pub(super) fn deliver(
        &mut self,
        ids: &mut BatchIds,
        now: Timestamp,
    ) -> Option<(BatchId, FailureRecord)> {
        match &mut self.state {
            State::Delivering { delivery, .. } => delivery.start(ids, now),
            State::Idle { .. }
            | State::Filling { .. }
            | State::InFlight(_)
            | State::Waiting(_)
            | State::Finishing(_) => None,
        }
    }

    /// Ends the delivery in flight.
    pub(super) fn delivered(
        &mut self,
        batch: BatchId,
        result: Result<(), DeliveryFault>,
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
            State::Finishing(call) => call.due().map(|at| (at, ShardTimer::Retry)),
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

    /// Records of the invocation in flight; the final one of a window has none.
    pub(super) fn n_in_flight(&self) -> usize {
        match &self.state {
            State::InFlight(piece) => piece.tickets.len(),
            State::Idle { .. }
            | State::Filling { .. }
            | State::Waiting(_)
            | State::Finishing(_)
            | State::Delivering { .. } => 0,
        }
    }

    /// The invocation or delivery in flight.
    pub(super) fn in_flight(&self) -> Option<BatchId> {
        match &self.state {
            State::InFlight(piece) => piece.id,
            State::Finishing(call) => call.in_flight(),
            State::Delivering { delivery, .. } => delivery.in_flight(),
            State::Idle { .. } | State::Filling { .. } | State::Waiting(_) => None,
        }
    }

    /// Of the batch at the head; 1 if there is none.
    pub(super) fn attempt(&self) -> u32 {
        let attempts = match &self.state {
            State::InFlight(piece) | State::Waiting(piece) => &piece.attempts,
            State::Finishing(call) => &call.attempts,
            State::Idle { .. } | State::Filling { .. } | State::Delivering { .. } => return 1,
        };
        attempts.next_attempt()
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        match &self.state {
            State::Waiting(piece) => piece.waiting.clone(),
            State::Finishing(call) => call.waiting(),
            State::Delivering { delivery, .. } => delivery.fault().map(Waiting::Delivery),
            State::Idle { .. } | State::Filling { .. } | State::InFlight(_) => None,
        }
    }

    pub(super) const fn windows(&self) -> Option<&Windows> {
        self.windows.as_ref()
    }

    pub(super) const fn windows_mut(&mut self) -> Option<&mut Windows> {
        self.windows.as_mut()
    }

    /// Ends the open window if it is over and all of its records are resolved, or if the next record
    /// does not fit into an event with its state.
    pub(super) fn advance_window(&mut self, now: Timestamp) {
        let limits = self.batch_limits();
        let Some(windows) = &mut self.windows else {
            return;
        };
        let limits = windows.limits(limits);
        match &self.state {
            State::Idle { .. } | State::Filling { .. } => {
                let next = self.queue.front();
                let is_over = windows.advance(next.map(|next| next.ticket));
                let fits = |next: &Queued| limits.fits_alone(next.record.event_len());
                let is_early = !is_over && windows.state().is_some() && !next.is_none_or(fits);
                if is_over || is_early {
                    self.state = State::Finishing(FinalCall::new(is_early, now));
                }
            }
            // The state may have grown since the piece was made.
            State::Waiting(piece)
                if limits.max_bytes < event::event_len(piece.records.len(), piece.bytes) =>
            {
                let n_fitting = limits
                    .fill(piece.records.iter().map(Record::event_len))
                    .n_items;
                let fits = limits.fits_alone(piece.records[0].event_len());
                if let State::Waiting(piece) = self.replace(State::Idle { window_start: None }) {
                    if fits {
                        let (first, rest) = piece.split(n_fitting, now);
                        self.pieces.push_front(rest);
                        self.state = State::Waiting(first);
                    } else {
                        self.terminate_window(piece, now);
                    }
                }
            }
            State::Waiting(_)
            | State::InFlight(_)
            | State::Finishing(_)
            | State::Delivering { .. } => {}
        }
    }

    /// Drops the state of the open window, which needs no final invocation then. Returns the window.
    pub(super) fn drop_window_state(&mut self, now: Timestamp) -> Option<WindowBounds> {
        let (is_in_flight, is_due) = match &self.state {
            State::InFlight(_) => (true, false),
            State::Finishing(call) => (call.in_flight().is_some(), call.in_flight().is_none()),
            State::Idle { .. }
            | State::Filling { .. }
            | State::Waiting(_)
            | State::Delivering { .. } => (false, false),
        };
        let dropped = self.windows.as_mut()?.drop_state(is_in_flight);
        if is_due {
            self.proceed(now);
        }
        dropped
    }

    /// Ends the open window early; a piece of it then begins it anew.
    fn terminate_window(&mut self, piece: Piece, now: Timestamp) {
        self.pieces.push_front(piece);
        self.state = State::Finishing(FinalCall::new(true, now));
    }

    fn start_final(&mut self, mut call: FinalCall, ids: &mut BatchIds) -> Batch {
        let windows = self.windows.as_ref();
        let batch = call.start(windows.expect("a window is finished"), ids);
        self.state = State::Finishing(call);
        batch
    }

    fn end_final(
        &mut self,
        mut call: FinalCall,
        outcome: &Outcome,
        state: Option<ReturnedState>,
        jitter: &mut Jitter,
        now: Timestamp,
    ) {
        // Nothing is kept of this state, however large it is.
        let outcome = match state {
            Some(ReturnedState::TooLarge) => &Outcome::Success,
            Some(ReturnedState::Json(_)) | None => outcome,
        };
        if call.end(outcome, &self.retries, jitter, now) {
            if let Some(windows) = &mut self.windows {
                windows.finish(call.is_early());
                windows.answered();
            }
            self.proceed(now);
        } else {
            self.state = State::Finishing(call);
        }
    }

    fn has_state(&self) -> bool {
        let windows = self.windows.as_ref();
        windows.is_some_and(|windows| windows.state().is_some())
    }

    /// Keeps what the function has returned, if it has processed a part of the batch at least.
    fn keep_state(&mut self, decision: &RetryDecision, state: Option<ReturnedState>) {
        let Some(windows) = &mut self.windows else {
            return;
        };
        let has_progress = match decision {
            RetryDecision::Resolve | RetryDecision::ResolveDone => true,
            RetryDecision::Bisect | RetryDecision::Retry(_) | RetryDecision::GiveUp => false,
        };
        match state {
            Some(ReturnedState::Json(state)) if has_progress => windows.keep(state),
            Some(ReturnedState::Json(_) | ReturnedState::TooLarge) | None => {}
        }
        windows.answered();
    }

    fn enqueue(&mut self, queued: Queued) {
        self.n_unreadable += usize::from(queued.record.unreadable().is_some());
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
            (1..=self.max_records).contains(&n_records)
                && event::event_len(n_records, piece.bytes) <= self.event_limits().max_bytes,
            "I5: a batch does not exceed its limits"
        );
        piece
    }

    /// Delivers records, or drops them.
    fn give_up(&mut self, mut runs: Vec<Run>, window_start: Timestamp, now: Timestamp) -> Resolved {
        if let Some(windows) = &self.windows {
            for run in &mut runs {
                run.failure.window = Some(windows.call_of(run.tickets[0]));
            }
        }
        if self.delivers_given_up {
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

    /// Whether the next batch of a lane that is filling is full. It is asked with every input, so the
    /// records are looked at one by one only where their number and bytes do not tell.
    fn is_full(&self) -> bool {
        let limits = self.event_limits();
        let n_records = self.queue.len();
        let has_enough = 0 < self.n_unreadable
            || limits.max_items <= n_records
            || limits.max_bytes <= event::event_len(n_records, self.bytes);
        // Those of a later tumbling window are not in the batch.
        has_enough && (self.windows.is_none() || self.next_batch().is_full)
    }

    /// The batch that the records of the queue make.
    fn next_batch(&self) -> Fill {
        let limits = self.batch_limits();
        let Some(windows) = &self.windows else {
            let queue = self.queue.iter();
            return limits.fill(queue.map(|it| limits.size_of(&it.record)));
        };
        let queue = self.queue.iter().take_while(|it| windows.has(it.ticket));
        let sizes = queue.map(|it| limits.size_of(&it.record));
        windows.limits(limits).fill(sizes)
    }

    /// Of the next batch, if its state is empty.
    const fn batch_limits(&self) -> BatchLimits {
        BatchLimits {
            max_items: self.max_records,
            ..self.limits
        }
    }

    /// The limits of the next batch.
    fn event_limits(&self) -> BatchLimits {
        let limits = self.batch_limits();
        let windows = self.windows.as_ref();
        windows.map_or(limits, |windows| windows.limits(limits))
    }

    /// The piece that is in flight or waits.
    fn head(&self) -> Option<&Piece> {
        match &self.state {
            State::InFlight(piece) | State::Waiting(piece) => Some(piece),
            State::Idle { .. }
            | State::Filling { .. }
            | State::Finishing(_)
            | State::Delivering { .. } => None,
        }
    }

    fn given_up(&self) -> impl Iterator<Item = &Run> {
        let delivery = match &self.state {
            State::Delivering { delivery, .. } => Some(delivery),
            State::Idle { .. }
            | State::Filling { .. }
            | State::InFlight(_)
            | State::Waiting(_)
            | State::Finishing(_) => None,
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
