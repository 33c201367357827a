//! All queues, by name, URL and ARN.

use std::collections::BTreeMap;

use md5::{Digest as _, Md5};

use super::error::invalid_parameter;
use super::queue::{MAX_VISIBILITY, Message, Queue};
use crate::protocol::AwsError;

pub(super) const ACCOUNT: &str = "000000000000";

/// The visibility timeout of a queue that does not set one, in seconds.
const DEFAULT_VISIBILITY: u64 = 30;

#[derive(Debug)]
pub(super) struct Queues {
    endpoint: String,
    by_name: BTreeMap<String, Queue>,
    /// Messages of all queues have different numbers.
    last_number: u64,
}

impl Queues {
    pub(super) fn new(endpoint: String) -> Self {
        Self {
            endpoint,
            by_name: BTreeMap::new(),
            last_number: 0,
        }
    }

    pub(super) fn create(
        &mut self,
        name: &str,
        attributes: &[(&str, &str)],
    ) -> Result<String, AwsError> {
        if self.by_name.contains_key(name) {
            let message = format!("A queue named {name} already exists.");
            return Err(AwsError::new("QueueNameExists", message));
        }
        let fifo = name.ends_with(".fifo");
        let mut visibility = DEFAULT_VISIBILITY;
        for (attribute, value) in attributes {
            let is_valid = match *attribute {
                "VisibilityTimeout" => {
                    visibility = value.parse().unwrap_or(u64::MAX);
                    visibility <= MAX_VISIBILITY
                }
                "FifoQueue" => value.parse() == Ok(fifo),
                _ => {
                    let message = format!("Unknown Attribute {attribute}.");
                    return Err(AwsError::new("InvalidAttributeName", message));
                }
            };
            if !is_valid {
                let message = format!("Invalid value for the parameter {attribute}.");
                return Err(AwsError::new("InvalidAttributeValue", message));
            }
        }
        let queue = Queue::new(name, fifo, visibility);
        let arn = queue.arn();
        self.by_name.insert(name.to_owned(), queue);
        Ok(arn)
    }

    pub(super) fn send(
        &mut self,
        queue: &str,
        group: Option<&str>,
        body: &str,
        now: u64,
    ) -> Result<(), AwsError> {
        let number = self.last_number + 1;
        let queue = self.get_mut(queue)?;
        if queue.fifo && group.is_none() {
            let message = "The request must contain the parameter MessageGroupId.";
            return Err(AwsError::new("MissingRequiredParameterException", message));
        }
        let id = format!("{:x}", Md5::digest(format!("{now}/{number}")));
        let id = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-");
        queue.send(number, Message::new(id, body, group, now));
        self.last_number = number;
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Result<&Queue, AwsError> {
        self.by_name.get(name).ok_or_else(no_queue)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Result<&mut Queue, AwsError> {
        self.by_name.get_mut(name).ok_or_else(no_queue)
    }

    pub(super) fn url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.endpoint)
    }
}

/// The name in a queue URL. The host is not checked: clients reach it by different names.
pub(super) fn name_in_url(url: &str) -> Result<&str, AwsError> {
    let name = url.rsplit_once('/').map(|(_, name)| name);
    name.filter(|name| !name.is_empty()).ok_or_else(|| {
        AwsError::new(
            "InvalidAddress",
            format!("The address {url} is not valid for this endpoint."),
        )
    })
}

pub(super) fn no_queue() -> AwsError {
    AwsError::new("QueueDoesNotExist", "The specified queue does not exist.")
}

/// Checks a number of seconds from 0 to `max`.
pub(super) fn seconds(parameter: &str, seconds: i64, max: u64) -> Result<u64, AwsError> {
    let valid = u64::try_from(seconds).ok();
    valid.filter(|seconds| *seconds <= max).ok_or_else(|| {
        let reason = format!("must be between 0 and {max} seconds.");
        invalid_parameter(&seconds.to_string(), parameter, &reason)
    })
}
