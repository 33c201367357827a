//! Which calls a queue gets, and what their results mean for each message.

use std::time::Duration;

use serde_json::{Value, json};
use windlass_core::ids::ReceiptHandle;
use windlass_core::outcome::Fault;
use windlass_core::queue::EntryResult;
use windlass_engine::ports::QueueReader;

use crate::aws::sqs::SqsReader;
use crate::tests::test_http::{Canned, queue};

const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:q";
const URL: &str = "https://sqs.us-east-1.amazonaws.com/1/q";

fn reader() -> (Canned, SqsReader) {
    let (canned, clients) = Canned::new();
    let reader = SqsReader::new(&clients, &queue(QUEUE, false, Duration::ZERO));
    (canned, reader)
}

fn receipts(n: usize) -> Vec<ReceiptHandle> {
    let handles = (0..n).map(|number| format!("r{number}"));
    handles.map(|it| ReceiptHandle::from(it.as_str())).collect()
}

/// What is answered when these entries succeed and those fail.
fn entries(done: std::ops::Range<usize>, failed: &[(usize, bool)]) -> String {
    let done: Vec<_> = done.map(|id| json!({"Id": id.to_string()})).collect();
    let failed = failed.iter().map(|(id, sender)| {
        json!({"Id": id.to_string(), "SenderFault": sender, "Code": "ReceiptHandleIsInvalid"})
    });
    let failed: Vec<_> = failed.collect();
    json!({"Successful": done, "Failed": failed}).to_string()
}

#[tokio::test]
async fn a_receive_asks_for_all_that_an_event_shows() {
    let (canned, reader) = reader();
    canned.answer(b"{}");
    for _ in 0..2 {
        let wait = Duration::from_secs(20);
        let messages = reader.receive(7, wait, Duration::from_secs(90)).await;
        assert_eq!(messages.unwrap(), []);
    }
    let requests = canned.requests();
    let url = json!({"QueueName": "q", "QueueOwnerAWSAccountId": "123456789012"});
    assert_eq!(requests[0].call(), ("GetQueueUrl", url));
    let receive = json!({"QueueUrl": URL, "MaxNumberOfMessages": 7, "WaitTimeSeconds": 20,
        "VisibilityTimeout": 90, "MessageAttributeNames": ["All"],
        "MessageSystemAttributeNames": ["All"]});
    for request in &requests[1..] {
        assert_eq!(request.call(), ("ReceiveMessage", receive.clone()));
    }
    assert_eq!(requests.len(), 3, "where the queue is is asked once");
}

#[tokio::test]
async fn messages_are_deleted_ten_at_a_time_and_each_has_its_result() {
    let (canned, reader) = reader();
    canned.next(200, &entries(0..10, &[]));
    // 3 has failed by the queue's fault, 4 is refused, and of 5 nothing is said.
    canned.next(200, &entries(6..10, &[(3, false), (4, true)]));
    canned.next(200, &entries(0..3, &[]));
    let results = reader.delete(&receipts(23)).await.unwrap();
    let mut expected = vec![EntryResult::Done; 23];
    expected[10..13].fill(EntryResult::Failed);
    expected[13..16].copy_from_slice(&[
        EntryResult::Failed,
        EntryResult::Refused,
        EntryResult::Failed,
    ]);
    assert_eq!(results, expected);
    let requests = canned.requests();
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
        canned.requests().len(),
        0,
        "nothing to delete, nothing to call"
    );
}

#[tokio::test]
async fn visibility_is_changed_in_whole_seconds() {
    let (canned, reader) = reader();
    canned.next(200, &entries(0..2, &[]));
    let results = reader
        .change_visibility(&receipts(2), Duration::from_secs(43_200))
        .await;
    assert_eq!(results.unwrap(), [EntryResult::Done; 2]);
    let requests = canned.requests();
    let entry = |id: &str, handle: &str| -> Value {
        json!({"Id": id, "ReceiptHandle": handle, "VisibilityTimeout": 43_200})
    };
    let body = json!({"QueueUrl": URL, "Entries": [entry("0", "r0"), entry("1", "r1")]});
    assert_eq!(requests[1].call(), ("ChangeMessageVisibilityBatch", body));
}

#[tokio::test]
async fn what_a_queue_says_of_itself_is_read() {
    let (canned, reader) = reader();
    let says = [
        (r#"{"Attributes":{"VisibilityTimeout":"600"}}"#, 600),
        (r#"{"Attributes":{"VisibilityTimeout":"0"}}"#, 0),
        (r#"{"Attributes":{}}"#, 30),
        ("{}", 30),
    ];
    for (body, seconds) in says {
        canned.answer(body.as_bytes());
        let timeout = reader.attributes().await.unwrap().visibility_timeout;
        assert_eq!(timeout, Duration::from_secs(seconds));
    }
    canned.fail(
        403,
        &[],
        br#"{"__type":"AccessDeniedException","message":"no"}"#,
    );
    let error = reader.attributes().await.unwrap_err();
    assert_eq!(error.fault, Fault::Denied);
}
