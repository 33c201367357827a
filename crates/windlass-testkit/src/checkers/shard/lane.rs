//! The reference model of a lane: which of its records are invoked together next, and which are
//! given up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use windlass_core::batch::BatchId;
use windlass_core::failure::{DeliveryFault, FailedResponse, FailureCondition, FailureRecord};
use windlass_core::outcome::{Fault, ItemFailures, Outcome, Response, ReturnedState};
use windlass_core::record::Record;
use windlass_core::shard::{Batch, ShardConsumerSettings, Waiting};
use windlass_core::time::Timestamp;
use windlass_core::window::{WindowBounds, WindowCall};

use super::event_bytes;
use super::windows::{FinalModel, WindowsModel};
use crate::checkers::due_range::DueRange;

#[derive(Debug, Default)]
pub(super) struct LaneModel {
    /// The records that are not resolved, in the order of the shard.
    pub(super) pending: VecDeque<Pending>,
    /// What was invoked and is not resolved, by number.
    pieces: BTreeMap<u32, Piece>,
    n_pieces: u32,
    n_pushed: u64,
    /// When the batching window began.
    pub(super) window: Option<Timestamp>,
    in_flight: Option<u32>,
    pub(super) batch_in_flight: Option<BatchId>,
    /// What must be delivered, in this order, before anything else of the lane.
    pub(super) deliveries: VecDeque<Delivery>,
    pub(super) delivery_in_flight: Option<BatchId>,
    pub(super) delivery_failed: Option<FailedDelivery>,
    pub(super) windows: Option<WindowsModel>,
}

#[derive(Debug)]
pub(super) struct Pending {
    /// In the shard.
    pub(super) index: usize,
    /// In the lane.
    ordinal: u64,
    pub(super) record: Record,
    pub(super) window: Option<WindowBounds>,
    /// `None` if it was not invoked yet.
    piece: Option<u32>,
}

/// Records that are invoked together until they are resolved, or something is taken from them.
#[derive(Debug)]
struct Piece {
    /// Failed attempts that reached the function.
    reached: u32,
    /// Failures in a row that did not reach it.
    not_reached: u32,
    due: DueRange,
    waiting: Option<Waiting>,
    request_id: Option<Arc<str>>,
    last_error: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) failure: FailureRecord,
    indices: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FailedDelivery {
    pub(super) n: u32,
    pub(super) fault: DeliveryFault,
    pub(super) due: DueRange,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FailedCall {
    pub(super) n: u32,
    pub(super) fault: Fault,
    pub(super) due: DueRange,
}

/// Records with which the lane is finished.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) indices: Vec<usize>,
    /// Those given up and not delivered.
    pub(super) dropped: Vec<FailureRecord>,
}

/// The batch that the pending records make.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextBatch {
    pub(super) n_records: usize,
    pub(super) full: bool,
}

impl LaneModel {
    pub(super) fn push(&mut self, index: usize, record: Record, window: Option<WindowBounds>) {
        self.n_pushed += 1;
        self.pending.push_back(Pending {
            index,
            ordinal: self.n_pushed,
            record,
            window,
            piece: None,
        });
    }

    pub(super) fn bytes(&self) -> usize {
        self.pending.iter().map(|it| it.record.event_len()).sum()
    }

    pub(super) fn n_in_flight(&self) -> usize {
        self.in_flight.map_or(0, |piece| self.n_of(piece))
    }

    /// Whether an invocation or a delivery is in flight.
    pub(super) fn is_busy(&self) -> bool {
        let final_call = self.final_call();
        let is_finishing = final_call.is_some_and(|call| call.in_flight.is_some());
        self.in_flight.is_some() || self.delivery_in_flight.is_some() || is_finishing
    }

    /// The final invocation that must succeed before anything else.
    pub(super) fn final_call(&self) -> Option<&FinalModel> {
        self.windows.as_ref()?.final_call.as_ref()
    }

    /// The batch of the invocation in flight.
    pub(super) fn invocation(&self) -> Option<BatchId> {
        let final_call = self.final_call().and_then(|call| call.in_flight);
        self.batch_in_flight.or(final_call)
    }

