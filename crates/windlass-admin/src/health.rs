//! Whether the process runs, and whether it does its work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use windlass_engine::ports::chain;
use windlass_engine::status::LeaseCounts;

use crate::state::ServerState;

const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /livez`.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the store responds, every lease that this daemon should hold is held and has a
/// consumer, and the daemon is not stopping. Unreachable sources and functions do not count: another
/// daemon would not reach them either.
pub(crate) async fn ready(State(state): State<Arc<ServerState>>) -> (StatusCode, String) {
    let unready = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    if state.readiness.is_draining() {
        return unready("draining");
    }
    match tokio::time::timeout(STORE_TIMEOUT, state.control.store().mappings()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            return unready(&format!("the store fails: {}", chain(&error)));
        }
        Err(_) => {
            return unready(&format!(
                "the store does not respond within {STORE_TIMEOUT:?}"
            ));
        }
    }
    match missing(state.control.board().leases()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => unready(&why),
    }
}

/// Why leases are not all in use. Those of other daemons do not count.
fn missing(leases: Option<LeaseCounts>) -> Option<String> {
    let Some(leases) = leases else {
        return Some("the leases have not been read yet".to_owned());
    };
    let waiting = leases.waiting;
    (0 < waiting).then(|| format!("{waiting} leases wait for their consumer to restart"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_ready_when_all_its_leases_are_in_use() {
        let leases = LeaseCounts {
            running: 3,
            elsewhere: 2,
            ended: 1,
            waiting: 0,
        };
        assert_eq!(missing(Some(leases)), None);
        assert_eq!(missing(Some(LeaseCounts::default())), None);
        assert!(missing(None).is_some());
        let leases = LeaseCounts {
            waiting: 1,
            ..leases
        };
        assert!(missing(Some(leases)).unwrap().starts_with("1 leases wait"));
    }
}
