//! The calls of SQS that answer at once: from a request to the answer's body.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::message::{Outgoing, digest_of_attributes, hexadecimal};
use super::queue::{Queue, SentMessage};
use super::refusal::SqsRefusal;
use super::requests::{
    Batch, ChangeEntry, ChangeMessageVisibility, CreateQueue, DeleteEntry, DeleteMessage,
    GetQueueAttributes, GetQueueUrl, ListQueues, QueueReference, SendEntry, SendMessage,
    SetQueueAttributes, read,
};
use super::settings::Settings;
use super::{ACCOUNT, World, arn_of, batch, name_in};
use crate::md5;

/// Bytes of all messages of a batch.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const LARGEST_BATCH: usize = 1_048_576;

/// Queues of one ListQueues.
const MOST_LISTED: usize = 1_000;

/// The attributes of a queue that it tells of itself.
const COMPUTED: [&str; 6] = [
    "QueueArn",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
];

/// Attributes that AWS knows and no queue here has.
const ABSENT: [&str; 9] = [
    "DeduplicationScope",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "ContentBasedDeduplication",
];

/// Executes one call. `now` is in milliseconds since 1970.
pub(super) fn execute(
    world: &mut World,
    operation: &str,
    body: &[u8],
    now: u64,
) -> Result<Bytes, SqsRefusal> {
    match operation {
        "CreateQueue" => {
            let request: CreateQueue = read(body)?;
            make_queue(world, &request.queue_name, &request.attributes, now)?;
            Ok(url_answer(world, &request.queue_name))
        }
        "GetQueueUrl" => get_queue_url(world, &read(body)?),
        "ListQueues" => Ok(list_queues(world, &read(body)?)),
        "GetQueueAttributes" => get_queue_attributes(world, &read(body)?, now),
        "SetQueueAttributes" => set_queue_attributes(world, &read(body)?, now),
        "DeleteQueue" => {
            let request: QueueReference = read(body)?;
            let removed = world.queues.remove(name_in(&request.queue_url)?);
            // Those that wait for its messages learn that there will be none.
            removed
                .ok_or_else(SqsRefusal::no_queue)?
                .arrivals
                .notify_waiters();
            Ok(nothing())
        }
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
            "UnsupportedOperation",
            format!("the emulator's SQS has no operation {other}"),
        )),
    }
}

/// Makes a queue, unless there is the same already.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html>
pub(super) fn make_queue(
    world: &mut World,
    name: &str,
    attributes: &BTreeMap<String, String>,
    now: u64,
) -> Result<(), SqsRefusal> {
    let fifo = name.ends_with(".fifo");
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let is_name_character = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if stem.is_empty() || 80 < name.len() || !stem.bytes().all(is_name_character) {
        return Err(SqsRefusal::new(
            "InvalidParameterValueException",
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ));
    }
    let mut settings = Settings::new(fifo);
    for (name, value) in attributes {
        settings.set(name, value)?;
    }
    if let Some(existing) = world.queues.get(name) {
        let existing = &existing.settings;
        // What is not asked for may be as it is.
        let mut asked = existing.clone();
        for (name, value) in attributes {
            asked.set(name, value)?;
        }
        if asked == *existing {
            return Ok(());
        }
        return Err(SqsRefusal::new(
            "QueueNameExists",
            "A queue already exists with the same name and a different value for an attribute.",
        ));
    }
    check_redrive(world, &settings)?;
    let queue = Queue::new(name, world.next_number(), settings, now);
    world.queues.insert(name.to_owned(), queue);
    Ok(())
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

fn url_answer(world: &World, name: &str) -> Bytes {
    body(&json!({"QueueUrl": world.url_of(name)}))
}

fn get_queue_url(world: &World, request: &GetQueueUrl) -> Result<Bytes, SqsRefusal> {
    let owner = request.owner.as_deref().unwrap_or(ACCOUNT);
    if owner != ACCOUNT {
        return Err(SqsRefusal::no_queue());
    }
    let queue = world.queue(&request.queue_name)?;
    Ok(url_answer(world, &queue.name))
}

fn list_queues(world: &World, request: &ListQueues) -> Bytes {
    let prefix = request.queue_name_prefix.as_deref().unwrap_or_default();
    let names = world.queues.keys().filter(|name| name.starts_with(prefix));
    let urls: Vec<String> = names.take(MOST_LISTED).map(|name| world.url_of(name)).collect();
    body(&json!({"QueueUrls": urls}))
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>
fn get_queue_attributes(
    world: &mut World,
    request: &GetQueueAttributes,
    now: u64,
) -> Result<Bytes, SqsRefusal> {
    let queue = world.queue_mut(name_in(&request.queue_url)?)?;
    let counts = queue.counts(now);
    let computed = [
        arn_of(&queue.name),
        counts.visible.to_string(),
        counts.in_flight.to_string(),
        counts.delayed.to_string(),
        (queue.created / 1_000).to_string(),
        (queue.changed / 1_000).to_string(),
    ];
    let mut all: BTreeMap<&str, String> = queue.settings.show().into_iter().collect();
    all.extend(COMPUTED.into_iter().zip(computed));
    let wanted = &request.attribute_names;
    let is_known = |name: &str| {
        let fifo_alone = name == "FifoQueue";
        name == "All" || fifo_alone || all.contains_key(name) || ABSENT.contains(&name)
    };
    if let Some(unknown) = wanted.iter().find(|name| !is_known(name)) {
        return Err(SqsRefusal::new(
            "InvalidAttributeName",
            format!("Unknown Attribute {unknown}."),
        ));
    }
    let everything = wanted.iter().any(|name| name == "All");
    all.retain(|name, _| everything || wanted.iter().any(|wanted| wanted == name));
    if all.is_empty() {
        return Ok(body(&json!({})));
    }
    Ok(body(&json!({"Attributes": all})))
}

fn set_queue_attributes(
    world: &mut World,
    request: &SetQueueAttributes,
    now: u64,
) -> Result<Bytes, SqsRefusal> {
    let name = name_in(&request.queue_url)?;
    let mut settings = world.queue(name)?.settings.clone();
    for (name, value) in &request.attributes {
        settings.set(name, value)?;
    }
    check_redrive(world, &settings)?;
    let queue = world.queue_mut(name)?;
    queue.settings = settings;
    queue.changed = now;
    Ok(nothing())
}

/// A queue for dead letters must be there, and of the same type.
fn check_redrive(world: &World, settings: &Settings) -> Result<(), SqsRefusal> {
    let Some(redrive) = &settings.redrive else {
        return Ok(());
    };
    let arn = &redrive.target_arn;
    let reason = match world.queue_of_arn(arn) {
        None => "Dead letter target does not exist.",
        Some(target) if target.settings.fifo != settings.fifo => {
            "Dead letter target must be same type of queue as the source."
        }
        Some(_) => return Ok(()),
    };
    Err(SqsRefusal::invalid(arn, "RedrivePolicy", reason))
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

fn body(answer: &Value) -> Bytes {
    Bytes::from(answer.to_string())
}

/// An empty body, of the calls that answer nothing.
fn nothing() -> Bytes {
    Bytes::new()
}
