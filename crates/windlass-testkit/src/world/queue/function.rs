//! The function behind the queue, and what is true about its work.

use std::time::Duration;

use windlass_core::outcome::Outcome;
use windlass_core::time::Timestamp;

use super::plan::FunctionPlan;
use crate::rng::Rng;
use crate::world::plan::{fault, function_error};

/// The function.
#[derive(Debug)]
pub(super) struct Function {
    plan: FunctionPlan,
    /// How long it may take.
    timeout: Duration,
    /// How often each message was worked on with success, whatever was said about it.
    pub(super) processed: Vec<u32>,
    /// The messages of which success was reported.
    pub(super) succeeded: Vec<bool>,
}

/// How one invocation will go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub(super) duration: Duration,
    /// There is no answer in time.
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

    /// An invocation begins.
    pub(super) fn begin(&self, faulty: bool, rng: &mut Rng) -> Fate {
        let timeout = u64::try_from(self.timeout.as_millis()).expect("minutes at the most");
        let (low, high) = self.plan.latency;
        if !faulty {
            // Without the heartbeat, whoever takes as long as he may is never done with a message.
            let most = timeout / 10;
            let duration = rng.millis(low.min(most), high.min(most));
            let never = false;
            return Fate { duration, never };
        }
        if rng.per_mille(self.plan.never) {
            let (duration, never) = (self.timeout, true);
            return Fate { duration, never };
        }
        let duration = if rng.per_mille(self.plan.slow) {
            rng.millis(timeout / 2, timeout - 1)
        } else {
            rng.millis(low.min(timeout - 1), high.min(timeout - 1))
        };
        let never = false;
        Fate { duration, never }
    }

    /// An invocation ends. `batch`: the messages by their indices.
    pub(super) fn end(
        &mut self,
        batch: &[usize],
        fate: Fate,
        faulty: bool,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Outcome {
        let outcome = self.outcome(batch, fate, faulty, now, rng);
        let reached = !matches!(outcome, Outcome::NotInvoked { .. });
        let success = outcome == Outcome::Success;
        let done_anyway = reached && rng.per_mille(self.plan.done_anyway);
        if success || done_anyway {
            batch.iter().for_each(|index| self.processed[*index] += 1);
        }
        outcome
    }

    fn outcome(
        &mut self,
        batch: &[usize],
        fate: Fate,
        faulty: bool,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Outcome {
        if fate.never {
            return Outcome::FunctionError {
                status: 0,
                error: "timeout".to_owned(),
            };
        }
        if !faulty {
            return Outcome::Success;
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
            return function_error();
        }
        if rng.per_mille(self.plan.error) {
            return function_error();
        }
        Outcome::Success
    }
}
