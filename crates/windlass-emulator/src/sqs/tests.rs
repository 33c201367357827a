//! Queues, through the operations of SQS and with a clock that the tests advance.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

mod errors;
mod fifo;
mod long_polling;

const ENDPOINT: &str = "http://127.0.0.1:4566";

fn with_queue(name: &str, attributes: &[(&str, &str)]) -> Sqs {
    let sqs = Sqs::new(ENDPOINT.to_owned());
    sqs.create_queue(name, attributes).unwrap();
    sqs
}

impl Sqs {
    /// The response, or the code and the message of the error.
    async fn try_json(
        &self,
        operation: &str,
        queue: &str,
        mut request: Value,
    ) -> Result<Value, (String, String)> {
        request["QueueUrl"] = format!("{ENDPOINT}/000000000000/{queue}").into();
        let response = self.call(operation, request.to_string().as_bytes()).await;
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        if response.status == 200 {
            return Ok(body);
        }
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let code = text("__type");
        let code = code.strip_prefix("com.amazonaws.sqs#").unwrap().to_owned();
        Err((code, text("message")))
    }

    async fn json(&self, operation: &str, queue: &str, request: Value) -> Value {
        self.try_json(operation, queue, request).await.unwrap()
    }

    /// Messages with all their system attributes.
    async fn receive_with(&self, queue: &str, mut request: Value) -> Vec<Value> {
        request["MessageSystemAttributeNames"] = json!(["All"]);
        let response = self.json("ReceiveMessage", queue, request).await;
        let messages = response["Messages"].as_array();
        messages.cloned().unwrap_or_default()
    }

    async fn receive_all(&self, queue: &str) -> Vec<Value> {
        let ten = json!({"MaxNumberOfMessages": 10});
        self.receive_with(queue, ten).await
    }

    /// The one failed entry, if there is one.
    async fn delete(&self, queue: &str, message: &Value) -> Value {
        let entry = json!({"Id": "1", "ReceiptHandle": message["ReceiptHandle"]});
        let entries = json!({"Entries": [entry]});
        let response = self.json("DeleteMessageBatch", queue, entries).await;
        response["Failed"][0].clone()
    }

    /// The one failed entry, if there is one.
    async fn change_visibility(&self, queue: &str, message: &Value, seconds: u64) -> Value {
        let entry = json!({"Id": "1", "ReceiptHandle": message["ReceiptHandle"],
            "VisibilityTimeout": seconds});
        let entries = json!({"Entries": [entry]});
        let operation = "ChangeMessageVisibilityBatch";
        let response = self.json(operation, queue, entries).await;
        response["Failed"][0].clone()
    }

    /// Visible messages and messages in flight.
    fn counts(&self, queue: &str) -> (usize, usize) {
        let now = self.clock.now_ms();
        self.lock().get_mut(queue).unwrap().counts(now)
    }
}

