//! The model of one lane of a shard.

use std::collections::VecDeque;
use std::time::Duration;

use windlass_core::batch::BatchId;
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::record::Record;
use windlass_core::shard::{Batch, ShardConsumerSettings, Waiting};
use windlass_core::time::Timestamp;

use super::event_bytes;
use crate::checkers::due_range::DueRange;

#[derive(Debug, Default)]
pub(super) struct LaneModel {
    /// Indices of the records that the function still has to process, those in flight included.
    pub(super) pending: VecDeque<usize>,
    sizes: VecDeque<usize>,
    arrivals: VecDeque<Timestamp>,
    pub(super) bytes: usize,
    /// When the batching window began.
    window: Option<Timestamp>,
    /// The batch in flight, and how many pending records it has.
    pub(super) in_flight: Option<(BatchId, usize)>,
    pub(super) failed: Option<FailedBatch>,
    last_outcome: Option<Outcome>,
}

#[derive(Clone, Debug)]
pub(super) struct FailedBatch {
    pub(super) n_records: usize,
    /// Failed attempts that reached the function.
    reached: u32,
    /// Failures in a row that did not reach it.
    not_reached: u32,
    pub(super) due: DueRange,
}

/// The batch that the pending records make.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextBatch {
    pub(super) n_records: usize,
    full: bool,
}

impl LaneModel {
    pub(super) fn push(
        &mut self,
        index: usize,
        record: &Record,
        settings: &ShardConsumerSettings,
        now: Timestamp,
    ) {
        if self.pending.is_empty() {
            let last_end = self.window.take();
            let still_open = last_end.filter(|&end| now < end + window(settings));
            self.window = Some(still_open.unwrap_or(now));
        }
        self.pending.push_back(index);
        self.sizes.push_back(record.event_len());
        self.arrivals.push_back(record.approximate_arrival());
        self.bytes += record.event_len();
    }

    pub(super) fn begin_invocation(&mut self, batch: &Batch) {
        self.in_flight = Some((batch.id, batch.records.len()));
    }

    /// Returns the indices of the records that are resolved by that.
    pub(super) fn invoked(&mut self, outcome: &Outcome, now: Timestamp) -> Vec<usize> {
        let (_, n_records) = self.in_flight.take().expect("an invocation was requested");
        self.last_outcome = Some(outcome.clone());
        let (mut reached, mut not_reached) = self
            .failed
            .as_ref()
            .map_or((0, 0), |failed| (failed.reached, failed.not_reached));
        let due = match outcome {
            Outcome::Success => {
                self.failed = None;
                self.bytes -= self.sizes.drain(..n_records).sum::<usize>();
                self.arrivals.drain(..n_records);
                self.window = Some(now);
                return self.pending.drain(..n_records).collect();
            }
            Outcome::FunctionError { .. } => {
                (reached, not_reached) = (reached + 1, 0);
                DueRange::after_failure(reached, Fault::Transient, now)
            }
            Outcome::NotInvoked { cause } => {
                not_reached += 1;
                DueRange::after_failure(not_reached, *cause, now)
            }
        };
        self.failed = Some(FailedBatch {
            n_records,
            reached,
            not_reached,
            due,
        });
        Vec::new()
    }

    pub(super) fn attempt(&self) -> u32 {
        self.failed.as_ref().map_or(1, |failed| failed.reached + 1)
    }

    /// The index of the first pending record, and when it arrived at the stream.
    pub(super) fn oldest(&self) -> Option<(usize, Timestamp)> {
        let first = self.pending.front().copied();
        first.zip(self.arrivals.front().copied())
    }

    pub(super) fn next_batch(&self, settings: &ShardConsumerSettings) -> NextBatch {
        // A comma precedes every record but the first.
        let (mut n_records, mut bytes) = (0, event_bytes(std::iter::empty()) - 1);
        for size in self.sizes.iter().take(settings.mapping.batch_size) {
            if settings.limits.payload_limit < bytes + 1 + size {
                break;
            }
            n_records += 1;
            bytes += 1 + size;
        }
        let full = n_records < self.sizes.len()
            || n_records == settings.mapping.batch_size
            || bytes == settings.limits.payload_limit;
        NextBatch { n_records, full }
    }

    /// When the next batch must be invoked; `None` while one is in flight and if there is none.
    /// `no_more`: no record can be added.
    pub(super) fn batch_due(
        &self,
        settings: &ShardConsumerSettings,
        no_more: bool,
    ) -> Option<DueRange> {
        if self.in_flight.is_some() || self.pending.is_empty() {
            return None;
        }
        if let Some(failed) = &self.failed {
            return Some(failed.due);
        }
        let begin = self.window.expect("records are pending");
        if self.next_batch(settings).full || no_more {
            return Some(DueRange::exactly(begin));
        }
        Some(DueRange::exactly(begin + window(settings)))
    }

    /// Why it waits before it repeats a batch.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        if self.in_flight.is_some() {
            return None;
        }
        self.failed.as_ref()?;
        match self.last_outcome.as_ref()? {
            Outcome::Success => None,
            Outcome::FunctionError { .. } => Some(Waiting::FunctionErrors {
                attempt: self.attempt(),
            }),
            Outcome::NotInvoked { cause } => Some(Waiting::NotInvoked(*cause)),
        }
    }
}

fn window(settings: &ShardConsumerSettings) -> Duration {
    settings.mapping.maximum_batching_window
}
