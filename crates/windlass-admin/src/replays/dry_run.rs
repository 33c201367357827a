//! Dry runs: what a replay would read and send, of each shard.

use serde_json::{Value, json};
use windlass_core::place::Place;
use windlass_core::replay::ReplayRow;
use windlass_core::time::Timestamp;
use windlass_engine::jobs::ShardTotals;

use super::start::refusal_of_source;
use crate::report::rfc3339;
use crate::state::ServerState;
use crate::v1::Refusal;

/// What it counts; a stretch that ends in the future is counted up to now.
pub(super) async fn count(state: &ServerState, mut row: ReplayRow) -> Result<Value, Refusal> {
    state.accept_job()?;
    let until_now = |place: Place| match place {
        Place::AtTimestamp(time) => Place::AtTimestamp(time.min(row.created)),
        Place::TrimHorizon
        | Place::Now
        | Place::AtSequenceNumber(_)
        | Place::AfterSequenceNumber(_) => place,
    };
    (row.from, row.to) = (until_now(row.from), until_now(row.to));
    let (of_mapping, stream) = (row.mapping.is_some(), row.source.clone());
    let mut counted = state.dry_runs.start(row)?;
    let counted = counted.recv().await.ok_or_else(Refusal::draining)?;
    let shards = counted.map_err(|error| refusal_of_source(of_mapping, &stream, error))?;
    let shards: Vec<Value> = shards.iter().map(shown).collect();
    Ok(json!({"shards": shards}))
}

fn shown(totals: &ShardTotals) -> Value {
    let ShardTotals {
        shard,
        records,
        bytes,
        batches,
        first_arrival,
        last_arrival,
        matching,
    } = totals;
    let time = |time: &Option<Timestamp>| time.and_then(rfc3339);
    json!({
        "shard_id": shard.as_str(),
        "records": records,
        "bytes": bytes,
        "batches": batches,
        "first_arrival": time(first_arrival),
        "last_arrival": time(last_arrival),
        "matching": matching,
    })
}
