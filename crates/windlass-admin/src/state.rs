//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use windlass_engine::memory::Budget;

use crate::control::Control;
use crate::health::StoreCheck;
use crate::metrics::Metrics;
use crate::rebinding_guard::RebindingGuard;

pub(crate) struct ServerState {
    pub(crate) control: Control,
    pub(crate) readiness: Readiness,
    pub(crate) store_check: StoreCheck,
    pub(crate) metrics: Metrics,
    pub(crate) budget: Budget,
    pub(crate) guard: RebindingGuard,
}

/// Whether the daemon accepts work; shared with the code that stops it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// `/readyz` responds with 503 from now on.
    pub fn drain(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
