//! The rules of queues, by the wire's JSON and under a clock that stands still.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

mod fifo;
mod refusals;
mod waiting;

const BASE: &str = "http://127.0.0.1:4566";

// Digests of attributes, made by another program after AWS's description.
const ALL_ATTRIBUTES: &str = "2c726c6a2349606a2b4db4f314fcb009";
const KIND: &str = "8cc3ab13200b21b0d17b28c4d98ec74a";
const TRACE: &str = "d6619b3d47b81d3fc72c0db005a70eda";

/// Queues, and the calls that tests make of them.
struct Bench(Sqs);

impl Bench {
    fn with_queue(name: &str, attributes: &[(&str, &str)]) -> Self {
        let bench = Self(Sqs::new(BASE));
        bench.0.create_queue(name, attributes).unwrap();
        bench
    }

    /// The answer, or the code and the text of the refusal.
    async fn ask(
        &self,
        operation: &str,
        queue: &str,
        mut request: Value,
    ) -> Result<Value, (String, String)> {
        request["QueueUrl"] = format!("{BASE}/000000000000/{queue}").into();
        let answer = self.0.call(operation, request.to_string().as_bytes()).await;
        let body: Value = match &answer.body[..] {
            b"" => Value::Null,
            body => serde_json::from_slice(body).unwrap(),
        };
        if answer.status == 200 {
            return Ok(body);
        }
        assert_eq!(answer.status, 400);
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Err((text("__type"), text("message")))
    }

    async fn call(&self, operation: &str, queue: &str, request: Value) -> Value {
        self.ask(operation, queue, request).await.unwrap()
    }

    /// Messages, with all their system attributes.
    async fn receive_with(&self, queue: &str, mut request: Value) -> Vec<Value> {
        request["MessageSystemAttributeNames"] = json!(["All"]);
        let answer = self.call("ReceiveMessage", queue, request).await;
        let messages = answer.get("Messages").cloned();
        messages.map_or_else(Vec::new, |messages| messages.as_array().unwrap().clone())
    }

    async fn receive(&self, queue: &str) -> Vec<Value> {
        let ten = json!({"MaxNumberOfMessages": 10});
        self.receive_with(queue, ten).await
    }

    async fn delete(&self, queue: &str, message: &Value) {
        let handle = json!({"ReceiptHandle": message["ReceiptHandle"]});
        self.call("DeleteMessage", queue, handle).await;
    }

