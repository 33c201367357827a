//! The lanes of a shard: the records of one key are in one lane, so they keep their order, while
//! those of other keys are invoked at the same time.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-create.html>

use super::interface::{Batch, ShardTimer};
use super::lane::{Lane, Resolved};
use super::retried_batch::RetriedBatch;
use super::settings::ShardConsumerSettings;
use super::view::Waiting;
use super::windows::Windows;
use crate::batch::{BatchId, BatchIds};
use crate::failure::{DeliveryFault, FailureRecord};
use crate::outcome::Outcome;
use crate::position::Checkpoint;
use crate::progress::Ticket;
use crate::record::Record;
use crate::retry::Jitter;
use crate::time::Timestamp;
use crate::window::{WindowBounds, WindowCheckpoint};

#[derive(Debug)]
pub(super) struct Lanes {
    /// `ParallelizationFactor` of them.
    lanes: Vec<Lane>,
    /// The lane of the last invocation.
    last_started: usize,
    /// The window of the checkpoint, if there are no windows any more.
    dropped_window: Option<WindowCheckpoint>,
}

impl Lanes {
    pub(super) fn new(settings: &ShardConsumerSettings, from: &Checkpoint) -> Self {
        let n_lanes = settings.mapping.parallelization_factor;
        let has_windows = settings.mapping.tumbling_window.is_some();
        Self {
            lanes: (0..n_lanes).map(|_| Lane::new(settings, from)).collect(),
            last_started: n_lanes - 1,
            dropped_window: from.window.clone().filter(|_| !has_windows),
        }
    }

    /// Appends a record to the lane of its key.
    pub(super) fn push(&mut self, ticket: Ticket, record: Record, now: Timestamp) {
        let lane = record.key().lane(self.lanes.len());
        self.lanes[lane].push(ticket, record, now);
    }

    /// The lane that is invoked next: of those whose batch is due, the next in turn.
    pub(super) fn next_due(&self, no_more: bool, now: Timestamp) -> Option<usize> {
        let n_lanes = self.lanes.len();
        let mut in_turn = (1..=n_lanes).map(|step| (self.last_started + step) % n_lanes);
        in_turn.find(|&lane| self.lanes[lane].is_due(no_more, now))
    }

    /// Starts the batch of a lane that is due.
    pub(super) fn start(&mut self, lane: usize, ids: &mut BatchIds, now: Timestamp) -> Batch {
        self.last_started = lane;
        self.lanes[lane].start(ids, now)
    }

    /// The records that a batch may have from now on; `None`: `BatchSize`.
    pub(super) fn set_max_records(&mut self, max_records: Option<usize>) {
        for lane in &mut self.lanes {
            lane.set_max_records(max_records);
        }
    }

