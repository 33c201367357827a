//! The history: who changed what, and when.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use windlass_core::mapping::MappingId;
use windlass_engine::ports::{HistoryLine, HistoryMarker};

use crate::report::rfc3339;
use crate::state::ServerState;
use crate::v1::{Query, Refusal};

mod lines;

pub(crate) use lines::{line, mapping_line};

/// Lines of one page.
const MAX_PAGE_SIZE: usize = 100;

pub(crate) fn routes() -> Router<Arc<ServerState>> {
    Router::new().route("/windlass/v1/history", get(list))
}

/// The latest lines, of all mappings or of one, which may not exist any more.
async fn list(State(state): State<Arc<ServerState>>, query: Query) -> Result<Json<Value>, Refusal> {
    let query = query.with(&["mapping", "marker"])?;
    let mapping = query.mapping("mapping")?;
    let after = query.marker("marker", |text| text.parse().ok().map(HistoryMarker))?;
    let store = state.control.store();
    let page = store
        .history(mapping.as_ref(), after, MAX_PAGE_SIZE)
        .await?;
    let lines: Vec<Value> = page.lines.iter().map(shown).collect();
    let next = page.next.map(|marker| marker.0.to_string());
    Ok(Json(json!({"history": lines, "next_marker": next})))
}

fn shown(line: &HistoryLine) -> Value {
    json!({
        "time": rfc3339(line.time),
        "who": line.who,
        "what": line.what.as_str(),
        "mapping": line.mapping.as_ref().map(MappingId::as_str),
        "before": line.before,
        "after": line.after,
    })
}