    pub(super) fn is_delivering(&self) -> bool {
        !self.deliveries.is_empty()
    }

    /// The attempt of the batch at the head.
    pub(super) fn attempt(&self) -> u32 {
        if let Some(call) = self.final_call() {
            return call.attempt();
        }
        self.head().map_or(1, |piece| piece.reached + 1)
    }

    /// When the batch at the head may be retried; `None` if the next batch is a new one.
    pub(super) fn retry_due(&self) -> Option<DueRange> {
        if let Some(call) = self.final_call() {
            return Some(call.due);
        }
        self.head().map(|piece| piece.due)
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        if self.is_busy() {
            return None;
        }
        if let Some(call) = self.final_call() {
            return call.waiting();
        }
        match self.delivery_failed {
            Some(failed) => Some(Waiting::Delivery(failed.fault)),
            None => self.head()?.waiting.clone(),
        }
    }

    /// What is left of a failed batch is cut if it is larger than the rate allows since.
    pub(super) fn cut_head(&mut self, max_batch: usize, now: Timestamp) {
        let piece = self.pending.front().and_then(|first| first.piece);
        let n_records = piece.map_or(0, |piece| self.n_of(piece));
        if self.final_call().is_none() && max_batch < n_records {
            self.new_piece(0..max_batch, now);
            self.new_piece(max_batch..n_records, now);
        }
    }

    /// `max_batch` records, if they fit.
    pub(super) fn next_batch(
        &self,
        settings: &ShardConsumerSettings,
        max_batch: usize,
    ) -> NextBatch {
        if self.final_call().is_some() {
            return NextBatch {
                n_records: 0,
                full: true,
            };
        }
        if let Some(piece) = self.pending.front().and_then(|first| first.piece) {
            let n_records = self.n_of(piece);
            return NextBatch {
                n_records,
                full: true,
            };
        }
        let window = self.pending.front().and_then(|first| first.window);
        let of_window = self.pending.iter().filter(|it| it.window == window).count();
        let limit = self.event_limit(settings);
        // A comma precedes every record but the first.
        let (mut n_records, mut bytes) = (0, event_bytes(std::iter::empty()) - 1);
        let max_records = of_window.min(max_batch);
        for pending in self.pending.iter().take(max_records) {
            let size = pending.record.event_len();
            if limit < bytes + 1 + size || pending.record.unreadable().is_some() {
                break;
            }
            n_records += 1;
            bytes += 1 + size;
        }
        let full = n_records < of_window || n_records == max_batch || bytes == limit;
        NextBatch { n_records, full }
    }

    /// The most bytes of an event without what its window adds.
    fn event_limit(&self, settings: &ShardConsumerSettings) -> usize {
        let limit = settings.limits.payload_limit - settings.window_len;
        let more = self.windows.as_ref().map_or(0, WindowsModel::more_bytes);
        limit.saturating_add_signed(isize::try_from(-more).expect("a state is small"))
    }

    /// Whether records at the head fit into one event.
    fn fit(&self, n_records: usize, settings: &ShardConsumerSettings) -> bool {
        let records = self.pending.iter().take(n_records);
        event_bytes(records.map(|it| it.record.event_len())) <= self.event_limit(settings)
    }

    /// Ends the window whose records are all resolved, or whose state leaves no room.
    pub(super) fn advance_window(&mut self, settings: &ShardConsumerSettings, now: Timestamp) {
        let Some(windows) = self.windows.as_ref() else {
            return;
        };
        if self.is_busy() || self.is_delivering() || windows.final_call.is_some() {
            return;
        }
        let first = self.pending.front();
        let Some(open) = windows.open() else {
            return;
        };
        let is_over = windows.is_over(open) && first.is_none_or(|it| it.window != Some(open));
        let piece = first.and_then(|first| first.piece);
        let n_records = piece.map_or(1, |piece| self.n_of(piece));
        let is_early = !is_over && first.is_some() && !self.fit(1, settings);
        if !is_over && !is_early && piece.is_some() && !self.fit(n_records, settings) {
            let n_fitting = (1..n_records)
                .take_while(|n| self.fit(*n, settings))
                .count();
            self.new_piece(0..n_fitting, now);
            self.new_piece(n_fitting..n_records, now);
        }
        if (is_over || is_early)
            && let Some(windows) = &mut self.windows
        {
            windows.begin_final(is_early, now);
        }
    }

