//! The floor of a benchmark: the least work that moves the bytes of a mapping, which is sockets and
//! copies.
//!
//! It reads the same pages as a mapping and posts events of the same length, but knows in advance
//! where each record starts, parses none of them, and stores no position.

mod fan_out;
mod queue;

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Builder;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use windlass_emulator::{PAGE_PREFIX, RECORD_LENGTH_HEADER};

pub(crate) use queue::QueueFloor;

/// Batches per page: as many as a mapping buffers for a shard.
const BATCHES_PER_PAGE: usize = 20;

/// The delay after an empty page.
const EMPTY_PAGE_DELAY: Duration = Duration::from_millis(50);

const RECORD_PREFIX: &[u8] = b"{\"kinesis\":";

/// As long as the members that Lambda's events add to each record.
const RECORD_SUFFIX: &[u8] = b",\"eventSource\":\"aws:kinesis\",\"eventVersion\":\"1.0\",\
    \"eventID\":\"shardId-000000000000:\
    00000000000000000000000000000000000000000000000000000000\",\
    \"eventName\":\"aws:kinesis:record\",\
    \"invokeIdentityArn\":\"arn:aws:iam::000000000000:role/bench\",\"awsRegion\":\"us-east-1\",\
    \"eventSourceARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/bench\"}";

#[derive(Clone, Debug)]
pub(crate) struct Floor {
    /// Host and port of the source and its function.
    pub(crate) authority: String,
    pub(crate) shards: u32,
    pub(crate) batch_size: usize,
    /// The minimum time between two reads of a shard. Kinesis allows five reads per second, and
    /// work in such portions costs more than work without pauses. Subscriptions have none.
    pub(crate) read_interval: Duration,
}

impl Floor {
    /// Moves records of all shards until something fails.
    pub(crate) async fn run(self) -> Result<()> {
        move_shards(self.shards, |shard| {
            let floor = self.clone();
            async move { floor.move_shard(shard).await }
        })
        .await
    }

    async fn move_shard(&self, shard: u32) -> Result<()> {
        let mut source = Connection::open(&self.authority).await?;
        // Opened for the first batch: idle shards leave half of the open files to others.
        let mut function = None;
        let limit = self.batch_size * BATCHES_PER_PAGE;
        let mut index = 0;
        loop {
            let next_read = Instant::now() + self.read_interval;
            let request = format!("{{\"ShardIterator\":\"{shard}:{index}\",\"Limit\":{limit}}}");
            let response = source.call("Kinesis_20131202.GetRecords", Bytes::from(request));
            let response = response.await?;
            let length = length_of_records(&response)?;
            let page = response
                .into_body()
                .collect()
                .await
                .context("reading a page")?;
            let page = page.to_bytes();
            let n_records = count(&page[PAGE_PREFIX.len()..], length);
            for batch in batches(&page, length, n_records, self.batch_size) {
                let function = match &mut function {
                    Some(function) => function,
                    none => none.insert(Connection::open(&self.authority).await?),
                };
                let response = function.post("/function", event(batch, length)).await?;
                let body = response.into_body().collect().await;
                body.context("reading the response of the function")?;
            }
            index += n_records;
            if n_records == 0 {
                tokio::time::sleep(EMPTY_PAGE_DELAY).await;
            }
            tokio::time::sleep_until(next_read).await;
        }
    }
}

/// Moves the records of all shards until something fails.
async fn move_shards<F>(shards: u32, move_shard: impl Fn(u32) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for shard in 0..shards {
        let moved = move_shard(shard);
        tasks.spawn(async move {
            let result = moved.await;
            result.with_context(|| format!("moving the records of shard {shard}"))
        });
    }
    until_one_fails(tasks).await
}

/// Runs tasks that end only when they fail.
async fn until_one_fails(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    match tasks.join_next().await {
        Some(result) => result.context("a task panicked")?,
        None => bail!("there is nothing to read"),
    }
}

fn length_of_records(response: &Response<Incoming>) -> Result<usize> {
    let length = response.headers().get(RECORD_LENGTH_HEADER);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.context("the source does not return the length of records")
}

