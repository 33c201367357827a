//! Whether the process runs, and whether it does its work.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use windlass_engine::status::{LeaseCounts, StatusBoard};

use crate::state::ServerState;

/// `GET /livez`.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the store can be written, the supervisor makes its rounds, every lease that this
/// daemon should hold is held and has a consumer, and the daemon is not stopping. Unreachable sources
/// and functions do not count: another daemon would not reach them either.
pub(crate) async fn ready(State(state): State<Arc<ServerState>>) -> (StatusCode, String) {
    let why = if state.readiness.is_draining() {
        Some("draining".to_owned())
    } else {
        let store = state.store_check.run(state.control.store()).await;
        store.err().or_else(|| unready(state.control.board()))
    };
    match why {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => {
            // The reason is for callers that have proven who they are, and anybody may ask here.
            let why = if state.gate.is_open() {
                &why
            } else {
                "not ready"
            };
            (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
        }
    }
}

fn unready(board: &StatusBoard) -> Option<String> {
    let stalled = board.stalled_for().map(|elapsed| {
        let seconds = elapsed.as_secs();
        format!("the mappings were last compared with what runs {seconds} s ago")
    });
    stalled.or_else(|| missing(board.leases()))
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
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_daemon_whose_supervisor_makes_no_rounds_is_not_ready() {
        let board = StatusBoard::default();
        assert!(unready(&board).is_some(), "nothing has been read");
        board.show_leases(Some(LeaseCounts::default()));
        board.round_finished(Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(unready(&board), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        let why = unready(&board).unwrap();
        assert!(why.contains("16 s ago"), "{why}");
    }

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
