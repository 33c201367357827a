//! One invocation, whatever its source: rendered, sent, measured and counted.

use std::sync::Arc;

use bytes::Bytes;
use windlass_core::event;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::time::Timestamp;

use crate::at_limit::{AtLimit, Limit};
use crate::budget::Account;
use crate::clock::Clock;
use crate::metrics::{self, Labels};
use crate::ports::{Invocation, Target};
use crate::status::{Counts, StatusBoard};

/// Invokes the function of one mapping.
#[derive(Clone)]
pub(crate) struct Invoker {
    pub(crate) mapping: MappingId,
    pub(crate) target: Arc<dyn Target>,
    /// How its metrics are labelled.
    pub(crate) labels: Labels,
    /// The daemon's limit of concurrent invocations.
    pub(crate) slots: Account,
    /// Where the consumer says which limits it waits for.
    pub(crate) at_limit: AtLimit,
    pub(crate) clock: Clock,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) counts: Arc<Counts>,
}

impl Invoker {
    /// Invokes with these events, at least one; `newest` is when the last of them arrived.
    pub(crate) async fn invoke<'a>(
        &self,
        attempt: u32,
        events: impl ExactSizeIterator<Item = &'a Bytes> + Clone,
        newest: Timestamp,
    ) -> Outcome {
        let n_records = events.len();
        let slot = self
            .at_limit
            .reserve(Limit::Invocations, &self.slots, 1)
            .await;
        let event = event::render(events);
        let sent = self.clock.now();
        metrics::iterator_age(&self.labels, sent.since(newest));
        let mapping = self.mapping.clone();
        let outcome = self
            .target
            .invoke(Invocation {
                event,
                mapping,
                attempt,
            })
            .await;
        drop(slot);
        let took = self.clock.now().since(sent);
        metrics::invocation(&self.labels, &outcome, took);
        self.board.outcome(&self.mapping, &outcome);
        match &outcome {
            Outcome::Success => self.counts.invoked.add(n_records),
            Outcome::FunctionError { status, error } => {
                tracing::warn!(status, error, attempt, n_records, "the function failed");
                self.counts.invoked.add(n_records);
                self.counts.failed_invocations.add(1);
                self.counts.failed_events.add(n_records);
            }
            // A function at its limit of concurrency is nothing out of the ordinary.
            Outcome::NotInvoked {
                cause: Fault::Throttled { .. },
            } => {}
            Outcome::NotInvoked { cause } => {
                tracing::warn!(?cause, n_records, "the function was not reached");
            }
        }
        tracing::debug!(n_records, attempt, ?took, ?outcome, "invoked");
        outcome
    }
}
