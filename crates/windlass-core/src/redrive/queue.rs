//! Messages that are sent to another queue.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::message::Message;
use crate::time::Timestamp;

/// How long a FIFO queue swallows a message with the deduplication id of an earlier one.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html>
pub const DUPLICATE_INTERVAL: Duration = Duration::from_mins(5);

/// How exactly the clock of a queue is known.
const CLOCK_ERROR: Duration = Duration::from_secs(1);

/// The body of a message, without JSON's escapes.
pub(super) fn body(message: &Message) -> Option<String> {
    let quoted = message.body.start.checked_sub(1)?..message.body.end + 1;
    serde_json::from_slice(message.event.get(quoted)?).ok()
}

/// A message to send: what was received, without what its queue has added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingMessage {
    pub body: String,
    pub attributes: BTreeMap<String, AttributeValue>,
    pub trace_header: Option<String>,
    pub group: Option<String>,
    pub deduplication_id: Option<String>,
}

/// An attribute that its sender has given a message.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_MessageAttributeValue.html>
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttributeValue {
    pub data_type: String,
    pub string_value: Option<String>,
    /// In base64.
    pub binary_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    body: String,
    attributes: SystemAttributes,
    message_attributes: BTreeMap<String, AttributeValue>,
}

#[derive(Deserialize)]
struct SystemAttributes {
    #[serde(rename = "AWSTraceHeader")]
    trace_header: Option<String>,
    #[serde(rename = "MessageGroupId")]
    group: Option<String>,
    #[serde(rename = "MessageDeduplicationId")]
    deduplication_id: Option<String>,
}

impl OutgoingMessage {
    /// `None` if the message cannot be read.
    pub fn of(message: &Message) -> Option<Self> {
        let event: Event = serde_json::from_slice(&message.event).ok()?;
        Some(Self {
            body: event.body,
            attributes: event.message_attributes,
            trace_header: event.attributes.trace_header,
            group: event.attributes.group,
            deduplication_id: event.attributes.deduplication_id,
        })
    }
}

/// How long a message waits before it may go back to a FIFO queue, which would swallow it as a
/// duplicate: both times are by its clock. Without a time of its own it waits for the whole interval.
pub(super) fn duplicate_wait(sent: Timestamp, now: Timestamp) -> Duration {
    let sent = if sent == Timestamp::EPOCH { now } else { sent };
    // The clock may be known too badly.
    (sent.min(now) + DUPLICATE_INTERVAL + CLOCK_ERROR).since(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MessageId, ReceiptHandle};

    fn message(event: &str) -> Message {
        let start = event.find("\"body\":\"").map_or(0, |at| at + 8);
        let end = event.find("\",\"attributes\"").unwrap_or(start);
        Message {
            message_id: MessageId::from("m"),
            receipt_handle: ReceiptHandle::from("r"),
            group: None,
            sent: Timestamp::EPOCH,
            n_receives: 1,
            event: event.to_owned().into(),
            body: start..end,
            unreadable: None,
        }
    }

    #[test]
    fn a_message_keeps_what_its_sender_has_given_it() {
        let received = message(
            "{\"messageId\":\"m\",\"receiptHandle\":\"r\",\"body\":\"{\\\"a\\\": \\\"\\u00e9\\\"}\",\
             \"attributes\":{\"ApproximateReceiveCount\":\"4\",\"SentTimestamp\":\"1\",\
             \"SequenceNumber\":\"188\",\"MessageGroupId\":\"g\",\"MessageDeduplicationId\":\"d\",\
             \"AWSTraceHeader\":\"Root=1\"},\"messageAttributes\":{\
             \"n\":{\"stringValue\":\"7\",\"stringListValues\":[],\"binaryListValues\":[],\
             \"dataType\":\"Number\"},\"b\":{\"binaryValue\":\"AAE=\",\"dataType\":\"Binary\"}},\
             \"md5OfBody\":\"x\",\"eventSource\":\"aws:sqs\"}",
        );
        assert_eq!(body(&received).as_deref(), Some("{\"a\": \"é\"}"));
        let sent = OutgoingMessage::of(&received).unwrap();
        assert_eq!(sent.body, "{\"a\": \"é\"}");
        assert_eq!(sent.group.as_deref(), Some("g"));
        assert_eq!(sent.deduplication_id.as_deref(), Some("d"));
        assert_eq!(sent.trace_header.as_deref(), Some("Root=1"));
        assert_eq!(sent.attributes["n"].string_value.as_deref(), Some("7"));
        assert_eq!(sent.attributes["n"].data_type, "Number");
        assert_eq!(sent.attributes["b"].binary_value.as_deref(), Some("AAE="));
        assert_eq!(OutgoingMessage::of(&message("")), None);
        assert_eq!(body(&message("")), None);
    }

    #[test]
    fn a_message_waits_until_five_minutes_after_it_was_sent() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1_000);
        for (sent, now, wait) in [
            (1_000, 1_000, 301),
            (1_000, 1_299, 2),
            (1_000, 1_301, 0),
            (1_000, 9_000, 0),
            // The clock of the queue is ahead.
            (2_000, 1_000, 301),
            (0, 1_000, 301),
        ] {
            let expected = Duration::from_secs(wait);
            assert_eq!(duplicate_wait(at(sent), at(now)), expected, "{sent} {now}");
        }
    }
}
