//! The floor of a measurement: the bytes of a mapping's work, moved by nothing but sockets and
//! copies.
//!
//! It reads the same pages as a mapping and posts events of the same length, but knows beforehand
//! where each record begins, understands none of them, and remembers nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use windlass_emulator::{BEFORE_RECORDS, RECORD_LENGTH};

/// Batches of one page, as many as a mapping holds of a shard.
const BATCHES_READ: usize = 20;

/// Between two reads while there is nothing.
const PAUSE: Duration = Duration::from_millis(50);

const BEFORE_RECORD: &[u8] = b"{\"kinesis\":";

/// As long as what Lambda's events say of each record beside its data.
const AFTER_RECORD: &[u8] = b",\"eventSource\":\"aws:kinesis\",\"eventVersion\":\"1.0\",\
    \"eventID\":\"shardId-000000000000:\
    00000000000000000000000000000000000000000000000000000000\",\
    \"eventName\":\"aws:kinesis:record\",\
    \"invokeIdentityArn\":\"arn:aws:iam::000000000000:role/bench\",\"awsRegion\":\"us-east-1\",\
    \"eventSourceARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/bench\"}";

/// What is moved.
#[derive(Clone, Debug)]
pub(crate) struct Floor {
    /// Host and port of source and function.
    pub(crate) authority: String,
    pub(crate) shards: u32,
    /// Records of one event.
    pub(crate) batch_size: usize,
    /// From one read of a shard to the next at least. Kinesis allows five a second; work that
    /// comes in such pieces costs more than work without a pause.
    pub(crate) read_interval: Duration,
}

impl Floor {
    /// Moves records of all shards until something fails.
    ///
    /// # Errors
    /// Whatever fails first.
    pub(crate) async fn run(self) -> Result<()> {
        ensure!(self.batch_size != 0, "a batch has at least one record");
        let mut shards = JoinSet::new();
        for shard in 0..self.shards {
            let floor = self.clone();
            shards.spawn(async move {
                let moved = floor.shard(shard).await;
                moved.with_context(|| format!("moving the records of shard {shard}"))
            });
        }
        match shards.join_next().await {
            Some(ended) => ended.context("waiting for a shard")?,
            None => bail!("there is no shard to read"),
        }
    }

    async fn shard(&self, shard: u32) -> Result<()> {
        let mut source = Connection::open(&self.authority).await?;
        let mut function = Connection::open(&self.authority).await?;
        let limit = self.batch_size * BATCHES_READ;
        let mut place = 0;
        loop {
            let next_read = Instant::now() + self.read_interval;
            let request = format!("{{\"ShardIterator\":\"{shard}:{place}\",\"Limit\":{limit}}}");
            let answer = source.post("/", Bytes::from(request)).await?;
            let length = answer.headers().get(RECORD_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            let length: usize = length.context("the source does not tell the records' length")?;
            let page = answer
                .into_body()
                .collect()
                .await
                .context("reading a page")?;
            let page = page.to_bytes();
            let n_records = count(&page, length);
            for batch in batches(&page, length, n_records, self.batch_size) {
                let answer = function.post("/function", event(batch, length)).await?;
                let body = answer.into_body().collect().await;
                body.context("reading the function's answer")?;
            }
            place += n_records;
            if n_records == 0 {
                tokio::time::sleep(PAUSE).await;
            }
            tokio::time::sleep_until(next_read).await;
        }
    }
}

/// A connection that takes one request at a time.
struct Connection {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection.
    _driver: JoinSet<()>,
}

impl Connection {
    async fn open(authority: &str) -> Result<Self> {
        let opening = || format!("connecting to {authority}");
        let socket = TcpStream::connect(authority).await.with_context(opening)?;
        socket.set_nodelay(true).with_context(opening)?;
        let (sender, connection) = handshake(TokioIo::new(socket))
            .await
            .with_context(opening)?;
        let mut driver = JoinSet::new();
        // How it ends is told to the request that waits.
        driver.spawn(async move { connection.await.unwrap_or_default() });
        Ok(Self {
            authority: authority.to_owned(),
            sender,
            _driver: driver,
        })
    }

