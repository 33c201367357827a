//! One invocation, of any source: sent, measured and counted.

use std::sync::Arc;

use tokio::time::Instant;
use windlass_core::event::Event;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::{Fault, ItemFailures, Outcome, RetryAfter, ReturnedState};
use windlass_core::time::Timestamp;
use windlass_core::window::MAX_STATE;

use crate::clock::Clock;
use crate::histogram::InvocationMetrics;
use crate::memory::Backpressure;
use crate::ports::{Invocation, Purpose, ShardOrigin, Target};
use crate::slots::{NextSlot, Slot, SlotAccount};
use crate::status::{Counts, StatusBoard};

/// Invokes the function of one mapping.
#[derive(Clone)]
pub(crate) struct Invoker {
    /// The inner id of a replay.
    pub(crate) mapping: MappingId,
    pub(crate) purpose: Purpose,
    pub(crate) reports_item_failures: bool,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) metrics: Arc<InvocationMetrics>,
    pub(crate) slots: SlotAccount,
    pub(crate) backpressure: Backpressure,
    pub(crate) clock: Clock,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) counts: Arc<Counts>,
}

/// Prepares the function of one unit when records begin to wait for an invocation.
#[derive(Debug, Default)]
pub(crate) struct Preparation {
    some_wait: bool,
}

/// What an invocation sends, but for its event.
pub(crate) struct Call {
    pub(crate) attempt: u32,
    pub(crate) n_records: usize,
    /// When the last record arrived, by the clock of its source; `None` without records.
    pub(crate) newest: Option<Timestamp>,
    pub(crate) origin: Option<ShardOrigin>,
    /// Whether the function must return the state of a tumbling window.
    pub(crate) returns_state: bool,
}

impl Preparation {
    pub(crate) fn update(&mut self, target: &dyn Target, some_wait: bool) {
        if some_wait && !self.some_wait {
            target.prepare();
        }
        self.some_wait = some_wait;
    }
}

impl Invoker {
    /// Requests a slot for the next invocation; a wait for it shows in the status.
    pub(crate) fn request_slot(&self) -> NextSlot {
        self.slots.request(&self.backpressure)
    }

    /// Builds the event and sends it. The slot is in use until the function has answered.
    pub(crate) async fn invoke(
        &self,
        slot: Slot,
        call: Call,
        event: impl FnOnce() -> Event,
    ) -> Outcome {
        let Call {
            attempt,
            n_records,
            newest,
            origin,
            returns_state,
        } = call;
        let sent = Instant::now();
        if let Some(newest) = newest {
            let (board, clock) = (&self.board, self.clock);
            let source_time = board.source_time(&self.mapping, clock, clock.now());
            self.metrics.iterator_age(source_time.since(newest));
        }
        let is_stream = origin.is_some();
        let outcome = self
            .target
            .invoke(Invocation {
                event: event(),
                purpose: self.purpose.clone(),
                attempt,
                max_item_failures: self.reports_item_failures.then_some(n_records),
                returns_state,
                origin,
            })
            .await;
        let outcome = if returns_state {
            outcome.in_window(None)
        } else {
            outcome
        };
        drop(slot);
        let took = sent.elapsed();
        if !is_stream && outcome.is_too_large() && 1 < n_records {
            // The consumer halves it, and nothing has failed.
            tracing::info!(
                n_records,
                "batch halved: it is larger than the function accepts (413); lower BatchSize"
            );
            return outcome;
        }
        self.metrics.invocation(&outcome, took);
        self.board.outcome(&self.mapping, outcome.kind());
        self.count(&outcome, attempt, n_records);
        self.count_ignored_retry_after(&outcome, is_stream);
        tracing::debug!(n_records, attempt, ?took, ?outcome, "invoked");
        outcome
    }

    /// Counts an invocation, and logs what is wrong with it.
    fn count(&self, outcome: &Outcome, attempt: u32, n_records: usize) {
        match outcome {
            Outcome::Success => self.counts.invoked.add(n_records),
            Outcome::ItemFailures { failures, response } => {
                self.counts.invoked.add(n_records);
                self.warn_malformed(failures, response.status, attempt, n_records);
            }
            Outcome::Windowed(answer) => match (&answer.state, &answer.failures) {
                (ReturnedState::TooLarge, _) => {
                    tracing::warn!(
                        attempt,
                        n_records,
                        "the function's state is larger than {MAX_STATE} bytes"
                    );
                    self.counts.invoked.add(n_records);
                    self.counts.failed_events.add(n_records);
                }
                (ReturnedState::Json(_), None) => self.counts.invoked.add(n_records),
                (ReturnedState::Json(_), Some(failures)) => {
                    self.counts.invoked.add(n_records);
                    self.warn_malformed(failures, answer.response.status, attempt, n_records);
                }
            },
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
    }

    fn warn_malformed(&self, failures: &ItemFailures, status: u16, attempt: u32, n_records: usize) {
        if *failures == ItemFailures::Malformed {
            tracing::warn!(
                status,
                attempt,
                n_records,
                "the function's response is not valid for ReportBatchItemFailures"
            );
        }
    }

    /// Batches of a stream have a schedule of their own.
    fn count_ignored_retry_after(&self, outcome: &Outcome, is_stream: bool) {
        let failures = match outcome {
            Outcome::ItemFailures { failures, .. } => Some(failures),
            Outcome::Windowed(answer) => answer.failures.as_ref(),
            Outcome::Success | Outcome::FunctionError { .. } | Outcome::NotInvoked { .. } => None,
        };
        let Some(ItemFailures::Items(items)) = failures else {
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
        if let Some(failures) = outcome.item_failures() {
            let n_records = batch.len();
            let failed = failures.indexes(batch);
            let n_failed = failed.map_or(n_records, |failed| failed.len());
            self.counts.failed_events.add(n_failed);
        }
    }
}
