//! The operations on dead letters: list, show and delete them.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::{Value, json};
use windlass_core::failure::FailureCondition;
use windlass_core::mapping::MappingId;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{
    DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterMarker, DeadLetterReason,
    DeadLetterSelection, Deletion, DeletionLine, HistoryLine, MAX_LINE_IDS, What,
};

use crate::api::PathName;
use crate::auth::{AdminCaller, Caller};
use crate::history;
use crate::state::ServerState;
use crate::v1::{Query, Refusal};

const MAX_PAGE_SIZE: usize = 100;

/// Letters that one transaction deletes: checkpoints wait for it.
const DELETION_BATCH: usize = 200;

/// A letter as the API shows it. Times are RFC 3339.
#[derive(Serialize)]
struct DeadLetterReport<'a> {
    id: String,
    mapping: Option<&'a str>,
    replay: Option<&'a str>,
    function_arn: &'a str,
    event_source_arn: &'a str,
    shard_id: &'a str,
    /// The first and the last.
    sequence_numbers: [&'a str; 2],
    records: u64,
    reason: &'static str,
    /// Null if they were skipped.
    condition: Option<&'static str>,
    attempts: u32,
    last_error: Option<&'a str>,
    first_arrival: Option<String>,
    given_up_at: String,
    bytes: u64,
    redrives: u32,
}

#[derive(Serialize)]
struct DeadLettersReport<'a> {
    dead_letters: Vec<DeadLetterReport<'a>>,
    next_marker: Option<String>,
}

/// What a request has deleted.
#[derive(Default)]
struct Deleted {
    letters: usize,
    /// The first of them.
    ids: Vec<String>,
}

pub(crate) fn routes() -> Router<Arc<ServerState>> {
    Router::new()
        .route("/windlass/v1/dead-letters", get(list))
        .route(
            "/windlass/v1/dead-letters/{id}",
            get(show).delete(delete_one),
        )
        .route("/windlass/v1/dead-letters/{id}/payload", get(payload))
}

/// A million letters take longer than other requests.
pub(crate) fn job_routes() -> Router<Arc<ServerState>> {
    Router::new().route("/windlass/v1/dead-letters", delete(delete_many))
}

async fn list(State(state): State<Arc<ServerState>>, query: Query) -> Result<Response, Refusal> {
    let query = query.with(&["mapping", "since", "reason", "marker"])?;
    let filter = DeadLetterFilter {
        mapping: query.mapping("mapping")?,
        since: query.get("since").map(since).transpose()?,
        reason: query.get("reason").map(reason).transpose()?,
    };
    let after = query.get("marker").map(parse_marker).transpose()?;
    let store = state.control.store();
    let letters = store.dead_letters(&filter, after, MAX_PAGE_SIZE + 1);
    let mut letters = letters.await?;
    let has_more = MAX_PAGE_SIZE < letters.len();
    letters.truncate(MAX_PAGE_SIZE);
    let last = letters.last().filter(|_| has_more);
    let marker = last.map(|last| {
        let DeadLetterMarker { given_up, id } = last.marker();
        format!("{}.{id}", given_up.as_millis())
    });
    let report = DeadLettersReport {
        dead_letters: letters.iter().map(DeadLetterReport::new).collect(),
        next_marker: marker,
    };
    Ok(Json(report).into_response())
}

async fn show(
    State(state): State<Arc<ServerState>>,
    PathName(id): PathName,
) -> Result<Response, Refusal> {
    let letter = find(&state, &id).await?;
    Ok(Json(DeadLetterReport::new(&letter)).into_response())
}

async fn payload(
    State(state): State<Arc<ServerState>>,
    _caller: AdminCaller,
    PathName(id): PathName,
) -> Result<Response, Refusal> {
    let letter = parse_id(&id)?;
    let payload = state.control.store().dead_letter_payload(letter).await?;
    let payload = payload.ok_or_else(|| not_found(&id))?;
    Ok(([(CONTENT_TYPE, "application/json")], payload).into_response())
}

async fn delete_one(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(id): PathName,
) -> Result<Json<Value>, Refusal> {
    let letter = find(&state, &id).await?;
    let asked = json!({"id": id});
    let selection = DeadLetterSelection::One(letter.id);
    match delete_selected(&state, &caller, selection, letter.mapping.as_ref(), asked).await? {
        0 => Err(not_found(&id)),
        deleted => Ok(Json(json!({"deleted": deleted}))),
    }
}

async fn delete_many(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    query: Query,
) -> Result<Json<Value>, Refusal> {
    state.accept_job()?;
    let query = query.with(&["mapping", "all"])?;
    let mapping = query.mapping("mapping")?;
    let all = match query.get("all") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(Refusal::invalid("all", format!("'{other}' is not true"))),
    };
    let (selection, asked) = match (&mapping, all) {
        (Some(mapping), false) => (
            DeadLetterSelection::OfMapping(mapping.clone()),
            json!({"mapping": mapping.as_str()}),
        ),
        (None, true) => (DeadLetterSelection::All, json!({"all": true})),
        (Some(_), true) | (None, false) => {
            return Err(Refusal::malformed(
                "expected either mapping=UUID or all=true",
            ));
        }
    };
    let deleted = delete_selected(&state, &caller, selection, mapping.as_ref(), asked).await?;
    Ok(Json(json!({"deleted": deleted})))
}

