//! The calls that make queues, list them, and change or show their attributes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::calls::{body, nothing};
use super::queue::Queue;
use super::refusal::SqsRefusal;
use super::requests::{
    CreateQueue, GetQueueAttributes, GetQueueUrl, ListQueues, QueueReference, SetQueueAttributes,
};
use super::settings::Settings;
use super::{ACCOUNT, World, arn_of, name_in};

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

/// Attributes that can be asked for and that a queue need not have.
const ABSENT: [&str; 10] = [
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
];

pub(super) fn create_queue(
    world: &mut World,
    request: &CreateQueue,
    now: u64,
) -> Result<Bytes, SqsRefusal> {
    make_queue(world, &request.queue_name, &request.attributes, now)?;
    Ok(url_answer(world, &request.queue_name))
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
    let existing = world.queues.get(name).map(|queue| &queue.settings);
    // What is not asked for may be as it is.
    let mut settings = existing.map_or_else(|| Settings::new(fifo), Settings::clone);
    for (name, value) in attributes {
        settings.set(name, value)?;
    }
    if let Some(existing) = existing {
        if settings == *existing {
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

pub(super) fn delete_queue(
    world: &mut World,
    request: &QueueReference,
) -> Result<Bytes, SqsRefusal> {
    let removed = world.queues.remove(name_in(&request.queue_url)?);
    let removed = removed.ok_or_else(SqsRefusal::no_queue)?;
    // Those that wait for its messages learn that there will be none.
    removed.arrivals.notify_waiters();
    Ok(nothing())
}

pub(super) fn get_queue_url(world: &World, request: &GetQueueUrl) -> Result<Bytes, SqsRefusal> {
    let owner = request.owner.as_deref().unwrap_or(ACCOUNT);
    if owner != ACCOUNT {
        return Err(SqsRefusal::no_queue());
    }
    let queue = world.queue(&request.queue_name)?;
    Ok(url_answer(world, &queue.name))
}

pub(super) fn list_queues(world: &World, request: &ListQueues) -> Bytes {
    let prefix = request.queue_name_prefix.as_deref().unwrap_or_default();
    let names = world.queues.keys().filter(|name| name.starts_with(prefix));
    let urls: Vec<String> = names
        .take(MOST_LISTED)
        .map(|name| world.url_of(name))
        .collect();
    body(&json!({"QueueUrls": urls}))
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>
pub(super) fn get_queue_attributes(
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
    let is_known = |name: &str| name == "All" || all.contains_key(name) || ABSENT.contains(&name);
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

pub(super) fn set_queue_attributes(
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

fn url_answer(world: &World, name: &str) -> Bytes {
    body(&json!({"QueueUrl": world.url_of(name)}))
}
