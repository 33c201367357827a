//! Seek: the checkpoints of a mapping's shards are moved to another place of the stream.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use windlass_core::arn::SourceKind;
use windlass_core::ids::ShardId;
use windlass_core::mapping::MappingRow;
use windlass_core::place::Place;
use windlass_core::position::Position;
use windlass_core::seek::MovedShard;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{HistoryLine, What};
use windlass_engine::supervisor::Seek;

use crate::api::PathName;
use crate::auth::Caller;
use crate::history;
use crate::report::CheckpointReport;
use crate::state::ServerState;
use crate::v1::{JsonBody, Refusal, mapping_of_path};

/// Shards that a line of the history names.
const MAX_SHOWN: usize = 1_000;

/// It waits until what is in flight has ended.
pub(crate) fn job_routes() -> Router<Arc<ServerState>> {
    Router::new().route("/windlass/v1/mappings/{uuid}/seek", post(seek))
}

async fn seek(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(uuid): PathName,
    body: JsonBody,
) -> Result<Json<Value>, Refusal> {
    state.accept_job()?;
    let control = &state.control;
    let row = mapping_of_path(control, &uuid).await?;
    check_is_stream(&row)?;
    let mut body = body.with(&["shard", "to", "dry_run"])?;
    let shard = body.optional::<String>("shard")?;
    let place = body.place("to")?;
    let place = place.ok_or_else(|| Refusal::invalid("to", "'to' is required"))?;
    let now = control.clock().wall();
    check(&place, shard.as_deref(), now)?;
    let seek = Seek {
        shard: shard.map(|shard| ShardId::from(shard.as_str())),
        to: place,
        is_dry_run: body.flag("dry_run")?,
    };
    let line = |moved: &[MovedShard]| HistoryLine {
        before: shown(moved, |it| it.from.as_ref()),
        after: shown(moved, |it| Some(&it.to)),
        ..history::line(now, &caller.name, What::Seek, Some(&row.id))
    };
    let moved = control.operator().seek(&row, &seek, line).await;
    let moved = match moved {
        Ok(moved) => moved,
        Err(error) => {
            // It may have been deleted.
            mapping_of_path(control, row.id.as_str()).await?;
            return Err(Refusal::of_operation(error, "to.sequence_number"));
        }
    };
    if !seek.is_dry_run {
        let (uuid, n_shards, to) = (&row.id, moved.len(), &seek.to);
        tracing::info!(%uuid, n_shards, %to, "checkpoints moved");
    }
    let shards: Vec<Value> = moved.iter().map(moved_shard).collect();
    Ok(Json(json!({"shards": shards})))
}

fn check_is_stream(row: &MappingRow) -> Result<(), Refusal> {
    match row.source.kind() {
        SourceKind::Stream(_) => Ok(()),
        SourceKind::Queue => Err(Refusal::malformed(
            "the source of the mapping is a queue, which has no positions; messages of its \
             dead-letter queue are sent again with 'windlass redrive'",
        )),
    }
}

/// Checks a place by itself.
fn check(place: &Place, shard: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
    match place {
        Place::AtTimestamp(time) if now < *time => {
            let text = "the place is in the future; 'now' is the latest one";
            Err(Refusal::invalid("to.timestamp", text))
        }
        Place::AtSequenceNumber(_) | Place::AfterSequenceNumber(_) if shard.is_none() => {
            let text = "a sequence number belongs to one shard: give 'shard' as well";
            Err(Refusal::invalid("shard", text))
        }
        Place::TrimHorizon
        | Place::AtTimestamp(_)
        | Place::AtSequenceNumber(_)
        | Place::AfterSequenceNumber(_)
        | Place::Now => Ok(()),
    }
}

fn moved_shard(moved: &MovedShard) -> Value {
    json!({
        "shard_id": moved.shard.as_str(),
        "from": moved.from.as_ref().map(CheckpointReport::from),
        "to": CheckpointReport::from(&moved.to),
        "skipped": null,
    })
}

fn shown(moved: &[MovedShard], position: impl Fn(&MovedShard) -> Option<&Position>) -> Value {
    let shards = moved.iter().take(MAX_SHOWN).map(|it| {
        let checkpoint = position(it).map(CheckpointReport::from);
        json!({"shard_id": it.shard.as_str(), "checkpoint": checkpoint})
    });
    json!({"shards": shards.collect::<Vec<_>>()})
}
