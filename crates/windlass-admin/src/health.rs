//! Whether the process is up, and whether it does its work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use windlass_engine::ports::chain;
use windlass_engine::status::LeaseCounts;

use crate::server::Served;

/// How long the store may take to answer.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// `GET /livez`: this answer is all there is to it.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the store answers, every lease that this daemon should hold is held and used, and
/// the daemon is not about to stop. A source or a function that is out of reach is nothing that
/// another daemon would do better with.
pub(crate) async fn ready(State(served): State<Arc<Served>>) -> (StatusCode, String) {
    let unready = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    if served.readiness.is_draining() {
        return unready("draining");
    }
    match tokio::time::timeout(STORE_PATIENCE, served.control.store().mappings()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            return unready(&format!("the store does not answer: {}", chain(&error)));
        }
        Err(_) => {
            return unready(&format!(
                "the store does not answer within {STORE_PATIENCE:?}"
            ));
        }
    }
    match missing(served.control.board().leases()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => unready(&why),
    }
}

/// What is missing of the leases; `None` if nothing is. Those of other daemons are none of ours.
fn missing(leases: Option<LeaseCounts>) -> Option<String> {
    let Some(leases) = leases else {
        return Some("the leases could not be looked at yet".to_owned());
    };
    let waiting = leases.waiting;
    (0 < waiting).then(|| format!("{waiting} leases wait for a consumer to be started again"))
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
