//! The attributes of a queue that can be set.
//!
//! Those that AWS has and that would change nothing here, such as policies and encryption, are
//! refused.

use serde::Deserialize;

use super::refusal::SqsRefusal;

/// The settings of a queue. Times are in seconds.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) fifo: bool,
    pub(super) content_based_deduplication: bool,
    pub(super) delay: u64,
    /// Bytes.
    pub(super) maximum_message_size: u64,
    pub(super) retention: u64,
    pub(super) wait: u64,
    pub(super) visibility: u64,
    pub(super) redrive: Option<Redrive>,
}

/// Where messages go that were received too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redrive {
    pub(super) target_arn: String,
    pub(super) maximum_receive_count: u32,
}

/// A redrive policy on the wire; consoles write the count as text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RedrivePolicy {
    dead_letter_target_arn: String,
    max_receive_count: serde_json::Value,
}

impl Settings {
    /// Those of a queue for which nothing is set.
    pub(super) fn new(fifo: bool) -> Self {
        Self {
            fifo,
            content_based_deduplication: false,
            delay: 0,
            maximum_message_size: 1_048_576,
            retention: 345_600,
            wait: 0,
            visibility: 30,
            redrive: None,
        }
    }

    /// Sets one.
    ///
    /// # Errors
    /// If there is none of that name, or it cannot have that value.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), SqsRefusal> {
        let number = |least, most| number(name, value, least, most);
        match name {
            "DelaySeconds" => self.delay = number(0, 900)?,
            "MaximumMessageSize" => self.maximum_message_size = number(1_024, 1_048_576)?,
            "MessageRetentionPeriod" => self.retention = number(60, 1_209_600)?,
            "ReceiveMessageWaitTimeSeconds" => self.wait = number(0, 20)?,
            "VisibilityTimeout" => self.visibility = number(0, 43_200)?,
            "RedrivePolicy" => self.redrive = redrive(value)?,
            "ContentBasedDeduplication" if self.fifo => {
                self.content_based_deduplication = flag(name, value)?;
            }
            // It is in the name, and here only to agree with it.
            "FifoQueue" if self.fifo => {
                if !flag(name, value)? {
                    return Err(bad_value(name, value));
                }
            }
            "FifoQueue" | "ContentBasedDeduplication" => {
                return Err(SqsRefusal::new(
                    "InvalidAttributeName",
                    format!("Unknown Attribute {name}. It is for queues with a name in .fifo."),
                ));
            }
            _ => {
                return Err(SqsRefusal::new(
                    "InvalidAttributeName",
                    format!("Unknown Attribute {name}. The emulator has no such setting."),
                ));
            }
        }
        Ok(())
    }

    /// All of them, as GetQueueAttributes shows them.
    pub(super) fn show(&self) -> Vec<(&'static str, String)> {
        let mut shown = vec![
            ("DelaySeconds", self.delay.to_string()),
            ("MaximumMessageSize", self.maximum_message_size.to_string()),
            ("MessageRetentionPeriod", self.retention.to_string()),
            ("ReceiveMessageWaitTimeSeconds", self.wait.to_string()),
            ("VisibilityTimeout", self.visibility.to_string()),
        ];
        if self.fifo {
            shown.push(("FifoQueue", true.to_string()));
            let by_content = self.content_based_deduplication;
            shown.push(("ContentBasedDeduplication", by_content.to_string()));
        }
        if let Some(redrive) = &self.redrive {
            let policy = serde_json::json!({
                "deadLetterTargetArn": redrive.target_arn,
                "maxReceiveCount": redrive.maximum_receive_count,
            });
            shown.push(("RedrivePolicy", policy.to_string()));
        }
        shown
    }
}

/// A number of seconds, if it is one that a parameter can have.
pub(super) fn seconds_within(parameter: &str, seconds: i64, most: u64) -> Result<u64, SqsRefusal> {
    let good = u64::try_from(seconds).ok();
    good.filter(|seconds| *seconds <= most).ok_or_else(|| {
        let reason = format!("must be between 0 and {most} seconds.");
        SqsRefusal::invalid(&seconds.to_string(), parameter, &reason)
    })
}

fn number(name: &str, value: &str, least: u64, most: u64) -> Result<u64, SqsRefusal> {
    let number = value.parse().ok();
    let number = number.filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| bad_value(name, value))
}

fn flag(name: &str, value: &str) -> Result<bool, SqsRefusal> {
    value.parse().map_err(|_| bad_value(name, value))
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html>
fn redrive(value: &str) -> Result<Option<Redrive>, SqsRefusal> {
    if value.is_empty() {
        return Ok(None);
    }
    let bad = |reason: &str| SqsRefusal::invalid(value, "RedrivePolicy", reason);
    let policy: RedrivePolicy =
        serde_json::from_str(value).map_err(|error| bad(&error.to_string()))?;
    let count = policy.max_receive_count.as_u64().or_else(|| {
        let text = policy.max_receive_count.as_str()?;
        text.parse().ok()
    });
    let count = count.and_then(|count| u32::try_from(count).ok());
    let count = count.filter(|count| (1..=1_000).contains(count));
    Ok(Some(Redrive {
        target_arn: policy.dead_letter_target_arn,
        maximum_receive_count: count
            .ok_or_else(|| bad("maxReceiveCount must be an integer between 1 and 1000."))?,
    }))
}

fn bad_value(name: &str, value: &str) -> SqsRefusal {
    SqsRefusal::new(
        "InvalidAttributeValue",
        format!("Invalid value '{value}' for the parameter {name}."),
    )
}
