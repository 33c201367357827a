//! One invocation of a redrive: paced, with a slot, and repeated while the function is throttled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
pub(crate) const ACCOUNT: &str = "jobs";

/// What is sent once more.
pub(super) struct Call {
    /// What the function knows it by.
    pub(super) id: Arc<str>,
    pub(super) event: Event,
    pub(super) n_records: usize,
    pub(super) reports_item_failures: bool,
    pub(super) returns_state: bool,
}

/// Invokes functions for one job, which may send several things side by side.
pub(super) struct Invoker {
    context: EngineContext,
    pace: Mutex<Pace>,
    backpressure: Backpressure,
    /// Functions that were not reached.
    unreached: Mutex<Vec<Arn>>,
}

impl Invoker {
    pub(super) fn new(context: EngineContext, rate: Option<u32>) -> Self {
        Self {
            context,
            pace: Mutex::new(Pace::new(rate)),
            backpressure: Backpressure::default(),
            unreached: Mutex::default(),
        }
    }

    /// Waits until what was sent before is paid for.
    async fn wait_for_turn<T>(&self, caller: &Caller<T>) -> Result<(), Ended> {
        loop {
            let wait = lock(&self.pace).wait(self.context.clock.now());
            if wait.is_zero() {
                return Ok(());
            }
            caller.unless_ended(tokio::time::sleep(wait)).await?;
        }
    }

    /// Pays for what is sent; `false` if it is the turn of something else.
    fn pay(&self, n_records: usize) -> bool {
        let (mut pace, now) = (lock(&self.pace), self.context.clock.now());
        let is_paid = pace.wait(now).is_zero();
        if is_paid {
            pace.pay(n_records, now);
        }
        is_paid
    }

    /// Waits for the turn of a message that no function gets.
    pub(super) async fn pace<T>(&self, caller: &Caller<T>) -> Result<(), Ended> {
        self.wait_for_turn(caller).await?;
        self.pay(1);
        Ok(())
    }

    /// Whether the run has ended for a function.
    pub(super) fn is_unreached(&self, function: &Arn) -> bool {
        lock(&self.unreached).contains(function)
    }

    /// Invokes a function, and waits for it while it is throttled. The outcome is that of the last
    /// attempt.
    pub(super) async fn invoke<T>(
        &self,
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
            if !self.pay(call.n_records) {
                continue;
            }
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
                lock(&self.unreached).push(function.clone());
            }
            tracing::debug!(%function, id = %call.id, ?outcome, "redriven");
            return Ok((verdict, outcome));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
