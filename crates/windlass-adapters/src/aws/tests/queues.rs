//! The calls for a queue, and what their results mean for each message.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Notify;
use windlass_core::arn::SourceArn;
use windlass_core::ids::ReceiptHandle;
use windlass_core::outcome::Fault;
use windlass_core::queue::{EntryResult, QueueAttributes, VisibilityChange};
use windlass_engine::ports::{KeptMemory, QueueReader, ResponseMemory, chain};
use windlass_engine::requests::{QueueOperation, QueueRequests};

use super::ROOM;
use crate::aws::source_exists;
use crate::aws::sqs::SqsReader;
use crate::tests::test_http::{TestHttp, queue};

const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:q";
const URL: &str = "https://sqs.us-east-1.amazonaws.com/1/q";

fn reader() -> (TestHttp, SqsReader) {
    let (http, clients) = TestHttp::new();
    let reader = SqsReader::new(
        &clients,
        &queue(QUEUE, false, Duration::ZERO),
        Arc::default(),
    );
    (http, reader)
}

fn receipts(n: usize) -> Vec<ReceiptHandle> {
    let handles = (0..n).map(|number| format!("r{number}"));
    handles.map(|it| ReceiptHandle::from(it.as_str())).collect()
}

/// The response of a batch call with these successful and failed entries.
fn batch_response(done: std::ops::Range<usize>, failed: &[(usize, bool)]) -> String {
    let done: Vec<_> = done.map(|id| json!({"Id": id.to_string()})).collect();
    let failed = failed.iter().map(|(id, sender)| {
        let code = if *sender {
            "ReceiptHandleIsInvalid"
        } else {
            "InternalError"
        };
        json!({"Id": id.to_string(), "SenderFault": sender, "Code": code})
    });
    let failed: Vec<_> = failed.collect();
    json!({"Successful": done, "Failed": failed}).to_string()
}

/// Memory that is granted when the test says so.
#[derive(Debug, Default)]
struct HeldBack {
    requested: Notify,
    granted: Notify,
}

#[async_trait]
impl ResponseMemory for HeldBack {
    async fn reserve(&self, event_bytes: Option<usize>) -> usize {
        assert_eq!(event_bytes, None, "the length of the response is unknown");
        self.requested.notify_one();
        self.granted.notified().await;
        usize::MAX
    }

