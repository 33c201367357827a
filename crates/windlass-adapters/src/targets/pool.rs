//! The connection pool of one HTTP function.
//!
//! The pools of client libraries do not report what the retry rules need: whether a request was
//! sent on a reused connection, and whether it was sent at all.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::Instant;
use tower_service::Service as _;
use windlass_core::event::Event;
use windlass_engine::ports::BoxError;

use super::write_errors::ReadableAfterWriteError;
use crate::tls_roots::{self, CaBundle, Connector};

/// An idle connection is closed after this time; most servers wait longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

const MAX_IDLE: usize = 64;

/// A connection that is older is closed after its response, so that new addresses of the function
/// are followed.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// Time after which an idle TCP connection is probed: firewalls and NAT gateways forget connections
/// that are silent for 350 s and less, and functions may take longer. Four probes without an answer,
/// 15 s apart, end it.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_PROBES: u32 = 4;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An event as a request body, without copying it.
#[derive(Debug)]
pub(super) struct EventBody(std::vec::IntoIter<Bytes>);

/// A connection that carries one request at a time. It is driven by the future of that request: one
/// task for the request, its response and their bytes costs less than several that wake each other.
/// While it is idle it is not driven, so a close by the server is noticed at the next use.
pub(super) struct Connection {
    sender: SendRequest<EventBody>,
    /// Completes when the connection is closed.
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    closed: bool,
    opened: Instant,
    /// The server does not read any more.
    write_failed: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(super) struct Pool {
    uri: Uri,
    connector: Connector,
    /// Idle connections and since when they are; the newest is at the back.
    idle: Mutex<VecDeque<(Connection, Instant)>>,
}

impl Pool {
    /// `bundle` adds to the authorities that the machine trusts.
    ///
    /// # Errors
    /// The URI is HTTPS and no root certificates can be read.
    pub(super) fn new(uri: Uri, bundle: Option<&CaBundle>) -> std::io::Result<Self> {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEP_ALIVE));
        http.set_keepalive_interval(Some(KEEP_ALIVE_INTERVAL));
        http.set_keepalive_retries(Some(KEEP_ALIVE_PROBES));
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        // A machine without root certificates can still use plain HTTP.
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let connector = tls_roots::connector(http, is_https, bundle)?;
        Ok(Self {
            uri,
            connector,
            idle: Mutex::default(),
        })
    }

    /// An idle connection that is still open.
    pub(super) fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some((mut connection, since)) = idle.pop_back() {
            if IDLE_TIMEOUT <= since.elapsed() {
                // All others are older.
                idle.clear();
                return None;
            }
            if !connection.is_old() && connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    pub(super) async fn connect(&self) -> Result<Connection, BoxError> {
        let mut connector = self.connector.clone();
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, async {
            poll_fn(|context| connector.poll_ready(context)).await?;
            connector.call(self.uri.clone()).await
        });
        let stream = stream.await.map_err(|_| "no connection within 5 s")?;
        let stream = stream.map_err(|error| match tls_roots::explain(&*error) {
            Some(explanation) => explanation.into(),
            None => error,
        })?;
        let write_failed = Arc::new(AtomicBool::new(false));
        let stream = ReadableAfterWriteError::new(stream, Arc::clone(&write_failed));
        let (sender, connection) = http1::handshake(stream).await?;
        Ok(Connection {
            sender,
            // Errors are reported to the request.
            driver: Box::pin(connection.map(drop)),
            closed: false,
            opened: Instant::now(),
            write_failed,
        })
    }

    /// Keeps a connection whose response was read to its end; closes an old one.
    pub(super) fn put_back(&self, connection: Connection) {
        if connection.is_old() {
            return;
        }
        let mut idle = self.idle();
        idle.push_back((connection, Instant::now()));
        if MAX_IDLE < idle.len() {
            idle.pop_front();
        }
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Sends a request and waits for the head of the response.
    ///
    /// # Errors
    /// The connection failed. The error contains the request if it was not sent.
    pub(super) async fn send(
        &mut self,
        request: Request<EventBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<EventBody>>> {
        let response = self.sender.try_send_request(request);
        self.drive(response).await
    }

    /// Drives the connection until a future that depends on it completes.
    pub(super) async fn drive<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|context| {
            self.advance(context);
            future.as_mut().poll(context)
        })
        .await
    }

    fn is_old(&self) -> bool {
        MAX_AGE <= self.opened.elapsed()
    }

    /// Whether it is open and the previous request is complete.
    fn is_usable(&mut self) -> bool {
        self.advance(&mut Context::from_waker(Waker::noop()));
        !self.closed && !self.write_failed.load(Ordering::Relaxed) && self.sender.is_ready()
    }

    fn advance(&mut self, context: &mut Context<'_>) {
        if !self.closed {
            self.closed = self.driver.as_mut().poll(context).is_ready();
        }
    }
}

impl From<Event> for EventBody {
    fn from(event: Event) -> Self {
        Self(event.into_pieces().into_iter())
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let lengths = self.0.as_slice().iter().map(|piece| piece.len() as u64);
        SizeHint::with_exact(lengths.sum())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
