//! What a redrive calls: buckets with documents, and queues that messages are sent to.

use serde_json::{Value, json};
use windlass_core::arn::Arn;
use windlass_core::message::Message;
use windlass_core::outcome::Fault;
use windlass_core::redrive::OutgoingMessage;
use windlass_engine::ports::{DocumentBucket as _, QueueReader as _, QueueSender as _};

use super::ROOM;
use crate::aws::bucket::S3Bucket;
use crate::aws::queue_sender::SqsSender;
use crate::aws::sqs::SqsReader;
use crate::tests::test_http::{TestHttp, queue};

const LIST: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
    <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>failed</Name>\
    <Contents><Key>aws/lambda/1</Key></Contents><Contents><Key>aws/lambda/2</Key></Contents>\
    </ListBucketResult>";

#[tokio::test]
async fn a_bucket_is_listed_from_a_key_and_its_objects_are_read_and_deleted() {
    let (http, clients) = TestHttp::new();
    let bucket = S3Bucket::new(&clients.s3, "failed");
    http.respond(LIST.as_bytes());
    let keys = bucket.keys("aws/", None).await.unwrap();
    assert_eq!(keys, ["aws/lambda/1", "aws/lambda/2"]);
    let request = http.requests().pop().unwrap();
    assert!(request.uri.contains("prefix=aws%2F"), "{}", request.uri);
    // A server that begins at the first key again would never end.
    let error = bucket.keys("aws/", Some("aws/lambda/2")).await.unwrap_err();
    assert_eq!(error.fault, Fault::Transient);
    let request = http.requests().pop().unwrap();
    assert!(
        request.uri.contains("start-after=aws%2Flambda%2F2"),
        "{}",
        request.uri
    );
    http.respond(b"{\"a\":1}");
    assert_eq!(&bucket.get("aws/lambda/1").await.unwrap()[..], b"{\"a\":1}");
    bucket.delete("aws/lambda/1").await.unwrap();
    let request = http.requests().pop().unwrap();
    assert!(request.uri.contains("/aws/lambda/1"), "{}", request.uri);
    http.respond_once(404, "<Error><Code>NoSuchBucket</Code></Error>");
    assert_eq!(bucket.keys("", None).await.unwrap_err().fault, Fault::Gone);
}

/// A message as it was received, and as it is sent again.
async fn received(body: &Value) -> (Message, OutgoingMessage) {
    let (http, clients) = TestHttp::new();
    let source = queue(
        "arn:aws:sqs:us-east-1:123456789012:dead.fifo",
        true,
        Default::default(),
    );
    let reader = SqsReader::new(&clients, &source, Default::default());
    http.respond(json!({"Messages": [body]}).to_string().as_bytes());
    let second = std::time::Duration::from_secs(1);
    let mut messages = reader.receive(10, second, second, &ROOM).await.unwrap();
    let message = messages.remove(0);
    let outgoing = OutgoingMessage::of(&message).unwrap();
    (message, outgoing)
}

#[tokio::test]
async fn a_message_is_sent_with_what_its_sender_gave_it() {
    let attributes = json!({
        "text": {"DataType": "String", "StringValue": "a\"b"},
        "bytes": {"DataType": "Binary", "BinaryValue": "AAE="},
    });
    let (message, outgoing) = received(&json!({
        "MessageId": "14e0db71-5d35-4eb5-b481-8945cf9d10c2",
        "ReceiptHandle": "handle",
        "Body": "{\"n\": \"é\"}",
        "MD5OfBody": "x",
        "Attributes": {
            "SentTimestamp": "1700000000000", "ApproximateReceiveCount": "4",
            "MessageGroupId": "group", "MessageDeduplicationId": "id",
            "SequenceNumber": "1", "AWSTraceHeader": "Root=1-2-3",
        },
        "MessageAttributes": attributes,
    }))
    .await;
    assert_eq!(message.sent.as_millis(), 1_700_000_000_000);
    let (http, clients) = TestHttp::new();
    for (name, new_id) in [("jobs.fifo", false), ("jobs.fifo", true), ("jobs", false)] {
        http.respond(b"{\"MessageId\":\"m\",\"MD5OfMessageBody\":\"x\"}");
        let arn = Arn::parse(&format!("arn:aws:sqs:us-east-1:123456789012:{name}")).unwrap();
        let sender = SqsSender::new(&clients, &arn);
        sender.send(&outgoing, new_id).await.ok();
        let requests = http.requests();
        let (call, body) = requests.last().unwrap().call();
        assert_eq!(call, "SendMessage");
        assert_eq!(body["MessageBody"], "{\"n\": \"é\"}");
        assert_eq!(body["MessageAttributes"], attributes);
        assert_eq!(body["MessageGroupId"], "group");
        let header = &body["MessageSystemAttributes"]["AWSTraceHeader"];
        assert_eq!(header["StringValue"], "Root=1-2-3");
        let id = body["MessageDeduplicationId"].as_str();
        match (name, new_id) {
            ("jobs", _) => assert_eq!(id, None),
            (_, false) => assert_eq!(id, Some("id")),
            (_, true) => assert_eq!(id.map(str::len), Some(36)),
        }
    }
}

#[tokio::test]
async fn the_redrive_policy_names_the_dead_letter_queue() {
    let (http, clients) = TestHttp::new();
    let arn = |name: &str| Arn::parse(&format!("arn:aws:sqs:us-east-1:1:{name}")).unwrap();
    let sender = SqsSender::new(&clients, &arn("jobs.fifo"));
    for (policy, expected) in [
        (None, Some(None)),
        (
            Some(
                "{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:1:dead.fifo\",\
                 \"maxReceiveCount\":\"3\"}",
            ),
            Some(Some(arn("dead.fifo"))),
        ),
        (Some("{}"), None),
    ] {
        let attributes = policy.map_or(json!({}), |policy| json!({"RedrivePolicy": policy}));
        http.respond(json!({"Attributes": attributes}).to_string().as_bytes());
        assert_eq!(
            sender.dead_letter_queue().await.ok(),
            expected,
            "{policy:?}"
        );
    }
}

#[tokio::test]
async fn the_clock_of_a_queue_is_read_from_its_answers() {
    let (http, clients) = TestHttp::new();
    let arn = Arn::parse("arn:aws:sqs:us-east-1:123456789012:jobs.fifo").unwrap();
    let sender = SqsSender::new(&clients, &arn);
    assert_eq!(sender.clock_difference(), None);
    let date = [("date", "Sun, 06 Nov 1994 08:49:37 GMT")];
    http.respond_with(200, &date, b"{\"QueueUrl\": \"http://localhost/jobs\"}");
    sender.dead_letter_queue().await.unwrap();
    // It is decades behind.
    assert!(
        sender
            .clock_difference()
            .is_some_and(|it| it < -1_000_000_000)
    );
}
