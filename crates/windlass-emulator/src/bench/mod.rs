//! The source and the function of a benchmark: endless records or messages at minimal cost.
//!
//! The program is controlled over HTTP: `POST /bench/release?records=N` makes records available,
//! `GET /bench/status` returns how many were read and delivered, and `GET /bench/wait-times` how long
//! the messages waited that were delivered since the last call. `/function` is the function, `/late`
//! one that answers late, `/large` one that answers late and much, and `/hang` one that never responds.
//! A function elsewhere counts its records by `POST /bench/deliver?records=N`.

mod message;
mod pace;
mod page;
mod queue;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request};
use hyper::body::Incoming;
use memchr::memmem;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::http::{Events, HttpResult, ResponseBody, complete, events, read_body, serve};
use crate::protocol::{AwsError, Response};
use queue::Queues;
use stream::Stream;

pub use message::MESSAGES_PREFIX;
pub use page::PAGE_PREFIX;
pub use queue::QueueLoad;
pub use stream::StreamLoad;

/// The header of GetRecords, SubscribeToShard and ReceiveMessage with the length of each record, so
/// that a client that only moves bytes can cut the response into batches.
pub const RECORD_LENGTH_HEADER: &str = "x-bench-record-length";

/// Occurs once in each record of an event, and never in base64 data.
pub const RECORD_MARKER: &[u8] = b"\"eventSource\":";

/// Of one answer of `/large`: a little less than the largest that a function may give, 6 MiB.
const LARGE_ANSWER: usize = 6 * 1024 * 1024 - 1024;

/// Before each answer of `/late` and `/large`, so that many invocations are in flight at the same time.
const ANSWER_DELAY: Duration = Duration::from_millis(500);

/// What a benchmark reads.
#[derive(Clone, Copy, Debug)]
pub enum BenchLoad {
    /// A stream of Kinesis.
    Stream(StreamLoad),
    /// Queues of SQS.
    Queues(QueueLoad),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BenchCounts {
    /// Records or messages returned by reads.
    pub read: u64,
    /// Records or messages that reached the function.
    pub delivered: u64,
    /// Events that reached the function.
    pub invocations: u64,
    /// Messages that were deleted.
    pub deleted: u64,
    /// Messages whose visibility was changed.
    pub visibility_changes: u64,
    /// Shards that were read at least once, or queues.
    pub shards_read: u64,
    /// Reads of shards, or receives.
    pub reads: u64,
    /// Reads that came about a second after the one before, of the same shard.
    pub reads_on_time: u64,
}

/// A running source and function, which stop when dropped.
#[derive(Debug)]
pub struct BenchSource {
    addr: SocketAddr,
    source: Arc<Source>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
enum Source {
    Stream(Stream),
    Queues(Queues),
}

impl BenchSource {
    /// Starts a source without records. Port 0 takes a free port.
    pub async fn start(listen: SocketAddr, load: BenchLoad) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let source = Arc::new(match load {
            BenchLoad::Stream(load) => Source::Stream(Stream::new(load)),
            BenchLoad::Queues(load) => Source::Queues(Queues::new(load)),
        });
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&source);
        tasks.spawn(async move {
            let handle = move |request| handle(Arc::clone(&shared), request);
            match serve(listener, handle).await {}
        });
        Ok(Self {
            addr,
            source,
            tasks,
        })
    }

