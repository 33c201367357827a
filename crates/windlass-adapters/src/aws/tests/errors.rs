//! Errors of calls whose answers are read raw: their codes and texts are those the SDK finds.

use std::time::Duration;

use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use windlass_core::arn::Arn;
use windlass_core::ids::ShardId;
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_engine::ports::{PortError, QueueReader, StreamReader, chain};

use super::limits;
use crate::aws::dynamodb_streams::DynamoDbStreamsReader;
use crate::aws::kinesis::KinesisReader;
use crate::aws::sqs::SqsReader;
use crate::tests::test_http::{Canned, Ending, queue, runtime};

const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
const TABLE: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2026";
const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:q";

/// What GetRecords of Kinesis makes of the answer that is set.
async fn read(clients: &crate::aws::AwsClients) -> Result<(), PortError> {
    let reader = KinesisReader::new(clients, &Arn::parse(STREAM).unwrap(), "role");
    let (shard, cursor) = (ShardId::from("shardId-1"), cursor());
    reader.read(&shard, &cursor, limits(10)).await.map(drop)
}

fn cursor() -> Cursor {
    Cursor {
        after: Position::TrimHorizon,
        iterator: Some("i".into()),
    }
}

#[test]
fn codes_and_texts_are_those_the_sdk_finds() {
    const THROTTLED: &str = "ProvisionedThroughputExceededException";
    let (canned, clients) = Canned::new();
    let type_header = |value| vec![("x-amzn-errortype", value)];
    let url = "ThrottlingException:http://internal.amazon.com/coral/#x";
    let answers: [(Vec<(&str, &str)>, &str); 7] = [
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
    for (headers, body) in answers {
        canned.fail(400, &headers, body.as_bytes());
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
            assert_eq!(raw.source.to_string(), text, "{body}");
            assert_eq!(raw.operation, "GetRecords of stream s");
        });
    }
}

#[test]
fn what_is_not_json_is_an_error_of_the_other_side() {
    let (canned, clients) = Canned::new();
    let html = b"<html>Bad Gateway</html>";
    for (status, body) in [
        (502, &html[..]),
        (200, html),
        (200, b""),
        (200, b"{}"),
        (500, b"[1]"),
    ] {
        canned.fail(status, &[], body);
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
        canned.fail(400, &[], body.as_bytes());
        let error = runtime().block_on(read(&clients)).unwrap_err();
        assert_eq!(error.fault, fault, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_to_its_end_is_an_error_of_the_call() {
    let (canned, clients) = Canned::new();
    let table = Arn::parse(TABLE).unwrap();
    let table = DynamoDbStreamsReader::new(&clients, &table);
    let queue = SqsReader::new(&clients, &queue(QUEUE, false, Duration::ZERO));
    let shard = ShardId::from("shardId-1");
    let whole = br#"{"Records":[],"Messages":[],"NextShardIterator":"next"}"#;
    let cases = [
        // However much has come: what is lost may have been more.
        (&whole[..], Ending::Lost, "the connection was lost"),
        (&whole[..20], Ending::Lost, "the connection was lost"),
        (
            &whole[..20],
            Ending::Whole,
            "the answer is malformed at byte",
        ),
        (&whole[..20], Ending::Open, "not ended within 40 s"),
    ];
    for (body, ending, cause) in cases {
        canned.fail(200, &[], body);
        canned.end(ending);
        let found = [
            read(&clients).await,
            table.read(&shard, &cursor(), limits(10)).await.map(drop),
            queue
                .receive(1, Duration::ZERO, Duration::ZERO)
                .await
                .map(drop),
        ];
        let calls = [
            "GetRecords of stream s",
            "table t",
            "ReceiveMessage of queue q",
        ];
        for (found, call) in found.into_iter().zip(calls) {
            let error = found.unwrap_err();
            assert_eq!(error.fault, Fault::Transient);
            let text = chain(&error);
            assert!(text.contains(call) && text.contains(cause), "{text}");
        }
    }
    canned.fail(200, &[], whole);
    read(&clients).await.unwrap();
}

#[test]
fn a_queue_that_is_gone_is_known_by_either_of_its_codes() {
    let (canned, clients) = Canned::new();
    let reader = SqsReader::new(&clients, &queue(QUEUE, false, Duration::ZERO));
    let query = (
        "x-amzn-query-error",
        "AWS.SimpleQueueService.NonExistentQueue;Sender",
    );
    let body = br#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"gone"}"#;
    for headers in [&[query][..], &[]] {
        canned.fail(400, headers, body);
        let received = runtime().block_on(reader.receive(1, Duration::ZERO, Duration::ZERO));
        let error = received.unwrap_err();
        assert_eq!(error.fault, Fault::Gone);
        assert_eq!(error.operation, "ReceiveMessage of queue q");
        assert_eq!(error.source.to_string(), "QueueDoesNotExist: gone");
    }
}
