//! Skip: records of a shard are passed, and become dead letters.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use windlass_core::arn::SourceKind;
use windlass_core::ids::ShardId;
use windlass_core::mapping::MappingRow;
use windlass_core::place;
use windlass_core::position::Position;
use windlass_engine::ports::{HistoryLine, What};
use windlass_engine::supervisor::{Skip, SkipRecords, SkipResult};

use crate::api::PathName;
use crate::auth::Caller;
use crate::history;
use crate::report::CheckpointReport;
use crate::state::ServerState;
use crate::v1::{JsonBody, Members, Refusal, mapping_of_path};

/// It waits until what is in flight has ended, and reads the shard.
pub(crate) fn job_routes() -> Router<Arc<ServerState>> {
    Router::new().route("/windlass/v1/mappings/{uuid}/skip", post(skip))
}

async fn skip(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(uuid): PathName,
    body: JsonBody,
) -> Result<Json<Value>, Refusal> {
    state.accept_job()?;
    let control = &state.control;
    let row = mapping_of_path(control, &uuid).await?;
    check_source(&row)?;
    let mut body = body.with(&["shard", "records", "batch", "through", "discard"])?;
    let skip = Skip {
        shard: ShardId::from(body.required::<String>("shard")?.as_str()),
        records: records(&mut body)?,
        discards: body.flag("discard")?,
    };
    let time = control.clock().wall();
    let line = history::line(time, &caller.name, What::Skip, Some(&row.id));
    let line = move |result: &SkipResult| HistoryLine {
        before: shown(result, &result.from),
        after: after(result),
        ..line.clone()
    };
    let result = control.operator().skip(&row, skip, line).await;
    let result = match result {
        Ok(result) => result,
        Err(error) => {
            // It may have been deleted.
            mapping_of_path(control, row.id.as_str()).await?;
            return Err(Refusal::of_operation(error, "through"));
        }
    };
    let (uuid, shard) = (&row.id, &result.shard);
    let (skipped, discarded) = (result.skipped, result.discarded);
    tracing::info!(%uuid, %shard, skipped, discarded, "records skipped");
    let reason = result.unreadable.map(|reason| {
        format!(
            "the next record has no number that can be read ({reason}); 'windlass seek' passes it by time"
        )
    });
    Ok(Json(json!({"shards": [{
        "shard_id": result.shard.as_str(),
        "from": CheckpointReport::from(&result.from),
        "to": CheckpointReport::from(&result.to),
        "skipped": result.skipped,
        "reason": reason,
    }]})))
}

fn check_source(row: &MappingRow) -> Result<(), Refusal> {
    match row.source.kind() {
        SourceKind::Stream(_) => Ok(()),
        SourceKind::Queue => Err(Refusal::malformed(
            "the source of the mapping is a queue, where a message that fails goes to the dead-letter \
             queue of its redrive policy; from there it is sent again with 'windlass redrive'",
        )),
    }
}

fn records(body: &mut Members) -> Result<SkipRecords, Refusal> {
    let n_records = body.optional::<u64>("records")?;
    let through = body.optional::<String>("through")?;
    match (n_records, body.flag("batch")?, through) {
        (Some(0), false, None) => Err(Refusal::invalid("records", "'records' is at least 1")),
        (Some(n_records), false, None) => Ok(SkipRecords::Next(n_records)),
        (None, true, None) => Ok(SkipRecords::RetriedBatches),
        (None, false, Some(number)) => match place::parse_number(&number) {
            Ok(number) => Ok(SkipRecords::Through(number)),
            Err(reason) => Err(Refusal::invalid("through", format!("'{number}': {reason}"))),
        },
        _ => Err(Refusal::invalid(
            "records",
            "exactly one of 'records', 'batch' and 'through' is required",
        )),
    }
}

/// The shard with a checkpoint.
fn shown(result: &SkipResult, position: &Position) -> Value {
    let checkpoint = CheckpointReport::from(position);
    json!({"shards": [{"shard_id": result.shard.as_str(), "checkpoint": checkpoint}]})
}

fn after(result: &SkipResult) -> Value {
    let mut after = shown(result, &result.to);
    after["shards"][0]["skipped"] = result.skipped.into();
    after["shards"][0]["discarded"] = result.discarded.into();
    after
}
