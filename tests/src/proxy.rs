//! A TCP proxy between the daemon and a server that simulates outages and delays, while the server
//! keeps its state.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::wait;

/// How connections are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    Forward,
    /// Delays requests and responses. A request is lost if the client disconnects before the delay is
    /// over.
    Delay(Duration),
    /// Closes connections and the port.
    Refuse,
    /// Responds 503 to every request.
    Unavailable,
}

/// A running proxy, stopped on drop.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    requested: watch::Sender<ProxyMode>,
    /// `None` while the port cannot be bound.
    active: watch::Receiver<Option<ProxyMode>>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy to a server, `http://127.0.0.1:PORT`.
    pub async fn start(server: &str) -> anyhow::Result<Self> {
        let server: SocketAddr = server.trim_start_matches("http://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (requested, request) = watch::channel(ProxyMode::Forward);
        let (activate, active) = watch::channel(Some(ProxyMode::Forward));
        let mut task = JoinSet::new();
        task.spawn(run(listener, addr, server, request, activate));
        Ok(Self {
            addr,
            requested,
            active,
            _task: task,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Changes the mode and closes open connections. Fails if another program has taken the port since
    /// it was closed.
    pub async fn set_mode(&self, mode: ProxyMode) -> anyhow::Result<()> {
        self.requested.send_replace(mode);
        let limit = Duration::from_secs(10);
        wait::until("the proxy's port is free", limit, || {
            *self.active.borrow() == Some(mode)
        })
        .await
    }
}

async fn run(
    first: TcpListener,
    addr: SocketAddr,
    server: SocketAddr,
    mut request: watch::Receiver<ProxyMode>,
    activate: watch::Sender<Option<ProxyMode>>,
) {
    let mut listener = Some(first);
    loop {
        let mode = *request.borrow_and_update();
        if mode == ProxyMode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(addr).await.ok();
        }
        let bound = mode == ProxyMode::Refuse || listener.is_some();
        activate.send_replace(bound.then_some(mode));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                changed = request.changed() => match changed {
                    Ok(()) => break, // Drops the connections.
                    Err(_) => return,
                },
                Some(accepted) = accept(listener.as_ref()) => {
                    connections.spawn(serve(accepted, server, mode));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// The next connection; pending forever while the port is closed.
async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    listener.accept().await.ok().map(|(stream, _)| stream)
}

/// Serves one connection until either side closes it or fails.
async fn serve(stream: TcpStream, server: SocketAddr, mode: ProxyMode) {
    match mode {
        ProxyMode::Refuse => {}
        ProxyMode::Unavailable => {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(unavailable));
            drop(connection.await);
        }
        ProxyMode::Forward => drop(forward(stream, server, Duration::ZERO).await),
        ProxyMode::Delay(delay) => drop(forward(stream, server, delay).await),
    }
}

async fn unavailable(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    Ok(response)
}

async fn forward(client: TcpStream, server: SocketAddr, delay: Duration) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = copy(from_client, to_server, delay, OnClose::Discard);
    let responses = copy(from_server, to_client, delay, OnClose::Flush);
    tokio::try_join!(requests, responses)?;
    Ok(())
}

/// Treatment of delayed bytes when their sender closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnClose {
    Discard,
    Flush,
}

/// Copies bytes in one direction, with a delay.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    on_close: OnClose,
) -> std::io::Result<()> {
    let mut part = Vec::with_capacity(64 * 1024);
    let mut ended = false;
    while !ended {
        part.clear();
        ended = from.read_buf(&mut part).await? == 0;
        let late = tokio::time::sleep(delay);
        tokio::pin!(late);
        while !delay.is_zero() && !ended {
            tokio::select! {
                () = &mut late => break,
                more = from.read_buf(&mut part) => ended = more? == 0,
            }
        }
        if !ended || on_close == OnClose::Flush {
            to.write_all(&part).await?;
        }
    }
    to.shutdown().await
}
