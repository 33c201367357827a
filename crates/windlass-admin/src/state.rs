//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::Request;
use tokio::sync::Mutex;
use tokio::time::Instant;
use windlass_engine::jobs::{DryRuns, Redriver};
use windlass_engine::memory::Budget;
use windlass_engine::ports::{Store, chain};

use crate::auth::Gate;
use crate::control::Control;
use crate::errors::ApiError;
use crate::metrics::Metrics;
use crate::rebinding_guard::RebindingGuard;
use crate::v1::Refusal;

const STORE_TIMEOUT: Duration = Duration::from_secs(2);

const STORE_CHECK_TTL: Duration = Duration::from_secs(1);

pub(crate) struct ServerState {
    pub(crate) control: Control,
    pub(crate) readiness: Readiness,
    pub(crate) store_check: StoreCheck,
    pub(crate) metrics: Metrics,
    pub(crate) budget: Budget,
    pub(crate) guard: RebindingGuard,
    pub(crate) gate: Gate,
    pub(crate) redriver: Redriver,
    pub(crate) dry_runs: DryRuns,
}

impl ServerState {
    /// A job ends with its caller or with the daemon; while that drains, no job begins.
    pub(crate) fn accept_job(&self) -> Result<(), Refusal> {
        if self.readiness.is_draining() {
            return Err(Refusal::draining());
        }
        Ok(())
    }

    /// See [`Gate::admit`].
    pub(crate) async fn admit(&self, request: Request) -> Result<Request, ApiError> {
        let now = self.control.clock().wall();
        self.gate.admit(request, self.control.home(), now).await
    }
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

/// Whether the store can be written. Anybody may ask, so the disk is asked once a second at most.
#[derive(Debug, Default)]
pub(crate) struct StoreCheck(Mutex<Option<(Instant, Result<(), String>)>>);

impl StoreCheck {
    pub(crate) async fn run(&self, store: &dyn Store) -> Result<(), String> {
        let mut last = self.0.lock().await;
        if let Some((at, result)) = &*last
            && at.elapsed() < STORE_CHECK_TTL
        {
            return result.clone();
        }
        let result = match tokio::time::timeout(STORE_TIMEOUT, store.check_writable()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the store fails: {}", chain(&error))),
            Err(_) => Err(format!(
                "the store does not respond within {STORE_TIMEOUT:?}"
            )),
        };
        *last = Some((Instant::now(), result.clone()));
        result
    }
}
