//! The floor of a queue: receives messages, posts events of the same length, and deletes the messages.
//!
//! It knows in advance where each message starts and where its receipt handle is.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use memchr::memmem;
use tokio::task::JoinSet;
use windlass_emulator::{MESSAGES_PREFIX, PAGE_PREFIX};

use super::{Connection, count, length_of_records, until_one_fails};

/// Messages of one receive, and of one deletion.
const MAX_MESSAGES: usize = 10;

/// Of one event, as for a function of Lambda.
const MAX_EVENT_BYTES: usize = 6 * 1024 * 1024;

/// As long as the members that Lambda's events add to each message.
const MESSAGE_SUFFIX: &[u8] = b",\"messageAttributes\":{},\"eventSource\":\"aws:sqs\",\
    \"eventSourceARN\":\"arn:aws:sqs:us-east-1:000000000000:bench0\",\"awsRegion\":\"us-east-1\"}";

const HANDLE_MEMBER: &[u8] = b"\"ReceiptHandle\":\"";

#[derive(Clone, Debug)]
pub(crate) struct QueueFloor {
    /// Host and port of the source and its function.
    pub(crate) authority: String,
    /// Receives at a time; each is followed by the invocation and the deletion of its messages.
    pub(crate) receivers: u32,
    pub(crate) batch_size: usize,
}

/// Messages that are not deleted yet.
#[derive(Default)]
struct Batch {
    /// Without its end.
    event: Vec<u8>,
    handles: Vec<Bytes>,
}

impl QueueFloor {
    /// Moves messages until something fails.
    pub(crate) async fn run(self) -> Result<()> {
        ensure!(self.batch_size != 0, "the batch size must be at least 1");
        let mut receivers = JoinSet::new();
        for _ in 0..self.receivers {
            let floor = self.clone();
            receivers.spawn(async move { floor.move_messages().await });
        }
        until_one_fails(receivers).await
    }

    async fn move_messages(&self) -> Result<()> {
        let mut source = Connection::open(&self.authority).await?;
        let mut function = Connection::open(&self.authority).await?;
        let url = format!("http://{}/000000000000/bench0", self.authority);
        let request = Bytes::from(format!(
            "{{\"QueueUrl\":\"{url}\",\"AttributeNames\":[\"All\"],\
             \"MessageSystemAttributeNames\":[\"All\"],\"MessageAttributeNames\":[\"All\"],\
             \"MaxNumberOfMessages\":{MAX_MESSAGES},\"VisibilityTimeout\":30,\
             \"WaitTimeSeconds\":1}}"
        ));
        let mut batch = Batch::default();
        loop {
            let response = source.call("AmazonSQS.ReceiveMessage", request.clone());
            let response = response.await?;
            let length = length_of_records(&response)?;
            let page = response.into_body().collect().await;
            let page = page.context("reading a response")?.to_bytes();
            let n_messages = batch.add(&page, length)?;
            let room = MAX_EVENT_BYTES.saturating_sub(batch.event.len());
            let is_full = self.batch_size < batch.handles.len() + MAX_MESSAGES
                || room < MAX_MESSAGES * (length + MESSAGE_SUFFIX.len());
            if !batch.handles.is_empty() && (is_full || n_messages == 0) {
                let Batch { event, handles } = std::mem::take(&mut batch);
                let event = Bytes::from([&event[..], b"]}"].concat());
                let response = function.post("/function", event).await?;
                let body = response.into_body().collect().await;
                body.context("reading the response of the function")?;
                for handles in handles.chunks(MAX_MESSAGES) {
                    let request = deletion(&url, handles);
                    let response = source.call("AmazonSQS.DeleteMessageBatch", request);
                    let body = response.await?.into_body().collect().await;
                    body.context("reading the response to a deletion")?;
                }
            }
        }
    }
}

impl Batch {
    /// Adds the messages of a response, each of the same length.
    fn add(&mut self, page: &Bytes, length: usize) -> Result<usize> {
        let start = MESSAGES_PREFIX.len();
        let messages = page.get(start..).unwrap_or_default();
        let n_messages = count(messages, length);
        if n_messages == 0 {
            return Ok(0);
        }
        let handle = memmem::find(messages, HANDLE_MEMBER);
        let handle = handle.context("the source returns no receipt handle")? + HANDLE_MEMBER.len();
        let handle_length = memchr::memchr(b'"', &messages[handle..]);
        let handle_length = handle_length.context("a receipt handle does not end")?;
        for (number, message) in messages.chunks(length + 1).take(n_messages).enumerate() {
            let separator = match self.event.is_empty() {
                true => PAGE_PREFIX.as_bytes(),
                false => b",",
            };
            self.event.extend_from_slice(separator);
            self.event.extend_from_slice(&message[..length - 1]);
            self.event.extend_from_slice(MESSAGE_SUFFIX);
            let handle = start + number * (length + 1) + handle;
            self.handles
                .push(page.slice(handle..handle + handle_length));
        }
        Ok(n_messages)
    }
}

fn deletion(url: &str, handles: &[Bytes]) -> Bytes {
    let mut request = format!("{{\"QueueUrl\":\"{url}\",\"Entries\":[").into_bytes();
    for (id, handle) in handles.iter().enumerate() {
        let comma = if id == 0 { "" } else { "," };
        let start = format!("{comma}{{\"Id\":\"{id}\",\"ReceiptHandle\":\"");
        request.extend_from_slice(start.as_bytes());
        request.extend_from_slice(handle);
        request.extend_from_slice(b"\"}");
    }
    request.extend_from_slice(b"]}");
    request.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use windlass_emulator::{BenchLoad, BenchSource, QueueLoad};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_released_message_is_delivered_and_deleted_once() {
        for groups in [0, 3] {
            let load = QueueLoad {
                queues: 1,
                message_bytes: 20,
                handle_bytes: 50,
                groups,
            };
            let listen = "127.0.0.1:0".parse().unwrap();
            let source = BenchSource::start(listen, BenchLoad::Queues(load));
            let source = source.await.unwrap();
            let floor = QueueFloor {
                authority: source.addr().to_string(),
                receivers: 2,
                batch_size: 30,
            };
            source.release(1001);
            let all_deleted = async {
                while source.counts().deleted < 1001 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                result = floor.run() => panic!("the floor ended: {result:?}"),
                () = all_deleted => {}
            }
            let counts = source.counts();
            assert_eq!((counts.read, counts.delivered), (1001, 1001));
        }
    }

    #[test]
    fn messages_become_events_and_entries() {
        let page = Bytes::from_static(
            b"{\"Messages\":[{\"ReceiptHandle\":\"a\"},{\"ReceiptHandle\":\"b\"}]}",
        );
        let mut batch = Batch::default();
        assert_eq!(batch.add(&page, 21).unwrap(), 2);
        assert_eq!(batch.add(&Bytes::from_static(b"{}"), 21).unwrap(), 0);
        let event: serde_json::Value =
            serde_json::from_slice(&[&batch.event[..], b"]}"].concat()).unwrap();
        assert_eq!(event["Records"][1]["ReceiptHandle"], "b");
        let request: serde_json::Value =
            serde_json::from_slice(&deletion("q", &batch.handles)).unwrap();
        assert_eq!(request["Entries"][1]["ReceiptHandle"], "b");
    }
}
