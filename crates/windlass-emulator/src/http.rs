//! The HTTP server beneath everything here: connections, whole request bodies, and answers that
//! can go wrong.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::answer::Answer;

/// Bytes of a request's body: more than any service takes.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

/// Before another connection is taken when one could not be, as without a free descriptor.
const PAUSE: Duration = Duration::from_millis(50);

/// The header by which clients of an older protocol know an error.
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// A connection that ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped")]
pub(crate) struct Dropped;

/// What a request is answered.
pub(crate) type Reply = Result<Response<Content>, Dropped>;

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Content {
    bytes: Option<Bytes>,
    end: End,
}

/// What comes behind the bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Good,
    /// The connection is to break, but what was written is sent before.
    Flush,
    Break,
}

/// Answers requests until it is dropped.
pub(crate) async fn serve<H, F>(listener: TcpListener, handle: H) -> Infallible
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(converse(socket, handle.clone()));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse<H, F>(socket: TcpStream, handle: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Reply>,
{
    // Without it, small answers would wait for the client's acknowledgement.
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let connection =
        http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(handle));
    // It ends with an error when the client goes away, or when it is told to drop.
    connection.await.unwrap_or_default();
}

/// The whole body of a request.
///
/// # Errors
/// The answer, if it is too large or breaks off.
pub(crate) async fn read(body: Incoming) -> Result<Bytes, Answer> {
    let collected = Limited::new(body, LARGEST_BODY).collect().await;
    let body = collected.map_err(|error| {
        let message = format!("the body of the request cannot be read: {error}");
        Answer::error(413, "RequestEntityTooLargeException", &message)
    })?;
    Ok(body.to_bytes())
}

/// An answer as it should be.
pub(crate) fn whole(answer: Answer) -> Response<Content> {
    respond(answer, End::Good)
}

/// An answer whose connection breaks in the middle of the body.
pub(crate) fn cut(answer: Answer) -> Response<Content> {
    respond(answer, End::Flush)
}

fn respond(answer: Answer, end: End) -> Response<Content> {
    let length = answer.body.len();
    let query_error = answer.query_error.map(HeaderValue::try_from);
    let (bytes, length) = match end {
        End::Good => (answer.body, length),
        End::Flush | End::Break => (answer.body.slice(..length / 2), length.max(1)),
    };
    let mut builder = Response::builder()
        .status(answer.status)
        .header(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-amz-json-1.1"),
        )
        .header(CONTENT_LENGTH, length);
    if let Some(Ok(query_error)) = query_error {
        builder = builder.header(QUERY_ERROR, query_error);
    }
    let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
    let response = builder.body(Content { bytes, end });
    response.expect("services answer with statuses that there are")
}

impl Body for Content {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match self.end {
            End::Good => Poll::Ready(None),
            End::Flush => {
                // The server flushes when a body keeps it waiting.
                self.end = End::Break;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            End::Break => Poll::Ready(Some(Err(Dropped))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.end == End::Good
    }

    fn size_hint(&self) -> SizeHint {
        match &self.bytes {
            _ if self.end != End::Good => SizeHint::default(),
            Some(bytes) => SizeHint::with_exact(bytes.len() as u64),
            None => SizeHint::with_exact(0),
        }
    }
}