    /// The address of source and function.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Makes further records available, spread evenly over the shards or queues.
    pub fn release(&self, records: u64) {
        self.source.release(records);
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> BenchCounts {
        self.source.counts()
    }

    /// Runs until the process ends.
    pub async fn run(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Source {
    fn release(&self, records: u64) {
        match self {
            Self::Stream(stream) => stream.release(records),
            Self::Queues(queues) => queues.release(records),
        }
    }

    /// An event has arrived at the function.
    fn deliver(&self, event: &[u8]) {
        match self {
            Self::Stream(stream) => {
                stream.deliver(memmem::find_iter(event, RECORD_MARKER).count() as u64);
            }
            Self::Queues(queues) => queues.deliver(event),
        }
    }

    fn counts(&self) -> BenchCounts {
        match self {
            Self::Stream(stream) => stream.counts(),
            Self::Queues(queues) => queues.counts(),
        }
    }
}

async fn handle(source: Arc<Source>, request: Request<Incoming>) -> HttpResult {
    let query = request.uri().query().map(str::to_owned);
    let response = match (request.method(), request.uri().path(), source.as_ref()) {
        (&Method::POST, "/", _) => return Ok(call(&source, request).await),
        (&Method::POST, "/function", _) => {
            let answer = || Response::json(&json!({"batchItemFailures": []}));
            invoke(&source, request, Duration::ZERO, answer).await
        }
        (&Method::POST, "/late", _) => {
            let answer = || Response::json(&json!({}));
            invoke(&source, request, ANSWER_DELAY, answer).await
        }
        (&Method::POST, "/large", _) => {
            let answer = || Response::ok(large_answer());
            invoke(&source, request, ANSWER_DELAY, answer).await
        }
        (&Method::POST, "/hang", _) => {
            drop(read_body(request.into_body()).await);
            std::future::pending().await
        }
        (&Method::POST, "/bench/release", _) => {
            with_records(query.as_deref(), |records| source.release(records))
        }
        (&Method::POST, "/bench/deliver", Source::Stream(stream)) => {
            with_records(query.as_deref(), |records| stream.deliver(records))
        }
        (&Method::GET, "/bench/wait-times", Source::Queues(queues)) => {
            let times = queues.take_wait_times();
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            Response::json(&json!({
                "messages": times.messages,
                "p50_us": micros(times.p50), "p99_us": micros(times.p99),
            }))
        }
        (&Method::GET, "/bench/status", _) => status(source.counts()),
        (method, path, _) => {
            let message = format!("the bench source does not serve {method} {path}");
            Response::error(404, "NotFound", &message)
        }
    };
    Ok(complete(response))
}

/// The event is delivered when it is answered, `delay` after its arrival.
async fn invoke(
    source: &Source,
    request: Request<Incoming>,
    delay: Duration,
    answer: impl FnOnce() -> Response,
) -> Response {
    match read_body(request.into_body()).await {
        Ok(event) => {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            source.deliver(&event);
            answer()
        }
        Err(response) => response,
    }
}

fn status(counts: BenchCounts) -> Response {
    let BenchCounts {
        read,
        delivered,
        invocations,
        deleted,
        visibility_changes,
        shards_read,
        reads,
        reads_on_time,
    } = counts;
    Response::json(&json!({
        "read": read, "delivered": delivered, "invocations": invocations,
        "deleted": deleted, "visibility_changes": visibility_changes,
        "shards_read": shards_read, "reads": reads, "reads_on_time": reads_on_time,
    }))
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

/// Executes an operation of the service whose source this is.
async fn call(source: &Arc<Source>, request: Request<Incoming>) -> http::Response<ResponseBody> {
    let headers = request.headers();
    let target = text_of(headers, "x-amz-target");
    let (_, operation) = target.split_once('.').unwrap_or_default();
    let operation = operation.to_owned();
    let endpoint = format!("http://{}", text_of(headers, HOST.as_str()));
    let body = match read_body(request.into_body()).await {
        Ok(body) => body,
        Err(response) => return complete(response),
    };
    let (result, record_length) = match source.as_ref() {
        Source::Stream(stream) if operation == "SubscribeToShard" => {
            let result = subscribe(source, stream, &body);
            return with_length(result, stream.record_length());
        }
        Source::Stream(stream) => (stream.call(&operation, &body).await, stream.record_length()),
        Source::Queues(queues) => (
            queues.call(&operation, &body, &endpoint).await,
            queues.message_length(),
        ),
    };
    let response = complete(result.map_or_else(Response::from, Response::ok));
    with_length(response, record_length)
}

fn subscribe(source: &Arc<Source>, stream: &Stream, body: &[u8]) -> http::Response<ResponseBody> {
    let subscription = match stream.subscribe(body) {
        Ok(subscription) => subscription,
        Err(error) => return complete(error.into()),
    };
    let source = Arc::clone(source);
    events(Events::new(|pieces| async move {
        if let Source::Stream(stream) = source.as_ref() {
            stream.send_events(subscription, pieces).await;
        }
    }))
}

fn with_length(
    mut response: http::Response<ResponseBody>,
    record_length: usize,
) -> http::Response<ResponseBody> {
    let length = HeaderValue::from(record_length);
    response.headers_mut().insert(RECORD_LENGTH_HEADER, length);
    response
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn invalid(member: &str) -> AwsError {
    AwsError::invalid_argument(format!("{member} is not valid for the bench source"))
}

/// Without failures of items, which come last.
fn large_answer() -> Bytes {
    let padding = "x".repeat(LARGE_ANSWER);
    format!("{{\"padding\":\"{padding}\",\"batchItemFailures\":[]}}").into()
}

#[cfg(test)]
mod tests;