async fn advance(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

fn bodies(messages: &[Value]) -> Vec<&str> {
    let bodies = messages.iter().map(|message| &message["Body"]);
    bodies.map(|body| body.as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_in_flight_becomes_visible_after_its_visibility_timeout() {
    let sqs = with_queue("q", &[("VisibilityTimeout", "20")]);
    sqs.send("q", None, "m").unwrap();
    let sent_at = sqs.clock.now_ms();
    advance(1).await;
    let first = sqs.receive_all("q").await.remove(0);
    let first_at = sqs.clock.now_ms();
    assert_eq!(first["MD5OfBody"], "6f8f57715090da2632453988d9a1501b");
    assert_eq!(sqs.counts("q"), (0, 1));
    advance(19).await;
    assert_eq!(sqs.receive_all("q").await, Vec::<Value>::new());
    advance(1).await;
    let second = sqs.receive_all("q").await.remove(0);
    assert_eq!(second["MessageId"], first["MessageId"]);
    assert_ne!(second["ReceiptHandle"], first["ReceiptHandle"]);
    let expected = json!({
        "ApproximateReceiveCount": "2",
        "SentTimestamp": sent_at.to_string(),
        "SenderId": "AIDAEMULATOR000000000",
        "ApproximateFirstReceiveTimestamp": first_at.to_string(),
    });
    assert_eq!(second["Attributes"], expected);
    // The handle of an earlier receive deletes nothing, and that is not an error.
    assert_eq!(sqs.delete("q", &first).await, Value::Null);
    assert_eq!(sqs.counts("q"), (0, 1));
    sqs.delete("q", &second).await;
    assert_eq!(sqs.delete("q", &second).await, Value::Null);
    assert_eq!(sqs.counts("q"), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_visible_again_can_be_deleted() {
    let sqs = with_queue("q", &[("VisibilityTimeout", "20")]);
    sqs.send("q", None, "m").unwrap();
    let message = sqs.receive_all("q").await.remove(0);
    advance(20).await;
    sqs.delete("q", &message).await;
    assert_eq!(sqs.counts("q"), (0, 0));
    assert_eq!(sqs.receive_all("q").await, Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_changed_visibility_timeout_starts_now_and_ends_within_twelve_hours() {
    let sqs = with_queue("q", &[]);
    sqs.send("q", None, "m").unwrap();
    let two = json!({"VisibilityTimeout": 2});
    let message = sqs.receive_with("q", two).await.remove(0);
    advance(1).await;
    sqs.change_visibility("q", &message, 10).await;
    advance(9).await;
    assert_eq!(sqs.counts("q"), (0, 1));
    sqs.change_visibility("q", &message, 0).await;
    assert_eq!(sqs.counts("q"), (1, 0));
    let failed = sqs.change_visibility("q", &message, 5).await;
    let code = "AWS.SimpleQueueService.MessageNotInflight";
    assert_eq!(failed["Code"], code);
    let message = sqs.receive_all("q").await.remove(0);
    advance(10).await;
    let failed = sqs.change_visibility("q", &message, 43_190).await;
    assert_eq!(failed, Value::Null);
    let failed = sqs.change_visibility("q", &message, 43_191).await;
    let text = failed["Message"].as_str().unwrap();
    assert!(text.contains("beyond the limit"), "{text}");
    sqs.delete("q", &message).await;
    let failed = sqs.change_visibility("q", &message, 5).await;
    assert_eq!(failed["Code"], "InvalidParameterValue");
}

#[tokio::test(start_paused = true)]
async fn entries_of_a_batch_fail_separately() {
    let sqs = with_queue("q", &[]);
    sqs.create_queue("other", &[]).unwrap();
    for body in ["first", "second"] {
        sqs.send("q", None, body).unwrap();
    }
    sqs.send("other", None, "m").unwrap();
    let handle = sqs.receive_all("q").await[0]["ReceiptHandle"].clone();
    let of_other = sqs.receive_all("other").await[0]["ReceiptHandle"].clone();
    let entries = json!({"Entries": [
        {"Id": "a", "ReceiptHandle": of_other},
        {"Id": "b", "ReceiptHandle": handle},
    ]});
    let response = sqs.json("DeleteMessageBatch", "q", entries).await;
    assert_eq!(response["Successful"], json!([{"Id": "b"}]));
    let failed = &response["Failed"];
    assert_eq!(failed.as_array().unwrap().len(), 1);
    assert_eq!(failed[0]["Id"], "a");
    assert_eq!(failed[0]["Code"], "ReceiptHandleIsInvalid");
    assert_eq!(failed[0]["SenderFault"], true);
    assert_eq!(sqs.counts("q"), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_queue_has_a_url_and_attributes() {
    let sqs = with_queue(
        "q.fifo",
        &[("FifoQueue", "true"), ("VisibilityTimeout", "9")],
    );
    for group in ["a", "b", "c"] {
        sqs.send("q.fifo", Some(group), "m").unwrap();
    }
    sqs.receive_with("q.fifo", json!({})).await;
    let get = async |names: Value| {
        let request = json!({"AttributeNames": names});
        sqs.json("GetQueueAttributes", "q.fifo", request).await
    };
    let expected = json!({"Attributes": {
        "ApproximateNumberOfMessages": "2",
        "ApproximateNumberOfMessagesNotVisible": "1",
        "FifoQueue": "true",
        "QueueArn": "arn:aws:sqs:us-east-1:000000000000:q.fifo",
        "VisibilityTimeout": "9",
    }});
    assert_eq!(get(json!(["All"])).await, expected);
    let expected = json!({"Attributes": {"VisibilityTimeout": "9"}});
    assert_eq!(get(json!(["VisibilityTimeout"])).await, expected);
    let url = async |owner: &str| {
        let request = json!({"QueueName": "q.fifo", "QueueOwnerAWSAccountId": owner});
        let response = sqs
            .call("GetQueueUrl", request.to_string().as_bytes())
            .await;
        serde_json::from_slice::<Value>(&response.body).unwrap()
    };
    let expected = json!({"QueueUrl": format!("{ENDPOINT}/000000000000/q.fifo")});
    assert_eq!(url("000000000000").await, expected);
    let unknown = url("123456789012").await;
    assert_eq!(unknown["__type"], "com.amazonaws.sqs#QueueDoesNotExist");
}
