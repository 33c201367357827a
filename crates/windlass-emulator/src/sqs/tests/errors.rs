//! Invalid requests, and their errors.

use super::*;

async fn assert_errors(sqs: &Sqs, cases: &[(&str, &str, Value, &str, &str)]) {
    for (operation, queue, request, code, text) in cases {
        let error = sqs.try_json(operation, queue, request.clone()).await;
        let error = error.unwrap_err();
        assert_eq!(error.0, *code, "{operation}: {}", error.1);
        assert!(error.1.starts_with(text), "{operation}: {}", error.1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_receive_fails_with_the_errors_of_aws() {
    let sqs = with_queue("q", &[]);
    let invalid = "InvalidParameterValueException";
    let cases = [
        (
            json!({"MaxNumberOfMessages": 11}),
            invalid,
            "Value 11 for parameter MaxNumberOfMessages is",
        ),
        (
            json!({"WaitTimeSeconds": 21}),
            invalid,
            "Value 21 for parameter WaitTimeSeconds is invalid. \
             Reason: must be between 0 and 20 seconds.",
        ),
        (
            json!({"ReceiveRequestAttemptId": "1"}),
            "SerializationException",
            "unknown field `ReceiveRequestAttemptId`",
        ),
    ];
    let cases = cases.map(|(request, code, text)| ("ReceiveMessage", "q", request, code, text));
    assert_errors(&sqs, &cases).await;
}

#[tokio::test(start_paused = true)]
async fn an_invalid_batch_fails_as_a_whole_with_the_errors_of_aws() {
    let sqs = with_queue("q", &[]);
    let entries = |ids: &[&str]| {
        let entries: Vec<Value> = ids
            .iter()
            .map(|id| json!({"Id": id, "ReceiptHandle": "x"}))
            .collect();
        json!({"Entries": entries})
    };
    let eleven = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    let cases = [
        (
            entries(&[]),
            "EmptyBatchRequest",
            "There should be at least one entry in the request.",
        ),
        (
            entries(&eleven),
            "TooManyEntriesInBatchRequest",
            "Maximum number of entries per request are 10. You have sent 11.",
        ),
        (
            entries(&["1", "1"]),
            "BatchEntryIdsNotDistinct",
            "Id 1 repeated.",
        ),
        (
            entries(&["a b"]),
            "InvalidBatchEntryId",
            "A batch entry id can only contain",
        ),
    ];
    let cases = cases.map(|(request, code, text)| ("DeleteMessageBatch", "q", request, code, text));
    assert_errors(&sqs, &cases).await;
}

#[tokio::test(start_paused = true)]
async fn unknown_queues_attributes_and_operations_are_errors() {
    let sqs = with_queue("q", &[]);
    let unknown = json!({"AttributeNames": ["Policy"]});
    let cases = [
        (
            "ReceiveMessage",
            "none",
            json!({}),
            "QueueDoesNotExist",
            "The specified queue does not exist.",
        ),
        (
            "GetQueueAttributes",
            "q",
            unknown,
            "InvalidAttributeName",
            "Unknown Attribute Policy.",
        ),
        (
            "TagQueue",
            "q",
            json!({}),
            "UnknownOperationException",
            "the emulator of SQS has no operation",
        ),
    ];
    assert_errors(&sqs, &cases).await;
}

#[test]
fn invalid_queues_and_messages_are_rejected() {
    let sqs = with_queue("q.fifo", &[]);
    let create = |name: &str, attribute: (&str, &str)| {
        let error = sqs.create_queue(name, &[attribute]).unwrap_err();
        error.code
    };
    let timeout = ("VisibilityTimeout", "30");
    assert_eq!(create("q.fifo", timeout), "QueueNameExists");
    let invalid = "InvalidAttributeValue";
    assert_eq!(create("q", ("FifoQueue", "true")), invalid);
    assert_eq!(create("q", ("VisibilityTimeout", "43201")), invalid);
    assert_eq!(create("q", ("Policy", "{}")), "InvalidAttributeName");
    let unknown = sqs.send("q", None, "m").unwrap_err();
    assert_eq!(unknown.code, "QueueDoesNotExist");
    let without_group = sqs.send("q.fifo", None, "m").unwrap_err();
    assert_eq!(without_group.code, "MissingRequiredParameterException");
}

#[tokio::test(start_paused = true)]
async fn an_error_also_has_the_code_of_the_query_protocol() {
    let sqs = with_queue("q", &[]);
    let response = sqs.call("GetQueueUrl", br#"{"QueueName":"none"}"#).await;
    let code = "AWS.SimpleQueueService.NonExistentQueue;Sender";
    assert_eq!(response.query_error.as_deref(), Some(code));
}
