//! What is to be said of the daemon itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::report::{CertificateReport, DaemonReport};
use crate::state::ServerState;

/// `GET /windlass/v1/daemon`
pub(crate) async fn get(State(state): State<Arc<ServerState>>) -> Json<DaemonReport> {
    Json(DaemonReport {
        authenticates: !state.gate.is_open(),
        certificate: state.tls.as_ref().map(|tls| CertificateReport {
            expires_at: tls.expires_at(),
        }),
        warnings: state.warnings(),
    })
}
