//! What destinations receive, compared with AWS's documents, and how their errors are classified.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use serde_json::{Value, json};
use windlass_core::arn::{Arn, StreamKind};
use windlass_core::event::Event;
use windlass_core::failure::{DestinationArn, FailedResponse, FailureCondition, FailureRecord};
use windlass_core::ids::{KeyHash, ShardId};
use windlass_core::mapping::{MappingId, RetrySettings, StreamSettings, StreamSource};
use windlass_core::outcome::Fault;
use windlass_core::position::Position;
use windlass_core::record::Record;
use windlass_core::record_page::RecordMeta;
use windlass_core::redrive::FailureDocument;
use windlass_core::replay::ReplayName;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{Destination, Failure, chain};

use super::document::{DocumentTemplate, Payload};
use super::new_destination;
use crate::tests::test_http::{Request, TestHttp};

const MAPPING: &str = "14e0db71-5d35-4eb5-b481-8945cf9d10c2";
const FUNCTION: &str = "arn:aws:lambda:us-east-2:123456789012:function:myfunction";
const STREAM: &str = "arn:aws:kinesis:us-east-2:123456789012:stream/mystream";
const TABLE: &str =
    "arn:aws:dynamodb:us-east-2:123456789012:table/mytable/stream/2019-11-14T00:13:19.627";
const REQUEST: &str = "c9b8fa9f-5a7f-4a3e-af9c-0c604cde93a5";

/// 2019-11-14T00:38:00Z.
const MINUTE: u64 = 1_573_691_880_000;

fn template(stream: &str, function: &str) -> DocumentTemplate {
    template_of(None, stream, function)
}

fn template_of(replay: Option<&ReplayName>, stream: &str, function: &str) -> DocumentTemplate {
    let arn = Arn::parse(stream).unwrap();
    let source = StreamSource {
        kind: match arn.service() {
            "kinesis" => StreamKind::Kinesis,
            _ => StreamKind::DynamoDbStreams,
        },
        arn,
        consumer: None,
        takes_aggregates_apart: false,
        settings: StreamSettings {
            starting_position: Position::TrimHorizon,
            recreated_position: Position::TrimHorizon,
            skip_before: None,
            batch_size: 100,
            maximum_batching_window: Duration::ZERO,
            parallelization_factor: 1,
            tumbling_window: None,
            on_failure: None,
            retries: RetrySettings::default(),
        },
    };
    let function = Arn::parse(function).unwrap();
    DocumentTemplate::new(&MappingId::new(MAPPING), replay, &source, &function)
}