/// Deletes the letters in several transactions, whose line of the history grows. Returns how many they
/// were.
async fn delete_selected(
    state: &ServerState,
    caller: &Caller,
    selection: DeadLetterSelection,
    mapping: Option<&MappingId>,
    asked: Value,
) -> Result<usize, Refusal> {
    let time = state.control.clock().wall();
    let what = What::DeadLettersDelete;
    let line = history::line(time, &caller.name, what, mapping);
    let deleted = Arc::default();
    let mut total = 0;
    loop {
        let line = deletion_line(line.clone(), asked.clone(), &deleted);
        let store = state.control.store();
        let deletion = store.delete_dead_letters(&selection, DELETION_BATCH, line);
        match deletion.await? {
            Deletion::Done(n_deleted) => {
                total += n_deleted;
                if n_deleted < DELETION_BATCH {
                    return Ok(total);
                }
                state.accept_job().map_err(|refusal| {
                    refusal.and_done(&format!("{total} letters were deleted"))
                })?;
            }
            Deletion::BeingRedriven => {
                let text = "a letter is being redriven; repeat the request when that has ended";
                let refusal = Refusal::conflict(text);
                return Err(match total {
                    0 => refusal,
                    _ => refusal.and_done(&format!("{total} others were deleted")),
                });
            }
        }
    }
}

/// The line with what earlier transactions have deleted, and this one.
fn deletion_line(line: HistoryLine, asked: Value, deleted: &Arc<Mutex<Deleted>>) -> DeletionLine {
    let deleted = Arc::clone(deleted);
    Box::new(move |ids| {
        let mut deleted = deleted.lock().unwrap_or_else(PoisonError::into_inner);
        deleted.letters += ids.len();
        let named = ids.iter().take(MAX_LINE_IDS - deleted.ids.len());
        deleted.ids.extend(named.map(ToString::to_string));
        let Deleted { letters, ids } = &*deleted;
        HistoryLine {
            before: json!({"asked": asked, "dead_letters": letters, "ids": ids}),
            ..line
        }
    })
}

async fn find(state: &ServerState, id: &str) -> Result<DeadLetter, Refusal> {
    let letter = state.control.store().dead_letter(parse_id(id)?).await?;
    letter.ok_or_else(|| not_found(id))
}

fn parse_id(id: &str) -> Result<DeadLetterId, Refusal> {
    id.parse().map_err(|_| not_found(id))
}

fn not_found(id: &str) -> Refusal {
    Refusal::not_found(format!("there is no dead letter {id}"))
}

fn since(text: &str) -> Result<Timestamp, Refusal> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| {
        let text = format!("'{text}' is not a time with a zone, such as 2026-11-23T12:00:00Z");
        Refusal::invalid("since", text)
    })
}

fn reason(text: &str) -> Result<DeadLetterReason, Refusal> {
    DeadLetterReason::from_name(text).ok_or_else(|| {
        let known = DeadLetterReason::ALL
            .map(DeadLetterReason::as_str)
            .join(", ");
        Refusal::invalid("reason", format!("'{text}' is not one of {known}"))
    })
}

fn parse_marker(text: &str) -> Result<DeadLetterMarker, Refusal> {
    let parsed = text.split_once('.').and_then(|(given_up, id)| {
        Some(DeadLetterMarker {
            given_up: Timestamp::from_millis(given_up.parse().ok()?),
            id: id.parse().ok()?,
        })
    });
    parsed.ok_or_else(|| {
        let text = format!("'{text}' is not a marker; use the next_marker of the page before");
        Refusal::invalid("marker", text)
    })
}

impl<'a> DeadLetterReport<'a> {
    fn new(letter: &'a DeadLetter) -> Self {
        Self {
            id: letter.id.to_string(),
            mapping: letter.mapping.as_ref().map(MappingId::as_str),
            replay: letter.replay.as_deref(),
            function_arn: letter.function_arn.as_str(),
            event_source_arn: letter.event_source_arn.as_str(),
            shard_id: letter.shard.as_str(),
            sequence_numbers: [letter.first.as_str(), letter.last.as_str()],
            records: letter.records,
            reason: letter.reason.as_str(),
            condition: letter.condition().map(FailureCondition::as_str),
            attempts: letter.attempts,
            last_error: letter.last_error.as_deref(),
            first_arrival: letter.first_arrival.map(Timestamp::to_rfc3339_millis),
            given_up_at: letter.given_up.to_rfc3339_millis(),
            bytes: letter.bytes,
            redrives: letter.redrives,
        }
    }
}
