//! A function's server on loopback that follows a script, to the byte.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

/// Reaction to one request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Sends a response and keeps the connection open.
    Respond(Vec<u8>),
    /// Sends a response after it got a permit.
    RespondWhen(Arc<Semaphore>, Vec<u8>),
    /// Sends a response and closes the connection.
    RespondAndClose(Vec<u8>),
    /// Sends a response after the head of the request and closes the connection, which resets it:
    /// the body is unread.
    RespondToHead(Vec<u8>),
    /// Sends this, and then nothing more.
    Hang(Vec<u8>),
}

/// A request as it was received.
#[derive(Debug)]
pub(super) struct Received {
    /// Number of the connection, from 0.
    pub(super) connection: usize,
    /// Method, path and version.
    pub(super) line: String,
    /// By lower-case name.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

/// The server. Dropping it stops it.
pub(super) struct Server {
    address: String,
    received: mpsc::UnboundedReceiver<Received>,
    _accepting: JoinSet<()>,
}

#[derive(Clone)]
struct Play {
    script: Arc<Mutex<VecDeque<Act>>>,
    received: mpsc::UnboundedSender<Received>,
}

impl Server {
    /// Follows a script with one act per request, and then responds `{}` to all requests.
    pub(super) async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, received) = mpsc::unbounded_channel();
        let play = Play {
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            received: sender,
        };
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (number, play) = (connections.len(), play.clone());
                connections.spawn(async move { play.serve(number, stream).await });
            }
        });
        Self {
            address,
            received,
            _accepting: accepting,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The next request, after its act is done or has begun to wait.
    pub(super) async fn received(&mut self) -> Received {
        self.received.recv().await.unwrap()
    }

    /// The connections of the next requests; asserts that there are no more requests.
    pub(super) async fn connections(&mut self, n_requests: usize) -> Vec<usize> {
        let mut connections = Vec::new();
        for _ in 0..n_requests {
            connections.push(self.received().await.connection);
        }
        let more = self.received.try_recv();
        assert!(more.is_err(), "unexpected request: {more:?}");
        connections
    }
}

impl Play {
    /// Errors are visible to the client.
    async fn serve(self, connection: usize, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut received = read_head(connection, &mut stream).await?;
            let act = self.script.lock().unwrap().pop_front();
            let default = || Act::Respond(response(200, &[], b"{}"));
            let act = act.unwrap_or_else(default);
            if let Act::RespondToHead(response) = act {
                stream.write_all(&response).await?;
                drop(self.received.send(received));
                return Ok(());
            }
            received.body = read_body(&received, &mut stream).await?;
            let (response, keep_open) = match act {
                Act::RespondToHead(_) => unreachable!("see above"),
                Act::Respond(response) => (response, true),
                Act::RespondAndClose(response) => (response, false),
                Act::RespondWhen(permits, response) => {
                    drop(self.received.send(received));
                    permits.acquire().await.unwrap().forget();
                    stream.write_all(&response).await?;
                    continue;
                }
                Act::Hang(start) => {
                    stream.write_all(&start).await?;
                    drop(self.received.send(received));
                    return std::future::pending().await;
                }
            };
            stream.write_all(&response).await?;
            if !keep_open {
                stream.shutdown().await?;
            }
            drop(self.received.send(received));
            if !keep_open {
                return Ok(());
            }
        }
    }
}

async fn read_head(connection: usize, stream: &mut BufReader<TcpStream>) -> io::Result<Received> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let headers: BTreeMap<_, _> = head[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Ok(Received {
        connection,
        line: head.swap_remove(0),
        headers,
        body: Bytes::new(),
    })
}

async fn read_body(received: &Received, stream: &mut BufReader<TcpStream>) -> io::Result<Bytes> {
    let length = received.headers.get("content-length");
    let mut body = vec![0; length.map_or("0", String::as_str).parse().unwrap()];
    stream.read_exact(&mut body).await?;
    Ok(body.into())
}

/// A response with a `content-length`.
pub(super) fn response(status: u16, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Whatever\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n", body.len());
    [text.as_bytes(), body].concat()
}
