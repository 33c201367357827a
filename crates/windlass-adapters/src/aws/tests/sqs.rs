//! ReceiveMessage of SQS.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use serde_json::{Map, Value, json};
use windlass_core::message::Message as Raw;
use windlass_engine::ports::QueueReader;

use super::json::{Json, Members, binary, digits, maybe, object, others, spelled, text};
use super::{CASES, ROOM, for_many, hash, parsed};
use crate::aws::sqs::SqsReader;
use crate::tests::test_http::{TestHttp, queue, runtime};

const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:q.fifo";

#[test]
fn our_parser_and_the_sdk_agree() {
    let (http, clients) = TestHttp::new();
    let runtime = runtime();
    let window = |seconds| Duration::from_secs(seconds);
    let standard = SqsReader::new(&clients, &queue(QUEUE, false, window(0)), Arc::default());
    let fifo = SqsReader::new(&clients, &queue(QUEUE, true, window(5)), Arc::default());
    for_many(
        CASES,
        &(spelled(response()), any::<bool>()),
        |(body, is_fifo)| {
            http.respond(body.as_bytes());
            let reader = if is_fifo { &fifo } else { &standard };
            let (typed, raw) = runtime.block_on(async {
                let typed = clients.sqs.receive_message().queue_url("https://q").send();
                let raw = reader.receive(10, window(0), window(30), &ROOM);
                (typed.await.unwrap(), raw.await)
            });
            let typed = typed.messages.unwrap_or_default();
            if is_fifo && typed.iter().any(|it| group_of(it).is_none()) {
                assert!(raw.is_err());
                return Ok(());
            }
            let raw = raw.unwrap();
            assert_eq!(raw.len(), typed.len());
            for (raw, typed) in raw.iter().zip(&typed) {
                compare(typed, raw, is_fifo);
            }
            Ok(())
        },
    );
}

fn group_of(message: &Message) -> Option<&String> {
    let attributes = message.attributes.as_ref()?;
    attributes.get(&MessageSystemAttributeName::MessageGroupId)
}

#[track_caller]
fn compare(typed: &Message, raw: &Raw, fifo: bool) {
    assert_eq!(Some(raw.message_id.as_str()), typed.message_id.as_deref());
    let handle = typed.receipt_handle.as_deref();
    assert_eq!(Some(raw.receipt_handle.as_str()), handle);
    let attribute = |name| typed.attributes.as_ref().and_then(|all| all.get(&name));
    assert_eq!(raw.unreadable, None);
    assert_eq!(
        raw.group,
        group_of(typed).filter(|_| fifo).map(|it| hash(it))
    );
    let sent = attribute(MessageSystemAttributeName::SentTimestamp);
    let sent = sent.map_or(0, |sent| sent.parse().unwrap());
    assert_eq!(raw.sent.as_millis(), sent);
    // Only the FIFO queue has a batching window.
    assert_eq!(parsed(&raw.event), expected(typed, fifo));
}

fn expected(message: &Message, window: bool) -> Value {
    let attributes = message.attributes.iter().flatten();
    let attributes: Map<_, _> = attributes
        .map(|(name, value)| (name.as_str().to_owned(), json!(value)))
        .collect();
    let sender = message.message_attributes.iter().flatten();
    let sender: Map<_, _> = sender
        .map(|(name, value)| {
            let mut shown = json!({
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value.data_type,
            });
            if let Some(text) = &value.string_value {
                shown["stringValue"] = json!(text);
            }
            if let Some(bytes) = &value.binary_value {
                shown["binaryValue"] = json!(base64_simd::STANDARD.encode_to_string(bytes));
            }
            (name.clone(), shown)
        })
        .collect();
    let mut event = json!({
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": sender,
        "md5OfBody": message.md5_of_body.as_deref().unwrap_or_default(),
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE,
        "awsRegion": "us-east-1",
    });
    if window || message.md5_of_message_attributes.is_some() {
        event["md5OfMessageAttributes"] = json!(message.md5_of_message_attributes);
    }
    event
}

/// Any response of the service.
pub(super) fn response() -> impl Strategy<Value = Json> {
    let messages = prop_oneof![
        8 => vec(message(), 0..5).prop_map(|messages| Some(Json::Array(messages))),
        1 => Just(Some(Json::Null)),
        1 => Just(None),
    ];
    (messages, others()).prop_map(|(messages, others)| object(vec![("Messages", messages)], others))
}

fn message() -> impl Strategy<Value = Json> {
    let md5 = || maybe("[0-9a-f]{32}".prop_map(Json::String));
    let sender = vec((text(), sender_attribute()), 0..3).prop_map(|mut all| {
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all.dedup_by(|one, other| one.0 == other.0);
        Json::Object(all)
    });
    (
        "[0-9a-f-]{1,36}",
        text(),
        text(),
        (md5(), md5()),
        maybe(system_attributes()),
        maybe(sender),
        others(),
    )
        .prop_map(
            |(id, handle, body, (md5_body, md5_sender), system, sender, others)| {
                let known = vec![
                    ("MessageId", Some(Json::String(id))),
                    ("ReceiptHandle", Some(Json::String(handle))),
                    ("Body", Some(Json::String(body))),
                    ("MD5OfBody", md5_body),
                    ("MD5OfMessageAttributes", md5_sender),
                    ("Attributes", system),
                    ("MessageAttributes", sender),
                ];
                object(known, others)
            },
        )
}

fn system_attributes() -> impl Strategy<Value = Json> {
    let optional = |text: String| Some(Json::String(text));
    let group = prop_oneof![Just(None), text().prop_map(optional)];
    let trace = prop_oneof![Just(None), text().prop_map(optional)];
    let sent = prop_oneof![Just(None), (0..4_102_444_800_000_u64).prop_map(Some)];
    (1..20_u8, sent, group, digits(), trace).prop_map(|(count, sent, group, number, trace)| {
        let known: Members = vec![
            (
                "ApproximateReceiveCount",
                Some(Json::String(count.to_string())),
            ),
            (
                "SentTimestamp",
                sent.map(|sent| Json::String(sent.to_string())),
            ),
            ("MessageGroupId", group),
            ("SequenceNumber", Some(Json::String(number))),
            ("AWSTraceHeader", trace.clone()),
            ("SomethingNew", trace),
        ];
        object(known, Vec::new())
    })
}

fn sender_attribute() -> impl Strategy<Value = Json> {
    let empty = || prop_oneof![Just(None), Just(Some(Json::Array(Vec::new())))];
    let value = prop_oneof![
        text().prop_map(|text| ("StringValue", Json::String(text))),
        binary().prop_map(|bytes| ("BinaryValue", bytes)),
    ];
    (value, text(), empty(), empty(), others()).prop_map(
        |((name, value), data_type, strings, binaries, others)| {
            let known = vec![
                (name, Some(value)),
                ("DataType", Some(Json::String(data_type))),
                ("StringListValues", strings),
                ("BinaryListValues", binaries),
            ];
            object(known, others)
        },
    )
}