    async fn change(&self, queue: &str, message: &Value, seconds: u64) {
        let change =
            json!({"ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds});
        self.call("ChangeMessageVisibility", queue, change).await;
    }

    /// Visible, in flight and delayed messages.
    fn counts(&self, queue: &str) -> (usize, usize, usize) {
        let counts = self.0.counts(queue).unwrap();
        (counts.visible, counts.in_flight, counts.delayed)
    }

    fn now(&self) -> u64 {
        self.0.clock.now()
    }
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

fn bodies(messages: &[Value]) -> Vec<&str> {
    let bodies = messages.iter().map(|message| &message["Body"]);
    bodies.map(|body| body.as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_in_flight_comes_back_after_its_visibility_timeout() {
    let bench = Bench::with_queue("q", &[("VisibilityTimeout", "20")]);
    let sent = bench.0.send("q", None, "m").unwrap();
    let sent_at = bench.now();
    pass(1).await;
    let first = bench.receive("q").await.remove(0);
    let first_at = bench.now();
    assert_eq!(first["MessageId"], sent.message_id.as_str());
    assert_eq!(first["MD5OfBody"], "6f8f57715090da2632453988d9a1501b");
    assert_eq!(bench.counts("q"), (0, 1, 0));
    pass(19).await;
    assert_eq!(bench.receive("q").await, Vec::<Value>::new());
    pass(1).await;
    let second = bench.receive("q").await.remove(0);
    assert_eq!(second["MessageId"], first["MessageId"]);
    assert_ne!(second["ReceiptHandle"], first["ReceiptHandle"]);
    let expected = json!({
        "ApproximateReceiveCount": "2",
        "SentTimestamp": sent_at.to_string(),
        "SenderId": "AIDAEMULATOR000000000",
        "ApproximateFirstReceiveTimestamp": first_at.to_string(),
    });
    assert_eq!(second["Attributes"], expected);
    // The handle of a receive before the last one deletes nothing, and nobody is told.
    bench.delete("q", &first).await;
    assert_eq!(bench.counts("q"), (0, 1, 0));
    bench.delete("q", &second).await;
    bench.delete("q", &second).await;
    assert_eq!(bench.counts("q"), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_visibility_timeout_is_changed_from_now_on_and_for_twelve_hours_at_most() {
    let bench = Bench::with_queue("q", &[]);
    bench.0.send("q", None, "m").unwrap();
    let two = json!({"VisibilityTimeout": 2});
    let message = bench.receive_with("q", two).await.remove(0);
    pass(1).await;
    bench.change("q", &message, 10).await;
    pass(9).await;
    assert_eq!(bench.counts("q"), (0, 1, 0));
    bench.change("q", &message, 0).await;
    assert_eq!(bench.counts("q"), (1, 0, 0));
    let change = |message: &Value, seconds: u64| json!({"ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds});
    let refused = bench.ask("ChangeMessageVisibility", "q", change(&message, 5));
    let (code, _) = refused.await.unwrap_err();
    assert_eq!(code, "com.amazonaws.sqs#MessageNotInflight");
    let message = bench.receive("q").await.remove(0);
    pass(10).await;
    bench.change("q", &message, 43_190).await;
    let refused = bench.ask("ChangeMessageVisibility", "q", change(&message, 43_191));
    let (_, text) = refused.await.unwrap_err();
    assert!(text.contains("beyond the limit"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_message_received_too_often_goes_to_the_queue_for_dead_letters() {
    let bench = Bench::with_queue("dead", &[]);
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":"2"}"#;
    let source = bench.0.create_queue("q", &[("RedrivePolicy", policy)]);
    let sent = bench.0.send("q", None, "poison").unwrap();
    for _ in 0..2 {
        let message = bench.receive("q").await.remove(0);
        bench.change("q", &message, 0).await;
    }
    bench.0.send("q", None, "sound").unwrap();
    assert_eq!(bodies(&bench.receive("q").await), ["sound"]);
    assert_eq!(bench.counts("q"), (0, 1, 0));
    // There it stays, however often it is received.
    for count in ["3", "4", "5", "6"] {
        let message = bench.receive("dead").await.remove(0);
        assert_eq!(message["MessageId"], sent.message_id.as_str());
        let attributes = &message["Attributes"];
        assert_eq!(attributes["ApproximateReceiveCount"], count);
        let arn = source.as_ref().unwrap().as_str();
        assert_eq!(attributes["DeadLetterQueueSourceArn"], arn);
        bench.change("dead", &message, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn delays_and_retention_end_by_the_clock() {
    let settings = [("DelaySeconds", "5"), ("MessageRetentionPeriod", "60")];
    let bench = Bench::with_queue("q", &settings);
    bench.0.send("q", None, "late").unwrap();
    let at_once = json!({"MessageBody": "at once", "DelaySeconds": 0});
    bench.call("SendMessage", "q", at_once).await;
    assert_eq!(bench.counts("q"), (1, 0, 1));
    assert_eq!(bodies(&bench.receive("q").await), ["at once"]);
    pass(5).await;
    assert_eq!(bodies(&bench.receive("q").await), ["late"]);
    pass(55).await;
    assert_eq!(bench.counts("q"), (2, 0, 0));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(bench.counts("q"), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn entries_of_a_batch_fail_each_for_itself() {
    let bench = Bench::with_queue("q", &[("MaximumMessageSize", "1024")]);
    let entries = json!({"Entries": [
        {"Id": "a", "MessageBody": "first"},
        {"Id": "b", "MessageBody": "x".repeat(1025)},
        {"Id": "c", "MessageBody": "third"},
        {"Id": "d"},
    ]});
    let answer = bench.call("SendMessageBatch", "q", entries).await;
    let ids = |answer: &Value, list: &str| -> Vec<String> {
        let entries = answer[list].as_array().unwrap().iter();
        entries.map(|entry| entry["Id"].to_string()).collect()
    };
    assert_eq!(ids(&answer, "Successful"), ["\"a\"", "\"c\""]);
    let text =
        "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.";
    let expected = json!([
        {"Id": "b", "SenderFault": true, "Code": "InvalidParameterValue", "Message": text},
        {"Id": "d", "SenderFault": true, "Code": "MissingParameter",
            "Message": "The request must contain the parameter MessageBody."},
    ]);
    assert_eq!(answer["Failed"], expected);
    let messages = bench.receive("q").await;
    assert_eq!(bodies(&messages), ["first", "third"]);
    let handle = |at: usize| messages[at]["ReceiptHandle"].clone();
    let changes = json!({"Entries": [
        {"Id": "0", "ReceiptHandle": handle(0), "VisibilityTimeout": 0},
        {"Id": "1", "ReceiptHandle": "none", "VisibilityTimeout": 0},
    ]});
    let answer = bench
        .call("ChangeMessageVisibilityBatch", "q", changes)
        .await;
    assert_eq!(ids(&answer, "Successful"), ["\"0\""]);
    assert_eq!(answer["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
    assert_eq!(bench.counts("q"), (1, 1, 0));
    let deletes = json!({"Entries": [
        {"Id": "0", "ReceiptHandle": "none"},
        {"Id": "1", "ReceiptHandle": handle(1)},
    ]});
    let answer = bench.call("DeleteMessageBatch", "q", deletes).await;
    assert_eq!(answer["Successful"], json!([{"Id": "1"}]));
    assert_eq!(ids(&answer, "Failed"), ["\"0\""]);
    assert_eq!(bench.counts("q"), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn attributes_of_a_message_come_back_as_asked_with_their_digest() {
    let bench = Bench::with_queue("q", &[]);
    let attributes = json!({
        "kind": {"DataType": "String", "StringValue": "order"},
        "size.x": {"DataType": "Number.int", "StringValue": "12"},
        "blob": {"DataType": "Binary", "BinaryValue": "AAEC"},
    });
    let trace = json!({"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}});
    let message = json!({"MessageBody": "This is a test message", "MessageAttributes": attributes,
        "MessageSystemAttributes": trace});
    let sent = bench.call("SendMessage", "q", message).await;
    assert_eq!(sent["MD5OfMessageBody"], "fafb00f5732ab283681e124bf8747ed1");
    assert_eq!(sent["MD5OfMessageAttributes"], ALL_ATTRIBUTES);
    assert_eq!(sent["MD5OfMessageSystemAttributes"], TRACE);
    let ask = async |names: Value| {
        let request = json!({"MessageAttributeNames": names, "VisibilityTimeout": 0});
        let message = bench.receive_with("q", request).await.remove(0);
        let digest = message.get("MD5OfMessageAttributes").cloned();
        (message["MessageAttributes"].clone(), digest)
    };
    let all = Some(json!(ALL_ATTRIBUTES));
    assert_eq!(ask(json!(["All"])).await, (attributes.clone(), all.clone()));
    assert_eq!(
        ask(json!(["bl.*", "kind", "size.*"])).await,
        (attributes, all)
    );
    let kind = json!({"kind": {"DataType": "String", "StringValue": "order"}});
    assert_eq!(ask(json!(["kind"])).await, (kind, Some(json!(KIND))));
    assert_eq!(ask(json!(["other"])).await, (Value::Null, None));
    let shown = bench.receive("q").await.remove(0);
    assert_eq!(shown["Attributes"]["AWSTraceHeader"], "Root=1");
}
