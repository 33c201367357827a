//! Answers with a line of JSON for each thing that a job has dealt with, as it goes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;

/// The body. The job is dropped with it, as it is when the caller has left.
struct Lines<T, J> {
    reports: mpsc::Receiver<T>,
    shown: fn(T) -> Value,
    _job: J,
}

/// The answer of a job: every report that it sends becomes a line.
pub(crate) fn respond_in_lines<T, J>(
    reports: mpsc::Receiver<T>,
    shown: fn(T) -> Value,
    job: J,
) -> Response
where
    T: Send + 'static,
    J: Send + Unpin + 'static,
{
    let lines = Body::new(Lines {
        reports,
        shown,
        _job: job,
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}

impl<T, J: Unpin> hyper::body::Body for Lines<T, J> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let report = self.reports.poll_recv(context);
        report.map(|report| {
            let line = format!("{}\n", (self.shown)(report?));
            Some(Ok(Frame::data(line.into())))
        })
    }
}
