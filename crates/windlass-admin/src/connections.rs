//! Connections of the HTTP server: bounded in number, and in the time that a request may take.
//!
//! When all are in use, a further caller replaces the one that has been idle for longest, and waits
//! while none is idle. So neither idle connections nor requests that are never completed can keep
//! others out, or take the files that functions and sources need.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{HeaderValue, Version, header};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use crate::auth::Peer;
use crate::errors::ApiError;
use crate::tls::{HTTP_2, ServerTls};

/// How often a caller that waits for a connection looks for one that has become idle.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);

/// After an error of the listener, such as too many open files.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) max_connections: usize,
    /// From the start of the connection, or the previous response, to the last header; and of a TLS
    /// handshake.
    pub(crate) header_timeout: Duration,
}

/// Requests at a time of one connection over HTTP/2.
const MAX_STREAMS: u32 = 32;

/// Bytes of the headers of a request over HTTP/2.
const MAX_HEADER_LIST_SIZE: u32 = 16 * 1024;

/// Bytes of requests that a connection over HTTP/2 may have sent before anything reads them, and of
/// one request; and bytes of a response that wait for the client.
const CONNECTION_WINDOW: u32 = 256 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;
const SEND_BUFFER: usize = 64 * 1024;

/// How often a connection over HTTP/2 with requests in progress asks whether its client is still there,
/// and how long it waits for the answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 256,
            header_timeout: Duration::from_secs(10),
        }
    }
}

/// Connections that wait for a request, by the time since when.
#[derive(Default)]
struct IdleConnections(Mutex<IdleState>);

#[derive(Default)]
struct IdleState {
    next: u64,
    /// Closes them.
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// What connections are served with.
pub(crate) struct Serving {
    pub(crate) router: Router,
    /// `None`: connections are not encrypted.
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) limits: ConnectionLimits,
}

/// Serves until `stopped`, then lets requests in progress finish.
pub(crate) async fn serve(listener: TcpListener, serving: Serving, stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(serving.limits.max_connections));
    let (serving, idle) = (Arc::new(serving), Arc::new(IdleConnections::default()));
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            while connections.try_join_next().is_some() {}
            let Some((stream, peer)) = accept(&listener).await else {
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            };
            let slot = idle.slot(&slots).await;
            let connection = Connection {
                peer,
                limits: serving.limits,
                requests: watch::Sender::new(0),
                idle: Arc::clone(&idle),
                stopped: stopped.clone(),
            };
            let serving = Arc::clone(&serving);
            connections.spawn(async move {
                connection.run(stream, &serving).await;
                drop(slot);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop(stopped.clone()) => {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A dropped sender means the same.
pub(crate) async fn stop(mut stopped: watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// `None` after an error that will not pass at once.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, Peer)> {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return Some((stream, Peer(address.ip().to_canonical()))),
            // The caller has left already.
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "the API server cannot accept a connection");
                return None;
            }
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

/// One connection, before and while it is served.
struct Connection {
    peer: Peer,
    limits: ConnectionLimits,
    /// Requests in progress.
    requests: watch::Sender<usize>,
    idle: Arc<IdleConnections>,
    stopped: watch::Receiver<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

enum Opened {
    Plain(TcpStream),
    /// A request that is not encrypted, where it should be.
    Unencrypted(TcpStream),
    Tls(Box<TlsStream<TcpStream>>, Protocol),
}

impl Connection {
    async fn run(self, stream: TcpStream, serving: &Serving) {
        let opened = tokio::select! {
            biased;
            opened = open(stream, serving.tls.as_deref(), self.limits) => opened,
            () = self.replaced() => None,
            () = stop(self.stopped.clone()) => None,
        };
        let router = serving.router.clone();
        match opened {
            None => {}
            Some(Opened::Plain(stream)) => self.serve(stream, Protocol::Http1, router).await,
            Some(Opened::Unencrypted(stream)) => {
                let router = Router::new().fallback(unencrypted);
                self.serve(stream, Protocol::Http1, router).await;
            }
            Some(Opened::Tls(stream, protocol)) => self.serve(*stream, protocol, router).await,
        }
    }

    async fn serve<S>(&self, stream: S, protocol: Protocol, router: Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let builder = builder(protocol, self.limits);
        let connection = builder.serve_connection(TokioIo::new(stream), self.service(router));
        let mut connection = pin!(connection);
        let mut unused = pin!(self.unused(protocol));
        let mut stopped = pin!(stop(self.stopped.clone()));
        let mut replaced = pin!(self.replaced());
        let mut closes = false;
        let mut stops = false;
        loop {
            // An error concerns this caller alone: it left, sent something else than HTTP, or nothing.
            tokio::select! {
                _ = connection.as_mut() => return,
                () = replaced.as_mut() => return,
                () = unused.as_mut() => {
                    // It was asked to close, and did not.
                    if closes { return; }
                    closes = true;
                    unused.set(self.unused(protocol));
                    connection.as_mut().graceful_shutdown();
                }
                () = stopped.as_mut(), if !stops => {
                    stops = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    fn service(
        &self,
        router: Router,
    ) -> impl Service<
        hyper::Request<Incoming>,
        Response = http::Response<CountedBody>,
        Error = Infallible,
        Future: Send + 'static,
    > + use<> {
        let (peer, requests) = (self.peer, self.requests.clone());
        let router = TowerToHyperService::new(router);
        service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            add_host(&mut request);
            let requests = requests.clone();
            let in_progress = InProgress::new(&requests);
            let response = router.call(request);
            async move {
                let response = response.await?;
                drop(in_progress);
                Ok(response.map(|body| CountedBody {
                    body,
                    requests,
                    waits: None,
                }))
            }
        })
    }

    /// Waits until another connection takes the place of this one, which is idle then.
    async fn replaced(&self) {
        let mut requests = self.requests.subscribe();
        loop {
            if requests.wait_for(|n| *n == 0).await.is_err() {
                return;
            }
            let waiting = self.idle.wait();
            tokio::select! {
                replaced = waiting => if replaced { return },
                _ = requests.wait_for(|n| *n != 0) => {}
            }
        }
    }

    /// Waits until a connection over HTTP/2 has had no request for as long as one over HTTP/1.1 is given
    /// for the headers of the next.
    async fn unused(&self, protocol: Protocol) {
        if protocol == Protocol::Http1 {
            return std::future::pending().await;
        }
        let mut requests = self.requests.subscribe();
        loop {
            if requests.wait_for(|n| *n == 0).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(self.limits.header_timeout) => return,
                _ = requests.wait_for(|n| *n != 0) => {}
            }
        }
    }
}

/// Takes the handshake of an encrypted connection; `None` if it fails or takes too long.
async fn open(
    stream: TcpStream,
    tls: Option<&ServerTls>,
    limits: ConnectionLimits,
) -> Option<Opened> {
    let Some(tls) = tls else {
        return Some(Opened::Plain(stream));
    };
    let opened = async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        // The method of a request; a handshake begins with the number 22.
        if first[0].is_ascii_alphabetic() {
            return Ok(Opened::Unencrypted(stream));
        }
        let stream = tls.acceptor().accept(stream).await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(HTTP_2) => Protocol::Http2,
            Some(_) | None => Protocol::Http1,
        };
        Ok(Opened::Tls(Box::new(stream), protocol))
    };
    match tokio::time::timeout(limits.header_timeout, opened).await {
        Ok(Ok(opened)) => Some(opened),
        Ok(Err(error)) => {
            let error: io::Error = error;
            tracing::debug!(%error, "no TLS connection");
            None
        }
        Err(_) => None,
    }
}

fn builder(protocol: Protocol, limits: ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_SIZE)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    }
}

