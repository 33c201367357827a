//! The calls of SQS that answer at once: from a request to the answer's body.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::message::{Outgoing, digest_of_attributes, hexadecimal};
use super::queue::SentMessage;
use super::refusal::SqsRefusal;
use super::requests::{
    Batch, ChangeEntry, ChangeMessageVisibility, DeleteEntry, DeleteMessage, QueueReference,
    SendEntry, SendMessage, read,
};
use super::{World, batch, name_in, queues};
use crate::md5;

/// Bytes of all messages of a batch.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const LARGEST_BATCH: usize = 1_048_576;

/// Executes one call. `now` is in milliseconds since 1970.
pub(super) fn execute(
    world: &mut World,
    operation: &str,
    body: &[u8],
    now: u64,
) -> Result<Bytes, SqsRefusal> {
    match operation {
        "CreateQueue" => queues::create_queue(world, &read(body)?, now),
        "GetQueueUrl" => queues::get_queue_url(world, &read(body)?),
        "ListQueues" => Ok(queues::list_queues(world, &read(body)?)),
        "GetQueueAttributes" => queues::get_queue_attributes(world, &read(body)?, now),
        "SetQueueAttributes" => queues::set_queue_attributes(world, &read(body)?, now),
        "DeleteQueue" => queues::delete_queue(world, &read(body)?),
        "PurgeQueue" => {
            let request: QueueReference = read(body)?;
            world.queue_mut(name_in(&request.queue_url)?)?.purge(now)?;
            Ok(nothing())
        }
        "SendMessage" => send_message(world, read(body)?, now),
        "SendMessageBatch" => send_message_batch(world, read(body)?, now),
        "DeleteMessage" => {
            let request: DeleteMessage = read(body)?;
            let queue = world.queue_mut(name_in(&request.queue_url)?)?;
            queue.delete(&request.receipt_handle, now)?;
            Ok(nothing())
        }
        "DeleteMessageBatch" => {
            let request: Batch<DeleteEntry> = read(body)?;
            let queue = world.queue_mut(name_in(&request.queue_url)?)?;
            batch::execute(request.entries, |entry| {
                queue.delete(&entry.receipt_handle, now)?;
                Ok(json!({}))
            })
        }
        "ChangeMessageVisibility" => {
            let request: ChangeMessageVisibility = read(body)?;
            let queue = world.queue_mut(name_in(&request.queue_url)?)?;
            queue.change_visibility(&request.receipt_handle, request.visibility_timeout, now)?;
            Ok(nothing())
        }
        "ChangeMessageVisibilityBatch" => {
            let request: Batch<ChangeEntry> = read(body)?;
            let queue = world.queue_mut(name_in(&request.queue_url)?)?;
            batch::execute(request.entries, |entry| {
                let seconds = entry.visibility_timeout;
                let seconds = seconds.ok_or_else(|| SqsRefusal::missing("VisibilityTimeout"))?;
                queue.change_visibility(&entry.receipt_handle, seconds, now)?;
                Ok(json!({}))
            })
        }
        other => Err(SqsRefusal::new(
            "UnknownOperationException",
            format!("the emulator's SQS has no operation {other}"),
        )),
    }
}

/// What was sent, with the digests of its attributes.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) message: SentMessage,
    md5_of_attributes: Option<String>,
    md5_of_system_attributes: Option<String>,
}

/// Sends a message.
pub(super) fn send(
    world: &mut World,
    queue: &str,
    entry: SendEntry,
    now: u64,
) -> Result<Sent, SqsRefusal> {
    world.queue(queue)?;
    let outgoing = Outgoing::new(entry)?;
    let md5_of_attributes = digest_of_attributes(&outgoing.attributes);
    let md5_of_system_attributes = outgoing.md5_of_trace_header.clone();
    let number = world.next_number();
    let id = message_id(world.started, number);
    Ok(Sent {
        message: world.queue_mut(queue)?.send(outgoing, number, id, now)?,
        md5_of_attributes,
        md5_of_system_attributes,
    })
}

fn send_message(world: &mut World, request: SendMessage, now: u64) -> Result<Bytes, SqsRefusal> {
    let name = name_in(&request.queue_url)?;
    let entry = SendEntry {
        id: String::new(),
        message_body: request.message_body,
        delay_seconds: request.delay_seconds,
        message_attributes: request.message_attributes,
        message_system_attributes: request.message_system_attributes,
        message_group_id: request.message_group_id,
        message_deduplication_id: request.message_deduplication_id,
    };
    send(world, name, entry, now).map(|sent| body(&sent.show()))
}

fn send_message_batch(
    world: &mut World,
    request: Batch<SendEntry>,
    now: u64,
) -> Result<Bytes, SqsRefusal> {
    let name = name_in(&request.queue_url)?;
    world.queue(name)?;
    let n_bytes: usize = request.entries.iter().map(SendEntry::n_bytes).sum();
    if LARGEST_BATCH < n_bytes {
        return Err(SqsRefusal::new(
            "BatchRequestTooLong",
            format!(
                "Batch requests cannot be longer than {LARGEST_BATCH} bytes. You have sent \
                 {n_bytes} bytes."
            ),
        ));
    }
    batch::execute(request.entries, |entry| {
        send(world, name, entry, now).map(|sent| sent.show())
    })
}

impl Sent {
    fn show(&self) -> Value {
        let mut shown = Map::new();
        let mut add = |name: &str, value: Option<&String>| {
            if let Some(value) = value {
                shown.insert(name.to_owned(), value.as_str().into());
            }
        };
        add("MessageId", Some(&self.message.message_id));
        add("MD5OfMessageBody", Some(&self.message.md5_of_body));
        add("MD5OfMessageAttributes", self.md5_of_attributes.as_ref());
        add(
            "MD5OfMessageSystemAttributes",
            self.md5_of_system_attributes.as_ref(),
        );
        add("SequenceNumber", self.message.sequence_number.as_ref());
        Value::Object(shown)
    }
}

/// An id that looks as if it were random, and is another for every message.
fn message_id(started: u64, number: u64) -> String {
    let id = hexadecimal(&md5::digest(format!("{started}/{number}").as_bytes()));
    let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
    parts.join("-")
}

pub(super) fn body(answer: &Value) -> Bytes {
    Bytes::from(answer.to_string())
}

/// An empty body, of the calls that answer nothing.
pub(super) fn nothing() -> Bytes {
    Bytes::new()
}
