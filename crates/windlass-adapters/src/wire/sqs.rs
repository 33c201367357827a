//! Answers of SQS ReceiveMessage.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>

use bytes::Bytes;
use std::ops::Range;

use windlass_core::ids::{KeyHash, MessageId, ReceiptHandle};
use windlass_core::message::Message;
use windlass_core::time::Timestamp;

use super::arriving::Walker;
use super::cursor::{Cursor, WireError};
use super::page::push_all;
use super::text::{plain, unescape};

/// An answer has at most ten messages of 1 MiB. One that has more is refused: messages that are left
/// out could not be read again.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MOST: usize = 64 * 1024 * 1024;

/// What all messages of a mapping have in common.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The end of each, with the queue's ARN and region.
    end: Vec<u8>,
    /// Whether a message without attributes says so with a `null`, as AWS does for mappings with a
    /// batching window.
    null_md5: bool,
    /// Whether the order within message groups counts.
    fifo: bool,
}

/// The members of a message, as they stand.
#[derive(Default)]
struct Raw<'a> {
    id: Option<&'a [u8]>,
    receipt: Option<&'a [u8]>,
    body: Option<&'a [u8]>,
    attributes: Option<&'a [u8]>,
    message_attributes: Option<Cursor<'a>>,
    md5_of_body: Option<&'a [u8]>,
    md5_of_attributes: Option<&'a [u8]>,
    sent: Timestamp,
    group: Option<KeyHash>,
}

/// Where a message is in the buffer.
#[derive(Debug)]
struct Place {
    event: Range<usize>,
    body: Range<usize>,
    id: Range<usize>,
    receipt: ReceiptHandle,
    sent: Timestamp,
    group: Option<KeyHash>,
}

impl Frame {
    /// The parts of a message that name its queue.
    pub(crate) fn new(queue_arn: &str, region: &str, window: bool, fifo: bool) -> Self {
        let (arn, region) = (
            serde_json::Value::from(queue_arn),
            serde_json::Value::from(region),
        );
        let end = format!(
            ",\"eventSource\":\"aws:sqs\",\"eventSourceARN\":{arn},\"awsRegion\":{region}}}"
        );
        Self {
            end: end.into_bytes(),
            null_md5: window,
            fifo,
        }
    }
}

/// Reads an answer and renders its messages.
#[derive(Debug)]
pub(crate) struct ReceiveMessage<'f> {
    frame: &'f Frame,
    text: Vec<u8>,
    places: Vec<Place>,
}

impl<'f> ReceiveMessage<'f> {
    /// For an answer of about so many bytes.
    pub(crate) fn new(frame: &'f Frame, length: usize) -> Self {
        Self {
            frame,
            text: Vec::with_capacity(length + length / 2),
            places: Vec::new(),
        }
    }
}

impl Walker for ReceiveMessage<'_> {
    type Answer = Vec<Message>;

    const LIST: &'static [u8] = b"Messages";
    const LIST_IS_OPTIONAL: bool = true;

    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), WireError> {
        if MOST <= self.text.len() {
            return Err(cursor.error("more messages than any answer has"));
        }
        let raw = message(cursor, self.frame)?;
        let start = self.text.len();
        let place = render(cursor, &raw, self.frame, &mut self.text);
        self.places
            .push(place.inspect_err(|_| self.text.truncate(start))?);
        Ok(())
    }

    fn member(&mut self, cursor: &mut Cursor<'_>, _: &[u8]) -> Result<(), WireError> {
        cursor.skip()
    }

    fn finish(self, _: usize) -> Vec<Message> {
        let text = Bytes::from(self.text);
        let messages = self.places.into_iter().map(|place| Message {
            message_id: MessageId::from_slice(text.slice(place.id)).expect("the answer is UTF-8"),
            receipt_handle: place.receipt,
            group: place.group,
            sent: place.sent,
            body: place.body.start - place.event.start..place.body.end - place.event.start,
            event: text.slice(place.event),
        });
        messages.collect()
    }
}

