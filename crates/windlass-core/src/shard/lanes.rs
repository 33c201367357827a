//! The lanes of a shard: the records of one key are in one lane, so they keep their order, while
//! those of other keys are invoked at the same time.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-create.html>

use super::interface::{Batch, ShardTimer};
use super::lane::Lane;
use super::settings::ShardConsumerSettings;
use super::view::Waiting;
use crate::batch::{BatchId, BatchIds};
use crate::ids::KeyHash;
use crate::outcome::Outcome;
use crate::progress::Ticket;
use crate::record::Record;
use crate::retry::Jitter;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Lanes {
    /// `ParallelizationFactor` of them.
    lanes: Vec<Lane>,
    /// The lane that has requested a slot, or the last one that did.
    last_requested: usize,
}

impl Lanes {
    pub(super) fn new(settings: &ShardConsumerSettings) -> Self {
        let n_lanes = settings.mapping.parallelization_factor;
        Self {
            lanes: (0..n_lanes).map(|_| Lane::new(settings)).collect(),
            last_requested: n_lanes - 1,
        }
    }

    /// Appends a record to the lane of its key.
    pub(super) fn push(&mut self, ticket: Ticket, record: Record, now: Timestamp) {
        let lane = self.lane_of(record.key());
        self.lanes[lane].push(ticket, record, now);
    }

    fn lane_of(&self, key: KeyHash) -> usize {
        match self.lanes.len() {
            1 => 0,
            n_lanes => (key.0 % n_lanes as u64) as usize,
        }
    }

    /// Chooses the lane that requests the next slot: the next one in turn whose batch is due. Returns
    /// whether there is one.
    pub(super) fn request(&mut self, no_more: bool, now: Timestamp) -> bool {
        let n_lanes = self.lanes.len();
        let in_turn = (1..=n_lanes).map(|step| (self.last_requested + step) % n_lanes);
        let mut due = in_turn.filter(|&lane| self.lanes[lane].is_due(no_more, now));
        let lane = due.next();
        self.last_requested = lane.unwrap_or(self.last_requested);
        lane.is_some()
    }

    /// Starts the batch of the lane that has requested a slot.
    pub(super) fn start(&mut self, ids: &mut BatchIds) -> Batch {
        self.lanes[self.last_requested].start(ids)
    }

    /// Ends an invocation in flight. Returns the records that are resolved by that.
    pub(super) fn end(
        &mut self,
        batch: BatchId,
        outcome: &Outcome,
        jitter: &mut Jitter,
        now: Timestamp,
    ) -> Vec<Ticket> {
        let mut lanes = self.lanes.iter_mut();
        let lane = lanes.find(|lane| lane.in_flight() == Some(batch));
        let lane = lane.unwrap_or_else(|| panic!("no invocation is in flight: {batch:?}"));
        lane.end(batch, outcome, jitter, now)
    }

    /// When the first of their batches will be due if nothing else happens, and why.
    pub(super) fn due(&self) -> Option<(Timestamp, ShardTimer)> {
        self.lanes.iter().filter_map(Lane::due).min()
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

    /// Why the lane waits that has waited for the most attempts, and its next one; of several, the
    /// first.
    pub(super) fn waiting(&self) -> Option<(&Waiting, Option<Timestamp>)> {
        let waiting = self
            .lanes
            .iter()
            .rev()
            .filter(|lane| lane.waiting().is_some());
        let worst = waiting.max_by_key(|lane| lane.attempt())?;
        Some((worst.waiting()?, worst.due().map(|(at, _)| at)))
    }
}
