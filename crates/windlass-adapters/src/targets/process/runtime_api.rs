//! Lambda's Runtime API for one process, on a port of its own.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use windlass_core::outcome::Outcome;
use windlass_core::process::ProcessId;

use super::context::Context;
use super::event_reports::EventReports;
use super::logs::Logs;
use super::messages::{Given, Message, NextEvent, Sender, TakenGuard};
use super::peer::is_descendant;
use super::pool::{failed, response_of};
use crate::targets::MAX_RESPONSE_BYTES;
use crate::targets::pool::EventBody;
use crate::targets::response::error_kind;
use crate::targets::response_walker::ResponseWalker;

const PREFIX: &str = "/2018-06-01/runtime/";

/// A runtime needs one or two.
const MAX_CONNECTIONS: usize = 64;

/// Bytes of the headers of a request. The clients of AWS put the cause of an error into one, of up to
/// 1 MiB.
const MAX_HEADER_BYTES: usize = (1 << 20) + (64 << 10);

/// Pause after a connection could not be accepted: the daemon has no file left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Type of an error in the headers of a report.
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";

pub(super) struct RuntimeApi {
    pub(super) process: ProcessId,
    pub(super) context: Arc<Context>,
    pub(super) pool: Sender,
    pub(super) logs: Arc<Logs>,
    /// Pid; the process and all its descendants are descendants of it.
    pub(super) supervisor: u32,
    /// Pid of the process; 0 while it is unknown.
    pub(super) main: Arc<AtomicU32>,
    pub(super) reports: Arc<EventReports>,
    pub(super) listener: TcpListener,
}

/// What the requests of one process share.
struct Handler {
    process: ProcessId,
    context: Arc<Context>,
    pool: Sender,
    logs: Arc<Logs>,
    reports: Arc<EventReports>,
}

type Answer = Response<Either<GivenBody, Full<Bytes>>>;

/// An event as the body of a response.
struct GivenBody {
    event: EventBody,
    guard: TakenGuard,
}

/// A body that was read to its end.
struct ReadBody {
    /// Empty if they are not needed, or are more than a response may have.
    bytes: Vec<u8>,
    is_too_large: bool,
    trailers: Option<HeaderMap>,
}

