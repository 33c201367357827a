//! Shards that are read with enhanced fan-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::record::Record;
use windlass_core::shard::{PageStart, ReadResult};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{
    KeptMemory, PortError, ReadLimits, ResponseMemory, ShardReader, StreamReader as _, chain,
};

use super::{READ_TIMEOUT, ROOM, Room, limits};
use crate::aws::AwsClients;
use crate::aws::kinesis::KinesisReader;
use crate::aws::source_exists;
use crate::tests::test_http::{Ending, TestHttp};
use crate::wire::aggregate::tests::aggregate;
use crate::wire::event_stream::encode;

const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
const CONSUMER: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/s/consumer/c:1716583591";
const SHARD: &str = "shardId-1";

fn open(clients: &AwsClients) -> Box<dyn ShardReader> {
    let (stream, consumer) = (Arn::parse(STREAM).unwrap(), Arn::parse(CONSUMER).unwrap());
    let reader = KinesisReader::new(clients, &stream, Some(&consumer), "role");
    Arc::new(reader).open(&ShardId::from(SHARD))
}

fn message(name: &str, payload: &str) -> Vec<u8> {
    let headers = [(":message-type", "event"), (":event-type", name)];
    encode(&headers, payload.as_bytes())
}

fn record(number: u32) -> Value {
    json!({"SequenceNumber": number.to_string(), "ApproximateArrivalTimestamp": number,
        "Data": "YQ==", "PartitionKey": "k"})
}

/// An event with these records, which continues at a number.
fn event(numbers: impl IntoIterator<Item = u32>, continuation: u32) -> Vec<u8> {
    let records: Vec<_> = numbers.into_iter().map(record).collect();
    let payload = json!({"Records": records, "MillisBehindLatest": 0,
        "ContinuationSequenceNumber": continuation.to_string()});
    message("SubscribeToShardEvent", &payload.to_string())
}

/// The first message of a subscription, and more.
fn subscription(events: &[Vec<u8>]) -> Vec<u8> {
    [message("initial-response", "{}"), events.concat()].concat()
}

fn after(number: u32) -> Cursor {
    let number = SequenceNumber::from(number.to_string().as_str());
    Cursor::at(Position::After(number))
}

fn numbers(page: &ReadResult) -> Vec<u32> {
    let records = page.records.iter().map(Record::sequence_number);
    records.map(|number| number.parse().unwrap()).collect()
}

/// The position of each SubscribeToShard since the last call of this.
#[track_caller]
fn positions(http: &TestHttp) -> Vec<Value> {
    let requests = http.requests().into_iter();
    let positions = requests.map(|request| {
        let (operation, mut body) = request.call();
        assert_eq!(operation, "SubscribeToShard");
        assert_eq!(body["ConsumerARN"], CONSUMER);
        assert_eq!(body["ShardId"], SHARD);
        body["StartingPosition"].take()
    });
    positions.collect()
}

fn at_number(number: u32) -> Value {
    json!({"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": number.to_string()})
}

/// Reads from the oldest record.
async fn read_first(shard: &mut dyn ShardReader, max_records: u32) -> ReadResult {
    let from = Cursor::at(Position::TrimHorizon);
    shard.read(&from, limits(max_records)).await.unwrap()
}