fn message<'a>(cursor: &mut Cursor<'a>, frame: &Frame) -> Result<Raw<'a>, WireError> {
    let mut raw = Raw::default();
    cursor.object(|cursor, name| {
        match name {
            b"MessageId" => raw.id = cursor.optional_string()?,
            b"ReceiptHandle" => raw.receipt = cursor.optional_string()?,
            b"Body" => raw.body = cursor.optional_string()?,
            b"MD5OfBody" => raw.md5_of_body = cursor.optional_string()?,
            b"MD5OfMessageAttributes" => raw.md5_of_attributes = cursor.optional_string()?,
            b"Attributes" => {
                let mut inner = *cursor;
                let value = cursor.value()?;
                if value != b"null" {
                    raw.attributes = Some(value);
                    system_attributes(&mut inner, frame, &mut raw)?;
                }
            }
            b"MessageAttributes" => {
                let inner = *cursor;
                if cursor.value()? != b"null" {
                    raw.message_attributes = Some(inner);
                }
            }
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(raw)
}

fn system_attributes<'a>(
    cursor: &mut Cursor<'a>,
    frame: &Frame,
    raw: &mut Raw<'a>,
) -> Result<(), WireError> {
    cursor.object(|cursor, name| {
        let value = cursor.string()?;
        match name {
            b"SentTimestamp" => {
                let millis =
                    plain(value).and_then(|millis| std::str::from_utf8(&millis).ok()?.parse().ok());
                let millis = millis.ok_or_else(|| cursor.error("a broken time of sending"))?;
                raw.sent = Timestamp::from_millis(millis);
            }
            b"MessageGroupId" if frame.fifo => {
                let group = unescape(value).ok_or_else(|| cursor.error("a broken group"))?;
                raw.group = Some(KeyHash::of(&group));
            }
            _ => {}
        }
        Ok(())
    })
}

fn render(
    cursor: &Cursor<'_>,
    raw: &Raw<'_>,
    frame: &Frame,
    text: &mut Vec<u8>,
) -> Result<Place, WireError> {
    let id = raw
        .id
        .and_then(plain)
        .ok_or_else(|| cursor.error("a message without an id"))?;
    let receipt = raw
        .receipt
        .ok_or_else(|| cursor.error("a message without a receipt handle"))?;
    let body = raw
        .body
        .ok_or_else(|| cursor.error("a message without a body"))?;
    let handle = unescape(receipt)
        .map(std::borrow::Cow::into_owned)
        .map(Bytes::from);
    let handle = handle.and_then(ReceiptHandle::from_slice);
    let handle = handle.ok_or_else(|| cursor.error("a broken receipt handle"))?;
    let start = text.len();
    text.extend_from_slice(b"{\"messageId\":\"");
    let id_place = text.len()..text.len() + id.len();
    push_all(
        text,
        &[&id, b"\",\"receiptHandle\":\"", receipt, b"\",\"body\":\""],
    );
    let body_place = text.len()..text.len() + body.len();
    push_all(text, &[body, b"\","]);
    push_all(text, &[b"\"attributes\":", raw.attributes.unwrap_or(b"{}")]);
    text.extend_from_slice(b",\"messageAttributes\":{");
    if let Some(mut attributes) = raw.message_attributes {
        message_attributes(&mut attributes, text)?;
    }
    push_all(
        text,
        &[
            b"},\"md5OfBody\":\"",
            raw.md5_of_body.unwrap_or_default(),
            b"\"",
        ],
    );
    match raw.md5_of_attributes {
        Some(md5) => push_all(text, &[b",\"md5OfMessageAttributes\":\"", md5, b"\""]),
        None if frame.null_md5 => text.extend_from_slice(b",\"md5OfMessageAttributes\":null"),
        None => {}
    }
    text.extend_from_slice(&frame.end);
    let (sent, group) = (raw.sent, raw.group);
    Ok(Place {
        event: start..text.len(),
        body: body_place,
        id: id_place,
        receipt: handle,
        sent,
        group,
    })
}

/// The attributes of the sender, in the form and order of a Lambda event.
fn message_attributes(cursor: &mut Cursor<'_>, text: &mut Vec<u8>) -> Result<(), WireError> {
    let mut comma: &[u8] = b"";
    cursor.map(|cursor, name| {
        let (mut string, mut binary, mut data_type) = (None, None, None);
        cursor.object(|cursor, member| {
            match member {
                b"StringValue" => string = cursor.optional_string()?,
                b"BinaryValue" => binary = cursor.optional_string()?,
                b"DataType" => data_type = cursor.optional_string()?,
                _ => cursor.skip()?,
            }
            Ok(())
        })?;
        push_all(text, &[comma, b"\"", name, b"\":{"]);
        comma = b",";
        if let Some(string) = string {
            push_all(text, &[b"\"stringValue\":\"", string, b"\","]);
        }
        if let Some(binary) = binary {
            push_all(text, &[b"\"binaryValue\":\"", binary, b"\","]);
        }
        text.extend_from_slice(b"\"stringListValues\":[],\"binaryListValues\":[]");
        if let Some(data_type) = data_type {
            push_all(text, &[b",\"dataType\":\"", data_type, b"\""]);
        }
        text.push(b'}');
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::arriving;

    fn read(body: &[u8], frame: &Frame) -> Result<Vec<Message>, WireError> {
        arriving::read(&[body], ReceiveMessage::new(frame, body.len()))
    }

    const ARN: &str = "arn:aws:sqs:us-east-2:123456789012:my-queue";

    fn event(body: &str, window: bool) -> String {
        let frame = Frame::new(ARN, "us-east-2", window, false);
        let messages = read(body.as_bytes(), &frame).unwrap();
        String::from_utf8(messages[0].event.to_vec()).unwrap()
    }

    #[test]
    fn a_message_looks_as_lambda_shows_it() {
        let body = r#"{"Messages":[{"Attributes":{"ApproximateReceiveCount":"1",
"SentTimestamp":"1545082649183"},"Body":"a \"b\" é","MD5OfBody":"e4e6","MD5OfMessageAttributes":"d25a",
"MessageAttributes":{"Author":{"DataType":"String","StringValue":"John"}},
"MessageId":"059f","ReceiptHandle":"AQEB\/x"}]}"#
            .replace('\n', "");
        assert_eq!(
            event(&body, false),
            concat!(
                r#"{"messageId":"059f","receiptHandle":"AQEB\/x","body":"a \"b\" é","#,
                r#""attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1545082649183"},"#,
                r#""messageAttributes":{"Author":{"stringValue":"John","stringListValues":[],"#,
                r#""binaryListValues":[],"dataType":"String"}},"md5OfBody":"e4e6","#,
                r#""md5OfMessageAttributes":"d25a","eventSource":"aws:sqs","#,
                r#""eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:my-queue","#,
                r#""awsRegion":"us-east-2"}"#
            )
        );
    }

    #[test]
    fn a_window_shows_the_missing_hash_as_null() {
        let body =
            r#"{"Messages":[{"Body":"b","MD5OfBody":"m","MessageId":"i","ReceiptHandle":"r"}]}"#;
        assert!(!event(body, false).contains("md5OfMessageAttributes"));
        assert!(event(body, true).contains(r#""md5OfMessageAttributes":null"#));
    }

    #[test]
    fn an_empty_queue_answers_with_nothing() {
        let frame = Frame::new(ARN, "us-east-2", false, false);
        for body in ["{}", r#"{"Messages":[]}"#, r#"{"Messages":null}"#] {
            assert_eq!(read(body.as_bytes(), &frame).unwrap(), []);
        }
        assert!(read(b"", &frame).is_err());
    }
}
