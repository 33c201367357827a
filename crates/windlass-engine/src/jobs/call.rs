//! One invocation of a redrive: paced, with a slot, and repeated while the function is throttled.

use std::sync::Arc;

use windlass_core::arn::Arn;
use windlass_core::event::Event;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Outcome;
use windlass_core::redrive::{MAX_THROTTLED, Pace, ThrottleWait, Verdict, judge};

use super::{Caller, Ended};
use crate::memory::Backpressure;
use crate::ports::{Invocation, Purpose, Target};
use crate::run_unit::EngineContext;

/// The slots and the memory of all jobs are counted as those of one mapping. No mapping has this id,
/// which is not a UUID.
pub(super) const ACCOUNT: &str = "jobs";

/// What is sent once more.
pub(super) struct Call {
    /// What the function knows it by.
    pub(super) id: Arc<str>,
    pub(super) event: Event,
    pub(super) n_records: usize,
    pub(super) reports_item_failures: bool,
    pub(super) returns_state: bool,
}

/// Invokes functions for one job.
pub(super) struct Invoker {
    context: EngineContext,
    pace: Pace,
    backpressure: Backpressure,
    /// Functions that were not reached.
    unreached: Vec<Arn>,
}

impl Invoker {
    pub(super) fn new(context: EngineContext, rate: Option<u32>) -> Self {
        Self {
            context,
            pace: Pace::new(rate),
            backpressure: Backpressure::default(),
            unreached: Vec::new(),
        }
    }

    /// Waits until what was sent before is paid for.
    async fn wait_for_turn<T>(&self, caller: &Caller<T>) -> Result<(), Ended> {
        let wait = self.pace.wait(self.context.clock.now());
        caller.unless_ended(tokio::time::sleep(wait)).await
    }

    /// Waits for the turn of a message that no function gets.
    pub(super) async fn pace<T>(&mut self, caller: &Caller<T>) -> Result<(), Ended> {
        self.wait_for_turn(caller).await?;
        self.pace.pay(1, self.context.clock.now());
        Ok(())
    }

    /// Whether the run has ended for a function.
    pub(super) fn is_unreached(&self, function: &Arn) -> bool {
        self.unreached.contains(function)
    }

    /// Invokes a function, and waits for it while it is throttled. The outcome is that of the last
    /// attempt.
    pub(super) async fn invoke<T>(
        &mut self,
        function: &Arn,
        target: &Arc<dyn Target>,
        call: Call,
        caller: &Caller<T>,
    ) -> Result<(Verdict, Outcome), Ended> {
        let mapping = MappingId::new(ACCOUNT);
        let slots = self.context.slots.account(&mapping, None, target);
        let mut throttled = ThrottleWait::default();
        loop {
            self.wait_for_turn(caller).await?;
            let mut slot = slots.request(&self.backpressure);
            if !slot.take_news() {
                caller.unless_ended(slot.granted()).await?;
            }
            let slot = slot.take();
            caller.check()?;
            self.pace.pay(call.n_records, self.context.clock.now());
            let outcome = target
                .invoke(Invocation {
                    event: call.event.clone(),
                    purpose: Purpose::Redrive(Arc::clone(&call.id)),
                    attempt: 1,
                    max_item_failures: Some(call.n_records),
                    returns_state: call.returns_state,
                    origin: None,
                })
                .await;
            drop(slot);
            let outcome = if call.returns_state {
                outcome.in_window(None)
            } else {
                outcome
            };
            let verdict = match judge(&outcome, call.reports_item_failures) {
                Verdict::Throttled { retry_after } => match throttled.next(retry_after) {
                    Some(wait) => {
                        caller.unless_ended(tokio::time::sleep(wait)).await?;
                        continue;
                    }
                    None => Verdict::NotReached(format!(
                        "the function is throttled, and was waited for up to {} s",
                        MAX_THROTTLED.as_secs()
                    )),
                },
                verdict @ (Verdict::Success | Verdict::Failed(_) | Verdict::NotReached(_)) => {
                    verdict
                }
            };
            if matches!(verdict, Verdict::NotReached(_)) {
                self.unreached.push(function.clone());
            }
            tracing::debug!(%function, id = %call.id, ?outcome, "redriven");
            return Ok((verdict, outcome));
        }
    }
}