/// Reads on from the last page.
async fn read_next(shard: &mut dyn ShardReader, page: &ReadResult) -> ReadResult {
    let next = page.next.as_ref().unwrap();
    shard.read(next, limits(100)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_event_of_a_subscription_is_a_page() {
    let (http, clients) = TestHttp::new();
    let events = subscription(&[event([1, 2], 2), event([], 5), event([6], 6)]);
    http.respond_once_ending(events, Ending::Hanging);
    let mut shard = open(&clients);
    let first = read_first(&mut *shard, 100).await;
    assert_eq!(
        (numbers(&first), first.start),
        (vec![1, 2], PageStart::AfterPosition)
    );
    let second = read_next(&mut *shard, &first).await;
    assert_eq!(
        (numbers(&second), second.start),
        (vec![], PageStart::Continued)
    );
    assert_eq!(second.next.as_ref().unwrap().after, after(2).after);
    assert_eq!(second.behind, Duration::ZERO);
    let third = read_next(&mut *shard, &second).await;
    assert_eq!(numbers(&third), [6]);
    assert_eq!(positions(&http), [json!({"Type": "TRIM_HORIZON"})]);
    let event: Value = serde_json::from_slice(third.records[0].event()).unwrap();
    assert_eq!(event["eventSourceARN"], STREAM);
    assert_eq!(event["eventID"], "shardId-1:6");
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_is_taken_apart_and_may_be_continued_within() {
    let (http, clients) = TestHttp::new();
    let user_records = ["a", "b", "a"].map(|key| (key.to_owned(), None, vec![7]));
    let mut whole = record(7);
    whole["Data"] = aggregate(&user_records).into();
    let payload = json!({"Records": [whole, record(8)], "MillisBehindLatest": 0,
        "ContinuationSequenceNumber": "8"});
    let events = subscription(&[message("SubscribeToShardEvent", &payload.to_string())]);
    http.respond_once_ending(events.clone(), Ending::Hanging);
    let first = read_first(&mut *open(&clients), 2).await;
    assert_eq!(numbers(&first), [7, 7]);
    let next = first.next.unwrap();
    assert_eq!(next.after, Position::Within("7".into(), 1));
    http.respond_once_ending(events, Ending::Hanging);
    let from = Cursor {
        inclusive: true,
        ..Cursor::at(next.after)
    };
    let second = open(&clients).read(&from, limits(100)).await.unwrap();
    assert_eq!(
        (numbers(&second), second.start),
        (vec![7, 8], PageStart::AtPosition)
    );
    assert_eq!(second.next.unwrap().after, Position::After("8".into()));
    assert_eq!(
        positions(&http),
        [json!({"Type": "TRIM_HORIZON"}), at_number(7)]
    );
}

#[tokio::test(start_paused = true)]
async fn aggregates_are_taken_apart_with_shared_throughput_if_a_replay_needs_it() {
    let (http, clients) = TestHttp::new();
    let user_records = ["a", "b", "a"].map(|key| (key.to_owned(), None, vec![7]));
    let mut whole = record(7);
    whole["Data"] = aggregate(&user_records).into();
    let page = json!({"Records": [whole, record(8)], "MillisBehindLatest": 0,
        "NextShardIterator": "next"});
    http.respond_once(200, r#"{"ShardIterator":"new"}"#);
    http.respond_once(200, &page.to_string());
    let stream = Arn::parse(STREAM).unwrap();
    let reader = KinesisReader::new(&clients, &stream, None, "role").taking_aggregates_apart();
    let mut shard = Arc::new(reader).open(&ShardId::from(SHARD));
    let mut from = Cursor::at(Position::TrimHorizon);
    // The rest of the first response is in memory.
    for (expected, position, n_requests) in [
        (vec![7, 7], Position::Within("7".into(), 1), 2),
        (vec![7, 8], Position::After("8".into()), 0),
    ] {
        let page = shard.read(&from, limits(2)).await.unwrap();
        assert_eq!(numbers(&page), expected);
        from = page.next.unwrap();
        assert_eq!(from.after, position);
        assert_eq!(http.requests().len(), n_requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_begins_where_a_new_iterator_would() {
    let (http, clients) = TestHttp::new();
    for (from, start, expected) in [
        (
            after(7),
            PageStart::AfterPosition,
            json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "7"}),
        ),
        (
            Cursor {
                inclusive: true,
                ..after(7)
            },
            PageStart::AtPosition,
            at_number(7),
        ),
        (
            Cursor::at(Position::AtTimestamp(Timestamp::from_millis(
                1_732_552_345_678,
            ))),
            PageStart::AfterPosition,
            json!({"Type": "AT_TIMESTAMP", "Timestamp": 1_732_552_345.678}),
        ),
    ] {
        http.respond_once_ending(subscription(&[event([8], 8)]), Ending::Hanging);
        let page = open(&clients).read(&from, limits(100)).await.unwrap();
        assert_eq!((page.start, positions(&http)), (start, vec![expected]));
    }
}

/// Reads a first event, of the records 1 and 2, and then what follows it.
async fn after_first_event(
    http: &TestHttp,
    clients: &AwsClients,
    more: Vec<u8>,
    ending: Ending,
) -> (Box<dyn ShardReader>, Cursor) {
    let body = [subscription(&[event([1, 2], 5)]), more].concat();
    http.respond_once_ending(body, ending);
    let mut shard = open(clients);
    let next = read_first(&mut *shard, 100).await.next.unwrap();
    positions(http);
    (shard, next)
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_over_continues_at_its_continuation_number() {
    let whole = event([6, 7], 7);
    for (more, ending) in [
        (vec![], Ending::Complete),
        (vec![], Ending::ConnectionLost),
        // It is silent.
        (vec![], Ending::Hanging),
        (whole[..whole.len() / 2].to_vec(), Ending::ConnectionLost),
        (whole[..whole.len() - 1].to_vec(), Ending::Complete),
        (message("initial-response", "{}"), Ending::Complete),
    ] {
        let (http, clients) = TestHttp::new();
        let (mut shard, next) = after_first_event(&http, &clients, more, ending).await;
        // Records 1 and 2 have been read; this server sends them again.
        http.respond_once_ending(subscription(&[event([1, 2, 6, 7], 7)]), Ending::Hanging);
        let page = shard.read(&next, limits(100)).await.unwrap();
        assert_eq!(
            (numbers(&page), page.start),
            (vec![6, 7], PageStart::Continued)
        );
        assert_eq!(positions(&http), [at_number(5)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_subscribed_to_once_a_second_at_most() {
    let (http, clients) = TestHttp::new();
    let began = Instant::now();
    let (mut shard, mut next) = after_first_event(&http, &clients, vec![], Ending::Complete).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    for second in 1..4 {
        http.respond_once_ending(subscription(&[event([], 5)]), Ending::Complete);
        let page = shard.read(&next, limits(100)).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), second);
        next = page.next.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_continuation_number_that_is_refused_is_replaced_by_the_position() {
    let (http, clients) = TestHttp::new();
    let (mut shard, next) = after_first_event(&http, &clients, vec![], Ending::Complete).await;
    http.respond_once(
        400,
        r#"{"__type":"InvalidArgumentException","message":"old"}"#,
    );
    http.respond_once_ending(subscription(&[event([2, 6], 6)]), Ending::Hanging);
    let next = Cursor {
        inclusive: true,
        ..next
    };
    let page = shard.read(&next, limits(100)).await.unwrap();
    assert_eq!(
        (numbers(&page), page.start),
        (vec![2, 6], PageStart::AtPosition)
    );
    assert_eq!(positions(&http), [at_number(5), at_number(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_event_fails_the_read_and_none_of_its_records_is_skipped() {
    let mut broken = event([3], 3);
    let last = broken.len() - 10;
    broken[last] ^= 1;
    let malformed = message("SubscribeToShardEvent", r#"{"Records":[{"Data":"YQ==","#);
    let without_list = message("SubscribeToShardEvent", "{}");
    for more in [
        broken,
        malformed,
        without_list,
        b"HTTP 503 of a proxy".to_vec(),
    ] {
        let (http, clients) = TestHttp::new();
        let more = [more, event([4], 4)].concat();
        let (mut shard, next) = after_first_event(&http, &clients, more, Ending::Hanging).await;
        let error = shard.read(&next, limits(100)).await.unwrap_err();
        assert_eq!(error.fault, Fault::Transient, "{}", chain(&error));
        // A consumer asks for a new iterator then.
        http.respond_once_ending(subscription(&[event([2, 3, 4], 4)]), Ending::Hanging);
        let from = Cursor {
            inclusive: true,
            ..after(2)
        };
        let page = shard.read(&from, limits(100)).await.unwrap();
        assert_eq!(numbers(&page), [2, 3, 4]);
        assert_eq!(positions(&http), [at_number(2)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_never_sends_an_event_is_an_error() {
    for (ending, text) in [
        (Ending::Complete, "ended without an event"),
        (Ending::ConnectionLost, "was lost"),
        (Ending::Hanging, "was silent for 20 s"),
    ] {
        let (http, clients) = TestHttp::new();
        http.respond_once_ending(subscription(&[]), ending);
        let error = open(&clients).read(&after(2), limits(100)).await;
        let error = error.unwrap_err();
        assert_eq!(error.fault, Fault::Transient);
        assert_eq!(
            error.operation,
            "SubscribeToShard of consumer c of stream s"
        );
        assert!(chain(&error).contains(text), "{}", chain(&error));
        assert_eq!(http.requests().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_does_not_become_complete_is_a_timeout() {
    let (http, clients) = TestHttp::new();
    let whole = event([1], 1);
    let part = subscription(&[whole[..whole.len() - 1].to_vec()]);
    http.respond_once_ending(part, Ending::Hanging);
    let error = open(&clients).read(&after(2), limits(100)).await;
    assert_eq!(error.unwrap_err().fault, Fault::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn an_event_with_more_records_than_a_read_may_return_is_several_pages() {
    let (http, clients) = TestHttp::new();
    let events = subscription(&[event(1..=5, 9), event([10], 10)]);
    http.respond_once_ending(events, Ending::Hanging);
    let mut shard = open(&clients);
    let mut from = Cursor::at(Position::TrimHorizon);
    for expected in [vec![1, 2], vec![3, 4], vec![5], vec![10]] {
        let page = shard.read(&from, limits(2)).await.unwrap();
        assert_eq!(numbers(&page), expected);
        let has_more = expected.len() == 2;
        assert_eq!(page.behind.is_zero(), !has_more);
        from = page.next.unwrap();
        assert_eq!(from.after, after(*expected.last().unwrap()).after);
        assert_eq!(shard.has_page(&from), has_more);
        assert!(!shard.has_page(&Cursor::at(Position::TrimHorizon)));
    }
    assert_eq!(positions(&http).len(), 1);
    // The records that were left are dropped if another position is asked for.
    http.respond_once_ending(subscription(&[event([1, 2, 3], 3)]), Ending::Hanging);
    let mut shard = open(&clients);
    read_first(&mut *shard, 2).await;
    http.respond_once_ending(subscription(&[event([1, 2, 3], 3)]), Ending::Hanging);
    assert_eq!(numbers(&read_first(&mut *shard, 5).await), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_event_without_memory_ends_early_and_is_sent_again() {
    let (http, clients) = TestHttp::new();
    let scarce = Room { bytes: 1 };
    http.respond_once_ending(subscription(&[event([1, 2], 2)]), Ending::Hanging);
    let mut shard = open(&clients);
    let few = ReadLimits {
        max_records: 100,
        memory: &scarce,
        timeout: READ_TIMEOUT,
    };
    let from = Cursor::at(Position::TrimHorizon);
    let page = shard.read(&from, few).await.unwrap();
    assert_eq!(numbers(&page), [1]);
    assert!(!page.behind.is_zero());
    http.respond_once_ending(subscription(&[event([2], 2)]), Ending::Hanging);
    assert_eq!(numbers(&read_next(&mut *shard, &page).await), [2]);
    let after_one = json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "1"});
    assert_eq!(positions(&http)[1], after_one);
}

/// An aggregate of many small records, and a record after it, with the records of both.
fn large_event() -> (Vec<u8>, Vec<u32>) {
    let user_records: Vec<_> = (0..200).map(|_| ("k".to_owned(), None, vec![7])).collect();
    let mut whole = record(7);
    whole["Data"] = aggregate(&user_records).into();
    let payload = json!({"Records": [whole, record(8)], "MillisBehindLatest": 0,
        "ContinuationSequenceNumber": "8"});
    let event = message("SubscribeToShardEvent", &payload.to_string());
    (event, [vec![7; 200], vec![8]].concat())
}

/// Enough for a few of these records, and for the text of the event.
const FEW_KIB: Room = Room { bytes: 8 * 1024 };

const LITTLE: ReadLimits<'static> = ReadLimits {
    max_records: 10,
    memory: &FEW_KIB,
    timeout: READ_TIMEOUT,
};

#[tokio::test(start_paused = true)]
async fn an_event_that_is_larger_than_its_memory_is_several_pages_of_one_subscription() {
    let (http, clients) = TestHttp::new();
    let (large, expected) = large_event();
    let events = subscription(&[large, event([10], 10)]);
    http.respond_once_ending(events, Ending::Hanging);
    let mut shard = open(&clients);
    let mut from = Cursor::at(Position::TrimHorizon);
    let (mut read, mut inner) = (Vec::new(), Vec::new());
    while read.len() < expected.len() {
        let page = shard.read(&from, LITTLE).await.unwrap();
        let bytes = page.records.iter().map(Record::event_len).sum::<usize>();
        assert!(bytes <= FEW_KIB.bytes);
        assert_eq!(
            page.behind.is_zero(),
            read.len() + page.records.len() == 201
        );
        inner.extend(page.records.iter().filter_map(Record::inner));
        read.extend(numbers(&page));
        from = page.next.unwrap();
    }
    assert_eq!(read, expected);
    let indexes: Vec<_> = inner.iter().map(|inner| inner.index).collect();
    assert_eq!(indexes, Vec::from_iter(0..200));
    assert_eq!(from.after, after(8).after);
    let page = shard.read(&from, LITTLE).await.unwrap();
    assert_eq!(
        (numbers(&page), page.start),
        (vec![10], PageStart::Continued)
    );
    assert_eq!(positions(&http).len(), 1);
}

/// Of this size, which counts what readers keep.
#[derive(Debug, Default)]
struct Counted(Arc<AtomicUsize>);

#[derive(Debug)]
struct Kept(Arc<AtomicUsize>, usize);

impl Counted {
    fn kept(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

#[async_trait]
impl ResponseMemory for Counted {
    async fn reserve(&self, _: Option<usize>) -> usize {
        FEW_KIB.bytes
    }

    fn keep(&self, bytes: usize) -> KeptMemory {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Box::new(Kept(Arc::clone(&self.0), bytes))
    }
}

async fn read_with(
    shard: &mut dyn ShardReader,
    from: Cursor,
    limits: ReadLimits<'_>,
) -> ReadResult {
    shard.read(&from, limits).await.unwrap()
}

/// Memory that is not there at once.
#[derive(Debug)]
struct Late;

#[async_trait]
impl ResponseMemory for Late {
    async fn reserve(&self, _: Option<usize>) -> usize {
        tokio::task::yield_now().await;
        usize::MAX
    }

    fn keep(&self, _: usize) -> KeptMemory {
        Box::new(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_an_event_is_dropped_if_there_is_no_memory_for_it() {
    for is_released in [false, true] {
        let (http, clients) = TestHttp::new();
        let (large, expected) = large_event();
        http.respond_once_ending(subscription(std::slice::from_ref(&large)), Ending::Hanging);
        let mut shard = open(&clients);
        let from = Cursor::at(Position::TrimHorizon);
        let little = ReadLimits {
            max_records: 1_000,
            ..LITTLE
        };
        let first = shard.read(&from, little).await.unwrap();
        let next = Cursor {
            inclusive: true,
            ..first.next.clone().unwrap()
        };
        http.respond_once_ending(subscription(&[large]), Ending::Hanging);
        if is_released {
            shard.release_memory();
        }
        let limits = ReadLimits {
            max_records: 1_000,
            memory: if is_released { &ROOM } else { &Late },
            timeout: READ_TIMEOUT,
        };
        let page = shard.read(&next, limits).await.unwrap();
        let both = [numbers(&first), numbers(&page)].concat();
        assert_eq!((both, page.start), (expected, PageStart::AtPosition));
        assert_eq!(
            positions(&http),
            [json!({"Type": "TRIM_HORIZON"}), at_number(7)]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn memory_of_what_is_left_of_an_event_is_kept_until_it_was_read() {
    let (http, clients) = TestHttp::new();
    let (large, expected) = large_event();
    http.respond_once_ending(subscription(&[large]), Ending::Hanging);
    let memory = Counted::default();
    let limits = ReadLimits {
        max_records: 1_000,
        memory: &memory,
        timeout: READ_TIMEOUT,
    };
    let mut shard = open(&clients);
    let mut page = read_with(&mut *shard, Cursor::at(Position::TrimHorizon), limits).await;
    let mut n_read = page.records.len();
    while n_read < expected.len() {
        assert_ne!(memory.kept(), 0);
        page = read_with(&mut *shard, page.next.unwrap(), limits).await;
        n_read += page.records.len();
    }
    assert_eq!(memory.kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn another_subscription_is_waited_for() {
    let in_use = r#"{"message":"Another active subscription exists"}"#;
    let headers = [
        (":message-type", "exception"),
        (":exception-type", "ResourceInUseException"),
    ];
    let exception = encode(&headers, in_use.as_bytes());
    let five_seconds = Fault::Throttled {
        retry_after: Some(Duration::from_secs(5)),
    };
    let (http, clients) = TestHttp::new();
    let check = |error: PortError| {
        assert_eq!(error.fault, five_seconds);
        let text = chain(&error);
        assert!(
            text.contains("Another active subscription exists"),
            "{text}"
        );
        assert!(text.contains("5 s after it began"), "{text}");
    };
    let code = in_use.replace('{', r#"{"__type":"ResourceInUseException","#);
    http.respond_once(400, &code);
    check(open(&clients).read(&after(2), limits(1)).await.unwrap_err());
    let (mut shard, next) = after_first_event(&http, &clients, exception, Ending::Complete).await;
    check(shard.read(&next, limits(1)).await.unwrap_err());
    // The iterator is kept after a throttle.
    http.respond_once_ending(subscription(&[event([6], 6)]), Ending::Hanging);
    assert_eq!(numbers(&shard.read(&next, limits(1)).await.unwrap()), [6]);
    assert_eq!(positions(&http), [at_number(5)]);
}

#[tokio::test(start_paused = true)]
async fn errors_name_the_consumer_and_the_action() {
    let (http, clients) = TestHttp::new();
    for (code, fault, text) in [
        (
            "AccessDeniedException",
            Fault::Denied,
            "grant kinesis:SubscribeToShard on this resource",
        ),
        ("ResourceNotFoundException", Fault::Gone, "check the name"),
        (
            "LimitExceededException",
            Fault::Throttled { retry_after: None },
            "LimitExceededException",
        ),
        ("InternalFailure", Fault::Transient, "InternalFailure"),
    ] {
        http.respond_once(400, &json!({"__type": code, "message": "m"}).to_string());
        let error = open(&clients).read(&after(2), limits(1)).await.unwrap_err();
        assert_eq!(
            (error.fault, &*error.operation),
            (fault, "SubscribeToShard of consumer c of stream s")
        );
        assert!(chain(&error).contains(text), "{}", chain(&error));
    }
    let headers = [
        (":message-type", "exception"),
        (":exception-type", "KMSDisabledException"),
    ];
    let exception = encode(&headers, br#"{"message":"off"}"#);
    http.respond_once_ending(subscription(&[exception]), Ending::Complete);
    let error = open(&clients).read(&after(2), limits(1)).await.unwrap_err();
    assert_eq!(error.fault, Fault::Denied);
    assert!(
        chain(&error).contains("KMSDisabledException: off; check the state"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(start_paused = true)]
async fn a_shard_ends_with_its_children() {
    let (http, clients) = TestHttp::new();
    let children = json!({"Records": [record(1)], "MillisBehindLatest": 0, "ChildShards":
        [{"ShardId": "shardId-2", "ParentShards": [SHARD],
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"}}]});
    let last = message("SubscribeToShardEvent", &children.to_string());
    http.respond_once_ending(subscription(&[last]), Ending::Complete);
    let page = open(&clients).read(&after(0), limits(1)).await.unwrap();
    assert_eq!((numbers(&page), page.next), (vec![1], None));

    // Some servers always name a number to continue at: an event without new records is the end.
    let with_number = |records: Value| {
        let mut event = children.clone();
        (event["Records"], event["ContinuationSequenceNumber"]) = (records, json!("5"));
        message("SubscribeToShardEvent", &event.to_string())
    };
    for last in [json!([]), json!([record(1)])] {
        let events = [with_number(json!([record(1)])), with_number(last)];
        http.respond_once_ending(subscription(&events), Ending::Complete);
        let mut shard = open(&clients);
        let page = shard.read(&after(0), limits(1)).await.unwrap();
        assert_eq!(numbers(&page), [1]);
        let last = read_next(&mut *shard, &page).await;
        assert_eq!((numbers(&last), last.next), (vec![], None));
    }

    // Without children, the listing decides: this shard is open.
    let lost = json!({"Records": [record(1)], "MillisBehindLatest": 0});
    let lost = message("SubscribeToShardEvent", &lost.to_string());
    http.respond_once_ending(subscription(&[lost]), Ending::Complete);
    let open_shard = json!({"Shards": [{"ShardId": SHARD,
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"}}]});
    http.respond_once(200, &open_shard.to_string());
    let page = open(&clients).read(&after(0), limits(1)).await.unwrap();
    assert_eq!((numbers(&page), page.next), (vec![1], Some(after(1))));
}

#[tokio::test]
async fn a_consumer_must_exist_and_not_be_in_deletion() {
    let (http, clients) = TestHttp::new();
    let described = |status: &str| {
        let consumer = json!({"ConsumerName": "c", "ConsumerARN": CONSUMER,
            "ConsumerStatus": status, "ConsumerCreationTimestamp": 1, "StreamARN": STREAM});
        http.respond_once(200, &json!({"ConsumerDescription": consumer}).to_string());
    };
    let source = SourceArn::parse(CONSUMER).unwrap();
    for status in ["ACTIVE", "CREATING"] {
        described(status);
        source_exists(&clients, &source).await.unwrap();
    }
    described("DELETING");
    assert_eq!(
        source_exists(&clients, &source).await.unwrap_err().fault,
        Fault::Gone
    );
    http.respond_once(400, r#"{"__type":"ResourceNotFoundException"}"#);
    let error = source_exists(&clients, &source).await.unwrap_err();
    assert_eq!(
        (error.fault, &*error.operation),
        (
            Fault::Gone,
            "DescribeStreamConsumer of consumer c of stream s"
        )
    );
    let requests = http.requests();
    assert_eq!(
        requests[0].call(),
        ("DescribeStreamConsumer", json!({"ConsumerARN": CONSUMER}))
    );
}
