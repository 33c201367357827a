//! The source of a benchmark: its records and its counts.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::message::{MessageTemplate, Received};
use super::page::PageTemplate;
use super::*;

const LOAD: StreamLoad = StreamLoad {
    shards: 3,
    record_bytes: 20,
    read_delay: Duration::ZERO,
};

fn records(stream: &Stream, iterator: &str, limit: u32) -> Value {
    let request = json!({"ShardIterator": iterator, "Limit": limit}).to_string();
    serde_json::from_slice(&stream.get_records(request.as_bytes()).unwrap()).unwrap()
}

fn iterator(stream: &Stream, request: Value) -> String {
    let response = stream
        .get_shard_iterator(request.to_string().as_bytes())
        .unwrap();
    response["ShardIterator"].as_str().unwrap().to_owned()
}

#[test]
fn records_are_spread_evenly_and_counted() {
    let stream = &Stream::new(LOAD);
    stream.release(4);
    stream.release(4);
    let per_shard: Vec<u64> = (0..3).map(|shard| stream.available(shard)).collect();
    assert_eq!(per_shard, [3, 3, 2]);
    let page = records(stream, "0:0", 2);
    assert_eq!(page["Records"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&page["NextShardIterator"], &page["MillisBehindLatest"]),
        (&json!("0:2"), &json!(1000))
    );
    let page = records(stream, "0:2", 2);
    assert_eq!(page["Records"].as_array().unwrap().len(), 1);
    assert_eq!(page["MillisBehindLatest"], 0);
    let page = records(stream, "0:3", 2);
    assert!(page["Records"].as_array().unwrap().is_empty());
    let expected = BenchCounts {
        read: 3,
        shards_read: 1,
        reads: 3,
        ..BenchCounts::default()
    };
    assert_eq!(stream.counts(), expected);
}