    pub(super) fn begin_invocation(&mut self, batch: &Batch, now: Timestamp) {
        let windows = self.windows.as_mut();
        if let Some(call) = windows.and_then(|windows| windows.final_call.as_mut()) {
            call.in_flight = Some(batch.id);
            return;
        }
        let n_records = batch.records.len();
        self.batch_in_flight = Some(batch.id);
        let piece = self.pending.front().and_then(|first| first.piece);
        let piece = piece.unwrap_or_else(|| self.new_piece(0..n_records, now));
        self.in_flight = Some(piece);
    }

    pub(super) fn invoked(
        &mut self,
        outcome: &Outcome,
        state: Option<ReturnedState>,
        settings: &ShardConsumerSettings,
        now: Timestamp,
    ) -> Resolved {
        if self.ends_final(outcome, state.as_ref(), now) {
            return Resolved::default();
        }
        let number = self.in_flight.take().expect("an invocation was requested");
        self.batch_in_flight = None;
        if self.answers_window(number, outcome, state, now) {
            return Resolved::default();
        }
        let n_records = self.n_of(number);
        let (records, indices) = (self.records(0..n_records), self.indices(0..n_records));
        let retries = &settings.mapping.retries;
        let piece = self.pieces.get_mut(&number).expect("it was invoked");
        piece.last_error = outcome.describe_error().map(Into::into);
        if let Outcome::ItemFailures { response, .. } | Outcome::FunctionError { response, .. } =
            outcome
            && let Some(id) = &response.request_id
        {
            piece.request_id = Some(Arc::from(&**id));
        }
        let (is_too_large, is_recursive) = rejection(outcome);
        match outcome {
            Outcome::Success => {
                self.window = Some(now);
                self.resolve(0..n_records)
            }
            Outcome::ItemFailures { failures, .. }
                if any_done(failures, &records, retries.strict_order) =>
            {
                let done = |at: &usize| is_done(failures, &records, retries.strict_order, *at);
                let done: Vec<_> = (0..n_records).filter(done).map(|at| indices[at]).collect();
                self.new_piece(0..n_records, now);
                self.remove(&done);
                let (indices, dropped) = (done, Vec::new());
                Resolved { indices, dropped }
            }
            Outcome::ItemFailures { .. } | Outcome::FunctionError { .. }
                if 1 < n_records && (is_too_large || retries.bisect_batch && !is_recursive) =>
            {
                let first = n_records.div_ceil(2);
                self.new_piece(0..first, now);
                self.new_piece(first..n_records, now);
                Resolved::default()
            }
            Outcome::ItemFailures { response, .. } | Outcome::FunctionError { response, .. } => {
                self.fail(number, outcome, response, settings, now)
            }
            Outcome::Windowed(_) => panic!("the model has taken its state"),
            Outcome::NotInvoked { cause } => {
                piece.not_reached += 1;
                piece.due = DueRange::after_failure(piece.not_reached, *cause, now);
                piece.waiting = Some(Waiting::NotInvoked(*cause));
                Resolved::default()
            }
        }
    }

    /// The function was reached and has failed: it is tried again, or its records are given up.
    fn fail(
        &mut self,
        number: u32,
        outcome: &Outcome,
        response: &Response,
        settings: &ShardConsumerSettings,
        now: Timestamp,
    ) -> Resolved {
        let maximum = settings.mapping.retries.maximum_attempts;
        let piece = self.pieces.get_mut(&number).expect("it was invoked");
        piece.reached += 1;
        piece.not_reached = 0;
        piece.due = DueRange::after_failure(piece.reached, Fault::Transient, now);
        piece.waiting = Some(Waiting::FunctionErrors {
            attempt: piece.reached + 1,
            maximum: maximum.map(|n| n + 1),
        });
        let (is_too_large, is_recursive) = rejection(outcome);
        let is_last = is_too_large || is_recursive;
        if !is_last && maximum.is_none_or(|n| piece.reached <= n) {
            return Resolved::default();
        }
        self.window = Some(now);
        let response = FailedResponse {
            status: response.status,
            executed_version: response.executed_version.as_deref().map(Into::into),
            function_error: matches!(outcome, Outcome::FunctionError { .. }),
        };
        let condition = if is_too_large {
            FailureCondition::RecordTooLarge
        } else {
            FailureCondition::RetryAttemptsExhausted
        };
        let n_records = self.n_of(number);
        let deliveries = self.failed(number, n_records, condition, &response);
        self.give_up(deliveries, settings)
    }

