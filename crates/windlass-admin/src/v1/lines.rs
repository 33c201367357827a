//! Answers with a line of JSON for each thing that a job has dealt with, as it goes.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::header;
use serde_json::Value;

/// The answer of a job: what `poll_next` returns becomes a line. The job is dropped with it, as it is
/// when the caller has left.
pub(crate) fn respond_in_lines(
    poll_next: impl FnMut(&mut Context<'_>) -> Poll<Option<Value>> + Send + 'static,
) -> Response {
    let lines = stream::poll_fn(poll_next).map(|value| {
        let line = format!("{value}\n");
        Ok::<_, Infallible>(Bytes::from(line))
    });
    let body = Body::from_stream(lines);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