/// HTTP/2 has the host in the target of a request, where HTTP/1.1 has a header: signatures and the
/// guard read that.
///
/// <https://www.rfc-editor.org/rfc/rfc9113#section-8.3.1>
fn add_host(request: &mut hyper::Request<Incoming>) {
    if request.version() == Version::HTTP_2
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
}

async fn unencrypted() -> ApiError {
    ApiError::invalid("this port accepts encrypted connections only; call it by https://")
}

/// Counts a request while it exists.
struct InProgress(watch::Sender<usize>);

impl InProgress {
    fn new(requests: &watch::Sender<usize>) -> Self {
        requests.send_modify(|n| *n += 1);
        Self(requests.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

/// The body of a response. Its request is in progress while the rest of the body is waited for; while
/// the client takes its time, its connection is idle, or one that never reads would keep others out.
struct CountedBody {
    body: Body,
    requests: watch::Sender<usize>,
    waits: Option<InProgress>,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(_) => self.waits = None,
            Poll::Pending if self.waits.is_none() => {
                self.waits = Some(InProgress::new(&self.requests));
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl IdleConnections {
    /// Waits until this connection, which is idle from now on, is to be closed. Dropping it means
    /// that the connection is not idle any more.
    fn wait(&self) -> impl Future<Output = bool> {
        let (close, closed) = oneshot::channel();
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, close);
        let entry = IdleEntry { idle: self, number };
        async move {
            let closed = closed.await.is_ok();
            drop(entry);
            closed
        }
    }

    /// A slot for one more connection; closes an idle one if none is free.
    async fn slot(&self, slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        loop {
            if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
                return slot;
            }
            self.close_longest_idle();
            let slot = Arc::clone(slots).acquire_owned();
            if let Ok(Ok(slot)) = tokio::time::timeout(RECHECK_INTERVAL, slot).await {
                return slot;
            }
        }
    }

    fn close_longest_idle(&self) {
        if let Some((_, close)) = self.lock().waiting.pop_first() {
            // It may have ended by itself.
            close.send(()).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, IdleState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a connection from those that are idle.
struct IdleEntry<'a> {
    idle: &'a IdleConnections,
    number: u64,
}

impl Drop for IdleEntry<'_> {
    fn drop(&mut self) {
        self.idle.lock().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
