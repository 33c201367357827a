//! A function's server on loopback that does what a script says, to the byte.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

/// What is done with one request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// It is answered, and the connection stays open.
    Answer(Vec<u8>),
    /// It is answered when a permit is there.
    AnswerWhen(Arc<Semaphore>, Vec<u8>),
    /// It is answered, and the connection is closed.
    AnswerAndClose(Vec<u8>),
    /// This is sent, and then nothing any more.
    Hang(Vec<u8>),
}

/// A request as it came in.
#[derive(Debug)]
pub(super) struct Seen {
    /// On which connection, counted from 0.
    pub(super) connection: usize,
    /// Method, path and version.
    pub(super) line: String,
    /// By name in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

/// The server; it ends when it is dropped.
pub(super) struct Server {
    address: String,
    seen: mpsc::UnboundedReceiver<Seen>,
    _accepting: JoinSet<()>,
}

#[derive(Clone)]
struct Play {
    script: Arc<Mutex<VecDeque<Act>>>,
    seen: mpsc::UnboundedSender<Seen>,
}

impl Server {
    /// Does one act for each request; after the last, every request is answered with `{}`.
    pub(super) async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, seen) = mpsc::unbounded_channel();
        let play = Play {
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            seen: sender,
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
            seen,
            _accepting: accepting,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The next request, once its act is done (or has begun to wait).
    pub(super) async fn seen(&mut self) -> Seen {
        self.seen.recv().await.unwrap()
    }

    /// The connections on which the next requests came; there must be no more than these.
    pub(super) async fn connections(&mut self, n_requests: usize) -> Vec<usize> {
        let mut connections = Vec::new();
        for _ in 0..n_requests {
            connections.push(self.seen().await.connection);
        }
        let more = self.seen.try_recv();
        assert!(more.is_err(), "there was another request: {more:?}");
        connections
    }
}

impl Play {
    /// How it ends is seen by the client.
    async fn serve(self, connection: usize, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let seen = read(connection, &mut stream).await?;
            let act = self.script.lock().unwrap().pop_front();
            let (answer, open) = match act.unwrap_or_else(|| Act::Answer(answer(200, &[], b"{}"))) {
                Act::Answer(answer) => (answer, true),
                Act::AnswerAndClose(answer) => (answer, false),
                Act::AnswerWhen(permits, answer) => {
                    drop(self.seen.send(seen));
                    permits.acquire().await.unwrap().forget();
                    stream.write_all(&answer).await?;
                    continue;
                }
                Act::Hang(start) => {
                    stream.write_all(&start).await?;
                    drop(self.seen.send(seen));
                    return std::future::pending().await;
                }
            };
            stream.write_all(&answer).await?;
            if !open {
                stream.shutdown().await?;
            }
            drop(self.seen.send(seen));
            if !open {
                return Ok(());
            }
        }
    }
}

async fn read(connection: usize, stream: &mut BufReader<TcpStream>) -> io::Result<Seen> {
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
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await?;
    Ok(Seen {
        connection,
        line: head.swap_remove(0),
        headers,
        body: body.into(),
    })
}

/// An answer with a length.
pub(super) fn answer(status: u16, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Whatever\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n", body.len());
    [text.as_bytes(), body].concat()
}
