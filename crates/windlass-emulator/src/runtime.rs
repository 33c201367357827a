//! The function of a benchmark as a local process: a client of Lambda's Runtime API.
//!
//! It counts records as the function over HTTP does and gives the same answer.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use memchr::memmem;
use windlass_emulator::RECORD_MARKER;

use crate::floor::Connection;

const PREFIX: &str = "/2018-06-01/runtime/invocation";

const ANSWER: &[u8] = b"{\"batchItemFailures\":[]}";

/// Answers events until the API is gone.
pub(crate) async fn run(mut api: Connection, mut source: Connection) -> Result<()> {
    loop {
        let response = api.get(&format!("{PREFIX}/next")).await?;
        let id = response.headers().get("lambda-runtime-aws-request-id");
        let id = id.and_then(|id| id.to_str().ok());
        let answer = format!("{PREFIX}/{}/response", id.context("an event has no id")?);
        let event = response.into_body().collect().await;
        let event = event.context("reading an event")?.to_bytes();
        let n_records = memmem::find_iter(&event, RECORD_MARKER).count();
        let count = format!("/bench/deliver?records={n_records}");
        // It answers at once, as the function over HTTP does: what it counts takes no time of the event.
        for (connection, path, body) in [
            (&mut api, answer, Bytes::from_static(ANSWER)),
            (&mut source, count, Bytes::new()),
        ] {
            let response = connection
                .post(&path, body)
                .await?
                .into_body()
                .collect()
                .await;
            response.with_context(|| format!("reading the response of {path}"))?;
        }
    }
}