#[test]
fn sequence_numbers_grow_across_pages_and_can_be_read_after() {
    let stream = &Stream::new(LOAD);
    stream.release(30);
    let mut numbers = Vec::new();
    for index in [0, 5] {
        let page = records(stream, &format!("1:{index}"), 5);
        for record in page["Records"].as_array().unwrap() {
            numbers.push(record["SequenceNumber"].as_str().unwrap().to_owned());
        }
    }
    assert!(numbers.is_sorted() && numbers.len() == 10);
    numbers.dedup();
    assert_eq!(numbers.len(), 10);
    let request = json!({"ShardId": "shardId-000000000001",
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": numbers[6]});
    assert_eq!(iterator(stream, request), "1:7");
}

/// The payloads of the first events of a subscription, read by its client one after the other.
async fn events_of(source: &Arc<Source>, position: Value, n_events: usize) -> Vec<Value> {
    let Source::Stream(stream) = source.as_ref() else {
        unreachable!("it is a stream");
    };
    let request = json!({"ConsumerARN": "c", "ShardId": "shardId-000000000001",
        "StartingPosition": position});
    let mut body = subscribe(source, stream, request.to_string().as_bytes()).into_body();
    let mut payloads = Vec::new();
    for _ in 0..=n_events {
        let message = body.frame().await.unwrap().unwrap();
        let message = message.into_data().unwrap();
        let length = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        let start = 12 + length(4) as usize;
        let payload = &message[start..message.len() - 4];
        payloads.push(serde_json::from_slice(payload).unwrap());
    }
    payloads.split_off(1)
}

#[tokio::test(start_paused = true)]
async fn a_subscription_sends_what_is_released_and_can_be_continued() {
    let source = Arc::new(Source::Stream(Stream::new(LOAD)));
    let oldest = json!({"Type": "TRIM_HORIZON"});
    let empty = events_of(&source, oldest.clone(), 1).await;
    assert!(empty[0]["Records"].as_array().unwrap().is_empty());
    source.release(3 * 1_500);
    let events = events_of(&source, oldest, 2).await;
    let count = |event: &Value| event["Records"].as_array().unwrap().len();
    assert_eq!((count(&events[0]), count(&events[1])), (1_000, 500));
    assert_eq!(events[1]["MillisBehindLatest"], 0);
    let continuation = &events[0]["ContinuationSequenceNumber"];
    assert_eq!(continuation, &events[0]["Records"][999]["SequenceNumber"]);
    let at = json!({"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": continuation});
    let events = events_of(&source, at, 1).await;
    assert_eq!(count(&events[0]), 501);
    assert_eq!(&events[0]["Records"][0]["SequenceNumber"], continuation);
    assert_eq!(
        (source.counts().shards_read, source.counts().read),
        (1, 2_001)
    );
}

#[test]
fn many_shards_are_listed_in_pages() {
    let stream = Stream::new(StreamLoad {
        shards: 1500,
        ..LOAD
    });
    let first = stream.list_shards(b"{}").unwrap();
    assert_eq!(first["Shards"].as_array().unwrap().len(), 1000);
    let token = json!({"NextToken": first["NextToken"]}).to_string();
    let second = stream.list_shards(token.as_bytes()).unwrap();
    assert_eq!(second["Shards"].as_array().unwrap().len(), 500);
    assert!(second["NextToken"].is_null());
}

#[test]
fn each_record_has_the_reported_length() {
    for size in [0, 1, 200] {
        let template = PageTemplate::new(size);
        let page = template.page(0, 0, 3, 3);
        let read: Value = serde_json::from_slice(&page.body).unwrap();
        let data = read["Records"][2]["Data"].as_str().unwrap();
        assert_eq!(
            base64_simd::STANDARD.decode_to_vec(data).unwrap().len(),
            size
        );
        let first = &page.body[PAGE_PREFIX.len()..][..template.record_length()];
        let first: Value = serde_json::from_slice(first).unwrap();
        assert_eq!(first, read["Records"][0]);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_are_on_time_about_a_second_after_the_one_before() {
    let stream = Stream::new(LOAD);
    for millis in [0, 1_000, 1_201, 799, 1_200, 800] {
        tokio::time::advance(Duration::from_millis(millis)).await;
        records(&stream, "0:0", 1);
    }
    records(&stream, "1:0", 1);
    let counts = stream.counts();
    assert_eq!((counts.reads, counts.reads_on_time), (7, 3));
}

const QUEUE: QueueLoad = QueueLoad {
    queues: 1,
    message_bytes: 20,
    handle_bytes: 40,
    groups: 0,
};

/// Calls an operation of the first queue.
async fn call(queues: &Queues, operation: &str, request: Value) -> Value {
    call_to(queues, 0, operation, request).await
}

async fn call_to(queues: &Queues, number: u32, operation: &str, mut request: Value) -> Value {
    request["QueueUrl"] = format!("http://host/000000000000/bench{number}").into();
    let body = request.to_string();
    let response = queues.call(operation, body.as_bytes(), "http://host");
    serde_json::from_slice(&response.await.unwrap()).unwrap()
}

async fn receive(queues: &Queues, limit: u32) -> Vec<Value> {
    receive_from(queues, 0, limit).await
}

async fn receive_from(queues: &Queues, number: u32, limit: u32) -> Vec<Value> {
    let request = json!({"MaxNumberOfMessages": limit, "WaitTimeSeconds": 5});
    let response = call_to(queues, number, "ReceiveMessage", request).await;
    let messages = response["Messages"].as_array().into_iter().flatten();
    messages.cloned().collect()
}

fn entries(messages: &[Value], timeout: Option<u32>) -> Value {
    let entries = messages.iter().zip(0..).map(|(message, id)| {
        json!({"Id": id.to_string(), "ReceiptHandle": message["ReceiptHandle"],
            "VisibilityTimeout": timeout})
    });
    json!({"Entries": entries.collect::<Value>()})
}

#[tokio::test(start_paused = true)]
async fn released_messages_are_received_once_and_deleted() {
    let queue = Queues::new(QUEUE);
    queue.release(12);
    let (first, second) = (receive(&queue, 10).await, receive(&queue, 10).await);
    assert_eq!((first.len(), second.len()), (10, 2));
    assert_ne!(first[0]["MessageId"], first[1]["MessageId"]);
    assert_eq!(first[0]["ReceiptHandle"].as_str().unwrap().len(), 40);
    assert!(receive(&queue, 10).await.is_empty());
    let confirmed = call(&queue, "DeleteMessageBatch", entries(&first, None)).await;
    assert_eq!(confirmed["Successful"].as_array().unwrap().len(), 10);
    let expected = BenchCounts {
        read: 12,
        deleted: 10,
        shards_read: 1,
        reads: 3,
        ..BenchCounts::default()
    };
    assert_eq!(queue.counts(), expected);
}

#[tokio::test(start_paused = true)]
async fn messages_are_spread_evenly_over_the_queues() {
    let queues = Queues::new(QueueLoad { queues: 3, ..QUEUE });
    let request = json!({"QueueName": "bench2"});
    let response = call(&queues, "GetQueueUrl", request).await;
    assert_eq!(response["QueueUrl"], "http://host/000000000000/bench2");
    queues.release(7);
    for (number, expected) in [(0, 3), (2, 2), (2, 0)] {
        assert_eq!(receive_from(&queues, number, 10).await.len(), expected);
    }
    let counts = queues.counts();
    assert_eq!((counts.read, counts.shards_read, counts.reads), (5, 2, 3));
    let unknown = queues.call("ReceiveMessage", br#"{"QueueUrl":"bench3"}"#, "http://host");
    assert!(unknown.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_made_visible_comes_again() {
    let queue = Queues::new(QUEUE);
    queue.release(1);
    let messages = receive(&queue, 10).await;
    let operation = "ChangeMessageVisibilityBatch";
    call(&queue, operation, entries(&messages, Some(30))).await;
    assert!(receive(&queue, 10).await.is_empty());
    call(&queue, operation, entries(&messages, Some(0))).await;
    assert_eq!(receive(&queue, 10).await.len(), 1);
    assert_eq!(queue.counts().visibility_changes, 2);
}

#[tokio::test(start_paused = true)]
async fn a_group_has_one_message_in_flight() {
    let queue = Queues::new(QueueLoad { groups: 3, ..QUEUE });
    queue.release(9);
    let messages = receive(&queue, 10).await;
    let groups = messages
        .iter()
        .map(|it| &it["Attributes"]["MessageGroupId"]);
    let groups: Vec<_> = groups.map(|group| group.as_str().unwrap()).collect();
    assert_eq!(groups.len(), 3);
    assert!(groups.is_sorted_by(|a, b| a < b), "{groups:?}");
    assert!(receive(&queue, 10).await.is_empty());
    call(&queue, "DeleteMessageBatch", entries(&messages[1..2], None)).await;
    let next = receive(&queue, 10).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0]["Attributes"]["MessageGroupId"], groups[1]);
}

#[tokio::test(start_paused = true)]
async fn the_time_from_a_receive_to_the_event_is_measured() {
    let queue = Queues::new(QUEUE);
    queue.release(10);
    let messages = receive(&queue, 10).await;
    tokio::time::advance(Duration::from_millis(30)).await;
    queue.deliver(json!({"Records": messages}).to_string().as_bytes());
    let times = queue.take_wait_times();
    assert_eq!((times.messages, times.p50), (10, Duration::from_millis(30)));
    assert_eq!(queue.take_wait_times().messages, 0);
    assert_eq!(
        (queue.counts().delivered, queue.counts().invocations),
        (10, 1)
    );
}

#[test]
fn each_message_has_the_reported_length() {
    for groups in [0, 5] {
        let template = MessageTemplate::new(QueueLoad { groups, ..QUEUE });
        let messages = [1, 999_999_999_999].map(|number| Received {
            number,
            group: number,
        });
        let body = template.response(&messages);
        let response: Value = serde_json::from_slice(&body).unwrap();
        let first = &body[MESSAGES_PREFIX.len()..][..template.length()];
        let first: Value = serde_json::from_slice(first).unwrap();
        assert_eq!(first, response["Messages"][0]);
        let handle = response["Messages"][1]["ReceiptHandle"].as_str().unwrap();
        assert_eq!(Received::of_handle(handle.as_bytes()), Some(messages[1]));
        assert_eq!(response["Messages"][1]["Body"].as_str().unwrap().len(), 20);
    }
}
