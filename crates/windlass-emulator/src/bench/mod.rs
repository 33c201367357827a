//! The source and the function of a measurement: records without end, at the least cost.
//!
//! It stands in for one stream whose records are all the same but for their numbers, so nothing is
//! kept: a page is copied from one rendered before, and the numbers are written into it. How many
//! records there are is told by HTTP, and so is how many were read and delivered.

mod page;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use memchr::memmem;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::http::{Content, Reply, read, serve, whole};
use crate::kinesis::number::SequenceNumber;
use crate::kinesis::shard::{shard_id, shard_number};
use page::Pages;

/// The length of each record of an answer to GetRecords, so that a client that does nothing but
/// move bytes can cut the answer into batches.
pub const RECORD_LENGTH: &str = "x-bench-record-length";

/// The records of an answer to GetRecords begin behind this, with commas between.
pub const BEFORE_RECORDS: &str = "{\"Records\":[";

/// What each record of an event has once, and data in base64 has not.
const MARK: &[u8] = b"\"eventSource\":";

/// Shards of one ListShards.
const MOST_LISTED: u32 = 1_000;

/// What a source offers.
#[derive(Clone, Copy, Debug)]
pub struct BenchLoad {
    /// Open shards, at least 1.
    pub shards: u32,
    /// Bytes of data of each record.
    pub record_bytes: u32,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchSeen {
    /// Records handed out.
    pub read: u64,
    /// Records that reached the function.
    pub delivered: u64,
    /// Shards that were read at least once.
    pub shards_read: u64,
}

/// A running source and function; it ends when dropped.
#[derive(Debug)]
pub struct BenchSource {
    addr: SocketAddr,
    state: Arc<State>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    pages: Pages,
    /// Records that may be read, in all shards.
    released: AtomicU64,
    read: AtomicU64,
    delivered: AtomicU64,
    shards_read: AtomicU64,
    n_shards: u32,
    /// For each shard whether it was read.
    shards: Vec<AtomicBool>,
}

impl BenchSource {
    /// Starts one without records. Port 0 takes any that is free.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub async fn start(listen: SocketAddr, load: BenchLoad) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            pages: Pages::new(load.record_bytes as usize),
            released: AtomicU64::new(0),
            read: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            shards_read: AtomicU64::new(0),
            n_shards: load.shards,
            shards: (0..load.shards).map(|_| AtomicBool::new(false)).collect(),
        });
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&state);
        tasks.spawn(async move {
            let handle = move |request| answer(Arc::clone(&served), request);
            match serve(listener, handle).await {}
        });
        Ok(Self { addr, state, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Adds records to be read, spread evenly over the shards.
    pub fn release(&self, records: u64) {
        self.state.release(records);
    }

    /// What happened so far.
    #[must_use]
    pub fn seen(&self) -> BenchSeen {
        self.state.seen()
    }

    /// Waits until it ends, which it does not by itself.
    pub async fn run(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl State {
    fn release(&self, records: u64) {
        self.released.fetch_add(records, Ordering::Relaxed);
    }

    fn seen(&self) -> BenchSeen {
        BenchSeen {
            read: self.read.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
            shards_read: self.shards_read.load(Ordering::Relaxed),
        }
    }

    /// Records of one shard.
    fn available(&self, shard: u32) -> u64 {
        let n_shards = u64::from(self.n_shards);
        let released = self.released.load(Ordering::Relaxed);
        released / n_shards + u64::from(u64::from(shard) < released % n_shards)
    }

    fn list_shards(&self, body: &[u8]) -> Result<Value, Answer> {
        let request: ListShards = request(body)?;
        let token = request.next_token.unwrap_or_default();
        let first: u32 = if token.is_empty() {
            0
        } else {
            token.parse().map_err(|_| invalid("NextToken"))?
        };
        let n_shards = self.n_shards;
        let end = n_shards.min(first.saturating_add(MOST_LISTED));
        let step = u128::MAX / u128::from(n_shards);
        let shards = (first..end).map(|shard| {
            let first = step * u128::from(shard);
            let last = if shard + 1 == n_shards {
                u128::MAX
            } else {
                first + step - 1
            };
            json!({
                "ShardId": shard_id(shard),
                "HashKeyRange": {
                    "StartingHashKey": first.to_string(), "EndingHashKey": last.to_string(),
                },
                "SequenceNumberRange": {
                    "StartingSequenceNumber": self.pages.number(shard, 0).as_str(),
                },
            })
        });
        let shards: Vec<Value> = shards.collect();
        let mut answer = json!({"Shards": shards});
        if end < n_shards {
            answer["NextToken"] = end.to_string().into();
        }
        Ok(answer)
    }

    fn get_shard_iterator(&self, body: &[u8]) -> Result<Value, Answer> {
        let request: GetShardIterator = request(body)?;
        let shard = shard_number(&request.shard_id);
        let shard = shard.filter(|shard| *shard < self.n_shards);
        let shard = shard.ok_or_else(|| invalid("ShardId"))?;
        let number = || {
            let number = request.starting_sequence_number.as_deref();
            let number = number.and_then(SequenceNumber::parse);
            number.ok_or_else(|| invalid("StartingSequenceNumber"))
        };
        let place = match request.shard_iterator_type.as_str() {
            "TRIM_HORIZON" => 0,
            "LATEST" => self.available(shard),
            "AT_SEQUENCE_NUMBER" => number()?.place(),
            "AFTER_SEQUENCE_NUMBER" => number()?.place() + 1,
            _ => return Err(invalid("ShardIteratorType")),
        };
        Ok(json!({"ShardIterator": format!("{shard}:{place}")}))
    }

    fn get_records(&self, body: &[u8]) -> Result<Bytes, Answer> {
        let request: GetRecords = request(body)?;
        let place = request.shard_iterator.split_once(':');
        let place =
            place.and_then(|(shard, place)| Some((shard.parse().ok()?, place.parse().ok()?)));
        let (shard, place): (u32, u64) = place.ok_or_else(|| invalid("ShardIterator"))?;
        let was_read = self.shards.get(shard as usize);
        let was_read = was_read.ok_or_else(|| invalid("ShardIterator"))?;
        let left = self.available(shard).saturating_sub(place);
        let limit = request.limit.unwrap_or(u32::MAX).max(1);
        let page = self
            .pages
            .answer(shard, place, left.min(u64::from(limit)), left);
        self.read.fetch_add(page.n_records, Ordering::Relaxed);
        if !was_read.swap(true, Ordering::Relaxed) {
            self.shards_read.fetch_add(1, Ordering::Relaxed);
        }
        Ok(page.body)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListShards {
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetShardIterator {
    shard_id: String,
    shard_iterator_type: String,
    starting_sequence_number: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecords {
    shard_iterator: String,
    limit: Option<u32>,
}

fn request<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Answer> {
    serde_json::from_slice(body)
        .map_err(|error| Answer::error(400, "SerializationException", &error.to_string()))
}

fn invalid(field: &str) -> Answer {
    let message = format!("{field} is none of this source's");
    Answer::error(400, "InvalidArgumentException", &message)
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Reply {
    let answered = match (request.method(), request.uri().path()) {
        (&Method::POST, "/") => return Ok(call(&state, request).await),
        (&Method::POST, "/function") => match read(request.into_body()).await {
            Ok(event) => {
                let n_records = memmem::find_iter(&event, MARK).count() as u64;
                state.delivered.fetch_add(n_records, Ordering::Relaxed);
                Answer::ok(json!({"batchItemFailures": []}))
            }
            Err(refusal) => refusal,
        },
        (&Method::POST, "/hang") => {
            drop(read(request.into_body()).await);
            std::future::pending().await
        }
        (&Method::POST, "/bench/release") => release(&state, request.uri().query()),
        (&Method::GET, "/bench/status") => {
            let BenchSeen {
                read,
                delivered,
                shards_read,
            } = state.seen();
            Answer::ok(json!({"read": read, "delivered": delivered, "shards_read": shards_read}))
        }
        (method, path) => {
            let message = format!("the source has nothing at {method} {path}");
            Answer::error(404, "NotFound", &message)
        }
    };
    Ok(whole(answered))
}

fn release(state: &State, query: Option<&str>) -> Answer {
    let records = query.and_then(|query| query.strip_prefix("records="));
    let Some(records) = records.and_then(|records| records.parse().ok()) else {
        return Answer::error(400, "InvalidArgumentException", "give ?records=NUMBER");
    };
    state.release(records);
    Answer::ok(json!({}))
}

async fn call(state: &State, request: Request<Incoming>) -> Response<Content> {
    let target = request.headers().get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok()).unwrap_or("");
    let operation = target
        .strip_prefix("Kinesis_20131202.")
        .unwrap_or("")
        .to_owned();
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(refusal) => return whole(refusal),
    };
    let answered = match operation.as_str() {
        "GetRecords" => {
            let answered = state.get_records(&body);
            let body = answered.map(Answer::written);
            let mut response = whole(body.unwrap_or_else(|refusal| refusal));
            let length = state.pages.record_length().into();
            response.headers_mut().insert(RECORD_LENGTH, length);
            return response;
        }
        "ListShards" => state.list_shards(&body),
        "GetShardIterator" => state.get_shard_iterator(&body),
        "DescribeStreamSummary" => Ok(json!({"StreamDescriptionSummary": {
            "StreamName": "bench",
            "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/bench",
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_700_000_000,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "OpenShardCount": state.n_shards,
        }})),
        _ => {
            let message = format!("the source has no operation '{operation}'");
            Err(Answer::error(400, "UnknownOperationException", &message))
        }
    };
    whole(answered.map_or_else(|refusal| refusal, Answer::ok))
}

#[cfg(test)]
mod tests;
