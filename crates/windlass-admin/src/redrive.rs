//! The redrive of on-failure documents and dead-letter queues: a job, whose answer has a line of JSON
//! for each document as it goes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use windlass_core::arn::Arn;
use windlass_core::function::FunctionName;
use windlass_engine::jobs::{NotStarted, RedriveReport, RedriveRequest, RedriveSource};
use windlass_engine::ports::What;

use crate::auth::Caller;
use crate::errors::{ApiError, Code};
use crate::history::line;
use crate::state::ServerState;
use crate::v1::{JsonBody, Refusal};

/// What the request may have.
const MEMBERS: [&str; 5] = [
    "documents",
    "function_name",
    "rate",
    "dry_run",
    "whole_range",
];

pub(crate) fn job_routes() -> Router<Arc<ServerState>> {
    Router::new().route("/windlass/v1/redrive", post(redrive))
}

async fn redrive(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Refusal> {
    state.accept_job()?;
    let mut body = body.with(&MEMBERS)?;
    let documents = body.required::<Vec<Value>>("documents")?;
    if documents.is_empty() {
        return Err(Refusal::invalid("documents", "there is no document"));
    }
    let texts = documents.iter().map(|document| document.to_string().into());
    let function_name = body.optional::<String>("function_name")?;
    let request = RedriveRequest {
        source: RedriveSource::Given(texts.collect()),
        rate: rate(body.optional("rate")?)?,
        dry_run: body.flag("dry_run")?,
        whole_range: body.flag("whole_range")?,
        function: match function_name {
            Some(name) => Some(function(&state, &name).await?),
            None => None,
        },
    };
    let time = state.control.clock().wall();
    let line = line(time, &caller.name, What::Redrive, None);
    let reports = state.redriver.start(request, line)?;
    let lines = Body::new(Lines(reports));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
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

/// The answer; the job ends when it is dropped, as it is when the caller has left.
struct Lines(mpsc::Receiver<RedriveReport>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|report| {
            let report = report?;
            Some(Ok(Frame::data(render(&report).into())))
        })
    }
}

fn render(report: &RedriveReport) -> String {
    let RedriveReport {
        shard,
        sequence_numbers,
        records,
        redriven,
        reason,
    } = report;
    let shard = shard.as_ref().map(|shard| shard.as_str());
    let numbers = sequence_numbers.as_ref();
    let numbers = numbers.map(|numbers| numbers.each_ref().map(|number| number.as_str()));
    let line = json!({
        "shard_id": shard,
        "sequence_numbers": numbers,
        "records": records,
        "redriven": redriven,
        "reason": reason,
    });
    format!("{line}\n")
}
