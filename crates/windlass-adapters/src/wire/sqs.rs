//! ReceiveMessage of SQS.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use windlass_core::ids::{KeyHash, MessageId, ReceiptHandle};
use windlass_core::message::Message;
use windlass_core::time::Timestamp;

use super::json_cursor::{JsonCursor, WireError};
use super::page_builder::push_all;
use super::streaming_parser::ResponseParser;
use super::text::{identifier, unescape};

/// Limit of the messages of one response; SQS sends at most ten of 1 MiB. A larger response
/// is an error, because messages that were left out could not be read again.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// The constant parts of the events of one mapping.
#[derive(Clone, Debug)]
pub(crate) struct EventTemplate {
    /// The end of each event, with the queue's ARN and region.
    end: Vec<u8>,
    /// Whether `md5OfMessageAttributes` is `null` without attributes, as AWS renders it for
    /// mappings with a batching window, instead of missing.
    null_md5: bool,
    /// Whether messages have groups.
    fifo: bool,
}

/// The raw members of a message.
#[derive(Default)]
struct RawMessage<'a> {
    id: Option<&'a [u8]>,
    receipt: Option<&'a [u8]>,
    body: Option<&'a [u8]>,
    attributes: Option<&'a [u8]>,
    /// Before `attributes`, if some of them are null.
    null_attributes: Option<JsonCursor<'a>>,
    message_attributes: Option<JsonCursor<'a>>,
    md5_of_body: Option<&'a [u8]>,
    md5_of_attributes: Option<&'a [u8]>,
    sent: Timestamp,
    n_receives: Option<u32>,
    group: Option<KeyHash>,
}

/// A rendered message in the buffer.
#[derive(Debug)]
struct RenderedMessage {
    event: Range<usize>,
    body: Range<usize>,
    id: Range<usize>,
    receipt: ReceiptHandle,
    sent: Timestamp,
    n_receives: u32,
    group: Option<KeyHash>,
    unreadable: Option<&'static str>,
}

impl EventTemplate {
    /// `window`: whether the mapping has a batching window.
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

/// Parses a response and renders its messages.
#[derive(Debug)]
pub(crate) struct ReceiveMessageParser<'t> {
    template: &'t EventTemplate,
    text: Vec<u8>,
    messages: Vec<RenderedMessage>,
}

impl<'t> ReceiveMessageParser<'t> {
    /// Expected bytes of the events of a response of `length` bytes.
    pub(crate) const fn event_bytes(length: usize) -> usize {
        length.saturating_add(length / 2)
    }

    /// For a response of about `length` bytes.
    pub(crate) fn new(template: &'t EventTemplate, length: usize) -> Self {
        Self {
            template,
            text: Vec::with_capacity(Self::event_bytes(length)),
            messages: Vec::new(),
        }
    }
}

impl ResponseParser for ReceiveMessageParser<'_> {
    type Response = Vec<Message>;

    const LIST: &'static [u8] = b"Messages";

    fn element(&mut self, cursor: &mut JsonCursor<'_>) -> Result<(), WireError> {
        if MAX_RESPONSE_BYTES <= self.text.len() {
            return Err(cursor.error("more than 64 MiB of messages"));
        }
        let (before, start) = (*cursor, self.text.len());
        let rendered = message(cursor, self.template)
            .and_then(|raw| render(cursor, &raw, self.template, &mut self.text));
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(error) => {
                self.text.truncate(start);
                *cursor = before;
                unreadable(cursor, &error, self.template, &mut self.text).ok_or(error)?
            }
        };
        let has_group = rendered.group.is_some() || rendered.unreadable.is_some();
        if self.template.fifo && !has_group {
            // Without it, messages of one group would be invoked side by side.
            self.text.truncate(start);
            *cursor = before;
            return Err(cursor.error("message of a FIFO queue without MessageGroupId"));
        }
        self.messages.push(rendered);
        Ok(())
    }

    fn member(&mut self, cursor: &mut JsonCursor<'_>, _: &[u8]) -> Result<(), WireError> {
        cursor.skip()
    }

    fn may_lack_list(&self) -> bool {
        true
    }

    fn finish(self, _: usize) -> Vec<Message> {
        let text = Bytes::from(self.text);
        let messages = self.messages.into_iter().map(|it| Message {
            message_id: MessageId::from_slice(text.slice(it.id)).expect("the id is ASCII"),
            receipt_handle: it.receipt,
            group: it.group,
            sent: it.sent,
            n_receives: it.n_receives,
            body: it.body.start - it.event.start..it.body.end - it.event.start,
            event: text.slice(it.event),
            unreadable: it.unreadable,
        });
        messages.collect()
    }
}

