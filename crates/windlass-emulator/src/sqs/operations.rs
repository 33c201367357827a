//! The operations of SQS that do not wait, from request to response body.
//!
//! An unknown member of a request is an error, so that nothing a client requests is silently
//! ignored.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::batch::{self, BatchEntry, BatchRequest};
use super::queue::MAX_VISIBILITY;
use super::queues::{ACCOUNT, Queues, name_in_url, no_queue, seconds};
use crate::protocol::{AwsError, parse_request};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GetQueueUrl {
    #[serde(rename = "QueueName")]
    queue_name: String,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    owner: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetQueueAttributes {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteEntry {
    id: String,
    receipt_handle: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ChangeVisibilityEntry {
    id: String,
    receipt_handle: String,
    visibility_timeout: i64,
}

impl BatchEntry for DeleteEntry {
    fn id(&self) -> &str {
        &self.id
    }
}

impl BatchEntry for ChangeVisibilityEntry {
    fn id(&self) -> &str {
        &self.id
    }
}

/// `now` is in milliseconds since 1970.
pub(super) fn execute(
    queues: &mut Queues,
    operation: &str,
    body: &[u8],
    now: u64,
) -> Result<Bytes, AwsError> {
    match operation {
        "GetQueueUrl" => get_queue_url(queues, &parse_request(body)?),
        "GetQueueAttributes" => get_queue_attributes(queues, &parse_request(body)?, now),
        "DeleteMessageBatch" => {
            let request: BatchRequest<DeleteEntry> = parse_request(body)?;
            let queue = queues.get_mut(name_in_url(&request.queue_url)?)?;
            batch::execute(&request.entries, |entry| {
                queue.delete(&entry.receipt_handle, now)
            })
        }
        "ChangeMessageVisibilityBatch" => {
            let request: BatchRequest<ChangeVisibilityEntry> = parse_request(body)?;
            let queue = queues.get_mut(name_in_url(&request.queue_url)?)?;
            batch::execute(&request.entries, |entry| {
                let timeout = entry.visibility_timeout;
                let timeout = seconds("VisibilityTimeout", timeout, MAX_VISIBILITY)?;
                queue.change_visibility(&entry.receipt_handle, timeout, now)
            })
        }
        other => Err(AwsError::unknown_operation("SQS", other)),
    }
}

fn get_queue_url(queues: &Queues, request: &GetQueueUrl) -> Result<Bytes, AwsError> {
    if request
        .owner
        .as_deref()
        .is_some_and(|owner| owner != ACCOUNT)
    {
        return Err(no_queue());
    }
    let queue = queues.get(&request.queue_name)?;
    let response = json!({"QueueUrl": queues.url(&queue.name)});
    Ok(response.to_string().into())
}

fn get_queue_attributes(
    queues: &mut Queues,
    request: &GetQueueAttributes,
    now: u64,
) -> Result<Bytes, AwsError> {
    let queue = queues.get_mut(name_in_url(&request.queue_url)?)?;
    let (visible, in_flight) = queue.counts(now);
    let all = [
        ("ApproximateNumberOfMessages", visible.to_string()),
        (
            "ApproximateNumberOfMessagesNotVisible",
            in_flight.to_string(),
        ),
        ("FifoQueue", queue.fifo.to_string()),
        ("QueueArn", queue.arn()),
        ("VisibilityTimeout", queue.visibility.to_string()),
    ];
    let mut attributes = Map::new();
    for requested in &request.attribute_names {
        let matches = |name: &str| requested == "All" || requested == name;
        if !all.iter().any(|(name, _)| matches(name)) {
            let message = format!("Unknown Attribute {requested}.");
            return Err(AwsError::new("InvalidAttributeName", message));
        }
        for (name, value) in all.iter().filter(|(name, _)| matches(name)) {
            // Standard queues do not have it.
            if *name != "FifoQueue" || queue.fifo {
                attributes.insert((*name).to_owned(), Value::from(value.as_str()));
            }
        }
    }
    Ok(json!({"Attributes": attributes}).to_string().into())
}