    /// Ends the final invocation, if that is what is in flight.
    fn ends_final(
        &mut self,
        outcome: &Outcome,
        state: Option<&ReturnedState>,
        now: Timestamp,
    ) -> bool {
        let windows = self.windows.as_mut();
        let Some(windows) = windows.filter(|windows| windows.final_call.is_some()) else {
            return false;
        };
        if windows.end_final(outcome, state.is_some(), now) {
            self.window = Some(now);
        }
        true
    }

    /// Keeps what an invocation has returned. Returns whether it was too large, so that the window
    /// ends early.
    fn answers_window(
        &mut self,
        piece: u32,
        outcome: &Outcome,
        state: Option<ReturnedState>,
        now: Timestamp,
    ) -> bool {
        let n_records = self.n_of(piece);
        let records = self.records(0..n_records);
        let window = self.pending.front().and_then(|first| first.window);
        let (Some(windows), Some(window)) = (&mut self.windows, window) else {
            return false;
        };
        let is_early = state == Some(ReturnedState::TooLarge) && windows.state().is_some();
        if is_early {
            let piece = self.pieces.get_mut(&piece).expect("it was invoked");
            piece.due = DueRange::exactly(now);
            piece.waiting = None;
            windows.begin_final(true, now);
            return true;
        }
        let has_progress = match outcome {
            Outcome::Success => true,
            // Windows have no strict order.
            Outcome::ItemFailures { failures, .. } => any_done(failures, &records, false),
            Outcome::FunctionError { .. } | Outcome::NotInvoked { .. } | Outcome::Windowed(_) => {
                false
            }
        };
        if let Some(ReturnedState::Json(state)) = state.filter(|_| has_progress) {
            windows.keep(window, state);
        }
        windows.answered();
        false
    }