impl RuntimeApi {
    /// Answers the process until this future is dropped.
    pub(super) async fn serve(self) -> Infallible {
        let handler = Arc::new(Handler {
            process: self.process,
            context: Arc::clone(&self.context),
            pool: self.pool,
            logs: self.logs,
            reports: self.reports,
        });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                    match accepted {
                        Ok((stream, peer)) => {
                            let main = self.main.load(Ordering::Relaxed);
                            let handler = Arc::clone(&handler);
                            connections.spawn(handler.serve(stream, peer, self.supervisor, main));
                        }
                        Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

impl Handler {
    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        supervisor: u32,
        main: u32,
    ) {
        let Ok(own) = stream.local_addr() else { return };
        let main = Some(main).filter(|pid| *pid != 0);
        let lookup =
            tokio::task::spawn_blocking(move || is_descendant(supervisor, main, peer, own));
        if !matches!(lookup.await, Ok(true)) {
            tracing::warn!(
                function = &*self.context.name,
                process = %self.process,
                "a connection to the Runtime API of a process was closed: it does not come from the \
                 process or its descendants, or had ended before that could be found out"
            );
            return;
        }
        // Its requests and their responses are small or written at once.
        drop(stream.set_nodelay(true));
        let service = service_fn(|request| {
            let handler = Arc::clone(&self);
            async move { Ok::<_, Infallible>(handler.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            let function = &*self.context.name;
            tracing::debug!(function, %error, "a connection of the Runtime API failed");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let path = path.strip_prefix(PREFIX).unwrap_or_default();
        let steps: Vec<&str> = path.split('/').collect();
        match (request.method(), &steps[..]) {
            (&Method::GET, ["invocation", "next"]) => self.next().await,
            (&Method::POST, ["invocation", id, "response"]) => self.response(id, request).await,
            (&Method::POST, ["invocation", id, "error"]) => self.error(id, request).await,
            (&Method::POST, ["init", "error"]) => self.init_error(request).await,
            _ => refusal(StatusCode::NOT_FOUND, "no such path", "PathNotFound"),
        }
    }

    async fn next(&self) -> Answer {
        let (reply, given) = oneshot::channel();
        let process = self.process;
        let sent = self.pool.send(Message::Next { process, reply });
        match (sent, given.await) {
            (Ok(()), Ok(NextEvent::Event(given))) => self.give(*given),
            (Ok(()), Ok(NextEvent::Busy)) => refusal(
                StatusCode::FORBIDDEN,
                "the previous event is not answered yet",
                "InvalidStateTransition",
            ),
            // Replaced by a later request, or the process is about to end.
            (_, _) => refusal(
                StatusCode::GONE,
                "this request was replaced, or the process is stopped",
                "Gone",
            ),
        }
    }

    fn give(&self, given: Given) -> Answer {
        let Given {
            event,
            request_id,
            deadline,
            client_context,
            reads,
            guard,
        } = given;
        self.logs.set_request(Some(Arc::clone(&request_id)));
        self.reports.start(Arc::clone(&request_id), reads);
        let mut response = Response::new(Either::Left(GivenBody {
            event: EventBody::from(event),
            guard,
        }));
        let headers = response.headers_mut();
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("content-type", "application/json");
        set("lambda-runtime-aws-request-id", &request_id);
        let deadline = deadline.as_millis().to_string();
        set("lambda-runtime-deadline-ms", &deadline);
        let arn = self.context.arn.as_str();
        set("lambda-runtime-invoked-function-arn", arn);
        set("lambda-runtime-trace-id", &trace_id());
        set("lambda-runtime-client-context", &client_context);
        response
    }

    async fn response(&self, id: &str, request: Request<Incoming>) -> Answer {
        let mut body = request.into_body();
        let mut walker = self.walker(id);
        let read = read(&mut body, false, walker.as_mut()).await;
        let outcome = match &read {
            None => return incomplete(),
            Some(read) if read.is_too_large => failed("Function.ResponseSizeTooLarge", id),
            Some(read) => match read.trailers.as_ref().and_then(|it| it.get(ERROR_TYPE)) {
                // A streamed response reports an error after its body.
                Some(kind) => {
                    let kind = error_kind(kind.to_str().unwrap_or_default());
                    failed(kind, id)
                }
                None => {
                    let answer = walker.map(ResponseWalker::finish).unwrap_or_default();
                    answer.outcome(|| response_of(id))
                }
            },
        };
        let is_too_large = read.is_some_and(|read| read.is_too_large);
        let answer = self.conclude(id, outcome).await;
        if is_too_large {
            // The result is known. The process is kept, and hears of it when it has sent everything.
            while let Some(Ok(_)) = body.frame().await {}
            if answer.status().is_success() {
                let message = "the response is larger than 6 MiB";
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return refusal(status, message, "RequestEntityTooLarge");
            }
        }
        answer
    }

    async fn error(&self, id: &str, request: Request<Incoming>) -> Answer {
        let (head, mut body) = request.into_parts();
        let Some(read) = read(&mut body, true, None).await else {
            return incomplete();
        };
        let kind = kind_of_error(&read.bytes, &head.headers);
        let answer = self.conclude(id, failed(&kind, id)).await;
        while let Some(Ok(_)) = body.frame().await {}
        answer
    }

    async fn init_error(&self, request: Request<Incoming>) -> Answer {
        let (head, mut body) = request.into_parts();
        let bytes = read(&mut body, true, None).await.map(|read| read.bytes);
        let kind = kind_of_error(&bytes.unwrap_or_default(), &head.headers);
        let process = self.process;
        // Without a pool the process is about to end.
        drop(self.pool.send(Message::InitFailed { process, kind }));
        accepted()
    }

    /// Passes the result of an event on, with everything that was printed until now.
    async fn conclude(&self, id: &str, outcome: Outcome) -> Answer {
        self.logs.flush();
        let (reply, is_accepted) = oneshot::channel();
        let message = Message::Answer {
            process: self.process,
            request_id: id.to_owned(),
            outcome,
            reply,
        };
        let sent = self.pool.send(message);
        if !matches!((sent, is_accepted.await), (Ok(()), Ok(true))) {
            return refusal(
                StatusCode::FORBIDDEN,
                "Invalid request ID",
                "InvalidRequestID",
            );
        }
        self.logs.set_request(None);
        self.reports.end();
        accepted()
    }

    /// What reads the response to an event, if its mapping asks for it.
    fn walker(&self, request_id: &str) -> Option<ResponseWalker> {
        self.reports.reads(request_id).map(ResponseWalker::new)
    }
}

impl Body for GivenBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = Pin::new(&mut self.event).poll_frame(context);
        self.guard.taken = self.event.is_end_stream();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.event.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.event.size_hint()
    }
}

/// Reads a body to its end, or until it is too large; `None` if it broke off. Its bytes are kept only
/// if they are needed; the walker sees all of them.
async fn read(
    body: &mut Incoming,
    is_needed: bool,
    mut walker: Option<&mut ResponseWalker>,
) -> Option<ReadBody> {
    let mut len = 0_usize;
    let mut read = ReadBody {
        bytes: Vec::new(),
        is_too_large: false,
        trailers: None,
    };
    while let Some(frame) = body.frame().await {
        match frame.ok()?.into_data() {
            Ok(data) => {
                len = len.saturating_add(data.len());
                if MAX_RESPONSE_BYTES < len {
                    read.bytes = Vec::new();
                    read.is_too_large = true;
                    return Some(read);
                }
                if let Some(walker) = &mut walker {
                    walker.read(&data);
                }
                if is_needed {
                    read.bytes.extend_from_slice(&data);
                }
            }
            Err(frame) => read.trailers = frame.into_trailers().ok(),
        }
    }
    Some(read)
}

/// The type of an error, from its body or else from its header.
fn kind_of_error(body: &[u8], headers: &HeaderMap) -> String {
    let body = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let kind = body["errorType"].as_str().filter(|kind| !kind.is_empty());
    let header = || headers.get(ERROR_TYPE).and_then(|kind| kind.to_str().ok());
    error_kind(kind.or_else(header).unwrap_or_default()).to_owned()
}

fn accepted() -> Answer {
    json_response(StatusCode::ACCEPTED, &json!({"status": "OK"}))
}

/// The connection broke off: nobody reads this.
fn incomplete() -> Answer {
    refusal(StatusCode::BAD_REQUEST, "incomplete body", "BadRequest")
}

fn refusal(status: StatusCode, message: &str, kind: &str) -> Answer {
    json_response(status, &json!({"errorMessage": message, "errorType": kind}))
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Answer {
    let mut response = Response::new(Either::Right(Full::from(body.to_string())));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    response
}

/// <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>
fn trace_id() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let random = format!("{:032x}", fastrand::u128(..));
    let parent = fastrand::u64(1..);
    format!(
        "Root=1-{seconds:08x}-{};Parent={parent:016x};Sampled=0",
        &random[..24]
    )
}
