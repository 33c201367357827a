//! Replays: started, shown, paused, resumed, changed, cancelled and deleted.

mod change;
mod dry_run;
mod find;
mod report;
mod start;

pub use report::{ReplayReport, ReplayShardReport};

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use self::change::Transition;
use self::find::find;
use self::start::Requested;
use crate::api::PathName;
use crate::auth::Caller;
use crate::requests::in_time;
use crate::state::ServerState;
use crate::v1::{JsonBody, Refusal};

pub(crate) fn routes() -> Router<Arc<ServerState>> {
    let one = get(show).delete(delete).patch(set);
    Router::new()
        .route("/windlass/v1/replays", get(list))
        .route("/windlass/v1/replays/{name}", one)
        .route("/windlass/v1/replays/{name}/pause", to(Transition::Pause))
        .route("/windlass/v1/replays/{name}/resume", to(Transition::Resume))
        .route("/windlass/v1/replays/{name}/cancel", to(Transition::Cancel))
}

fn to(transition: Transition) -> MethodRouter<Arc<ServerState>> {
    post(
        async move |State(state): State<Arc<ServerState>>,
                    caller: Caller,
                    name: PathName,
                    body: JsonBody| {
            set_state(state, caller, name, body, transition).await
        },
    )
}

/// A dry run may take longer than other requests.
pub(crate) fn job_routes() -> Router<Arc<ServerState>> {
    Router::new().route("/windlass/v1/replays", post(start))
}

async fn start(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let control = &state.control;
    let Requested { row, is_dry_run } = in_time(start::read(control, body)).await??;
    if is_dry_run {
        let counted = dry_run::count(&state, row).await?;
        return Ok(Json(counted).into_response());
    }
    let started = async {
        start::start(control, &caller, &row).await?;
        Ok::<_, Refusal>(report::shown(control, &row).await?)
    };
    let shown = in_time(started).await??;
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

async fn list(State(state): State<Arc<ServerState>>) -> Result<Json<Value>, Refusal> {
    let mut reports = Vec::new();
    for row in state.control.store().replays().await? {
        reports.push(report::shown(&state.control, &row).await?);
    }
    Ok(Json(json!({"replays": reports})))
}

async fn show(
    State(state): State<Arc<ServerState>>,
    PathName(name): PathName,
) -> Result<Json<ReplayReport>, Refusal> {
    let row = find(&state.control, &name).await?;
    Ok(Json(report::shown(&state.control, &row).await?))
}

/// Pauses, resumes or cancels a replay.
async fn set_state(
    state: Arc<ServerState>,
    caller: Caller,
    PathName(name): PathName,
    body: JsonBody,
    transition: Transition,
) -> Result<Json<ReplayReport>, Refusal> {
    body.with(&[])?;
    let row = change::set_state(&state.control, &caller, &name, transition).await?;
    Ok(Json(report::shown(&state.control, &row).await?))
}

async fn set(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(name): PathName,
    body: JsonBody,
) -> Result<Json<ReplayReport>, Refusal> {
    let row = change::set(&state.control, &caller, &name, body).await?;
    Ok(Json(report::shown(&state.control, &row).await?))
}

async fn delete(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(name): PathName,
) -> Result<StatusCode, Refusal> {
    change::delete(&state.control, &caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