/// A connection for one request at a time.
pub(crate) struct Connection {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn open(authority: &str) -> Result<Self> {
        let context = || format!("connecting to {authority}");
        let socket = TcpStream::connect(authority).await.with_context(context)?;
        socket.set_nodelay(true).with_context(context)?;
        let (sender, connection) = handshake(TokioIo::new(socket))
            .await
            .with_context(context)?;
        let mut driver = JoinSet::new();
        // Its error also fails the request in progress.
        driver.spawn(async move { connection.await.unwrap_or_default() });
        Ok(Self {
            authority: authority.to_owned(),
            sender,
            _driver: driver,
        })
    }

    /// Calls an operation of the source, such as `AmazonSQS.ReceiveMessage`.
    async fn call(&mut self, operation: &str, body: Bytes) -> Result<Response<Incoming>> {
        let request = Request::post("/")
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", operation);
        self.send(operation, request, body).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.send(path, request, body).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Response<Incoming>> {
        self.send(path, Request::get(path), Bytes::new()).await
    }

    async fn send(
        &mut self,
        what: &str,
        request: Builder,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let context = || format!("a request to {what}");
        let request = request
            .header(HOST, &self.authority)
            .body(Full::new(body))
            .with_context(context)?;
        self.sender.ready().await.with_context(context)?;
        let response = self
            .sender
            .send_request(request)
            .await
            .with_context(context)?;
        let status = response.status();
        ensure!(status.is_success(), "{what} returned {status}");
        Ok(response)
    }
}

/// Counts the records after the start of a page: each starts with a brace, and none follows the last.
fn count(records: &[u8], length: usize) -> usize {
    let mut n_records = 0;
    while records.get(n_records * (length + 1)) == Some(&b'{') {
        n_records += 1;
    }
    n_records
}

/// Cuts a page into batches of records, each followed by a comma.
fn batches(
    page: &[u8],
    length: usize,
    n_records: usize,
    batch_size: usize,
) -> impl Iterator<Item = &[u8]> {
    let records = &page[PAGE_PREFIX.len()..][..n_records * (length + 1)];
    records.chunks(batch_size * (length + 1))
}

fn event(batch: &[u8], length: usize) -> Bytes {
    let n_records = batch.len() / (length + 1);
    let each = RECORD_PREFIX.len() + length + RECORD_SUFFIX.len() + 1;
    let mut event = Vec::with_capacity(PAGE_PREFIX.len() + n_records * each + 2);
    event.extend_from_slice(PAGE_PREFIX.as_bytes());
    for (number, record) in batch.chunks_exact(length + 1).enumerate() {
        if number != 0 {
            event.push(b',');
        }
        event.extend_from_slice(RECORD_PREFIX);
        event.extend_from_slice(&record[..length]);
        event.extend_from_slice(RECORD_SUFFIX);
    }
    event.extend_from_slice(b"]}");
    event.into()
}

#[cfg(test)]
mod tests {
    use windlass_emulator::{BenchLoad, BenchSource, StreamLoad};

    use super::*;

    #[tokio::test]
    async fn each_released_record_is_delivered_once() {
        let load = BenchLoad::Stream(StreamLoad {
            shards: 3,
            record_bytes: 20,
            read_delay: Duration::ZERO,
        });
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
            while source.counts().delivered < 1000 {
                tokio::task::yield_now().await;
            }
        };
        let all_moved = async {
            tokio::select! {
                result = floor.run() => panic!("the floor ended: {result:?}"),
                () = delivered => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all_moved)
            .await
            .unwrap();
        let counts = source.counts();
        assert_eq!(
            (counts.read, counts.delivered, counts.shards_read),
            (1000, 1000, 3)
        );
    }

    #[test]
    fn a_page_is_cut_into_events_of_whole_records() {
        let page = b"{\"Records\":[{\"a\":1},{\"a\":2},{\"a\":3}],\"NextShardIterator\":\"0:3\"}";
        assert_eq!(count(&page[PAGE_PREFIX.len()..], 7), 3);
        let events: Vec<serde_json::Value> = batches(page, 7, 3, 2)
            .map(|batch| serde_json::from_slice(&event(batch, 7)).unwrap())
            .collect();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0]["Records"][1]["kinesis"]["a"], 2);
        assert_eq!(events[1]["Records"][0]["kinesis"]["a"], 3);
        assert_eq!(count(b"],\"NextShardIterator\":\"0:3\"}", 7), 0);
    }
}