fn message<'a>(
    cursor: &mut JsonCursor<'a>,
    template: &EventTemplate,
) -> Result<RawMessage<'a>, WireError> {
    let mut raw = RawMessage::default();
    cursor.object(|cursor, name| {
        match name {
            b"MessageId" => raw.id = cursor.optional_string()?,
            b"ReceiptHandle" => raw.receipt = cursor.optional_string()?,
            b"Body" => raw.body = cursor.optional_string()?,
            b"MD5OfBody" => raw.md5_of_body = cursor.optional_string()?,
            b"MD5OfMessageAttributes" => raw.md5_of_attributes = cursor.optional_string()?,
            b"Attributes" => {
                let inner = *cursor;
                let value = cursor.value()?;
                if value != b"null" {
                    raw.attributes = Some(value);
                    system_attributes(inner, template, &mut raw)?;
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
    mut cursor: JsonCursor<'a>,
    template: &EventTemplate,
    raw: &mut RawMessage<'a>,
) -> Result<(), WireError> {
    let start = cursor;
    cursor.object(|cursor, name| {
        let Some(value) = cursor.optional_string()? else {
            raw.null_attributes = Some(start);
            return Ok(());
        };
        match name {
            b"SentTimestamp" => {
                let millis = identifier(value)
                    .and_then(|millis| std::str::from_utf8(&millis).ok()?.parse().ok());
                let millis = millis.ok_or_else(|| cursor.error("invalid SentTimestamp"))?;
                raw.sent = Timestamp::from_millis(millis);
            }
            // A count that cannot be read is that of the first receive.
            b"ApproximateReceiveCount" => {
                raw.n_receives = identifier(value)
                    .and_then(|count| std::str::from_utf8(&count).ok()?.parse().ok());
            }
            b"MessageGroupId" if template.fifo => {
                let group =
                    unescape(value).ok_or_else(|| cursor.error("invalid MessageGroupId"))?;
                raw.group = Some(KeyHash::of(&group));
            }
            _ => {}
        }
        Ok(())
    })
}

fn render(
    cursor: &JsonCursor<'_>,
    raw: &RawMessage<'_>,
    template: &EventTemplate,
    text: &mut Vec<u8>,
) -> Result<RenderedMessage, WireError> {
    let id = raw
        .id
        .and_then(identifier)
        .ok_or_else(|| cursor.error("message without a valid MessageId"))?;
    let receipt = raw
        .receipt
        .ok_or_else(|| cursor.error("message without ReceiptHandle"))?;
    let body = raw
        .body
        .ok_or_else(|| cursor.error("message without Body"))?;
    let handle = unescape(receipt).map(Cow::into_owned).map(Bytes::from);
    let handle = handle.and_then(ReceiptHandle::from_slice);
    let handle = handle.ok_or_else(|| cursor.error("invalid ReceiptHandle"))?;
    let start = text.len();
    text.extend_from_slice(b"{\"messageId\":\"");
    let id_span = text.len()..text.len() + id.len();
    push_all(
        text,
        &[&id, b"\",\"receiptHandle\":\"", receipt, b"\",\"body\":\""],
    );
    let body_span = text.len()..text.len() + body.len();
    push_all(text, &[body, b"\","]);
    text.extend_from_slice(b"\"attributes\":");
    match raw.null_attributes {
        Some(mut attributes) => without_nulls(&mut attributes, text)?,
        None => text.extend_from_slice(raw.attributes.unwrap_or(b"{}")),
    }
    text.extend_from_slice(b",\"messageAttributes\":{");
    if let Some(mut attributes) = raw.message_attributes {
        message_attributes(&mut attributes, text)?;
    }
    text.extend_from_slice(b"},");
    match raw.md5_of_attributes {
        Some(md5) => push_all(text, &[b"\"md5OfMessageAttributes\":\"", md5, b"\","]),
        None if template.null_md5 => text.extend_from_slice(b"\"md5OfMessageAttributes\":null,"),
        None => {}
    }
    let md5 = raw.md5_of_body.unwrap_or_default();
    push_all(text, &[b"\"md5OfBody\":\"", md5, b"\""]);
    text.extend_from_slice(&template.end);
    let (sent, group) = (raw.sent, raw.group);
    let n_receives = raw.n_receives.unwrap_or(1);
    Ok(RenderedMessage {
        event: start..text.len(),
        body: body_span,
        id: id_span,
        receipt: handle,
        sent,
        n_receives,
        group,
        unreadable: None,
    })
}

/// Reads of a message that cannot be rendered what identifies it; the other messages of the response
/// do not depend on it. `None` if that is not possible, or if the message is incomplete.
fn unreadable(
    cursor: &mut JsonCursor<'_>,
    error: &WireError,
    template: &EventTemplate,
    text: &mut Vec<u8>,
) -> Option<RenderedMessage> {
    let (mut id, mut receipt, mut group) = (None, None, None);
    let mut lenient = cursor.lenient();
    let read = lenient.object(|cursor, name| {
        match name {
            b"MessageId" => id = cursor.optional_string()?,
            b"ReceiptHandle" => receipt = cursor.optional_string()?,
            b"Attributes" if template.fifo && !cursor.take_null()? => {
                cursor.object(|cursor, name| {
                    if name == b"MessageGroupId" {
                        group = Some(cursor.string()?);
                        return Ok(());
                    }
                    cursor.skip()
                })?;
            }
            b"Attributes" if template.fifo => {}
            _ => cursor.skip()?,
        }
        Ok(())
    });
    read.ok()?;
    let id = identifier(id?)?;
    let receipt = ReceiptHandle::from_slice(Bytes::from(unescape(receipt?)?.into_owned()))?;
    let group = group.and_then(unescape);
    cursor.skip_to(&lenient);
    let start = text.len();
    text.extend_from_slice(&id);
    Some(RenderedMessage {
        event: text.len()..text.len(),
        body: text.len()..text.len(),
        id: start..text.len(),
        receipt,
        sent: Timestamp::EPOCH,
        n_receives: 1,
        group: group.map(|group| KeyHash::of(&group)),
        unreadable: Some(error.reason()),
    })
}

/// Renders an object of texts without those that are null: to the SDK, too, they are missing.
fn without_nulls(cursor: &mut JsonCursor<'_>, text: &mut Vec<u8>) -> Result<(), WireError> {
    let mut separator: &[u8] = b"{";
    cursor.map(|cursor, name| {
        if let Some(value) = cursor.optional_string()? {
            push_all(text, &[separator, b"\"", name, b"\":\"", value, b"\""]);
            separator = b",";
        }
        Ok(())
    })?;
    text.extend_from_slice(if separator == b"{" { b"{}" } else { b"}" });
    Ok(())
}

/// Renders the sender's attributes in the form and member order of a Lambda event.
fn message_attributes(cursor: &mut JsonCursor<'_>, text: &mut Vec<u8>) -> Result<(), WireError> {
    let mut comma: &[u8] = b"";
    cursor.map(|cursor, name| {
        if cursor.take_null()? {
            return Ok(());
        }
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
    use crate::wire::streaming_parser::parse_pieces;

    fn parse(body: &[u8], template: &EventTemplate) -> Result<Vec<Message>, WireError> {
        parse_pieces(&[body], ReceiveMessageParser::new(template, body.len()))
    }

    const ARN: &str = "arn:aws:sqs:us-east-2:123456789012:my-queue";

    fn event(body: &str, window: bool) -> String {
        let template = EventTemplate::new(ARN, "us-east-2", window, false);
        let messages = parse(body.as_bytes(), &template).unwrap();
        String::from_utf8(messages[0].event.to_vec()).unwrap()
    }

    #[test]
    fn a_message_is_rendered_as_lambda_does() {
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
                r#""binaryListValues":[],"dataType":"String"}},"md5OfMessageAttributes":"d25a","#,
                r#""md5OfBody":"e4e6","eventSource":"aws:sqs","#,
                r#""eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:my-queue","#,
                r#""awsRegion":"us-east-2"}"#
            )
        );
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Message.html>
    #[test]
    fn attributes_of_every_kind_are_rendered() {
        let body = r#"{"Messages":[{"Attributes":{"SentTimestamp":"1","AWSTraceHeader":"Root=1-5e",
"MessageGroupId":"g","MessageDeduplicationId":"d","SequenceNumber":"18849496460467696128"},"Body":"b",
"MessageAttributes":{"Raw":{"DataType":"Binary.png","BinaryValue":"AAE="},
"Price":{"DataType":"Number.eur","StringValue":"1.5"}},"MessageId":"1","ReceiptHandle":"r"}]}"#
            .replace('\n', "");
        let event = event(&body, false);
        for part in [
            r#""AWSTraceHeader":"Root=1-5e""#,
            r#""MessageGroupId":"g","MessageDeduplicationId":"d","SequenceNumber":"18849496460467696128""#,
            r#""dataType":"Binary.png""#,
            r#""binaryValue":"AAE=""#,
            r#""stringValue":"1.5""#,
            r#""dataType":"Number.eur""#,
        ] {
            assert!(event.contains(part), "{part}: {event}");
        }
    }

    #[test]
    fn an_attribute_that_is_null_is_missing() {
        for (attributes, expected) in [
            (
                r#"{"AWSTraceHeader":null,"SentTimestamp":"1"}"#,
                r#"{"SentTimestamp":"1"}"#,
            ),
            (
                r#"{"SentTimestamp":"1","MessageGroupId":null,"SenderId":"A\"B"}"#,
                r#"{"SentTimestamp":"1","SenderId":"A\"B"}"#,
            ),
            (r#"{"SenderId":null}"#, "{}"),
        ] {
            let body = r#"{"Messages":[{"Attributes":@,"Body":"b","MessageId":"i",
"MessageAttributes":{"a":null,"b":{"DataType":"String","StringValue":"c","BinaryValue":null}},
"ReceiptHandle":"r"}]}"#;
            let event = event(&body.replace('@', attributes), false);
            let expected = format!(
                r#""attributes":{expected},"messageAttributes":{{"b":{{"stringValue":"c","stringListValues":[],"binaryListValues":[],"dataType":"String"}}}},"#
            );
            assert!(event.contains(&expected), "{event}");
        }
    }

    /// Fair queues have groups that are tenants.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html>
    #[test]
    fn the_group_of_a_message_of_a_standard_queue_is_not_an_order() {
        let body = format!(r#"{{"Messages":[{}]}}"#, FIFO_MESSAGE.replace('@', "1"));
        let group = |fifo| {
            let template = EventTemplate::new(ARN, "us-east-2", false, fifo);
            let message = parse(body.as_bytes(), &template).unwrap().remove(0);
            assert!(message.event.ends_with(b"\"awsRegion\":\"us-east-2\"}"));
            let event = String::from_utf8(message.event.to_vec()).unwrap();
            assert!(event.contains(r#"{"MessageGroupId":"g"}"#));
            message.group
        };
        assert_eq!(group(false), None);
        assert_eq!(group(true), Some(KeyHash::of(b"g")));
    }

    /// A message has up to 1 MiB. Servers may escape what is not ASCII.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
    #[test]
    fn ten_messages_of_the_maximum_size_are_received_together() {
        let text = "é".repeat(512 * 1024);
        let escaped = r"\u00e9".repeat(512 * 1024);
        let message =
            |body: &str| format!(r#"{{"Body":"{body}","MessageId":"1","ReceiptHandle":"r"}}"#);
        let bodies = [&text, &escaped];
        let messages = bodies.iter().cycle().take(10).map(|body| message(body));
        let messages: Vec<_> = messages.collect();
        let body = format!(r#"{{"Messages":[{}]}}"#, messages.join(","));
        let template = EventTemplate::new(ARN, "us-east-2", false, false);
        let messages = parse(body.as_bytes(), &template).unwrap();
        let sizes: Vec<_> = messages.iter().map(|it| it.body.len()).collect();
        assert_eq!(sizes, [text.len(), escaped.len()].repeat(5));
        let limit = windlass_core::event::PAYLOAD_LIMIT;
        assert!(messages.iter().all(|it| it.event.len() < limit));
    }

    #[test]
    fn a_batching_window_renders_a_missing_hash_as_null() {
        let body =
            r#"{"Messages":[{"Body":"b","MD5OfBody":"m","MessageId":"i","ReceiptHandle":"r"}]}"#;
        assert!(!event(body, false).contains("md5OfMessageAttributes"));
        assert!(event(body, true).contains(r#""md5OfMessageAttributes":null,"md5OfBody":"m""#));
    }

    const FIFO_MESSAGE: &str = r#"{"Body":"b","MessageId":"@","ReceiptHandle":"r@",
"Attributes":{"MessageGroupId":"g"}}"#;

    #[test]
    fn a_message_that_cannot_be_rendered_costs_only_itself() {
        let good = FIFO_MESSAGE.replace('@', "1");
        let control = FIFO_MESSAGE.replace('@', "2").replace("\"b\"", "\"\u{1}\"");
        let cases = [
            (
                FIFO_MESSAGE.replace("\"b\"", r#""\ud800""#),
                "unpaired surrogate",
            ),
            (
                FIFO_MESSAGE.replace("\"Body\"", "\"x\""),
                "message without Body",
            ),
            (control, "string with invalid UTF-8 or control characters"),
        ];
        let template = EventTemplate::new(ARN, "us-east-2", false, true);
        for (bad, reason) in cases {
            let bad = bad.replace('@', "2");
            let body = format!(r#"{{"Messages":[{good},{bad},{good}]}}"#);
            let messages = parse(body.as_bytes(), &template).unwrap();
            let unreadable: Vec<_> = messages.iter().map(|it| it.unreadable).collect();
            assert_eq!(unreadable, [None, Some(reason), None]);
            assert_eq!(messages[1].message_id.as_str(), "2");
            assert_eq!(messages[1].receipt_handle.as_str(), "r2");
            assert_eq!(messages[1].group, messages[0].group);
            assert_eq!(messages[0], messages[2]);
            let pieces: Vec<&[u8]> = body.as_bytes().chunks(3).collect();
            let parser = ReceiveMessageParser::new(&template, body.len());
            assert_eq!(parse_pieces(&pieces, parser).unwrap(), messages);
        }
    }

    #[test]
    fn a_message_of_a_fifo_queue_has_a_group() {
        let good = FIFO_MESSAGE.replace('@', "1");
        let body = |message: &str| format!(r#"{{"Messages":[{good},{message}]}}"#);
        for without in ["\"x\":{\"MessageGroupId\"", "\"Attributes\":{\"x\""] {
            let message = good.replace("\"Attributes\":{\"MessageGroupId\"", without);
            let standard = EventTemplate::new(ARN, "us-east-2", false, false);
            assert!(parse(body(&message).as_bytes(), &standard).is_ok());
            let fifo = EventTemplate::new(ARN, "us-east-2", false, true);
            let error = parse(body(&message).as_bytes(), &fifo).unwrap_err();
            let error = error.to_string();
            assert!(error.ends_with("without MessageGroupId"), "{error}");
        }
    }

    #[test]
    fn an_empty_response_has_no_messages() {
        let template = EventTemplate::new(ARN, "us-east-2", false, false);
        for body in ["{}", r#"{"Messages":[]}"#, r#"{"Messages":null}"#] {
            assert_eq!(parse(body.as_bytes(), &template).unwrap(), []);
        }
        assert!(parse(b"", &template).is_err());
    }
}
