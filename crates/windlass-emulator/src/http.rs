//! The HTTP server: connections, request bodies, and responses that can break off.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use tokio::sync::mpsc;

use crate::kinesis::fan_out::Piece;
use crate::protocol::Response;

/// Larger than any service accepts.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// After a failed accept, for example when there is no free file descriptor.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// Closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
pub(crate) struct DropConnection;

pub(crate) type HttpResult = Result<http::Response<ResponseBody>, DropConnection>;

#[derive(Debug)]
pub(crate) struct ResponseBody {
    bytes: Option<Bytes>,
    events: Option<Events>,
    end: BodyEnd,
}

/// A body that is made while it is sent.
pub(crate) struct Events {
    /// Makes the pieces, and drops their sender at the end.
    source: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pieces: mpsc::Receiver<Piece>,
}

/// What follows the bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyEnd {
    Complete,
    /// The connection breaks once the bytes have been sent.
    FlushThenBreak,
    Break,
    /// It never comes.
    Hang,
}

/// Serves requests until it is dropped.
pub(crate) async fn serve<H, F>(listener: TcpListener, handle: H) -> Infallible
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = HttpResult> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(serve_connection(socket, handle.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_RETRY_DELAY).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection<H, F>(socket: TcpStream, handle: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = HttpResult>,
{
    // Otherwise small responses wait for the client's acknowledgement.
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let connection =
        http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(handle));
    // Fails when the client disconnects, and for `DropConnection`.
    connection.await.unwrap_or_default();
}

/// Reads a whole request body; the error is the response to send.
pub(crate) async fn read_body(body: Incoming) -> Result<Bytes, Response> {
    let collected = Limited::new(body, MAX_REQUEST_BYTES).collect().await;
    let body = collected.map_err(|error| {
        let message = format!("cannot read the request body: {error}");
        Response::error(413, "RequestEntityTooLargeException", &message)
    })?;
    Ok(body.to_bytes())
}

pub(crate) fn complete(response: Response) -> http::Response<ResponseBody> {
    build(response, BodyEnd::Complete)
}

/// A response whose connection breaks in the middle of the body.
pub(crate) fn truncated(response: Response) -> http::Response<ResponseBody> {
    build(response, BodyEnd::FlushThenBreak)
}

/// A response with one changed byte.
pub(crate) fn corrupted(mut response: Response) -> http::Response<ResponseBody> {
    let mut body = response.body.to_vec();
    let middle = body.len() / 2;
    if let Some(byte) = body.get_mut(middle) {
        *byte ^= 1;
    }
    response.body = body.into();
    complete(response)
}

/// A response whose body never comes.
pub(crate) fn silent(response: Response) -> http::Response<ResponseBody> {
    build(response, BodyEnd::Hang)
}

/// A successful response that consists of events.
pub(crate) fn events(events: Events) -> http::Response<ResponseBody> {
    let body = ResponseBody {
        bytes: None,
        events: Some(events),
        end: BodyEnd::Complete,
    };
    let response = http::Response::builder().header(CONTENT_TYPE, EVENT_STREAM);
    response.body(body).expect("the header is valid")
}

fn build(response: Response, end: BodyEnd) -> http::Response<ResponseBody> {
    let length = response.body.len();
    let (bytes, length) = match end {
        BodyEnd::Complete => (response.body, length),
        BodyEnd::FlushThenBreak | BodyEnd::Break => {
            (response.body.slice(..length / 2), length.max(1))
        }
        BodyEnd::Hang => (Bytes::new(), length.max(1)),
    };
    let mut builder = http::Response::builder()
        .status(response.status)
        .header(CONTENT_TYPE, "application/x-amz-json-1.1")
        .header(CONTENT_LENGTH, length);
    if let Some(Ok(query_error)) = response.query_error.map(HeaderValue::try_from) {
        builder = builder.header(QUERY_ERROR, query_error);
    }
    let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
    let response = builder.body(ResponseBody {
        bytes,
        events: None,
        end,
    });
    response.expect("services return valid statuses")
}

impl Events {
    /// `source` makes the body with the sender that it gets. It runs only while the body is read.
    pub(crate) fn new<F>(source: impl FnOnce(mpsc::Sender<Piece>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // What the client does not read is not made.
        let (sender, pieces) = mpsc::channel(1);
        Self {
            source: Some(Box::pin(source(sender))),
            pieces,
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        loop {
            if let Poll::Ready(piece) = self.pieces.poll_recv(context) {
                return Poll::Ready(piece);
            }
            let Some(source) = &mut self.source else {
                return Poll::Ready(None);
            };
            if source.as_mut().poll(context).is_pending() {
                return self.pieces.poll_recv(context);
            }
            self.source = None;
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = DropConnection;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DropConnection>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if let Some(events) = &mut self.events {
            return events.poll_next(context).map(|piece| match piece? {
                Piece::Bytes(bytes) => Some(Ok(Frame::data(bytes))),
                Piece::Break => Some(Err(DropConnection)),
            });
        }
        match self.end {
            BodyEnd::Complete => Poll::Ready(None),
            BodyEnd::FlushThenBreak => {
                // The server flushes when a body is pending.
                self.end = BodyEnd::Break;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            BodyEnd::Break => Poll::Ready(Some(Err(DropConnection))),
            BodyEnd::Hang => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.events.is_none() && self.end == BodyEnd::Complete
    }

    fn size_hint(&self) -> SizeHint {
        match &self.bytes {
            _ if self.end != BodyEnd::Complete || self.events.is_some() => SizeHint::default(),
            Some(bytes) => SizeHint::with_exact(bytes.len() as u64),
            None => SizeHint::with_exact(0),
        }
    }
}
