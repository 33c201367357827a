//! Replays: started, shown, paused, resumed, changed, cancelled and deleted.

mod change;
mod find;
mod report;
mod start;

pub use report::{ReplayReport, ReplayShardReport};

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use self::find::find;
use crate::api::PathName;
use crate::auth::Caller;
use crate::state::ServerState;
use crate::v1::{JsonBody, Refusal};

pub(crate) fn routes() -> Router<Arc<ServerState>> {
    let one = get(show).delete(delete).patch(set);
    Router::new()
        .route("/windlass/v1/replays", get(list).post(start))
        .route("/windlass/v1/replays/{name}", one)
        .route("/windlass/v1/replays/{name}/pause", post(pause))
        .route("/windlass/v1/replays/{name}/resume", post(resume))
        .route("/windlass/v1/replays/{name}/cancel", post(cancel))
}

async fn start(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let row = start::start(&state.control, &caller, body).await?;
    let shown = report::shown(&state.control, &row).await?;
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

async fn pause(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(name): PathName,
    body: JsonBody,
) -> Result<Json<ReplayReport>, Refusal> {
    body.with(&[])?;
    let row = change::pause(&state.control, &caller, &name).await?;
    Ok(Json(report::shown(&state.control, &row).await?))
}

async fn resume(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(name): PathName,
    body: JsonBody,
) -> Result<Json<ReplayReport>, Refusal> {
    body.with(&[])?;
    let row = change::resume(&state.control, &caller, &name).await?;
    Ok(Json(report::shown(&state.control, &row).await?))
}

async fn cancel(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(name): PathName,
    body: JsonBody,
) -> Result<Json<ReplayReport>, Refusal> {
    body.with(&[])?;
    let row = change::cancel(&state.control, &caller, &name).await?;
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
