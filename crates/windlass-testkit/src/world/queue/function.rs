//! The function of a queue's mapping, and which messages it has processed.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_core::outcome::{Fault, ItemFailures, Outcome, Response, RetryAfter};
use windlass_core::time::Timestamp;

use super::plan::FunctionPlan;
use crate::rng::Rng;
use crate::world::plan::{fault, function_error};

#[derive(Debug)]
pub(super) struct Function {
    plan: FunctionPlan,
    timeout: Duration,
    /// How often each message was processed, whatever outcome was reported.
    pub(super) processed: Vec<u32>,
    /// Messages of batches whose outcome was success.
    pub(super) succeeded: Vec<bool>,
}

/// How one invocation will end.
#[derive(Clone, Copy, Debug)]
pub(super) struct InvocationPlan {
    pub(super) duration: Duration,
    /// The function does not answer before its timeout.
    never: bool,
}

impl Function {
    pub(super) fn new(plan: FunctionPlan, timeout: Duration, n_messages: usize) -> Self {
        Self {
            plan,
            timeout,
            processed: vec![0; n_messages],
            succeeded: vec![false; n_messages],
        }
    }

    pub(super) fn begin(&self, faulty: bool, rng: &mut Rng) -> InvocationPlan {
        let timeout = u64::try_from(self.timeout.as_millis()).expect("at most minutes");
        let (low, high) = self.plan.latency;
        if !faulty {
            // Without the heartbeat, a function that uses its whole timeout never completes a message.
            let max = timeout / 10;
            let duration = rng.millis(low.min(max), high.min(max));
            let never = false;
            return InvocationPlan { duration, never };
        }
        if rng.per_mille(self.plan.never) {
            let (duration, never) = (self.timeout, true);
            return InvocationPlan { duration, never };
        }
        let duration = if rng.per_mille(self.plan.slow) {
            rng.millis(timeout / 2, timeout - 1)
        } else {
            rng.millis(low.min(timeout - 1), high.min(timeout - 1))
        };
        let never = false;
        InvocationPlan { duration, never }
    }

    /// The outcome of an invocation of the messages with these indices.
    pub(super) fn end(
        &mut self,
        batch: &[usize],
        plan: InvocationPlan,
        faulty: bool,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Outcome {
        let outcome = self.outcome(batch, plan, faulty, now, rng);
        let reached = !matches!(outcome, Outcome::NotInvoked { .. });
        let done_anyway = reached && rng.per_mille(self.plan.done_anyway);
        for index in batch {
            if done_anyway || has_processed(&outcome, *index, batch) {
                self.processed[*index] += 1;
            }
        }
        outcome
    }

    fn outcome(
        &mut self,
        batch: &[usize],
        plan: InvocationPlan,
        faulty: bool,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Outcome {
        if plan.never {
            return Outcome::function_error(0, "timeout");
        }
        if !faulty {
            return Outcome::Success;
        }
        if self.plan.max_messages.is_some_and(|max| max < batch.len()) {
            return Outcome::function_error(413, "HTTP 413");
        }
        let mut outages = self.plan.outages.iter();
        if let Some((_, _, outcome)) = outages.find(|it| it.0 <= now && now < it.1) {
            return outcome.clone();
        }
        if rng.per_mille(self.plan.not_reached) {
            let cause = fault(rng);
            return Outcome::NotInvoked { cause };
        }
        let mut poison = self.plan.poison.iter_mut();
        if let Some((_, left)) = poison.find(|it| 0 < it.1 && batch.contains(&it.0)) {
            *left -= 1;
            if self.plan.has_gateway {
                let cause = Fault::Transient;
                return Outcome::NotInvoked { cause };
            }
            return function_error();
        }
        if rng.per_mille(self.plan.error) {
            return function_error();
        }
        if rng.per_mille(self.plan.item_failures) {
            return item_failures(batch, rng);
        }
        Outcome::Success
    }
}

/// Whether the function has processed this message of a batch, by its own words.
pub(super) fn has_processed(outcome: &Outcome, index: usize, batch: &[usize]) -> bool {
    let reported = match outcome {
        Outcome::Success => return true,
        Outcome::ItemFailures {
            failures: ItemFailures::Items(reported),
            ..
        } => reported,
        Outcome::ItemFailures { .. }
        | Outcome::FunctionError { .. }
        | Outcome::NotInvoked { .. }
        | Outcome::Windowed(_) => return false,
    };
    let is_known = |id: &str| batch.iter().any(|it| it.to_string() == id);
    reported.keys().all(|id| is_known(id)) && !reported.contains_key(index.to_string().as_str())
}

fn item_failures(batch: &[usize], rng: &mut Rng) -> Outcome {
    let mut ids = BTreeMap::<Box<str>, RetryAfter>::new();
    let delays = rng.pick(&[0, 500, 1_000]);
    let retry_after = |rng: &mut Rng| {
        let seconds = rng.pick(&[0.0, 1.0, 7.0, 120.0, 43_201.0, -1.0, 0.5]);
        let is_given = rng.per_mille(delays);
        if is_given {
            RetryAfter::from_number(seconds)
        } else {
            RetryAfter::None
        }
    };
    for index in batch {
        if rng.per_mille(400) {
            ids.insert(index.to_string().into(), retry_after(rng));
        }
    }
    if ids.is_empty() || rng.per_mille(100) {
        ids.insert("not in the batch".into(), RetryAfter::None);
    }
    let failures = if rng.per_mille(100) {
        ItemFailures::Malformed
    } else {
        ItemFailures::Items(ids)
    };
    let response = Box::new(Response::default());
    Outcome::ItemFailures { failures, response }
}