    /// Gives up what is too old. `source_time` is the time of the clock that stamps records.
    pub(super) fn expire(
        &mut self,
        settings: &ShardConsumerSettings,
        source_time: Timestamp,
        now: Timestamp,
    ) -> Resolved {
        if self.is_busy() || self.is_delivering() || self.final_call().is_some() {
            return Resolved::default();
        }
        let mut runs: Vec<Vec<usize>> = Vec::new();
        for (at, pending) in self.pending.iter().enumerate() {
            if source_time < self.expires(settings, pending) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if self.continues(run, at, settings) => run.push(at),
                _ => runs.push(vec![at]),
            }
        }
        if runs.is_empty() {
            return Resolved::default();
        }
        if self.head().is_some() {
            self.window = Some(now);
        }
        let deliveries = runs.into_iter().map(|run| {
            let run = run[0]..run[0] + run.len();
            let piece = self.pending[run.start].piece;
            let piece = piece.map(|piece| &self.pieces[&piece]);
            if let Some(reason) = self.pending[run.start].record.unreadable() {
                return self.alone(run.start, FailureCondition::Unreadable, reason);
            }
            Delivery {
                failure: FailureRecord {
                    condition: FailureCondition::RecordAgeExceeded,
                    records: self.records(run.clone()),
                    attempts: piece.map_or(0, |piece| piece.reached),
                    request_id: piece.and_then(|piece| piece.request_id.clone()),
                    response: None,
                    last_error: piece.and_then(|piece| piece.last_error.clone()),
                    window: self.call_of(run.start),
                },
                indices: self.indices(run),
            }
        });
        let deliveries = deliveries.collect();
        self.give_up(deliveries, settings)
    }

    /// The delivery of a record that is never invoked.
    fn alone(&self, at: usize, condition: FailureCondition, error: &str) -> Delivery {
        Delivery {
            failure: FailureRecord {
                condition,
                records: self.records(at..at + 1),
                attempts: 0,
                request_id: None,
                response: None,
                last_error: Some(error.into()),
                window: self.call_of(at),
            },
            indices: self.indices(at..at + 1),
        }
    }

    /// Gives up the next record if it is too large for any invocation, or cannot be rendered.
    pub(super) fn give_up_too_large(&mut self, settings: &ShardConsumerSettings) {
        let Some(next) = self.pending.front().filter(|it| it.piece.is_none()) else {
            return;
        };
        let bytes = event_bytes(std::iter::once(next.record.event_len()));
        let limit = settings.limits.payload_limit - settings.window_len;
        let must_wait = self.is_busy() || self.is_delivering() || self.final_call().is_some();
        let unreadable = next.record.unreadable();
        if must_wait || (bytes <= limit && unreadable.is_none()) {
            return;
        }
        let bytes = next.record.event_len();
        let delivery = match unreadable {
            Some(reason) => self.alone(0, FailureCondition::Unreadable, reason),
            None => {
                let error = format!("its event of {bytes} bytes does not fit into an invocation");
                self.alone(0, FailureCondition::RecordTooLarge, &error)
            }
        };
        self.deliveries.push_back(delivery);
    }

    /// When the next record is too old, by the clock of the source.
    pub(super) fn next_expiry(&self, settings: &ShardConsumerSettings) -> Option<Timestamp> {
        settings.mapping.retries.maximum_record_age?;
        let expire = self.pending.iter().map(|it| self.expires(settings, it));
        expire.min()
    }

    pub(super) fn delivered(
        &mut self,
        result: Result<(), DeliveryFault>,
        now: Timestamp,
    ) -> Resolved {
        self.delivery_in_flight = None;
        match result {
            Ok(()) => {
                self.delivery_failed = None;
                let delivery = self.deliveries.pop_front().expect("it was in flight");
                self.remove(&delivery.indices);
                Resolved {
                    indices: delivery.indices,
                    dropped: Vec::new(),
                }
            }
            Err(fault) => {
                let n = self.delivery_failed.map_or(1, |failed| failed.n + 1);
                let due = DueRange::after_failure(n, fault.fault(), now);
                self.delivery_failed = Some(FailedDelivery { n, fault, due });
                Resolved::default()
            }
        }
    }

    fn expires(&self, settings: &ShardConsumerSettings, pending: &Pending) -> Timestamp {
        let age = settings.mapping.retries.maximum_record_age;
        age.map_or(Timestamp::from_millis(u64::MAX), |age| {
            pending.record.approximate_arrival() + age
        })
    }

    /// Whether the record after a run is given up together with it.
    fn continues(&self, run: &[usize], at: usize, settings: &ShardConsumerSettings) -> bool {
        let records = run.iter().chain([&at]).map(|at| &self.pending[*at].record);
        let last = run[run.len() - 1];
        let is_unreadable = |at: usize| self.pending[at].record.unreadable().is_some();
        last + 1 == at
            && !is_unreadable(last)
            && !is_unreadable(at)
            && self.pending[last].ordinal + 1 == self.pending[at].ordinal
            && self.pending[run[0]].piece == self.pending[at].piece
            && self.pending[run[0]].window == self.pending[at].window
            && run.len() < settings.mapping.batch_size
            && event_bytes(records.map(Record::event_len))
                <= settings.limits.payload_limit - settings.window_len
    }

    /// The deliveries of the records of a piece whose last attempt has failed.
    fn failed(
        &self,
        piece: u32,
        n_records: usize,
        condition: FailureCondition,
        response: &FailedResponse,
    ) -> Vec<Delivery> {
        let piece = &self.pieces[&piece];
        let runs = self.unbroken_runs(n_records).into_iter();
        let deliveries = runs.map(|run| Delivery {
            indices: self.indices(run.clone()),
            failure: FailureRecord {
                condition,
                window: self.call_of(run.start),
                records: self.records(run),
                attempts: piece.reached,
                request_id: piece.request_id.clone(),
                response: Some(response.clone()),
                last_error: piece.last_error.clone(),
            },
        });
        deliveries.collect()
    }

    /// What the event of an invocation with a pending record would have of its window.
    fn call_of(&self, at: usize) -> Option<WindowCall> {
        self.windows.as_ref()?.call_of(self.pending[at].window?)
    }

    /// The first `n_records`, cut where records of the lane are missing between them.
    fn unbroken_runs(&self, n_records: usize) -> Vec<std::ops::Range<usize>> {
        let mut runs = Vec::new();
        let mut start = 0;
        for at in 1..=n_records {
            let is_broken =
                at == n_records || self.pending[at].ordinal != self.pending[at - 1].ordinal + 1;
            if is_broken {
                runs.push(start..at);
                start = at;
            }
        }
        runs
    }

    fn give_up(&mut self, given_up: Vec<Delivery>, settings: &ShardConsumerSettings) -> Resolved {
        if settings.delivers_given_up {
            self.deliveries.extend(given_up);
            return Resolved::default();
        }
        let mut resolved = Resolved::default();
        for Delivery { failure, indices } in given_up {
            self.remove(&indices);
            resolved.indices.extend(indices);
            resolved.dropped.push(failure);
        }
        resolved
    }

    fn resolve(&mut self, range: std::ops::Range<usize>) -> Resolved {
        let indices = self.indices(range);
        self.remove(&indices);
        Resolved {
            indices,
            dropped: Vec::new(),
        }
    }

    fn remove(&mut self, indices: &[usize]) {
        self.pending.retain(|it| !indices.contains(&it.index));
    }

    /// Records at the head that are invoked together from now on, at once and without failures.
    fn new_piece(&mut self, range: std::ops::Range<usize>, now: Timestamp) -> u32 {
        let former = self.pending[range.start].piece;
        let former = former.map(|piece| &self.pieces[&piece]);
        let request_id = former.and_then(|piece| piece.request_id.clone());
        let last_error = former.and_then(|piece| piece.last_error.clone());
        self.n_pieces += 1;
        let piece = Piece {
            reached: 0,
            not_reached: 0,
            due: DueRange::exactly(now),
            waiting: None,
            request_id,
            last_error,
        };
        self.pieces.insert(self.n_pieces, piece);
        for pending in self.pending.range_mut(range) {
            pending.piece = Some(self.n_pieces);
        }
        self.n_pieces
    }

    fn head(&self) -> Option<&Piece> {
        if self.is_delivering() {
            return None;
        }
        let piece = self.pending.front()?.piece?;
        Some(&self.pieces[&piece])
    }

    fn n_of(&self, piece: u32) -> usize {
        let pending = self.pending.iter();
        pending.filter(|it| it.piece == Some(piece)).count()
    }

    fn indices(&self, range: std::ops::Range<usize>) -> Vec<usize> {
        self.pending.range(range).map(|it| it.index).collect()
    }

    fn records(&self, range: std::ops::Range<usize>) -> Arc<[Record]> {
        self.pending
            .range(range)
            .map(|it| it.record.clone())
            .collect()
    }
}

/// Whether the function has processed the record at this position, by a response that names records:
/// it neither names it nor an earlier one, of any key or with `strict_order` of the same.
fn is_done(failures: &ItemFailures, records: &[Record], strict_order: bool, at: usize) -> bool {
    let ItemFailures::Items(names) = failures else {
        return false;
    };
    let position = |name: &str| records.iter().position(|it| it.sequence_number() == name);
    let positions: Option<Vec<_>> = names.keys().map(|name| position(name)).collect();
    positions.is_some_and(|positions| {
        let holds_back = |failed: &usize| {
            *failed <= at && !(strict_order && records[*failed].key() != records[at].key())
        };
        !positions.iter().any(holds_back)
    })
}

/// Whether the function does not accept so large a batch, and whether Lambda has stopped a loop.
fn rejection(outcome: &Outcome) -> (bool, bool) {
    let has_status = |status: u16| matches!(outcome, Outcome::FunctionError { response, .. } if response.status == status);
    (has_status(413), has_status(400))
}

fn any_done(failures: &ItemFailures, records: &[Record], strict_order: bool) -> bool {
    (0..records.len()).any(|at| is_done(failures, records, strict_order, at))
}
