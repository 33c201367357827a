//! One invocation of a redrive: paced, and with a slot.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::arn::Arn;
use windlass_core::event::Event;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Outcome;
use windlass_core::redrive::Pace;

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
    pub(super) returns_state: bool,
}

/// Invokes functions for one job, which may send several things side by side.
pub(super) struct Invoker {
    context: EngineContext,
    pace: Mutex<Pace>,
    backpressure: Backpressure,
}

impl Invoker {
    pub(super) fn new(context: EngineContext, rate: Option<u32>) -> Self {
        Self {
            context,
            pace: Mutex::new(Pace::new(rate)),
            backpressure: Backpressure::default(),
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

    /// Invokes a function once, when it is the turn of the call and there is a slot.
    pub(super) async fn attempt<T>(
        &self,
        function: &Arn,
        target: &Arc<dyn Target>,
        call: &Call,
        caller: &Caller<T>,
    ) -> Result<Outcome, Ended> {
        let mapping = MappingId::new(ACCOUNT);
        let slots = self.context.slots.account(&mapping, None, target);
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
            tracing::debug!(%function, id = %call.id, ?outcome, "redriven");
            return Ok(outcome);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
