//! Redrives, which are jobs: of on-failure documents and dead-letter queues, whose answer has a line of
//! JSON for each document as it goes, and of dead letters.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use uuid::Uuid;
use windlass_core::arn::{Arn, SourceArn, SourceKind};
use windlass_core::function::FunctionName;
use windlass_core::mapping::MappingId;
use windlass_engine::jobs::{
    Letters, LettersRequest, LettersResult, NotStarted, RedriveReport, RedriveRequest,
    RedriveSource,
};
use windlass_engine::ports::{DeadLetterId, What};

use crate::auth::Caller;
use crate::errors::{ApiError, Code};
use crate::history::line;
use crate::state::ServerState;
use crate::v1::{JsonBody, Members, Refusal, respond_in_lines};

/// What the request may have.
const MEMBERS: [&str; 9] = [
    "from",
    "documents",
    "function_name",
    "to",
    "rate",
    "dry_run",
    "delete",
    "whole_range",
    "new_ids",
];

pub(crate) fn job_routes() -> Router<Arc<ServerState>> {
    Router::new()
        .route("/windlass/v1/redrive", post(redrive))
        .route("/windlass/v1/dead-letters/redrive", post(redrive_letters))
}

async fn redrive(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Refusal> {
    state.accept_job()?;
    let mut body = body.with(&MEMBERS)?;
    let source = source(&mut body)?;
    let function_name = body.optional::<String>("function_name")?;
    let request = RedriveRequest {
        rate: rate(body.optional("rate")?)?,
        dry_run: body.flag("dry_run")?,
        delete: body.flag("delete")?,
        whole_range: body.flag("whole_range")?,
        to: match body.optional::<String>("to")? {
            Some(to) => Some(queue("to", &to)?),
            None => None,
        },
        new_ids: body.flag("new_ids")?,
        function: match function_name {
            Some(name) => Some(function(&state, &name).await?),
            None => None,
        },
        source,
    };
    check(&request)?;
    let time = state.control.clock().wall();
    let line = line(time, &caller.name, What::Redrive, None);
    let mut reports = state.redriver.start(request, line)?;
    Ok(respond_in_lines(move |context| {
        reports.poll_recv(context).map(|report| report.map(shown))
    }))
}

async fn redrive_letters(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Value>, Refusal> {
    state.accept_job()?;
    let mut body = body.with(&["ids", "mapping", "all", "function_name", "event", "rate"])?;
    let letters = letters(&state, &mut body).await?;
    let event = body.raw("event")?;
    let is_one = matches!(&letters, Letters::Ids(ids) if ids.len() == 1);
    if event.is_some() && !is_one {
        return Err(Refusal::invalid(
            "event",
            "an event is sent for a single letter ('ids')",
        ));
    }
    let mapping = match &letters {
        Letters::OfMapping(mapping) => Some(mapping.clone()),
        Letters::Ids(_) | Letters::All => None,
    };
    let function_name = body.optional::<String>("function_name")?;
    let request = LettersRequest {
        letters,
        event,
        rate: rate(body.optional("rate")?)?,
        function: match function_name {
            Some(name) => Some(function(&state, &name).await?),
            None => None,
        },
    };
    let time = state.control.clock().wall();
    let line = line(time, &caller.name, What::Redrive, mapping.as_ref());
    let mut result = state.redriver.start_letters(request, line)?;
    let result = result.recv().await.ok_or_else(Refusal::draining)?;
    let LettersResult { redriven, failed } = result?;
    Ok(Json(json!({"redriven": redriven, "failed": failed})))
}

/// Refuses letters that do not exist before any is sent.
async fn letters(state: &ServerState, body: &mut Members) -> Result<Letters, Refusal> {
    let ids = body.optional::<Vec<String>>("ids")?;
    let mapping = body.optional::<String>("mapping")?;
    match (ids, mapping, body.flag("all")?) {
        (Some(ids), None, false) if ids.is_empty() => {
            Err(Refusal::invalid("ids", "there is no id"))
        }
        (Some(ids), None, false) => {
            let mut known = Vec::with_capacity(ids.len());
            for text in ids {
                let id = text.parse::<DeadLetterId>().ok();
                let letter = match id {
                    Some(id) => state.control.store().dead_letter(id).await?,
                    None => None,
                };
                let Some(letter) = letter else {
                    return Err(Refusal::invalid(
                        "ids",
                        format!("there is no dead letter {text}"),
                    ));
                };
                known.push(letter.id);
            }
            Ok(Letters::Ids(known))
        }
        // Letters outlive their mapping.
        (None, Some(mapping), false) => match Uuid::try_parse(&mapping) {
            Ok(uuid) => Ok(Letters::OfMapping(MappingId::new(&uuid.to_string()))),
            Err(_) => {
                let text = format!("'{mapping}' is not the UUID of a mapping");
                Err(Refusal::invalid("mapping", text))
            }
        },
        (None, None, true) => Ok(Letters::All),
        (ids, _, _) => {
            let field = if ids.is_some() { "ids" } else { "all" };
            let text = "exactly one of 'ids', 'mapping' and 'all' is required";
            Err(Refusal::invalid(field, text))
        }
    }
}

fn source(body: &mut Members) -> Result<RedriveSource, Refusal> {
    let documents = body.optional::<Vec<Value>>("documents")?;
    match (body.optional::<String>("from")?, documents) {
        (Some(from), None) => parse_source(&from),
        (None, Some(documents)) if !documents.is_empty() => {
            let texts = documents.iter().map(|document| document.to_string().into());
            Ok(RedriveSource::Given(texts.collect()))
        }
        (None, Some(_)) => Err(Refusal::invalid("documents", "there is no document")),
        (Some(_), Some(_)) => {
            let text = "a redrive has either 'from' or 'documents', not both";
            Err(Refusal::invalid("from", text))
        }
        (None, None) => Err(Refusal::invalid(
            "from",
            "either 'from' or 'documents' is required",
        )),
    }
}

fn parse_source(from: &str) -> Result<RedriveSource, Refusal> {
    let Some(path) = from.strip_prefix("s3://") else {
        return queue("from", from).map(RedriveSource::Queue);
    };
    let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() {
        return Err(Refusal::invalid("from", "expected s3://BUCKET/PREFIX"));
    }
    Ok(RedriveSource::Bucket {
        name: name.to_owned(),
        prefix: prefix.to_owned(),
    })
}

/// The ARN of a queue.
fn queue(field: &str, text: &str) -> Result<Arn, Refusal> {
    let arn = SourceArn::parse(text).filter(|arn| arn.kind() == SourceKind::Queue);
    arn.map(|arn| arn.arn().clone()).ok_or_else(|| {
        let buckets = if field == "from" {
            " or s3://BUCKET/PREFIX"
        } else {
            ""
        };
        Refusal::invalid(
            field,
            format!("expected the ARN of a queue{buckets}, not '{text}'"),
        )
    })
}

/// Refuses what would have no effect.
fn check(request: &RedriveRequest) -> Result<(), Refusal> {
    let is_queue = matches!(request.source, RedriveSource::Queue(_));
    let refuse = |field: &str, text: &str| Err(Refusal::invalid(field, text));
    if request.delete && matches!(request.source, RedriveSource::Given(_)) {
        return refuse("delete", "documents of a request are not kept anywhere");
    }
    if let Some(to) = &request.to {
        if !is_queue {
            return refuse(
                "to",
                "only messages of a queue can be sent to another queue",
            );
        }
        if matches!(&request.source, RedriveSource::Queue(from) if from == to) {
            return refuse("to", "it is the queue that the messages come from");
        }
        if request.function.is_some() {
            return refuse("to", "messages go either to a function or to a queue");
        }
    } else if request.new_ids {
        return refuse(
            "new_ids",
            "only messages that are sent to a queue ('to') have ids",
        );
    }
    Ok(())
}

/// Records a second.
pub(crate) fn rate(rate: Option<u32>) -> Result<Option<u32>, Refusal> {
    match rate {
        Some(0) => Err(Refusal::invalid(
            "rate",
            "expected a number of records a second, at least 1",
        )),
        rate => Ok(rate),
    }
}

/// The function that a request names.
pub(crate) async fn function(state: &ServerState, name: &str) -> Result<Arn, Refusal> {
    let invalid = |text: String| Refusal::invalid("function_name", text);
    let parsed = FunctionName::parse(name)
        .ok_or_else(|| invalid(format!("'{name}' is not the name or the ARN of a function")))?;
    let found = state.control.find_function(&parsed).await?;
    found.ok_or_else(|| invalid(format!("there is no function '{name}'")))
}

impl From<NotStarted> for Refusal {
    fn from(error: NotStarted) -> Self {
        match error {
            NotStarted::Draining => Self::draining(),
            NotStarted::TooMany => ApiError::new(Code::TooManyRequests, error.to_string()).into(),
        }
    }
}

fn shown(report: RedriveReport) -> Value {
    let RedriveReport {
        shard,
        sequence_numbers,
        records,
        redriven,
        reason,
        waits,
    } = report;
    let shard = shard.as_ref().map(|shard| shard.as_str());
    let numbers = sequence_numbers.as_ref();
    let numbers = numbers.map(|numbers| numbers.each_ref().map(|number| number.as_str()));
    let mut line = json!({
        "shard_id": shard,
        "sequence_numbers": numbers,
        "records": records,
        "redriven": redriven,
        "reason": reason,
    });
    if let Some(waits) = waits {
        line["waits_seconds"] = waits.as_secs_f64().ceil().into();
    }
    line
}