    fn keep(&self, _: usize) -> KeptMemory {
        unreachable!("a receive keeps nothing")
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_waits_for_memory_is_still_complete() {
    let (http, reader) = reader();
    let message = json!({"MessageId": "m", "ReceiptHandle": "r", "Body": "b"});
    http.respond(
        json!({"QueueUrl": URL, "Messages": [message]})
            .to_string()
            .as_bytes(),
    );
    let memory = HeldBack::default();
    let receive = reader.receive(1, Duration::ZERO, Duration::ZERO, &memory);
    let grant = async {
        memory.requested.notified().await;
        assert_eq!(http.requests().len(), 2, "GetQueueUrl and ReceiveMessage");
        // The time that a response may take runs only while it is read.
        tokio::time::sleep(Duration::from_secs(600)).await;
        memory.granted.notify_one();
    };
    let (received, ()) = tokio::join!(receive, grant);
    assert_eq!(received.unwrap().len(), 1);
}

#[tokio::test]
async fn a_receive_requests_all_attributes_of_an_event() {
    let (http, reader) = reader();
    http.respond(b"{}");
    for _ in 0..2 {
        let wait = Duration::from_secs(20);
        let messages = reader
            .receive(7, wait, Duration::from_secs(90), &ROOM)
            .await;
        assert_eq!(messages.unwrap(), []);
    }
    let requests = http.requests();
    let url = json!({"QueueName": "q", "QueueOwnerAWSAccountId": "123456789012"});
    assert_eq!(requests[0].call(), ("GetQueueUrl", url));
    let receive = json!({"QueueUrl": URL, "MaxNumberOfMessages": 7, "WaitTimeSeconds": 20,
        "VisibilityTimeout": 90, "AttributeNames": ["All"], "MessageAttributeNames": ["All"],
        "MessageSystemAttributeNames": ["All"]});
    for request in &requests[1..] {
        assert_eq!(request.call(), ("ReceiveMessage", receive.clone()));
    }
    assert_eq!(requests.len(), 3, "the URL of the queue is requested once");
}

#[tokio::test]
async fn at_aws_the_url_of_a_queue_comes_from_its_arn() {
    let (http, mut clients) = TestHttp::new();
    clients.custom_endpoints = Arc::default();
    http.respond(b"{}");
    for (arn, url) in [
        (QUEUE, "https://sqs.us-east-1.amazonaws.com/123456789012/q"),
        (
            "arn:aws-cn:sqs:cn-north-1:123456789012:q.fifo",
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q.fifo",
        ),
    ] {
        let reader = SqsReader::new(&clients, &queue(arn, false, Duration::ZERO), Arc::default());
        let received = reader
            .receive(1, Duration::ZERO, Duration::ZERO, &ROOM)
            .await;
        assert_eq!(received.unwrap(), []);
        let source = SourceArn::parse(arn).unwrap();
        source_exists(&clients, &source).await.unwrap();
        let requests = http.requests();
        let calls = requests.iter().map(|request| {
            let (call, body) = request.call();
            assert_eq!(body["QueueUrl"], url);
            call
        });
        let calls: Vec<_> = calls.collect();
        assert_eq!(calls, ["ReceiveMessage", "GetQueueAttributes"]);
    }
}

#[tokio::test]
async fn a_denied_call_names_its_action() {
    let (http, reader) = reader();
    http.respond_with(403, &[], br#"{"__type":"AccessDeniedException"}"#);
    let receipts = receipts(1);
    for (error, action) in [
        (reader.attributes().await.err(), "sqs:GetQueueAttributes"),
        (
            reader
                .receive(1, Duration::ZERO, Duration::ZERO, &ROOM)
                .await
                .err(),
            "sqs:ReceiveMessage",
        ),
        (reader.delete(&receipts).await.err(), "sqs:DeleteMessage"),
        (
            reader
                .change_visibility(&VisibilityChange::all(receipts.clone(), Duration::ZERO))
                .await
                .err(),
            "sqs:ChangeMessageVisibility",
        ),
    ] {
        let text = chain(&error.unwrap());
        assert!(text.contains(&format!("grant {action} on this")), "{text}");
    }
}

#[tokio::test]
async fn redrive_policy_and_retention_are_read() {
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:1:dead","maxReceiveCount":3}"#;
    for (policy, has_redrive_policy) in [(Some(policy), true), (Some(""), false), (None, false)] {
        let (http, reader) = reader();
        let mut attributes = json!({
            "VisibilityTimeout": "45",
            "MessageRetentionPeriod": "345600",
        });
        if let Some(policy) = policy {
            attributes["RedrivePolicy"] = policy.into();
        }
        http.respond(json!({"Attributes": attributes}).to_string().as_bytes());
        let attributes = reader.attributes().await.unwrap();
        let expected = QueueAttributes {
            visibility_timeout: Duration::from_secs(45),
            has_redrive_policy,
            retention: Some(Duration::from_secs(345_600)),
        };
        assert_eq!(attributes, expected, "{policy:?}");
    }
}

#[tokio::test]
async fn messages_are_deleted_ten_at_a_time_with_one_result_each() {
    let (http, reader) = reader();
    http.respond_once(200, &batch_response(0..10, &[]));
    // 3 failed by a fault of the queue, 4 was refused, and 5 is missing.
    http.respond_once(200, &batch_response(6..10, &[(3, false), (4, true)]));
    http.respond_once(200, &batch_response(0..3, &[]));
    let results = reader.delete(&receipts(23)).await.unwrap();
    let mut expected = vec![EntryResult::Done; 23];
    let failed = EntryResult::Failed(Fault::Transient);
    expected[10..13].fill(failed);
    expected[13..16].copy_from_slice(&[failed, EntryResult::Refused, failed]);
    assert_eq!(results, expected);
    let requests = http.requests();
    let deletes: Vec<_> = requests
        .iter()
        .map(|it| it.call())
        .filter(|it| it.0 != "GetQueueUrl")
        .collect();
    let sizes = deletes.iter().map(|(operation, body)| {
        assert_eq!(*operation, "DeleteMessageBatch");
        body["Entries"].as_array().map(Vec::len)
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [Some(10), Some(10), Some(3)]);
    assert_eq!(
        deletes[2].1["Entries"][2],
        json!({"Id": "2", "ReceiptHandle": "r22"})
    );
    assert_eq!(reader.delete(&[]).await.unwrap(), []);
    assert_eq!(
        http.requests().len(),
        0,
        "without messages there is no call"
    );
}

#[tokio::test]
async fn a_call_that_fails_leaves_the_results_of_the_others() {
    let (http, reader) = reader();
    http.respond_once(200, &batch_response(0..10, &[]));
    http.respond_once(400, r#"{"__type": "com.amazonaws.sqs#AccessDenied"}"#);
    let results = reader.delete(&receipts(23)).await.unwrap();
    let mut expected = vec![EntryResult::Failed(Fault::Denied); 23];
    expected[..10].fill(EntryResult::Done);
    assert_eq!(results, expected);
    http.respond_once(400, r#"{"__type": "com.amazonaws.sqs#AccessDenied"}"#);
    let error = reader.delete(&receipts(23)).await.unwrap_err();
    assert_eq!(error.fault, Fault::Denied);
}

#[tokio::test]
async fn a_call_that_is_rejected_for_one_handle_is_repeated_for_each() {
    let (http, reader) = reader();
    let rejected = r#"{"__type": "com.amazonaws.sqs#ReceiptHandleIsInvalid"}"#;
    let respond = || {
        http.respond_once(400, rejected);
        http.respond_once(200, &batch_response(0..1, &[]));
        http.respond_once(400, rejected);
        http.respond_once(200, &batch_response(0..1, &[]));
    };
    let expected = [EntryResult::Done, EntryResult::Refused, EntryResult::Done];
    respond();
    assert_eq!(reader.delete(&receipts(3)).await.unwrap(), expected);
    respond();
    let changes = VisibilityChange::all(receipts(3), Duration::ZERO);
    let changed = reader.change_visibility(&changes).await.unwrap();
    assert_eq!(changed, expected);
    http.respond_once(400, rejected);
    let alone = reader.delete(&receipts(1)).await.unwrap();
    assert_eq!(alone, [EntryResult::Refused]);
}

#[tokio::test]
async fn requests_are_counted_by_operation() {
    let (http, clients) = TestHttp::new();
    let requests = Arc::<QueueRequests>::default();
    let queue = queue(QUEUE, false, Duration::ZERO);
    let reader = SqsReader::new(&clients, &queue, Arc::clone(&requests));
    for entries in [0..10, 0..10, 0..3, 0..1] {
        http.respond_once(200, &batch_response(entries, &[]));
    }
    reader.delete(&receipts(23)).await.unwrap();
    let timeout = Duration::from_secs(30);
    let changed = reader
        .change_visibility(&VisibilityChange::all(receipts(1), timeout))
        .await;
    assert_eq!(changed.unwrap(), [EntryResult::Done]);
    http.respond(br#"{"Messages":[]}"#);
    for _ in 0..2 {
        let received = reader.receive(1, Duration::ZERO, timeout, &ROOM).await;
        assert_eq!(received.unwrap(), []);
    }
    http.respond(b"{}");
    reader.attributes().await.unwrap();
    let counts = QueueOperation::ALL.map(|operation| requests.get(operation));
    assert_eq!(counts, [2, 3, 1, 1]);
}

#[tokio::test]
async fn visibility_is_changed_in_whole_seconds() {
    let (http, reader) = reader();
    http.respond_once(200, &batch_response(0..2, &[]));
    let mut changes = VisibilityChange::all(receipts(2), Duration::from_secs(43_200));
    changes[1].timeout = Duration::from_millis(5_999);
    let results = reader.change_visibility(&changes).await;
    assert_eq!(results.unwrap(), [EntryResult::Done; 2]);
    let requests = http.requests();
    let entry = |id: &str, handle: &str, timeout: u32| -> Value {
        json!({"Id": id, "ReceiptHandle": handle, "VisibilityTimeout": timeout})
    };
    let entries = [entry("0", "r0", 43_200), entry("1", "r1", 5)];
    let body = json!({"QueueUrl": URL, "Entries": entries});
    assert_eq!(requests[1].call(), ("ChangeMessageVisibilityBatch", body));
}

#[tokio::test]
async fn the_visibility_timeout_of_a_queue_is_read() {
    let (http, reader) = reader();
    let responses = [
        (r#"{"Attributes":{"VisibilityTimeout":"600"}}"#, 600),
        (r#"{"Attributes":{"VisibilityTimeout":"0"}}"#, 0),
        (r#"{"Attributes":{}}"#, 30),
        ("{}", 30),
    ];
    for (body, seconds) in responses {
        http.respond(body.as_bytes());
        let timeout = reader.attributes().await.unwrap().visibility_timeout;
        assert_eq!(timeout, Duration::from_secs(seconds));
    }
    http.respond_with(
        403,
        &[],
        br#"{"__type":"AccessDeniedException","message":"no"}"#,
    );
    let error = reader.attributes().await.unwrap_err();
    assert_eq!(error.fault, Fault::Denied);
}
