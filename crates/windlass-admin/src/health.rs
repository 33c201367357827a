//! Whether the process is up, and whether it does its work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use windlass_engine::ports::chain;

use crate::server::Served;

/// How long the store may take to answer.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// `GET /livez`: this answer is all there is to it.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the store answers, and the daemon is not about to stop.
pub(crate) async fn ready(State(served): State<Arc<Served>>) -> (StatusCode, String) {
    let unready = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    if served.readiness.is_draining() {
        return unready("draining");
    }
    match tokio::time::timeout(STORE_PATIENCE, served.control.store().mappings()).await {
        Ok(Ok(_)) => (StatusCode::OK, "ok\n".to_owned()),
        Ok(Err(error)) => unready(&format!("the store does not answer: {}", chain(&error))),
        Err(_) => unready(&format!(
            "the store does not answer within {STORE_PATIENCE:?}"
        )),
    }
}
