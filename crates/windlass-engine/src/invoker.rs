//! One invocation, of any source: sent, measured and counted.

use std::sync::Arc;

use windlass_core::event::Event;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::{Fault, ItemFailures, Outcome, RetryAfter};
use windlass_core::time::Timestamp;

use crate::clock::Clock;
use crate::histogram::InvocationMetrics;
use crate::memory::Backpressure;
use crate::ports::{Invocation, ShardOrigin, Target};
use crate::slots::{NextSlot, Slot, SlotAccount};
use crate::status::{Counts, StatusBoard};

/// Invokes the function of one mapping.
#[derive(Clone)]
pub(crate) struct Invoker {
    pub(crate) mapping: MappingId,
    pub(crate) reports_item_failures: bool,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) metrics: Arc<InvocationMetrics>,
    pub(crate) slots: SlotAccount,
    pub(crate) backpressure: Backpressure,
    pub(crate) clock: Clock,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) counts: Arc<Counts>,
}

impl Invoker {
    /// Requests a slot for the next invocation; a wait for it shows in the status.
    pub(crate) fn request_slot(&self) -> NextSlot {
        self.slots.request(&self.backpressure)
    }

    /// Builds the event and sends it. The slot is in use until the function has answered. `newest` is
    /// the time at which the last record arrived, by the clock of its source.
    pub(crate) async fn invoke(
        &self,
        slot: Slot,
        attempt: u32,
        n_records: usize,
        newest: Timestamp,
        origin: Option<ShardOrigin>,
        event: impl FnOnce() -> Event,
    ) -> Outcome {
        let sent = self.clock.now();
        let source_time = self.board.source_time(&self.mapping, self.clock.wall());
        self.metrics.iterator_age(source_time.since(newest));
        let mapping = self.mapping.clone();
        let is_stream = origin.is_some();
        let outcome = self
            .target
            .invoke(Invocation {
                event: event(),
                mapping,
                attempt,
                max_item_failures: self.reports_item_failures.then_some(n_records),
                origin,
            })
            .await;
        drop(slot);
        let took = self.clock.now().since(sent);
        self.metrics.invocation(&outcome, took);
        self.board.outcome(&self.mapping, outcome.kind());
        match &outcome {
            Outcome::Success => self.counts.invoked.add(n_records),
            Outcome::ItemFailures { failures, response } => {
                self.counts.invoked.add(n_records);
                if *failures == ItemFailures::Malformed {
                    let status = response.status;
                    tracing::warn!(
                        status,
                        attempt,
                        n_records,
                        "the function's response is not valid for ReportBatchItemFailures"
                    );
                }
                self.count_ignored_retry_after(failures, is_stream);
            }
            Outcome::FunctionError { error, response } => {
                let status = response.status;
                tracing::warn!(status, error, attempt, n_records, "function failed");
                self.counts.invoked.add(n_records);
                self.counts.failed_invocations.add(1);
                self.counts.failed_events.add(n_records);
            }
            // A function at its concurrency limit is normal.
            Outcome::NotInvoked {
                cause: Fault::Throttled { .. },
            } => {}
            Outcome::NotInvoked { cause } => {
                tracing::warn!(?cause, n_records, "function not reached");
            }
        }
        tracing::debug!(n_records, attempt, ?took, ?outcome, "invoked");
        outcome
    }

    /// Batches of a stream have a schedule of their own.
    fn count_ignored_retry_after(&self, failures: &ItemFailures, is_stream: bool) {
        let ItemFailures::Items(items) = failures else {
            return;
        };
        let is_ignored = |retry_after: &&RetryAfter| match retry_after {
            RetryAfter::None => false,
            RetryAfter::Seconds(_) => is_stream,
            RetryAfter::Invalid => true,
        };
        let n_items = items.values().filter(is_ignored).count();
        if 0 < n_items {
            self.counts.ignored_retry_after.add(n_items);
            tracing::warn!(
                n_items,
                "retryAfterSeconds of failed items ignored; it must be a whole number from 0 to \
                 43200, and the source a queue"
            );
        }
    }

    /// Counts what a function reports as failed of the batch with these identifiers; all of it if it
    /// reports anything else.
    pub(crate) fn count_item_failures<'a>(
        &self,
        outcome: &Outcome,
        batch: impl ExactSizeIterator<Item = &'a str>,
    ) {
        if let Outcome::ItemFailures { failures, .. } = outcome {
            let n_records = batch.len();
            let failed = failures.indexes(batch);
            let n_failed = failed.map_or(n_records, |failed| failed.len());
            self.counts.failed_events.add(n_failed);
        }
    }
}
