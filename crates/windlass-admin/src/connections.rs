//! Connections of the HTTP server: bounded in number, and in the time that a request may take.
//!
//! When all are in use, a further caller replaces the one that has been idle for longest, and waits
//! while none is idle. So neither idle connections nor requests that are never completed can keep
//! others out, or take the files that functions and sources need.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use crate::auth::Peer;

/// How often a caller that waits for a connection looks for one that has become idle.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);

/// After an error of the listener, such as too many open files.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) max_connections: usize,
    /// From the start of the connection, or the previous response, to the last header.
    pub(crate) header_timeout: Duration,
}

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

/// Serves until `stopped`, then lets requests in progress finish.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let idle = Arc::new(IdleConnections::default());
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            while connections.try_join_next().is_some() {}
            let Some((stream, peer)) = accept(&listener).await else {
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            };
            let slot = idle.slot(&slots).await;
            let (router, idle, stopped) = (router.clone(), Arc::clone(&idle), stopped.clone());
            connections.spawn(async move {
                connection(stream, peer, router, limits, idle, stopped).await;
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

async fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    limits: ConnectionLimits,
    idle: Arc<IdleConnections>,
    stopped: watch::Receiver<bool>,
) {
    let (changes, mut is_idle) = watch::channel(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        changes.send_replace(false);
        let (response, changes) = (router.call(request), changes.clone());
        async move {
            let response = response.await;
            changes.send_replace(true);
            response
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let replaced = async {
        loop {
            let waiting = idle.wait();
            tokio::select! {
                replaced = waiting => if replaced { return },
                _ = is_idle.wait_for(|is_idle| !is_idle) => {}
            }
            if is_idle.wait_for(|is_idle| *is_idle).await.is_err() {
                return;
            }
        }
    };
    let mut stopped = pin!(stop(stopped));
    let mut replaced = pin!(replaced);
    let mut stops = false;
    loop {
        // An error concerns this caller alone: it left, sent something else than HTTP, or nothing.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = replaced.as_mut() => return,
            () = stopped.as_mut(), if !stops => {
                stops = true;
                connection.as_mut().graceful_shutdown();
            }
        }
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
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const REQUEST: &[u8] = b"GET /ok HTTP/1.1\r\nhost: localhost\r\n\r\n";

    /// A guard against tests that hang.
    const HANG: Duration = Duration::from_secs(3_600);

    struct Served {
        address: std::net::SocketAddr,
        stop: watch::Sender<bool>,
        server: JoinSet<()>,
    }

    async fn serving(max_connections: usize) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/ok", get(async || "ok"))
            .route("/hang", post(async || std::future::pending::<()>().await));
        let limits = ConnectionLimits {
            max_connections,
            ..ConnectionLimits::default()
        };
        let (stop, stopped) = watch::channel(false);
        let mut server = JoinSet::new();
        server.spawn(serve(listener, router, limits, stopped));
        Served {
            address,
            stop,
            server,
        }
    }

    impl Served {
        async fn connect(&self, sends: &[u8]) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(sends).await.unwrap();
            stream
        }

        async fn stopped(mut self) {
            self.stop.send_replace(true);
            let end = tokio::time::timeout(HANG, self.server.join_next()).await;
            end.unwrap().unwrap().unwrap();
        }
    }

    async fn read_response(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        while !text.ends_with("ok") {
            let mut part = [0; 1024];
            let read = tokio::time::timeout(HANG, stream.read(&mut part)).await;
            let n = read.unwrap().unwrap();
            assert_ne!(n, 0, "closed after: {text}");
            text.push_str(std::str::from_utf8(&part[..n]).unwrap());
        }
        text
    }

    /// What arrives until the server closes the connection.
    async fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        let read = tokio::time::timeout(HANG, stream.read_to_end(&mut all)).await;
        // A reset closes it, too.
        drop(read.expect("the connection is closed"));
        all
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_never_completed_are_closed() {
        let served = serving(8).await;
        for sends in ["", "GET /ok HTT", "GET /ok HTTP/1.1\r\nhost: local"] {
            let mut stream = served.connect(sends.as_bytes()).await;
            read_to_close(&mut stream).await;
        }
        served.stopped().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_stays_idle_after_a_response_is_closed() {
        let served = serving(8).await;
        let mut stream = served.connect(REQUEST).await;
        read_response(&mut stream).await;
        read_to_close(&mut stream).await;
        served.stopped().await;
    }

    #[tokio::test]
    async fn a_further_caller_replaces_the_connection_that_is_idle_longest() {
        let served = serving(4).await;
        // One request in progress, which nobody can replace.
        let busy = b"POST /hang HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
        let _busy = served.connect(busy).await;
        let mut used = served.connect(REQUEST).await;
        read_response(&mut used).await;
        let mut strangers = Vec::new();
        for _ in 0..64 {
            strangers.push(served.connect(b"GET /ok HTT").await);
        }
        for _ in 0..8 {
            let mut stream = served.connect(REQUEST).await;
            read_response(&mut stream).await;
            strangers.push(stream);
        }
        assert_eq!(read_to_close(&mut used).await, b"");
        served.stop.send_replace(true);
    }

    #[tokio::test]
    async fn a_stop_lets_requests_finish_and_closes_the_rest() {
        let served = serving(4).await;
        let mut idle = served.connect(REQUEST).await;
        read_response(&mut idle).await;
        served.stopped().await;
        assert_eq!(read_to_close(&mut idle).await, b"");
    }
}
