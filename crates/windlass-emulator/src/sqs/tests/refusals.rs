//! Queues themselves: how they are made and described; and what is refused, in which words.

use super::*;

/// The code of a refusal without its namespace, and its text.
async fn refusal(bench: &Bench, operation: &str, queue: &str, request: Value) -> (String, String) {
    let asked = bench.ask(operation, queue, request).await;
    let (code, text) = asked.unwrap_err();
    let code = code.strip_prefix("com.amazonaws.sqs#").unwrap();
    (code.to_owned(), text)
}

fn because(code: &str, text: &str) -> (String, String) {
    (code.to_owned(), text.to_owned())
}

async fn create(sqs: &Sqs, name: &str, attributes: Value) -> (u16, Value) {
    let request = json!({"QueueName": name, "Attributes": attributes}).to_string();
    let answer = sqs.call("CreateQueue", request.as_bytes()).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_made_once_and_found_by_its_name() {
    let sqs = Sqs::new(format!("{BASE}/"));
    let url = json!({"QueueUrl": "http://127.0.0.1:4566/000000000000/q"});
    for attributes in [json!({"VisibilityTimeout": "9"}), json!({})] {
        assert_eq!(create(&sqs, "q", attributes).await, (200, url.clone()));
    }
    let (status, other) = create(&sqs, "q", json!({"VisibilityTimeout": "8"})).await;
    assert_eq!(
        (status, &other["__type"]),
        (400, &json!("com.amazonaws.sqs#QueueNameExists"))
    );
    create(&sqs, "other", json!({})).await;
    let ask = async |operation: &str, request: Value| {
        let answer = sqs.call(operation, request.to_string().as_bytes()).await;
        (
            answer.status,
            serde_json::from_slice::<Value>(&answer.body).unwrap(),
        )
    };
    let name = json!({"QueueName": "q", "QueueOwnerAWSAccountId": "000000000000"});
    assert_eq!(ask("GetQueueUrl", name).await, (200, url.clone()));
    let foreign = json!({"QueueName": "q", "QueueOwnerAWSAccountId": "123456789012"});
    assert_eq!(ask("GetQueueUrl", foreign).await.0, 400);
    let urls = json!({"QueueUrls": [url["QueueUrl"]]});
    assert_eq!(
        ask("ListQueues", json!({"QueueNamePrefix": "q"})).await,
        (200, urls)
    );
    let (_, all) = ask("ListQueues", json!({})).await;
    assert_eq!(all["QueueUrls"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_queue_describes_itself() {
    let bench = Bench::with_queue(
        "q.fifo",
        &[("FifoQueue", "true"), ("VisibilityTimeout", "9")],
    );
    let created = (bench.now() / 1_000).to_string();
    pass(2).await;
    for group in ["a", "b", "c"] {
        bench.0.send("q.fifo", Some(group), "m").unwrap();
    }
    bench.receive_with("q.fifo", json!({})).await;
    let set = json!({"Attributes": {"ContentBasedDeduplication": "true"}});
    bench.call("SetQueueAttributes", "q.fifo", set).await;
    let all = json!({"AttributeNames": ["All"]});
    let answer = bench.call("GetQueueAttributes", "q.fifo", all).await;
    let expected = json!({"Attributes": {
        "ApproximateNumberOfMessages": "2",
        "ApproximateNumberOfMessagesDelayed": "0",
        "ApproximateNumberOfMessagesNotVisible": "1",
        "ContentBasedDeduplication": "true",
        "CreatedTimestamp": created,
        "DelaySeconds": "0",
        "FifoQueue": "true",
        "LastModifiedTimestamp": (bench.now() / 1_000).to_string(),
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "QueueArn": "arn:aws:sqs:us-east-1:000000000000:q.fifo",
        "ReceiveMessageWaitTimeSeconds": "0",
        "VisibilityTimeout": "9",
    }});
    assert_eq!(answer, expected);
    let one = json!({"AttributeNames": ["VisibilityTimeout", "Policy"]});
    let answer = bench.call("GetQueueAttributes", "q.fifo", one).await;
    assert_eq!(answer, json!({"Attributes": {"VisibilityTimeout": "9"}}));
}

#[tokio::test(start_paused = true)]
async fn a_purge_empties_a_queue_once_a_minute() {
    let bench = Bench::with_queue("q", &[]);
    bench.0.send("q", None, "a").unwrap();
    let message = bench.receive("q").await.remove(0);
    bench.0.send("q", None, "b").unwrap();
    bench.call("PurgeQueue", "q", json!({})).await;
    assert_eq!(bench.counts("q"), (0, 0, 0));
    bench.delete("q", &message).await;
    pass(59).await;
    let text = "Only one PurgeQueue operation on q is allowed every 60 seconds.";
    let refused = refusal(&bench, "PurgeQueue", "q", json!({})).await;
    assert_eq!(refused, because("PurgeQueueInProgress", text));
    pass(1).await;
    bench.call("PurgeQueue", "q", json!({})).await;
}

#[tokio::test(start_paused = true)]
async fn refusals_name_what_is_wrong() {
    let bench = Bench::with_queue("q", &[]);
    bench.0.create_queue("q.fifo", &[]).unwrap();
    let (value, missing) = (
        "InvalidParameterValueException",
        "MissingRequiredParameterException",
    );
    let expected = [
        (
            "SendMessage",
            "none",
            json!({"MessageBody": "m"}),
            "QueueDoesNotExist",
            "The specified queue does not exist.",
        ),
        (
            "ReceiveMessage",
            "q",
            json!({"MaxNumberOfMessages": 11}),
            value,
            "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 \
             and 10, if provided.",
        ),
        (
            "ReceiveMessage",
            "q",
            json!({"WaitTimeSeconds": 21}),
            value,
            "Value 21 for parameter WaitTimeSeconds is invalid. Reason: must be between 0 and 20 \
             seconds.",
        ),
        (
            "ReceiveMessage",
            "q",
            json!({"MessageSystemAttributeNames": ["Colour"]}),
            "InvalidAttributeName",
            "Unknown Attribute Colour.",
        ),
        (
            "ReceiveMessage",
            "q",
            json!({"ReceiveRequestAttemptId": "1"}),
            "SerializationException",
            "unknown field `ReceiveRequestAttemptId`",
        ),
        (
            "SendMessage",
            "q",
            json!({"MessageBody": ""}),
            missing,
            "The request must contain the parameter MessageBody.",
        ),
        (
            "SendMessage",
            "q",
            json!({"MessageBody": "\u{1}"}),
            "InvalidMessageContents",
            "the body has characters outside of",
        ),
        (
            "SendMessage",
            "q.fifo",
            json!({"MessageBody": "m"}),
            missing,
            "The request must contain the parameter MessageGroupId.",
        ),
        (
            "SendMessage",
            "q.fifo",
            json!({"MessageBody": "m", "MessageGroupId": "g"}),
            value,
            "The queue should either have ContentBasedDeduplication enabled or \
             MessageDeduplicationId provided explicitly",
        ),
        (
            "SendMessage",
            "q.fifo",
            json!({"MessageBody": "m", "MessageGroupId": "g",
            "MessageDeduplicationId": "1", "DelaySeconds": 1}),
            value,
            "Value 1 for parameter DelaySeconds is invalid. Reason: The request include",
        ),
        (
            "SendMessageBatch",
            "q",
            json!({"Entries": []}),
            "EmptyBatchRequest",
            "There should be at least one entry in the request.",
        ),
        (
            "DeleteMessageBatch",
            "q",
            json!({"Entries": [{"Id": "1", "ReceiptHandle": "x"},
            {"Id": "1", "ReceiptHandle": "x"}]}),
            "BatchEntryIdsNotDistinct",
            "Id 1 repeated.",
        ),
        (
            "DeleteMessage",
            "q",
            json!({"ReceiptHandle": "x"}),
            "ReceiptHandleIsInvalid",
            "The input receipt handle \"x\" is not a valid receipt handle.",
        ),
        (
            "SetQueueAttributes",
            "q",
            json!({"Attributes": {"VisibilityTimeout": "43201"}}),
            "InvalidAttributeValue",
            "Invalid value '43201' for the parameter VisibilityTimeout.",
        ),
        (
            "SetQueueAttributes",
            "q",
            json!({"Attributes": {"RedrivePolicy":
            r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:q.fifo","maxReceiveCount":1}"#}}),
            value,
            "Value arn:aws:sqs:us-east-1:000000000000:q.fifo for parameter RedrivePolicy \
            is invalid. Reason: Dead letter target must be same type of queue as the source.",
        ),
        (
            "TagQueue",
            "q",
            json!({}),
            "UnknownOperationException",
            "the emulator's SQS has no operation TagQueue",
        ),
    ];
    for (operation, queue, request, code, text) in expected {
        let refused = refusal(&bench, operation, queue, request).await;
        assert_eq!(refused.0, code, "{operation}: {}", refused.1);
        assert!(refused.1.starts_with(text), "{operation}: {}", refused.1);
    }
    let too_many: Vec<Value> = (0..11)
        .map(|id| json!({"Id": id.to_string(), "MessageBody": "m"}))
        .collect();
    let refused = refusal(
        &bench,
        "SendMessageBatch",
        "q",
        json!({"Entries": too_many}),
    )
    .await;
    let text = "Maximum number of entries per request are 10. You have sent 11.";
    assert_eq!(refused, because("TooManyEntriesInBatchRequest", text));
    assert_eq!(bench.counts("q"), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_the_older_protocols_code_too() {
    let sqs = Sqs::new(BASE);
    let answer = sqs.call("GetQueueUrl", br#"{"QueueName":"none"}"#).await;
    let code = "AWS.SimpleQueueService.NonExistentQueue;Sender";
    assert_eq!(answer.query_error.as_deref(), Some(code));
}
