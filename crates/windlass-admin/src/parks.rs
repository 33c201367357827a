//! Park and unpark: reading and invoking stop in one shard or in a whole mapping, and nowhere else.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use windlass_core::arn::SourceKind;
use windlass_core::ids::ShardId;
use windlass_core::lease::Unit;
use windlass_core::mapping::MappingRow;
use windlass_core::outcome::Swap;
use windlass_core::parks::{Park, Parks};
use windlass_core::position::Position;
use windlass_engine::ports::{HistoryLine, What};

use crate::api::PathName;
use crate::auth::Caller;
use crate::control::{Control, WRITE_ATTEMPTS};
use crate::history;
use crate::report::ParkReport;
use crate::state::ServerState;
use crate::v1::{JsonBody, Refusal, mapping_of_path};

/// Characters of a reason.
const MAX_REASON: usize = 1_024;

/// Parks that a line of the history names.
const MAX_SHOWN: usize = 1_000;

pub(crate) fn routes() -> Router<Arc<ServerState>> {
    Router::new()
        .route("/windlass/v1/mappings/{uuid}/park", post(park))
        .route("/windlass/v1/mappings/{uuid}/unpark", post(unpark))
}

async fn park(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(uuid): PathName,
    body: JsonBody,
) -> Result<Json<Value>, Refusal> {
    let control = &state.control;
    let row = mapping_of_path(control, &uuid).await?;
    let mut body = body.with(&["shard", "reason"])?;
    let shard = shard(&row, body.optional("shard")?)?;
    let reason = body.optional::<String>("reason")?;
    let reason = reason.filter(|reason| !reason.is_empty());
    let what_is_wrong = reason.as_deref().and_then(|reason| {
        if MAX_REASON < reason.chars().count() {
            Some(format!("the reason has more than {MAX_REASON} characters"))
        } else if reason.contains(char::is_control) {
            // It is shown on terminals.
            Some("the reason has a line break or another control character".to_owned())
        } else {
            None
        }
    });
    if let Some(text) = what_is_wrong {
        return Err(Refusal::invalid("reason", text));
    }
    if let Some(shard) = &shard {
        check_open(control, &row, shard).await?;
    }
    let park = Park {
        since: control.clock().wall(),
        reason,
    };
    let change = |parks: &mut Parks| parks.park(shard.as_ref(), park.clone());
    write(control, &caller, &row, What::Park, shard.as_ref(), change).await
}

async fn unpark(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(uuid): PathName,
    body: JsonBody,
) -> Result<Json<Value>, Refusal> {
    let control = &state.control;
    let row = mapping_of_path(control, &uuid).await?;
    let mut body = body.with(&["shard"])?;
    let shard = shard(&row, body.optional("shard")?)?;
    let parks = control.store().overrides(&row.id).await?.parks;
    if let Some(shard) = &shard
        && !parks.shards.contains_key(shard)
    {
        find(control, &row, shard).await?;
    }
    let change = |parks: &mut Parks| parks.unpark(shard.as_ref());
    write(control, &caller, &row, What::Unpark, shard.as_ref(), change).await
}

/// The shard of a request, of a mapping that has shards.
fn shard(row: &MappingRow, shard: Option<String>) -> Result<Option<ShardId>, Refusal> {
    if row.source.kind() == SourceKind::Queue {
        return Err(Refusal::malformed(
            "the source of the mapping is a queue, which cannot be parked: disable the mapping \
             ('windlass mappings disable')",
        ));
    }
    Ok(shard.map(|shard| ShardId::from(shard.as_str())))
}

/// Checks that a shard can be parked.
async fn check_open(control: &Control, row: &MappingRow, shard: &ShardId) -> Result<(), Refusal> {
    if find(control, row, shard).await? == Some(Position::ShardEnd) {
        return Err(Refusal::conflict(format!(
            "every record of shard {shard} is resolved; park its children"
        )));
    }
    Ok(())
}

/// The checkpoint of a shard; `None` while it waits for its parents.
async fn find(
    control: &Control,
    row: &MappingRow,
    shard: &ShardId,
) -> Result<Option<Position>, Refusal> {
    let unit = Unit::Shard(shard.clone());
    let leases = control.store().leases_of(&row.id).await?;
    if let Some(lease) = leases.into_iter().find(|lease| lease.key.unit == unit) {
        return Ok(Some(lease.checkpoint.position));
    }
    if control.board().mapping(row).blocked.contains_key(shard) {
        return Ok(None);
    }
    let text = format!("the mapping has no shard {shard}; 'windlass status' shows its shards");
    Err(Refusal::invalid("shard", text))
}

/// Changes the parks of a mapping, of one shard or of all, with a line in the history if that changes
/// anything.
async fn write(
    control: &Control,
    caller: &Caller,
    row: &MappingRow,
    what: What,
    shard: Option<&ShardId>,
    change: impl Fn(&mut Parks),
) -> Result<Json<Value>, Refusal> {
    for _ in 0..WRITE_ATTEMPTS {
        let before = control.store().overrides(&row.id).await?.parks;
        let mut after = before.clone();
        change(&mut after);
        let answer = || {
            let park = shard.map_or(after.whole.as_ref(), |shard| after.of(shard));
            let shard = shard.map(ShardId::as_str);
            Ok(Json(
                json!({"shard": shard, "parked": park.map(ParkReport::from)}),
            ))
        };
        if after == before {
            return answer();
        }
        let now = control.clock().wall();
        let line = HistoryLine {
            before: shown(&before, shard),
            after: shown(&after, shard),
            ..history::line(now, &caller.name, what, Some(&row.id))
        };
        let set = control
            .store()
            .set_parks(&row.id, &before, &after, Some(&line));
        if set.await? == Swap::Done {
            let (uuid, what) = (&row.id, what.as_str());
            tracing::info!(%uuid, shard = shard.map(ShardId::as_str), what, "parks written");
            control.wake();
            return answer();
        }
        // It may have been deleted.
        mapping_of_path(control, row.id.as_str()).await?;
    }
    Err(Refusal::conflict(
        "other callers keep changing the parks of the mapping; repeat the request",
    ))
}

/// The park of a shard, or all parks; null without a park.
fn shown(parks: &Parks, shard: Option<&ShardId>) -> Value {
    let one = |shard: Option<&ShardId>, park: Option<&Park>| {
        let park = park.map(ParkReport::from);
        json!({"shard": shard.map(ShardId::as_str), "parked": park})
    };
    match shard {
        Some(shard) => match parks.of(shard) {
            Some(park) => one(Some(shard), Some(park)),
            None => Value::Null,
        },
        None if parks.is_empty() => Value::Null,
        None => {
            let whole = parks.whole.iter().map(|park| one(None, Some(park)));
            let shards = parks.shards.iter();
            let shards = shards.map(|(shard, park)| one(Some(shard), park.as_ref()));
            let parks: Vec<Value> = whole.chain(shards).take(MAX_SHOWN).collect();
            json!({"parks": parks})
        }
    }
}
