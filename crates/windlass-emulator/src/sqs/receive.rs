//! ReceiveMessage: what a receiver asks for, and one attempt to give it.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Notify;

use super::message::{Message, State, TRACE_HEADER, digest_of_attributes};
use super::queue::{LONGEST_VISIBILITY, Queue};
use super::receipt::Receipt;
use super::refusal::SqsRefusal;
use super::requests::{AttributeValue, ReceiveMessage, read};
use super::settings::seconds_within;
use super::{World, arn_of, name_in};

/// Messages of one receive.
const MOST_MESSAGES: i64 = 10;

/// Seconds for which a receive waits.
const LONGEST_WAIT: u64 = 20;

/// Who sent all messages.
const SENDER: &str = "AIDAEMULATOR000000000";

/// The names of system attributes, in the order in which a message shows them.
const SYSTEM_ATTRIBUTES: [&str; 9] = [
    "ApproximateReceiveCount",
    TRACE_HEADER,
    "SentTimestamp",
    "SequenceNumber",
    "MessageGroupId",
    "SenderId",
    "MessageDeduplicationId",
    "ApproximateFirstReceiveTimestamp",
    "DeadLetterQueueSourceArn",
];

/// A receive under way.
#[derive(Debug)]
pub(super) struct Receive {
    queue: String,
    /// The queue's number: another may take its name.
    number: u64,
    arrivals: Arc<Notify>,
    limit: usize,
    /// Seconds.
    visibility: Option<u64>,
    /// Until when it waits, in milliseconds since 1970.
    deadline: u64,
    waits: bool,
    /// Whether each of the system attributes is wanted.
    system_attributes: [bool; SYSTEM_ATTRIBUTES.len()],
    attributes: Vec<String>,
}

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The answer.
    Done(Bytes),
    /// Nothing yet: try again when something arrives, or after this time.
    Wait(Duration),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answered<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Shown<'a>>,
}

/// A message on the wire.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    message_id: &'a str,
    receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    md5_of_body: &'a str,
    body: &'a str,
    #[serde(skip_serializing_if = "SystemAttributes::is_empty")]
    attributes: SystemAttributes<'a>,
    #[serde(
        rename = "MD5OfMessageAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    md5_of_attributes: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<&'a String, &'a AttributeValue>,
}

/// System attributes in their order.
struct SystemAttributes<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl Receive {
    /// Reads a request. `now` is in milliseconds since 1970.
    pub(super) fn new(world: &World, body: &[u8], now: u64) -> Result<Self, SqsRefusal> {
        let request: ReceiveMessage = read(body)?;
        let name = name_in(&request.queue_url)?;
        let queue = world.queue(name)?;
        let limit = request.max_number_of_messages.unwrap_or(1);
        if !(1..=MOST_MESSAGES).contains(&limit) {
            let reason = "Must be between 1 and 10, if provided.";
            let limit = limit.to_string();
            return Err(SqsRefusal::invalid(&limit, "MaxNumberOfMessages", reason));
        }
        let wait = request.wait_time_seconds;
        let wait = wait.map(|wait| seconds_within("WaitTimeSeconds", wait, LONGEST_WAIT));
        let wait = wait.transpose()?.unwrap_or(queue.settings.wait);
        let visibility = request.visibility_timeout;
        let visibility = visibility
            .map(|seconds| seconds_within("VisibilityTimeout", seconds, LONGEST_VISIBILITY));
        let mut wanted = request.attribute_names;
        wanted.extend(request.message_system_attribute_names);
        Ok(Self {
            queue: name.to_owned(),
            number: queue.number,
            arrivals: Arc::clone(&queue.arrivals),
            limit: usize::try_from(limit).unwrap_or(1),
            visibility: visibility.transpose()?,
            deadline: now + wait * 1_000,
            waits: wait != 0,
            system_attributes: system_attributes(&wanted)?,
            attributes: request.message_attribute_names,
        })
    }

    /// Told when it is worth another attempt before its time.
    pub(super) fn arrivals(&self) -> &Notify {
        &self.arrivals
    }

    /// Takes what there is.
    ///
    /// # Errors
    /// If the queue is not there any more, or has too many messages in flight.
    pub(super) fn attempt(&self, world: &mut World, now: u64) -> Result<Attempt, SqsRefusal> {
        let numbers = self.take(world, now)?;
        let queue = self.queue(world)?;
        if numbers.is_empty() && !self.waits && queue.refuses_receives() {
            return Err(SqsRefusal::new(
                "OverLimit",
                "The maximum number of inflight messages is reached.",
            ));
        }
        if numbers.is_empty() && now < self.deadline {
            let next = queue.next_visible().unwrap_or(u64::MAX);
            let wake = next.clamp(now, self.deadline);
            return Ok(Attempt::Wait(Duration::from_millis(wake - now)));
        }
        Ok(Attempt::Done(self.answer(queue, &numbers)))
    }

