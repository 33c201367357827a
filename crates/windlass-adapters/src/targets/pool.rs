//! The connections of one HTTP function.
//!
//! A pool of our own, because a client library's does not tell what the retry rules ask: whether a
//! request went out on a connection that had been used before, and whether it went out at all.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
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
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::Instant;
use tower_service::Service as _;
use windlass_core::event::Event;
use windlass_engine::ports::BoxError;

use crate::tls_roots::{self, CaBundle};

/// An idle connection is closed after so long; most servers wait longer.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Most idle connections that are kept.
const MOST_IDLE: usize = 64;

/// A function that does not accept a connection within this cannot be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An event on its way, as it is.
#[derive(Debug)]
pub(super) struct Pieces(std::vec::IntoIter<Bytes>);

/// A connection that takes one request at a time. Nobody drives it but the request that it carries:
/// a request, its answer and their bytes are one task, which costs less than several that wake each
/// other. That the other side has closed one that is idle is seen when it is to be used again.
pub(super) struct Connection {
    sender: SendRequest<Pieces>,
    /// Ends when the connection is closed.
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    closed: bool,
}

/// The connections of one function.
#[derive(Debug)]
pub(super) struct Pool {
    uri: Uri,
    connector: HttpsConnector<HttpConnector>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest at the back.
    idle: VecDeque<(Connection, Instant)>,
}

impl Pool {
    /// Connects to where `uri` says, by HTTP or HTTPS; a bundle adds to the authorities that the
    /// machine trusts.
    ///
    /// # Errors
    /// It is HTTPS, and no root certificates can be read.
    pub(super) fn new(uri: Uri, bundle: Option<&CaBundle>) -> std::io::Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?;
        // A machine without any root certificates can still call plain HTTP.
        let roots = if uri.scheme() == Some(&Scheme::HTTPS) {
            tls_roots::roots(bundle)?
        } else {
            rustls::RootCertStore::empty()
        };
        let tls = tls.with_root_certificates(roots);
        let tls = tls.with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1();
        let connector = connector.wrap_connector(http);
        Ok(Self {
            uri,
            connector,
            state: Mutex::default(),
        })
    }

    /// A connection that was used before and is still open, if there is one.
    pub(super) fn take_idle(&self) -> Option<Connection> {
        let mut state = self.state();
        while let Some((mut connection, since)) = state.idle.pop_back() {
            if IDLE_LIMIT <= since.elapsed() {
                // The others are older still.
                state.idle.clear();
                return None;
            }
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Connection, BoxError> {
        let mut connector = self.connector.clone();
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, async {
            poll_fn(|context| connector.poll_ready(context)).await?;
            connector.call(self.uri.clone()).await
        });
        let stream = stream
            .await
            .map_err(|_| "no connection within five seconds")??;
        let (sender, connection) = http1::handshake(stream).await?;
        Ok(Connection {
            sender,
            // How it ends is seen by the request that it carries.
            driver: Box::pin(connection.map(drop)),
            closed: false,
        })
    }

    /// Keeps a connection whose answer was read to the end.
    pub(super) fn put_back(&self, connection: Connection) {
        let mut state = self.state();
        state.idle.push_back((connection, Instant::now()));
        if MOST_IDLE < state.idle.len() {
            state.idle.pop_front();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection failed. The request is given back if it has not gone out.
    pub(super) async fn send(
        &mut self,
        request: Request<Pieces>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Pieces>>> {
        let answer = self.sender.try_send_request(request);
        self.drive(answer).await
    }

    /// Waits for something that comes by this connection.
    pub(super) async fn drive<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            self.advance(context);
            wanted.as_mut().poll(context)
        })
        .await
    }

    /// Whether it is open and has nothing more to do for the request before.
    fn is_usable(&mut self) -> bool {
        self.advance(&mut Context::from_waker(Waker::noop()));
        !self.closed && self.sender.is_ready()
    }

    fn advance(&mut self, context: &mut Context<'_>) {
        if !self.closed {
            self.closed = self.driver.as_mut().poll(context).is_ready();
        }
    }
}

impl From<Event> for Pieces {
    fn from(event: Event) -> Self {
        Self(event.into_pieces().into_iter())
    }
}

impl Body for Pieces {
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
