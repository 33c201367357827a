//! Queues themselves: how they are made and described; and what is refused, in which words.

use super::*;

const VALUE: &str = "InvalidParameterValueException";
const MISSING: &str = "MissingRequiredParameterException";

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

/// Each call, with the code and the beginning of the text of its refusal.
async fn expect(bench: &Bench, expected: &[(&str, &str, Value, &str, &str)]) {
    for (operation, queue, request, code, text) in expected {
        let refused = refusal(bench, operation, queue, request.clone()).await;
        assert_eq!(refused.0, *code, "{operation}: {}", refused.1);
        assert!(refused.1.starts_with(text), "{operation}: {}", refused.1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_sent_is_refused_by_what_is_wrong_with_it() {
    let bench = Bench::with_queue("q", &[]);
    bench.0.create_queue("q.fifo", &[]).unwrap();
    let fifo = |rest: Value| {
        let mut message = json!({"MessageBody": "m"});
        message
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        ("SendMessage", "q.fifo", message)
    };
    let plain = |queue, body: &str| ("SendMessage", queue, json!({"MessageBody": body}));
    let calls = [
        (
            plain("none", "m"),
            "QueueDoesNotExist",
            "The specified queue does not exist.",
        ),
        (
            plain("q", ""),
            MISSING,
            "The request must contain the parameter MessageBody.",
        ),
        (
            plain("q", "\u{1}"),
            "InvalidMessageContents",
            "the body has characters outside of",
        ),
        (
            fifo(json!({})),
            MISSING,
            "The request must contain the parameter MessageGroupId.",
        ),
        (
            fifo(json!({"MessageGroupId": "g"})),
            VALUE,
            "The queue should either have Content",
        ),
        (
            fifo(json!({"MessageGroupId": "g", "MessageDeduplicationId": "1", "DelaySeconds": 1})),
            VALUE,
            "Value 1 for parameter DelaySeconds is invalid. Reason: The request include",
        ),
        (
            fifo(json!({"MessageGroupId": " "})),
            VALUE,
            "Value   for parameter MessageGroupId is invalid. Reason: MessageGroupId can only",
        ),
    ];
    let calls = calls
        .map(|((operation, queue, request), code, text)| (operation, queue, request, code, text));
    expect(&bench, &calls).await;
    assert_eq!(
        (bench.counts("q"), bench.counts("q.fifo")),
        ((0, 0, 0), (0, 0, 0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_receive_is_refused_by_what_is_wrong_with_it() {
    let bench = Bench::with_queue("q", &[]);
    let calls = [
        (
            json!({"MaxNumberOfMessages": 11}),
            VALUE,
            "Value 11 for parameter MaxNumberOfMessages is",
        ),
        (
            json!({"WaitTimeSeconds": 21}),
            VALUE,
            "Value 21 for parameter WaitTimeSeconds is invalid. \
             Reason: must be between 0 and 20 seconds.",
        ),
        (
            json!({"MessageSystemAttributeNames": ["Colour"]}),
            "InvalidAttributeName",
            "Unknown Attribute Colour.",
        ),
        (
            json!({"ReceiveRequestAttemptId": "1"}),
            "SerializationException",
            "unknown field `ReceiveRequestAttemptId`",
        ),
    ];
    let calls = calls.map(|(request, code, text)| ("ReceiveMessage", "q", request, code, text));
    expect(&bench, &calls).await;
}

#[tokio::test(start_paused = true)]
async fn batches_handles_and_settings_are_refused_by_what_is_wrong_with_them() {
    let bench = Bench::with_queue("q", &[]);
    bench.0.create_queue("q.fifo", &[]).unwrap();
    let entry = |id: &str| json!({"Id": id, "ReceiptHandle": "x"});
    let deletes = |ids: &[&str]| {
        let entries: Vec<Value> = ids.iter().map(|id| entry(id)).collect();
        ("DeleteMessageBatch", json!({"Entries": entries}))
    };
    let eleven = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    let set =
        |name: &str, value: &str| ("SetQueueAttributes", json!({"Attributes": {name: value}}));
    let target = "arn:aws:sqs:us-east-1:000000000000:q.fifo";
    let policy = json!({"deadLetterTargetArn": target, "maxReceiveCount": 1}).to_string();
    let calls = [
        (
            deletes(&[]),
            "EmptyBatchRequest",
            "There should be at least one entry in the request.",
        ),
        (
            deletes(&eleven),
            "TooManyEntriesInBatchRequest",
            "Maximum number of entries per request are 10. You have sent 11.",
        ),
        (
            deletes(&["1", "1"]),
            "BatchEntryIdsNotDistinct",
            "Id 1 repeated.",
        ),
        (
            deletes(&["a b"]),
            "InvalidBatchEntryId",
            "A batch entry id can only contain",
        ),
        (
            ("DeleteMessage", json!({"ReceiptHandle": "x"})),
            "ReceiptHandleIsInvalid",
            "The input receipt handle \"x\" is not a valid receipt handle.",
        ),
        (
            set("VisibilityTimeout", "43201"),
            "InvalidAttributeValue",
            "Invalid value '43201' for the parameter VisibilityTimeout.",
        ),
        (
            set("Policy", "{}"),
            "InvalidAttributeName",
            "Unknown Attribute Policy. The emulator",
        ),
        (
            set("FifoQueue", "true"),
            "InvalidAttributeName",
            "Unknown Attribute FifoQueue.",
        ),
        (
            set("RedrivePolicy", &policy),
            VALUE,
            "Value arn:aws:sqs:us-east-1:000000000000:q.fifo \
            for parameter RedrivePolicy is invalid. Reason: Dead letter target must be same",
        ),
        (
            ("TagQueue", json!({})),
            "UnknownOperationException",
            "the emulator's SQS has no operation",
        ),
    ];
    let calls =
        calls.map(|((operation, request), code, text)| (operation, "q", request, code, text));
    expect(&bench, &calls).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_the_older_protocols_code_too() {
    let sqs = Sqs::new(BASE);
    let answer = sqs.call("GetQueueUrl", br#"{"QueueName":"none"}"#).await;
    let code = "AWS.SimpleQueueService.NonExistentQueue;Sender";
    assert_eq!(answer.query_error.as_deref(), Some(code));
}