    async fn post(&mut self, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let posting = || format!("posting to {path}");
        let request = Request::post(path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", "Kinesis_20131202.GetRecords")
            .body(Full::new(body))
            .with_context(posting)?;
        self.sender.ready().await.with_context(posting)?;
        let answer = self
            .sender
            .send_request(request)
            .await
            .with_context(posting)?;
        let status = answer.status();
        ensure!(status.is_success(), "{path} answers {status}");
        Ok(answer)
    }
}

/// How many records a page has: each begins with a brace, and at the place of one more is none.
fn count(page: &[u8], length: usize) -> usize {
    let records = &page[BEFORE_RECORDS.len()..];
    let mut n_records = 0;
    while records.get(n_records * (length + 1)) == Some(&b'{') {
        n_records += 1;
    }
    n_records
}

/// The batches of a page, each with the commas between its records.
fn batches(
    page: &[u8],
    length: usize,
    n_records: usize,
    batch_size: usize,
) -> impl Iterator<Item = &[u8]> {
    let records = &page[BEFORE_RECORDS.len()..][..n_records * (length + 1)];
    records.chunks(batch_size * (length + 1))
}

fn event(batch: &[u8], length: usize) -> Bytes {
    let n_records = batch.len() / (length + 1);
    let each = BEFORE_RECORD.len() + length + AFTER_RECORD.len() + 1;
    let mut event = Vec::with_capacity(BEFORE_RECORDS.len() + n_records * each + 2);
    event.extend_from_slice(BEFORE_RECORDS.as_bytes());
    for (number, record) in batch.chunks_exact(length + 1).enumerate() {
        if number != 0 {
            event.push(b',');
        }
        event.extend_from_slice(BEFORE_RECORD);
        event.extend_from_slice(&record[..length]);
        event.extend_from_slice(AFTER_RECORD);
    }
    event.extend_from_slice(b"]}");
    event.into()
}

#[cfg(test)]
mod tests {
    use windlass_emulator::{BenchLoad, BenchSource};

    use super::*;

    #[tokio::test]
    async fn each_record_that_is_released_is_delivered_once() {
        let load = BenchLoad {
            shards: 3,
            record_bytes: 20,
        };
        let source = BenchSource::start("127.0.0.1:0".parse().unwrap(), load)
            .await
            .unwrap();
        let floor = Floor {
            authority: source.addr().to_string(),
            shards: 3,
            batch_size: 7,
            read_interval: Duration::ZERO,
        };
        source.release(1000);
        let delivered = async {
            while source.seen().delivered < 1000 {
                tokio::task::yield_now().await;
            }
        };
        let moved = async {
            tokio::select! {
                ended = floor.run() => panic!("it ended: {ended:?}"),
                () = delivered => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(30), moved)
            .await
            .unwrap();
        let seen = source.seen();
        assert_eq!(
            (seen.read, seen.delivered, seen.shards_read),
            (1000, 1000, 3)
        );
    }

    #[test]
    fn a_page_is_cut_into_events_of_whole_records() {
        let page = b"{\"Records\":[{\"a\":1},{\"a\":2},{\"a\":3}],\"NextShardIterator\":\"0:3\"}";
        assert_eq!(count(page, 7), 3);
        let events: Vec<serde_json::Value> = batches(page, 7, 3, 2)
            .map(|batch| serde_json::from_slice(&event(batch, 7)).unwrap())
            .collect();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0]["Records"][1]["kinesis"]["a"], 2);
        assert_eq!(events[1]["Records"][0]["kinesis"]["a"], 3);
        assert_eq!(
            count(b"{\"Records\":[],\"NextShardIterator\":\"0:3\"}", 7),
            0
        );
    }
}