    /// Ends an invocation in flight.
    pub(super) fn end(
        &mut self,
        batch: BatchId,
        outcome: Outcome,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> Resolved {
        self.lane_of_call(batch).end(batch, outcome, jitter, now)
    }

    /// Records of an invocation in flight.
    pub(super) fn batch_len(&mut self, batch: BatchId) -> usize {
        self.lane_of_call(batch).n_in_flight()
    }

    /// Ends a delivery in flight. Returns the records that are resolved by that.
    pub(super) fn delivered(
        &mut self,
        delivery: BatchId,
        result: Result<(), DeliveryFault>,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> Vec<Ticket> {
        let lane = self.lane_of_call(delivery);
        lane.delivered(delivery, result, jitter, now)
    }

    fn lane_of_call(&mut self, call: BatchId) -> &mut Lane {
        let mut lanes = self.lanes.iter_mut();
        let lane = lanes.find(|lane| lane.in_flight() == Some(call));
        lane.unwrap_or_else(|| panic!("nothing is in flight: {call:?}"))
    }

    /// The next delivery that should be sent.
    pub(super) fn deliver(
        &mut self,
        ids: &mut BatchIds,
        now: Timestamp,
    ) -> Option<(BatchId, FailureRecord)> {
        self.lanes
            .iter_mut()
            .find_map(|lane| lane.deliver(ids, now))
    }

    /// Gives up the records whose maximum age has passed, lane by lane.
    pub(super) fn expire(&mut self, source_time: Timestamp, now: Timestamp) -> Vec<Resolved> {
        let lanes = self.lanes.iter_mut();
        let expired = lanes.filter_map(|lane| lane.expire(source_time, now));
        expired.collect()
    }

    /// Gives up the next record of each lane if it alone exceeds the payload limit.
    pub(super) fn give_up_too_large(&mut self, now: Timestamp) {
        for lane in &mut self.lanes {
            lane.give_up_too_large(now);
        }
    }

    /// The tumbling windows, which need a lane of their own.
    fn windows(&self) -> Option<&Windows> {
        self.lanes[0].windows()
    }

    fn windows_mut(&mut self) -> Option<&mut Windows> {
        self.lanes[0].windows_mut()
    }

    /// Records that the function does not receive were read; the newest one arrived at this time.
    pub(super) fn pass(&mut self, newest: Timestamp) {
        if let Some(windows) = self.windows_mut() {
            windows.pass(newest);
        }
    }

    /// See [`Windows::idle`].
    pub(super) fn idle(&mut self, source_time: Timestamp) {
        if let Some(windows) = self.windows_mut() {
            windows.idle(source_time);
        }
    }

    /// Every record of the shard was read.
    pub(super) fn end_shard(&mut self) {
        if let Some(windows) = self.windows_mut() {
            windows.end_shard();
        }
    }

    pub(super) fn advance_window(&mut self, now: Timestamp) {
        self.lanes[0].advance_window(now);
    }

    /// Returns the window whose state was dropped.
    pub(super) fn drop_window_state(&mut self, now: Timestamp) -> Option<WindowBounds> {
        self.lanes[0].drop_window_state(now)
    }

    /// The window whose state the checkpoint had although there are no windows.
    pub(super) fn dropped_window(&self) -> Option<WindowBounds> {
        let dropped = self.dropped_window.as_ref();
        Some(dropped.filter(|it| it.state.is_some())?.bounds)
    }

    /// What a checkpoint keeps of the windows.
    pub(super) fn window(&self) -> Option<&WindowCheckpoint> {
        self.windows()?.checkpoint()
    }

    /// Grows with every change of [`Self::window`].
    pub(super) fn window_version(&self) -> u64 {
        match self.windows() {
            Some(windows) => windows.version(),
            None => u64::from(self.dropped_window.is_some()),
        }
    }

    /// Bytes of the state of the window; 0 without a state.
    pub(super) fn state_bytes(&self) -> usize {
        let state = self.windows().and_then(Windows::state);
        state.map_or(0, |state| state.json().len())
    }

    /// When the next record is too old, by the clock of the source.
    pub(super) fn expiry(&self) -> Option<Timestamp> {
        self.lanes.iter().filter_map(Lane::expiry).min()
    }

    /// When the first of their batches and deliveries will be due if nothing else happens, and which
    /// timer that is, of those that count.
    pub(super) fn due(
        &self,
        counts: impl Fn(ShardTimer) -> bool,
    ) -> Option<(Timestamp, ShardTimer)> {
        let due = self.lanes.iter().filter_map(Lane::due);
        due.filter(|(_, timer)| counts(*timer)).min()
    }

    /// The first record in memory.
    pub(super) fn first(&self) -> Option<Ticket> {
        self.lanes.iter().filter_map(Lane::first).min()
    }

    /// Arrival at the stream of the first record in memory.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let firsts = self
            .lanes
            .iter()
            .filter_map(|lane| Some((lane.first()?, lane.oldest()?)));
        firsts.min().map(|(_, arrival)| arrival)
    }

    /// Bytes of the events of all records in memory.
    pub(super) fn bytes(&self) -> usize {
        self.lanes.iter().map(Lane::bytes).sum()
    }

    /// Records in memory.
    pub(super) fn n_records(&self) -> usize {
        self.lanes.iter().map(Lane::n_records).sum()
    }

    /// Records of the invocations in flight.
    pub(super) fn n_in_flight(&self) -> usize {
        self.lanes.iter().map(Lane::n_in_flight).sum()
    }

    /// Whether an invocation or a delivery is in flight.
    pub(super) fn are_in_flight(&self) -> bool {
        self.lanes.iter().any(|lane| lane.in_flight().is_some())
    }

    pub(super) const fn n_lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Lanes that wait before they repeat a batch.
    pub(super) fn n_waiting(&self) -> usize {
        let lanes = self.lanes.iter();
        lanes.filter(|lane| lane.waiting().is_some()).count()
    }

    /// The highest of the batches at the heads of the lanes.
    pub(super) fn attempt(&self) -> u32 {
        self.lanes.iter().map(Lane::attempt).max().unwrap_or(1)
    }

    /// The batches that have failed and are tried again.
    pub(super) fn retried(&self) -> Vec<RetriedBatch> {
        let lanes = self.lanes.iter().enumerate();
        let retried = lanes.filter_map(|(index, lane)| lane.retried(index));
        retried.collect()
    }

    /// Why the lane waits that has waited for the most attempts, and its next one; of several, the
    /// first.
    pub(super) fn waiting(&self) -> Option<(Waiting, Option<Timestamp>)> {
        let waiting = self
            .lanes
            .iter()
            .rev()
            .filter(|lane| lane.waiting().is_some());
        let worst = waiting.max_by_key(|lane| lane.attempt())?;
        Some((worst.waiting()?, worst.due().map(|(at, _)| at)))
    }
}
