//! The source and the function of a benchmark: endless records at minimal cost.
//!
//! The program is controlled over HTTP: `POST /bench/release?records=N` makes records available,
//! `GET /bench/status` returns how many were read and delivered. `/function` is the function,
//! `/large` is one that answers late and much, and `/hang` is one that never responds. A function
//! elsewhere counts its records by `POST /bench/deliver?records=N`.

mod pace;
mod page;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use hyper::body::Incoming;
use memchr::memmem;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::http::{HttpResult, ResponseBody, complete, read_body, serve};
use crate::protocol::{AwsError, Response};
use stream::Stream;

pub use page::PAGE_PREFIX;
pub use stream::{BenchCounts, BenchLoad};

/// The header of GetRecords with the length of each record in the page, so that a client that only
/// moves bytes can cut the page into batches.
pub const RECORD_LENGTH_HEADER: &str = "x-bench-record-length";

/// Occurs once in each record of an event, and never in base64 data.
pub const RECORD_MARKER: &[u8] = b"\"eventSource\":";

/// Of one answer of `/large`: a little less than the largest that a function may give, 6 MiB.
const LARGE_ANSWER: usize = 6 * 1024 * 1024 - 1024;

/// Before each answer of `/large`, so that many invocations are answered at the same time.
const LARGE_DELAY: Duration = Duration::from_millis(500);

/// A running source and function, which stop when dropped.
#[derive(Debug)]
pub struct BenchSource {
    addr: SocketAddr,
    stream: Arc<Stream>,
    tasks: JoinSet<()>,
}

impl BenchSource {
    /// Starts a source without records. Port 0 takes a free port.
    pub async fn start(listen: SocketAddr, load: BenchLoad) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let stream = Arc::new(Stream::new(load));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&stream);
        tasks.spawn(async move {
            let handle = move |request| handle(Arc::clone(&shared), request);
            match serve(listener, handle).await {}
        });
        Ok(Self {
            addr,
            stream,
            tasks,
        })
    }

    /// The address of source and function.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Makes further records available, spread evenly over the shards.
    pub fn release(&self, records: u64) {
        self.stream.release(records);
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> BenchCounts {
        self.stream.counts()
    }

    /// Runs until the process ends.
    pub async fn run(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn handle(stream: Arc<Stream>, request: Request<Incoming>) -> HttpResult {
    let response = match (request.method(), request.uri().path()) {
        (&Method::POST, "/") => return Ok(call(&stream, request).await),
        (&Method::POST, "/function") => match read_body(request.into_body()).await {
            Ok(event) => {
                stream.deliver(memmem::find_iter(&event, RECORD_MARKER).count() as u64);
                Response::json(&json!({"batchItemFailures": []}))
            }
            Err(response) => response,
        },
        (&Method::POST, "/large") => match read_body(request.into_body()).await {
            Ok(event) => {
                tokio::time::sleep(LARGE_DELAY).await;
                stream.deliver(memmem::find_iter(&event, RECORD_MARKER).count() as u64);
                Response::ok(large_answer())
            }
            Err(response) => response,
        },
        (&Method::POST, "/hang") => {
            drop(read_body(request.into_body()).await);
            std::future::pending().await
        }
        (&Method::POST, "/bench/release") => {
            with_records(request.uri().query(), |records| stream.release(records))
        }
        (&Method::POST, "/bench/deliver") => {
            with_records(request.uri().query(), |records| stream.deliver(records))
        }
        (&Method::GET, "/bench/status") => {
            let BenchCounts {
                read,
                delivered,
                shards_read,
                reads,
                reads_on_time,
            } = stream.counts();
            Response::json(&json!({
                "read": read, "delivered": delivered, "shards_read": shards_read,
                "reads": reads, "reads_on_time": reads_on_time,
            }))
        }
        (method, path) => {
            let message = format!("the bench source does not serve {method} {path}");
            Response::error(404, "NotFound", &message)
        }
    };
    Ok(complete(response))
}

fn with_records(query: Option<&str>, act: impl FnOnce(u64)) -> Response {
    let records = query.and_then(|query| query.strip_prefix("records="));
    let Some(records) = records.and_then(|records| records.parse().ok()) else {
        let message = "the query must be ?records=NUMBER";
        return Response::error(400, "InvalidArgumentException", message);
    };
    act(records);
    Response::json(&json!({}))
}

async fn call(stream: &Stream, request: Request<Incoming>) -> http::Response<ResponseBody> {
    let target = request.headers().get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok()).unwrap_or("");
    let operation = target
        .strip_prefix("Kinesis_20131202.")
        .unwrap_or("")
        .to_owned();
    let body = match read_body(request.into_body()).await {
        Ok(body) => body,
        Err(response) => return complete(response),
    };
    if operation == "GetRecords" {
        if !stream.read_delay().is_zero() {
            tokio::time::sleep(stream.read_delay()).await;
        }
        let page = stream.get_records(&body);
        let mut response = complete(page.map_or_else(Response::from, Response::ok));
        let length = HeaderValue::from(stream.record_length());
        response.headers_mut().insert(RECORD_LENGTH_HEADER, length);
        return response;
    }
    let result = match operation.as_str() {
        "ListShards" => stream.list_shards(&body),
        "GetShardIterator" => stream.get_shard_iterator(&body),
        "DescribeStreamSummary" => Ok(stream.describe_summary()),
        _ => Err(AwsError::unknown_operation("the bench source", &operation)),
    };
    complete(result.map_or_else(Response::from, |body| Response::json(&body)))
}

/// Without failures of items, which come last.
fn large_answer() -> Bytes {
    let padding = "x".repeat(LARGE_ANSWER);
    format!("{{\"padding\":\"{padding}\",\"batchItemFailures\":[]}}").into()
}

#[cfg(test)]
mod tests;
