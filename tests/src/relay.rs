//! A relay between the daemon and a server, which can be cut, made unavailable or slow: the server
//! itself keeps what it has.

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

use crate::waiting;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They lead to the server.
    Open,
    /// They lead to the server; requests reach it late, and not at all if who called goes away
    /// before, and what it answers is late as well.
    Slow(Duration),
    /// Nothing listens; those that were open are gone.
    Cut,
    /// Every request is answered 503.
    Unavailable,
}

/// A relay; it ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    asked: watch::Sender<Way>,
    done: watch::Receiver<Option<Way>>,
    _task: JoinSet<()>,
}

impl Relay {
    /// Starts a relay to a server, which is given by its address: `http://127.0.0.1:PORT`.
    ///
    /// # Errors
    /// No port is free, or the address is none.
    pub async fn start(server: &str) -> anyhow::Result<Self> {
        let server: SocketAddr = server.trim_start_matches("http://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (asked, ask) = watch::channel(Way::Open);
        let (tell, done) = watch::channel(Some(Way::Open));
        let mut task = JoinSet::new();
        task.spawn(run(listener, addr, server, ask, tell));
        Ok(Self {
            addr,
            asked,
            done,
            _task: task,
        })
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Goes another way from now on. Connections that are open end.
    ///
    /// # Errors
    /// Its port has been taken by another program meanwhile.
    pub async fn go(&self, way: Way) -> anyhow::Result<()> {
        self.asked.send_replace(way);
        let limit = Duration::from_secs(10);
        waiting::until("the relay's port is free", limit, || {
            *self.done.borrow() == Some(way)
        })
        .await
    }
}

async fn run(
    first: TcpListener,
    addr: SocketAddr,
    server: SocketAddr,
    mut ask: watch::Receiver<Way>,
    tell: watch::Sender<Option<Way>>,
) {
    let mut listener = Some(first);
    loop {
        let way = *ask.borrow_and_update();
        if way == Way::Cut {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(addr).await.ok();
        }
        let bound = way == Way::Cut || listener.is_some();
        tell.send_replace(bound.then_some(way));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                changed = ask.changed() => match changed {
                    Ok(()) => break, // Which ends the connections.
                    Err(_) => return,
                },
                Some(accepted) = accept(listener.as_ref()) => {
                    connections.spawn(serve(accepted, server, way));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// The next connection; never one where nothing listens.
async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    listener.accept().await.ok().map(|(stream, _)| stream)
}

/// Serves one connection to its end; an error of either side ends it.
async fn serve(stream: TcpStream, server: SocketAddr, way: Way) {
    match way {
        Way::Cut => {}
        Way::Unavailable => {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(unavailable));
            drop(connection.await);
        }
        Way::Open => drop(forward(stream, server, Duration::ZERO).await),
        Way::Slow(delay) => drop(forward(stream, server, delay).await),
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
    let requests = pass(from_client, to_server, delay, Rest::Lost);
    let answers = pass(from_server, to_client, delay, Rest::PassedOn);
    tokio::try_join!(requests, answers)?;
    Ok(())
}

/// What becomes of what was not passed on yet when the side that it comes from goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Lost,
    PassedOn,
}

/// Passes on what comes from one side, each part of it late.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    rest: Rest,
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
        if !ended || rest == Rest::PassedOn {
            to.write_all(&part).await?;
        }
    }
    to.shutdown().await
}