    fn queue<'a>(&self, world: &'a World) -> Result<&'a Queue, SqsRefusal> {
        let queue = world.queues.get(&self.queue);
        let queue = queue.filter(|queue| queue.number == self.number);
        queue.ok_or_else(SqsRefusal::no_queue)
    }

    /// Takes messages, and moves those that were received too often to the queue for dead letters.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html>
    fn take(&self, world: &mut World, now: u64) -> Result<Vec<u64>, SqsRefusal> {
        let redrive = self.queue(world)?.settings.redrive.clone();
        let target = redrive.and_then(|redrive| {
            let target = world.queue_of_arn(&redrive.target_arn)?;
            Some((target.name.clone(), redrive.maximum_receive_count))
        });
        let most_receives = target.as_ref().map_or(u32::MAX, |(_, most)| *most);
        let queue = world.queue_mut(&self.queue)?;
        let visibility = self.visibility.unwrap_or(queue.settings.visibility);
        let received = queue.receive(self.limit, visibility, most_receives, now);
        for mut message in received.dead {
            let Some((target, _)) = &target else { break };
            let number = world.next_number();
            let target = world.queue_mut(target)?;
            message.state = State::Visible;
            message.dead_letter_source = Some(arn_of(&self.queue));
            message.n_received_elsewhere = message.n_received;
            if target.settings.fifo {
                // Its time in a FIFO queue begins anew; in a standard queue it goes on.
                message.sent = now;
            }
            target.insert(message, number);
        }
        Ok(received.numbers)
    }

    fn answer(&self, queue: &Queue, numbers: &[u64]) -> Bytes {
        let messages = numbers.iter().map(|number| self.show(queue, *number));
        let answer = Answered {
            messages: messages.collect(),
        };
        let answer = serde_json::to_vec(&answer).expect("texts can be written as JSON");
        Bytes::from(answer)
    }

    fn show<'a>(&self, queue: &'a Queue, number: u64) -> Shown<'a> {
        let message = queue.message(number);
        let receipt = Receipt {
            queue: queue.number,
            message: number,
            receive: message.n_received,
        };
        let wanted = |name: &str| self.attributes.iter().any(|wanted| matches(wanted, name));
        let attributes = message.attributes.iter();
        let attributes: BTreeMap<_, _> = attributes.filter(|(name, _)| wanted(name)).collect();
        Shown {
            message_id: &message.id,
            receipt_handle: receipt.encode(),
            md5_of_body: &message.md5_of_body,
            body: &message.body,
            attributes: self.show_system_attributes(message),
            md5_of_attributes: digest_of_attributes(attributes.clone()),
            message_attributes: attributes,
        }
    }

    fn show_system_attributes<'a>(&self, message: &'a Message) -> SystemAttributes<'a> {
        let wanted = SYSTEM_ATTRIBUTES.iter().zip(self.system_attributes);
        let names = wanted.filter_map(|(name, wanted)| wanted.then_some(*name));
        let shown = names.filter_map(|name| {
            let text = |text: &'a Option<String>| text.as_deref().map(Cow::from);
            let value = match name {
                "ApproximateReceiveCount" => Some(message.n_received.to_string().into()),
                "SentTimestamp" => Some(message.sent.to_string().into()),
                "SenderId" => Some(SENDER.into()),
                "ApproximateFirstReceiveTimestamp" => {
                    message.first_received.map(|at| at.to_string().into())
                }
                "MessageGroupId" => message.group.as_deref().map(Cow::from),
                "SequenceNumber" => text(&message.sequence_number),
                "MessageDeduplicationId" => text(&message.deduplication_id),
                "DeadLetterQueueSourceArn" => text(&message.dead_letter_source),
                _ => text(&message.trace_header),
            };
            Some((name, value?))
        });
        SystemAttributes(shown.collect())
    }
}

impl SystemAttributes<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for SystemAttributes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Whether an attribute of a message has a name that is asked for.
fn matches(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix(".*") {
        Some(start) => name.starts_with(start),
        None => wanted == "All" || wanted == name,
    }
}

fn system_attributes(names: &[String]) -> Result<[bool; SYSTEM_ATTRIBUTES.len()], SqsRefusal> {
    let mut wanted = [false; SYSTEM_ATTRIBUTES.len()];
    for name in names {
        if name == "All" {
            wanted.fill(true);
            continue;
        }
        let place = SYSTEM_ATTRIBUTES.iter().position(|known| known == name);
        let place = place.ok_or_else(|| {
            SqsRefusal::new("InvalidAttributeName", format!("Unknown Attribute {name}."))
        })?;
        wanted[place] = true;
    }
    Ok(wanted)
}