fn record(sequence_number: &str, arrived: u64) -> Record {
    let meta = RecordMeta {
        sequence_number,
        inner: None,
        key: KeyHash(1),
        approximate_arrival: Timestamp::from_millis(MINUTE + arrived),
    };
    let event = format!(r#"{{"eventID":"{sequence_number}","data":"\"é\""}}"#);
    Record::standalone(&meta, event.as_bytes(), 0..0)
}

/// The one in AWS's documentation.
fn failure() -> Failure {
    let first = record(
        "49601189658422359378836298521827638475320189012309704722",
        4_835,
    );
    let last = record(
        "49601189658422359378836298522902373528957594348623495186",
        5_580,
    );
    let between = (0..498).map(|number| record(&number.to_string(), 5_000));
    let records: Vec<Record> = [first].into_iter().chain(between).chain([last]).collect();
    Failure {
        shard: ShardId::from("shardId-000000000001"),
        record: FailureRecord {
            condition: FailureCondition::RetryAttemptsExhausted,
            records: records.into(),
            attempts: 1,
            request_id: Some(REQUEST.into()),
            response: Some(FailedResponse {
                status: 200,
                executed_version: Some("$LATEST".into()),
                function_error: true,
            }),
            last_error: None,
            window: None,
        },
        given_up: Timestamp::from_millis(MINUTE + 6_021),
    }
}

fn metadata(template: &DocumentTemplate, failure: &Failure) -> String {
    template.render(failure, Payload::Metadata)
}

#[test]
fn what_is_written_can_be_redriven() {
    let (failure, template) = (failure(), template(STREAM, FUNCTION));
    let parse = |payload| FailureDocument::parse(template.render(&failure, payload).as_bytes());
    let document = parse(Payload::Metadata).unwrap();
    assert_eq!(document.function.as_str(), FUNCTION);
    assert_eq!(document.stream.as_str(), STREAM);
    assert_eq!(document.shard, failure.shard);
    let ends = [
        failure.record.records.first(),
        failure.record.records.last(),
    ];
    let ends = ends.map(|record| record.unwrap().sequence_number());
    assert_eq!([document.first.as_str(), document.last.as_str()], ends);
    assert_eq!((document.batch_size, document.payload), (500, None));
    let event = Event::of_records(&failure.record.records).to_bytes();
    assert_eq!(parse(Payload::Event).unwrap().payload, Some(event));
}

fn parsed(template: &DocumentTemplate, failure: &Failure) -> Value {
    serde_json::from_str(&metadata(template, failure)).unwrap()
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>
#[test]
fn the_document_is_that_of_aws_for_kinesis() {
    let expected = concat!(
        r#"{"requestContext":{"requestId":"c9b8fa9f-5a7f-4a3e-af9c-0c604cde93a5","#,
        r#""functionArn":"arn:aws:lambda:us-east-2:123456789012:function:myfunction","#,
        r#""condition":"RetryAttemptsExhausted","approximateInvokeCount":1},"#,
        r#""responseContext":{"statusCode":200,"executedVersion":"$LATEST","#,
        r#""functionError":"Unhandled"},"version":"1.0","timestamp":"2019-11-14T00:38:06.021Z","#,
        r#""KinesisBatchInfo":{"shardId":"shardId-000000000001","startSequenceNumber":"#,
        r#""49601189658422359378836298521827638475320189012309704722","endSequenceNumber":"#,
        r#""49601189658422359378836298522902373528957594348623495186","#,
        r#""approximateArrivalOfFirstRecord":"2019-11-14T00:38:04.835Z","#,
        r#""approximateArrivalOfLastRecord":"2019-11-14T00:38:05.580Z","batchSize":500,"#,
        r#""streamArn":"arn:aws:kinesis:us-east-2:123456789012:stream/mystream"}}"#,
    );
    assert_eq!(metadata(&template(STREAM, FUNCTION), &failure()), expected);
}

/// DynamoDB has whole seconds; item failures are not a function error.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html>
#[test]
fn the_document_is_that_of_aws_for_dynamodb() {
    let mut failure = failure();
    failure.record.records = Arc::new([record("800000000003126276362", 7_000)]);
    failure.record.attempts = 4;
    failure.record.response.as_mut().unwrap().function_error = false;
    let expected = concat!(
        r#"{"requestContext":{"requestId":"c9b8fa9f-5a7f-4a3e-af9c-0c604cde93a5","#,
        r#""functionArn":"arn:aws:lambda:us-east-2:123456789012:function:myfunction","#,
        r#""condition":"RetryAttemptsExhausted","approximateInvokeCount":4},"#,
        r#""responseContext":{"statusCode":200,"executedVersion":"$LATEST","#,
        r#""functionError":null},"version":"1.0","timestamp":"2019-11-14T00:38:06.021Z","#,
        r#""DDBStreamBatchInfo":{"shardId":"shardId-000000000001","#,
        r#""startSequenceNumber":"800000000003126276362","#,
        r#""endSequenceNumber":"800000000003126276362","#,
        r#""approximateArrivalOfFirstRecord":"2019-11-14T00:38:07Z","#,
        r#""approximateArrivalOfLastRecord":"2019-11-14T00:38:07Z","batchSize":1,"#,
        r#""streamArn":"arn:aws:dynamodb:us-east-2:123456789012:table/mytable/stream/"#,
        r#"2019-11-14T00:13:19.627"}}"#,
    );
    assert_eq!(metadata(&template(TABLE, FUNCTION), &failure), expected);
}

#[test]
fn records_that_are_too_old_have_no_response_context_but_a_request_id() {
    let template = template(STREAM, FUNCTION);
    for (condition, name) in [
        (FailureCondition::RecordAgeExceeded, "RecordAgeExceeded"),
        (FailureCondition::RecordTooLarge, "RecordTooLarge"),
    ] {
        let mut failure = failure();
        failure.record.condition = condition;
        assert_eq!(
            parsed(&template, &failure)["requestContext"]["requestId"],
            REQUEST
        );
        failure.record.request_id = None;
        let document = parsed(&template, &failure);
        assert_eq!(document.get("responseContext"), None);
        let context = &document["requestContext"];
        assert_eq!(context["condition"], name);
        let id = context["requestId"].as_str().unwrap();
        assert_eq!(id.len(), REQUEST.len());
        assert_eq!(parsed(&template, &failure), document, "it is stable");
        failure.given_up = failure.given_up.shifted(1);
        assert_ne!(
            parsed(&template, &failure)["requestContext"]["requestId"],
            id
        );
    }
}

#[test]
fn a_function_that_does_not_name_its_version_has_that_of_its_arn() {
    let mut failure = failure();
    let response = failure.record.response.as_mut().unwrap();
    response.executed_version = None;
    response.status = 0;
    for (qualifier, version) in [
        ("", "$LATEST"),
        (":$LATEST", "$LATEST"),
        (":7", "7"),
        (":live", "$LATEST"),
    ] {
        let arn = format!("{FUNCTION}{qualifier}");
        let document = parsed(&template(STREAM, &arn), &failure);
        assert_eq!(document["requestContext"]["functionArn"], arn);
        let context = json!({
            "statusCode": 200, "executedVersion": version, "functionError": "Unhandled",
        });
        assert_eq!(document["responseContext"], context);
    }
}

/// <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>
#[test]
fn a_document_without_records_is_far_below_the_limit_of_a_message() {
    let mut failure = failure();
    failure.shard = ShardId::from(&*"s".repeat(128));
    failure.record.records = Arc::new([record(&"9".repeat(128), 0)]);
    let stream = format!("{STREAM}{}", "s".repeat(1_024));
    let function = format!("{FUNCTION}{}", "f".repeat(1_024));
    let document = metadata(&template(&stream, &function), &failure);
    assert!(document.len() < 8 * 1024, "{} bytes", document.len());
}

fn destination(arn: &str) -> (TestHttp, Arc<dyn Destination>) {
    let (server, clients) = TestHttp::new();
    let arn = DestinationArn::parse(arn).unwrap();
    let template = template(STREAM, FUNCTION);
    (server, new_destination(&clients, &arn, template))
}

async fn deliver(arn: &str, response: &str) -> Request {
    let (http, destination) = destination(arn);
    http.respond(response.as_bytes());
    destination.deliver(&failure()).await.unwrap();
    http.requests().pop().unwrap()
}

const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:failed";
const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:failed";
const BUCKET: &str = "arn:aws:s3:::failed";

const PUBLISHED: &str =
    "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>";

#[tokio::test]
async fn a_queue_receives_the_document_as_a_message() {
    let request = deliver(QUEUE, r#"{"MessageId":"1"}"#).await;
    let (operation, input) = request.call();
    assert_eq!(operation, "SendMessage");
    let expected = json!({
        "QueueUrl": "https://sqs.us-east-1.amazonaws.com/1/q",
        "MessageBody": metadata(&template(STREAM, FUNCTION), &failure()),
    });
    assert_eq!(input, expected);
}

#[tokio::test]
async fn a_topic_receives_the_document_without_subject_and_attributes() {
    let request = deliver(TOPIC, PUBLISHED).await;
    let body = String::from_utf8(request.body).unwrap();
    let mut fields: Vec<(&str, String)> = Vec::new();
    for field in body.split('&') {
        let (name, value) = field.split_once('=').unwrap();
        fields.push((name, percent_decoded(value)));
    }
    let document = metadata(&template(STREAM, FUNCTION), &failure());
    let expected = [
        ("Action", "Publish"),
        ("Version", "2010-03-31"),
        ("TopicArn", TOPIC),
        ("Message", &document),
    ];
    assert_eq!(
        fields,
        expected.map(|(name, value)| (name, value.to_owned()))
    );
}

#[tokio::test]
async fn what_a_replay_gives_up_has_its_name_and_the_document_as_ever() {
    let replay = ReplayName::parse("again").unwrap();
    let name = b"again".as_slice();
    for (arn, response) in [
        (QUEUE, r#"{"MessageId":"1"}"#),
        (TOPIC, PUBLISHED),
        (BUCKET, ""),
    ] {
        let (http, clients) = TestHttp::new();
        let destination = DestinationArn::parse(arn).unwrap();
        let template = template_of(Some(&replay), STREAM, FUNCTION);
        let destination = new_destination(&clients, &destination, template);
        http.respond(response.as_bytes());
        destination.deliver(&failure()).await.unwrap();
        let request = http.requests().pop().unwrap();
        let body = &request.body;
        let has_name = body.windows(name.len()).any(|it| it == name);
        match arn {
            BUCKET => assert_eq!(request.headers["x-amz-meta-windlass-replay"], "again"),
            _ => assert!(has_name, "{}", String::from_utf8_lossy(body)),
        }
        if arn == QUEUE {
            let (_, input) = request.call();
            let attribute = json!({"DataType": "String", "StringValue": "again"});
            assert_eq!(input["MessageAttributes"]["windlass-replay"], attribute);
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_bucket_receives_the_document_with_the_event() {
    let request = deliver(BUCKET, "").await;
    let uri = request.uri.split('?').next().unwrap();
    let key = uri.strip_prefix("https://failed.s3.us-east-1.amazonaws.com/");
    let expected = "aws/lambda/14e0db71-5d35-4eb5-b481-8945cf9d10c2/shardId-000000000001/\
                    2019/11/14/2019-11-14T00.38.06-";
    let id = key.unwrap().strip_prefix(expected).unwrap();
    assert_eq!(id.len(), REQUEST.len());
    let template = template(STREAM, FUNCTION);
    assert_eq!(
        Some(&*template.key(&failure())),
        key,
        "a repeat replaces it"
    );

    let mut document: Value = serde_json::from_slice(&request.body).unwrap();
    let payload = document.as_object_mut().unwrap().remove("payload");
    let event = Event::of_records(&failure().record.records).to_bytes();
    assert_eq!(payload.unwrap().as_str().unwrap().as_bytes(), &event[..]);
    assert_eq!(document, parsed(&template, &failure()));
    let text = String::from_utf8(request.body).unwrap();
    let metadata = metadata(&template, &failure());
    let start = metadata.strip_suffix('}').unwrap();
    assert!(
        text.starts_with(&format!("{start},\"payload\":\"")),
        "it comes last"
    );
}

const THROTTLED: Fault = Fault::Throttled { retry_after: None };

/// Each case: status and code of a response, how it is classified, and a part of the text.
async fn check_errors(
    arn: &str,
    body: impl Fn(&str) -> String,
    cases: &[(u16, &str, Fault, &str)],
) {
    for (status, code, fault, expected) in cases {
        let (http, destination) = destination(arn);
        http.respond_with(*status, &[], body(code).as_bytes());
        let error = destination.deliver(&failure()).await.unwrap_err();
        assert_eq!(error.fault, *fault, "{arn} {code}");
        let text = chain(&error);
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn errors_of_queues_are_classified_and_name_the_missing_action() {
    let body = |code: &str| format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"m"}}"#);
    let cases = [
        (
            403,
            "AccessDenied",
            Fault::Denied,
            "grant sqs:SendMessage on",
        ),
        (
            400,
            "QueueDoesNotExist",
            Fault::Gone,
            "SendMessage to queue failed",
        ),
        (400, "RequestThrottled", THROTTLED, "RequestThrottled: m"),
        (400, "KmsAccessDenied", Fault::Denied, "KMS key"),
        (500, "InternalError", Fault::Transient, "InternalError: m"),
    ];
    check_errors(QUEUE, body, &cases).await;
}

#[tokio::test]
async fn errors_of_topics_are_classified_and_name_the_missing_action() {
    let body = |code: &str| {
        let error = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        format!("<ErrorResponse>{error}</ErrorResponse>")
    };
    let cases = [
        (
            403,
            "AuthorizationError",
            Fault::Denied,
            "grant sns:Publish on",
        ),
        (403, "InvalidClientTokenId", Fault::Denied, "renew"),
        (404, "NotFound", Fault::Gone, "Publish to topic failed"),
        (400, "Throttled", THROTTLED, "Throttled: m"),
        (400, "KMSDisabled", Fault::Denied, "KMS key"),
        (500, "InternalError", Fault::Transient, "InternalError: m"),
    ];
    check_errors(TOPIC, body, &cases).await;
    let html = [(502, "", Fault::Transient, "Publish to topic failed")];
    check_errors(TOPIC, |_| "<html></html>".to_owned(), &html).await;
}

#[tokio::test]
async fn errors_of_buckets_are_classified_and_name_the_missing_action() {
    let body = |code: &str| {
        let error = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        format!("<?xml version=\"1.0\"?>{error}")
    };
    let cases = [
        (403, "AccessDenied", Fault::Denied, "grant s3:PutObject on"),
        (
            404,
            "NoSuchBucket",
            Fault::Gone,
            "PutObject to bucket failed",
        ),
        (503, "SlowDown", THROTTLED, "SlowDown: m"),
        (301, "PermanentRedirect", Fault::Denied, "another region"),
        (400, "KMS.DisabledException", Fault::Denied, "KMS key"),
        (500, "InternalError", Fault::Transient, "InternalError: m"),
    ];
    check_errors(BUCKET, body, &cases).await;
    let empty = [(503, "", Fault::Transient, "HTTP 503")];
    check_errors(BUCKET, |_| String::new(), &empty).await;
}

#[tokio::test(start_paused = true)]
async fn few_objects_are_in_memory_at_a_time() {
    let (http, destination) = destination(BUCKET);
    http.respond(b"");
    http.delay(Duration::from_secs(1));
    let failure = failure();
    let deliveries = (0..10).map(|_| destination.deliver(&failure));
    let mut deliveries: FuturesUnordered<_> = deliveries.collect();
    let mut n_requests = Vec::new();
    while let Some(delivered) = deliveries.next().await {
        delivered.unwrap();
        n_requests.push(http.requests().len());
    }
    n_requests.retain(|it| *it != 0);
    assert_eq!(n_requests[0], 4, "{n_requests:?}");
    assert_eq!(n_requests.iter().sum::<usize>(), 10);
}

#[tokio::test]
async fn a_destination_that_cannot_be_reached_is_a_transient_fault() {
    for arn in [QUEUE, TOPIC, BUCKET] {
        let (http, destination) = destination(arn);
        http.fail_to_connect();
        let error = destination.deliver(&failure()).await.unwrap_err();
        assert_eq!(error.fault, Fault::Transient, "{arn}");
    }
}
