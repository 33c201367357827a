//! ReceiveMessage: a request that may wait, and one attempt to fulfil it.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::error::invalid_parameter;
use super::queue::{MAX_VISIBILITY, Message, Queue};
use super::queues::{Queues, name_in_url, seconds};
use super::receipt_handle::ReceiptHandle;
use crate::protocol::AwsError;

const MAX_MESSAGES: i64 = 10;

/// In seconds.
const MAX_WAIT: u64 = 20;

/// The sender of all messages.
const SENDER: &str = "AIDAEMULATOR000000000";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ReceiveMessage {
    queue_url: String,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    /// The name of the former before May 2024.
    #[serde(default)]
    attribute_names: Vec<String>,
    /// Messages have no attributes.
    #[serde(default, rename = "MessageAttributeNames")]
    _message_attribute_names: Vec<String>,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
}

/// A receive in progress.
#[derive(Debug)]
pub(super) struct Receive {
    queue: String,
    arrivals: Arc<Notify>,
    limit: usize,
    /// In seconds.
    visibility: u64,
    waits: bool,
    /// The end of the wait, in milliseconds since 1970.
    deadline: u64,
    system_attributes: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Attempt {
    Done(Bytes),
    /// There are no messages: attempt again after an arrival or this time.
    Wait(Duration),
}

impl Receive {
    /// `now` is in milliseconds since 1970.
    pub(super) fn new(
        queues: &Queues,
        request: ReceiveMessage,
        now: u64,
    ) -> Result<Self, AwsError> {
        let queue = queues.get(name_in_url(&request.queue_url)?)?;
        let limit = request.max_number_of_messages.unwrap_or(1);
        if !(1..=MAX_MESSAGES).contains(&limit) {
            let reason = "Must be between 1 and 10, if provided.";
            let limit = limit.to_string();
            return Err(invalid_parameter(&limit, "MaxNumberOfMessages", reason));
        }
        let wait = request.wait_time_seconds.unwrap_or(0);
        let wait = seconds("WaitTimeSeconds", wait, MAX_WAIT)?;
        let visibility = match request.visibility_timeout {
            Some(timeout) => seconds("VisibilityTimeout", timeout, MAX_VISIBILITY)?,
            None => queue.visibility,
        };
        Ok(Self {
            queue: queue.name.clone(),
            arrivals: Arc::clone(&queue.arrivals),
            limit: usize::try_from(limit).unwrap_or(1),
            visibility,
            waits: wait != 0,
            deadline: now + wait * 1_000,
            system_attributes: [
                request.message_system_attribute_names,
                request.attribute_names,
            ]
            .concat(),
        })
    }

    /// Notified when another attempt may succeed before the time of [`Attempt::Wait`].
    pub(super) fn arrivals(&self) -> &Notify {
        &self.arrivals
    }

    pub(super) fn attempt(&self, queues: &mut Queues, now: u64) -> Result<Attempt, AwsError> {
        let queue = queues.get_mut(&self.queue)?;
        let numbers = queue.receive(self.limit, self.visibility, now);
        if numbers.is_empty() && !self.waits && queue.is_over_limit() {
            return Err(AwsError::new(
                "OverLimit",
                "The maximum number of inflight messages is reached.",
            ));
        }
        if numbers.is_empty() && now < self.deadline {
            let next = queue.next_timeout().unwrap_or(u64::MAX);
            let wake = next.clamp(now, self.deadline);
            return Ok(Attempt::Wait(Duration::from_millis(wake - now)));
        }
        let messages = numbers.iter().map(|number| self.to_json(queue, *number));
        let messages: Vec<Value> = messages.collect();
        let response = match messages.is_empty() {
            true => json!({}),
            false => json!({"Messages": messages}),
        };
        Ok(Attempt::Done(response.to_string().into()))
    }

    fn to_json(&self, queue: &Queue, number: u64) -> Value {
        let message = queue.message(number);
        let receipt = ReceiptHandle {
            message: number,
            receive_count: message.receive_count,
        };
        let mut json = json!({
            "MessageId": message.id,
            "ReceiptHandle": receipt.encode(&queue.name),
            "MD5OfBody": message.md5_of_body,
            "Body": message.body,
        });
        let mut attributes = system_attributes(queue, message, number);
        let requested = &self.system_attributes;
        attributes.retain(|name, _| requested.iter().any(|it| it == "All" || it == name));
        if !attributes.is_empty() {
            json["Attributes"] = attributes.into();
        }
        json
    }
}

fn system_attributes(queue: &Queue, message: &Message, number: u64) -> Map<String, Value> {
    let mut attributes = Map::new();
    let mut add = |name: &str, value: String| attributes.insert(name.to_owned(), value.into());
    add("ApproximateReceiveCount", message.receive_count.to_string());
    add("SentTimestamp", message.sent.to_string());
    add("SenderId", SENDER.to_owned());
    if let Some(at) = message.first_received {
        add("ApproximateFirstReceiveTimestamp", at.to_string());
    }
    if let Some(group) = &message.group {
        add("MessageGroupId", group.to_string());
    }
    if queue.fifo {
        add("SequenceNumber", sequence_number(number));
        add("MessageDeduplicationId", message.id.clone());
    }
    attributes
}

/// Twenty digits that grow, as in AWS.
fn sequence_number(number: u64) -> String {
    (18_849_496_460_467_696_128_u128 + u128::from(number) * 256).to_string()
}
