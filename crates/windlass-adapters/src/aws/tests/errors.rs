//! Errors of calls with our parsers have the codes and messages that the SDK finds.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use windlass_core::arn::Arn;
use windlass_core::ids::ShardId;
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_engine::ports::{PortError, QueueReader, StreamReader, chain};

use super::{ROOM, ReadOnce as _, limits};
use crate::aws::dynamodb_streams::DynamoDbStreamsReader;
use crate::aws::kinesis::KinesisReader;
use crate::aws::sqs::SqsReader;
use crate::tests::test_http::{Ending, TestHttp, queue, runtime};

const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
const TABLE: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2026";
const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:q";

/// Calls GetRecords of Kinesis.
async fn read(clients: &crate::aws::AwsClients) -> Result<(), PortError> {
    let stream = Arn::parse(STREAM).unwrap();
    let reader = Arc::new(KinesisReader::new(clients, &stream, None, "role"));
    let (shard, cursor) = (ShardId::from("shardId-1"), cursor());
    reader.read(&shard, &cursor, limits(10)).await.map(drop)
}

fn cursor() -> Cursor {
    Cursor {
        iterator: Some("i".into()),
        ..Cursor::at(Position::TrimHorizon)
    }
}

#[test]
fn codes_and_messages_are_those_of_the_sdk() {
    const THROTTLED: &str = "ProvisionedThroughputExceededException";
    let (http, clients) = TestHttp::new();
    let type_header = |value| vec![("x-amzn-errortype", value)];
    let url = "ThrottlingException:http://internal.amazon.com/coral/#x";
    let responses: [(Vec<(&str, &str)>, &str); 7] = [
        (
            vec![],
            r#"{"__type":"ResourceNotFoundException","message":"no such stream"}"#,
        ),
        (
            vec![],
            r#"{"__type":"com.amazonaws.kinesis#AccessDeniedException","Message":"no"}"#,
        ),
        (vec![], r#"{"code":"LimitExceededException"}"#),
        (type_header(THROTTLED), r#"{"message":"slow \"down\" é"}"#),
        (type_header(url), "{}"),
        (
            type_header("a.b#KMSThrottlingException"),
            r#"{"__type":"Other"}"#,
        ),
        (vec![], "{}"),
    ];
    for (headers, body) in responses {
        http.respond_with(400, &headers, body.as_bytes());
        runtime().block_on(async {
            let typed = clients
                .kinesis
                .get_records()
                .shard_iterator("i")
                .send()
                .await;
            let typed = typed.unwrap_err();
            let raw = read(&clients).await.unwrap_err();
            assert_eq!(raw.fault, crate::aws::fault::fault_of(&typed), "{body}");
            let code = typed.code().unwrap_or("HTTP 400 without an error code");
            let text = match typed.message() {
                Some(message) => format!("{code}: {message}"),
                None => code.to_owned(),
            };
            let source = raw.source.to_string();
            assert!(source.starts_with(&text), "{source}");
            // After a rejected iterator a new one is requested.
            assert!(raw.operation.ends_with(" of stream s"), "{}", raw.operation);
        });
    }
}

#[test]
fn a_response_that_is_not_json_is_a_transient_fault() {
    let (http, clients) = TestHttp::new();
    let html = b"<html>Bad Gateway</html>";
    for (status, body) in [
        (502, &html[..]),
        (200, html),
        (200, b""),
        (200, b"{}"),
        (500, b"[1]"),
    ] {
        http.respond_with(status, &[], body);
        let error = runtime().block_on(read(&clients)).unwrap_err();
        assert_eq!(error.fault, Fault::Transient, "{status}");
    }
    let codes: [(&str, Fault); 2] = [
        (
            r#"{"__type":"X","code":400,"message":"a","Message":"b"}"#,
            Fault::Transient,
        ),
        (
            r#"{"__type":"TrimmedDataAccessException","code":400,"message":"a","Message":"b"}"#,
            Fault::Trimmed,
        ),
    ];
    for (body, fault) in codes {
        http.respond_with(400, &[], body.as_bytes());
        let error = runtime().block_on(read(&clients)).unwrap_err();
        assert_eq!(error.fault, fault, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_response_is_a_transient_fault() {
    let (http, clients) = TestHttp::new();
    let table = Arn::parse(TABLE).unwrap();
    let table = Arc::new(DynamoDbStreamsReader::new(&clients, &table));
    let queue = SqsReader::new(
        &clients,
        &queue(QUEUE, false, Duration::ZERO),
        Arc::default(),
    );
    let shard = ShardId::from("shardId-1");
    let whole = br#"{"Records":[],"Messages":[],"NextShardIterator":"next"}"#;
    let cases = [
        // Even if the object is complete: more may have been lost.
        (
            &whole[..],
            Ending::ConnectionLost,
            "the connection was lost",
        ),
        (
            &whole[..20],
            Ending::ConnectionLost,
            "the connection was lost",
        ),
        (&whole[..20], Ending::Complete, "malformed response at byte"),
        (&whole[..20], Ending::Hanging, "not complete within 40 s"),
    ];
    for (body, ending, cause) in cases {
        http.respond_with(200, &[], body);
        http.end(ending);
        let results = [
            read(&clients).await,
            table.read(&shard, &cursor(), limits(10)).await.map(drop),
            queue
                .receive(1, Duration::ZERO, Duration::ZERO, &ROOM)
                .await
                .map(drop),
        ];
        let calls = [
            "GetRecords of stream s",
            "table t",
            "ReceiveMessage of queue q",
        ];
        for (result, call) in results.into_iter().zip(calls) {
            let error = result.unwrap_err();
            let is_read = ending == Ending::Hanging && call != "ReceiveMessage of queue q";
            let fault = if is_read {
                Fault::TimedOut
            } else {
                Fault::Transient
            };
            assert_eq!(error.fault, fault);
            let text = chain(&error);
            assert!(text.contains(call) && text.contains(cause), "{text}");
        }
    }
    http.respond_with(200, &[], whole);
    read(&clients).await.unwrap();
}

#[test]
fn both_codes_of_a_missing_queue_are_known() {
    let (http, clients) = TestHttp::new();
    let reader = SqsReader::new(
        &clients,
        &queue(QUEUE, false, Duration::ZERO),
        Arc::default(),
    );
    let query = (
        "x-amzn-query-error",
        "AWS.SimpleQueueService.NonExistentQueue;Sender",
    );
    let body = br#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"gone"}"#;
    for headers in [&[query][..], &[]] {
        http.respond_with(400, headers, body);
        let received = runtime().block_on(reader.receive(1, Duration::ZERO, Duration::ZERO, &ROOM));
        let error = received.unwrap_err();
        assert_eq!(error.fault, Fault::Gone);
        assert_eq!(error.operation, "ReceiveMessage of queue q");
        let source = error.source.to_string();
        assert!(source.starts_with("QueueDoesNotExist: gone; "), "{source}");
    }
}

#[test]
fn an_error_that_an_operator_must_resolve_has_a_remedy() {
    let (http, clients) = TestHttp::new();
    for (code, remedy) in [
        ("AccessDeniedException", Some("grant kinesis:GetRecords on")),
        ("ExpiredTokenException", Some("renew")),
        ("KMSDisabledException", Some("KMS key")),
        ("ResourceNotFoundException", Some("check the name")),
        ("InternalFailure", None),
    ] {
        let body = format!(r#"{{"__type":"{code}","message":"reason"}}"#);
        http.respond_with(400, &[], body.as_bytes());
        let error = runtime().block_on(read(&clients)).unwrap_err();
        let source = error.source.to_string();
        let Some(remedy) = remedy else {
            assert_eq!(source, format!("{code}: reason"));
            continue;
        };
        assert!(source.starts_with(&format!("{code}: reason; ")), "{source}");
        assert!(source.contains(remedy), "{source}");
    }
}

#[test]
fn a_server_that_answers_in_xml_is_named() {
    let (http, clients) = TestHttp::new();
    let stream = KinesisReader::new(&clients, &Arn::parse(STREAM).unwrap(), None, "role");
    let queue = SqsReader::new(
        &clients,
        &queue(QUEUE, false, Duration::ZERO),
        Arc::default(),
    );
    let error = "<ErrorResponse><Error><Code>MissingAction</Code></Error></ErrorResponse>";
    let success = "\n<?xml version=\"1.0\"?><ReceiveMessageResponse/>";
    let html = "<!DOCTYPE html><html></html>";
    for (status, body, is_named) in [
        (400, error, true),
        (200, success, true),
        (400, html, false),
        (200, html, false),
        // Of a load balancer.
        (503, error, false),
    ] {
        http.respond_with(status, &[], body.as_bytes());
        let errors = runtime().block_on(async {
            [
                read(&clients).await.unwrap_err(),
                stream.list_shards().await.unwrap_err(),
                queue.attributes().await.map(drop).unwrap_err(),
                queue
                    .receive(1, Duration::ZERO, Duration::ZERO, &ROOM)
                    .await
                    .map(drop)
                    .unwrap_err(),
            ]
        });
        for error in errors {
            assert_eq!(error.fault, Fault::Transient);
            let text = chain(&error);
            assert_eq!(text.contains("answers in XML"), is_named, "{status} {text}");
        }
    }
}
