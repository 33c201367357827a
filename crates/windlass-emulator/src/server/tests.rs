//! The emulator through HTTP, by a client that knows nothing of it.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::*;

/// Status and body, or what came of the status before the connection broke.
type Answered = Result<(u16, Bytes), Option<u16>>;

async fn start() -> Emulator {
    Emulator::start("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap()
}

async fn ask(
    emulator: &Emulator,
    method: Method,
    path: &str,
    target: &str,
    body: &str,
) -> Answered {
    let socket = connect(emulator).await;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = handshake.map_err(|_| None)?;
    let request = request(method, path, target, body);
    let asked = async {
        let answer = sender.send_request(request).await.map_err(|_| None)?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await;
        drop(sender);
        Ok((status, body.map_err(|_| Some(status))?.to_bytes()))
    };
    let (answered, _) = tokio::join!(asked, connection);
    answered
}

async fn connect(emulator: &Emulator) -> TcpStream {
    TcpStream::connect(emulator.addr()).await.unwrap()
}

fn request(method: Method, path: &str, target: &str, body: &str) -> Request<Full<Bytes>> {
    let builder = Request::builder().method(method).uri(path);
    let builder = builder
        .header("host", "localhost")
        .header("x-amz-target", target);
    builder
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

async fn kinesis(emulator: &Emulator, operation: &str, request: &Value) -> Answered {
    let target = format!("Kinesis_20131202.{operation}");
    ask(emulator, Method::POST, "/", &target, &request.to_string()).await
}

async fn succeed(emulator: &Emulator, operation: &str, request: &Value) -> Value {
    let (status, body) = kinesis(emulator, operation, request).await.unwrap();
    assert_eq!(status, 200, "{body:?}");
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_record_goes_from_put_to_the_function_and_is_accounted_for() {
    let emulator = start().await;
    succeed(
        &emulator,
        "CreateStream",
        &json!({"StreamName": "s", "ShardCount": 1}),
    )
    .await;
    let data = emulator.ledger().put_payload("kinesis/s", "k", 1);
    let data = base64_simd::STANDARD.encode_to_string(data);
    let put = json!({"StreamName": "s", "Data": data, "PartitionKey": "k"});
    succeed(&emulator, "PutRecord", &put).await;
    let request = json!({"StreamName": "s", "ShardId": "shardId-000000000000",
        "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = succeed(&emulator, "GetShardIterator", &request).await;
    let page = succeed(&emulator, "GetRecords", &iterator).await;
    let record = &page["Records"][0];
    assert_eq!(record["Data"], data.as_str());
    let event = json!({"Records": [{
        "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
        "kinesis": {"data": record["Data"], "sequenceNumber": record["SequenceNumber"]},
    }]});
    let event = event.to_string();
    let answer = ask(&emulator, Method::POST, "/function/f", "", &event)
        .await
        .unwrap();
    assert_eq!(answer, (200, Bytes::from(r#"{"batchItemFailures":[]}"#)));
    let (_, ledger) = ask(&emulator, Method::GET, "/emulator/ledger", "", "")
        .await
        .unwrap();
    let ledger: Value = serde_json::from_slice(&ledger).unwrap();
    assert_eq!((&ledger["put"], &ledger["missing"]), (&json!(1), &json!(0)));
    emulator.shutdown().await;
}

#[tokio::test]
async fn what_is_not_there_is_refused_by_name() {
    let emulator = start().await;
    let gone = json!({"StreamName": "none"});
    let (status, body) = kinesis(&emulator, "DescribeStreamSummary", &gone)
        .await
        .unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status, &body["__type"]),
        (400, &json!("ResourceNotFoundException"))
    );
    for target in ["Kinesis_20131202.Fly", "Glacier.ListVaults", ""] {
        let (status, body) = ask(&emulator, Method::POST, "/", target, "{}")
            .await
            .unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status, &body["__type"]),
            (400, &json!("UnknownOperationException"))
        );
    }
    let (status, _) = ask(&emulator, Method::GET, "/nowhere", "", "")
        .await
        .unwrap();
    assert_eq!(status, 404);
    let (status, _) = ask(&emulator, Method::POST, "/function/f", "", "{}")
        .await
        .unwrap();
    assert_eq!(status, 400);
}

#[tokio::test]
async fn faults_are_scripted_over_http_and_come_once() {
    let emulator = start().await;
    emulator.kinesis().create_stream("s", 1).unwrap();
    let list = json!({"StreamName": "s"});
    let script = |fault: Value| {
        json!({"operation": "Kinesis.ListShards", "fault": fault, "times": 1}).to_string()
    };
    let faults = [
        json!("throttle"),
        json!("internal_failure"),
        json!({"refuse": "AccessDenied"}),
    ];
    for fault in faults {
        let (status, _) = ask(
            &emulator,
            Method::POST,
            "/emulator/faults",
            "",
            &script(fault),
        )
        .await
        .unwrap();
        assert_eq!(status, 200);
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (status, body) = kinesis(&emulator, "ListShards", &list).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        seen.push((status, body["__type"].as_str().map(str::to_owned)));
    }
    let refused = |status, code: &str| (status, Some(code.to_owned()));
    let expected = [
        refused(400, "ProvisionedThroughputExceededException"),
        refused(500, "InternalFailure"),
        refused(400, "AccessDenied"),
        (200, None),
    ];
    assert_eq!(seen, expected);
    let misspelt = script(json!("throttled"));
    let (status, _) = ask(&emulator, Method::POST, "/emulator/faults", "", &misspelt)
        .await
        .unwrap();
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_dropped_call_is_not_executed_and_a_lost_answer_is() {
    let emulator = start().await;
    let create = |name: &str| json!({"StreamName": name, "ShardCount": 1});
    for (fault, name, is_executed) in [
        (Fault::Drop, "dropped", false),
        (Fault::DropAnswer, "unanswered", true),
    ] {
        emulator.faults().add("Kinesis.CreateStream", fault, 1);
        let answered = kinesis(&emulator, "CreateStream", &create(name)).await;
        assert_eq!(answered, Err(None));
        let exists = emulator.kinesis().put(name, "k", b"").is_ok();
        assert_eq!(exists, is_executed, "{name}");
    }
}

#[tokio::test]
async fn a_truncated_answer_breaks_off_in_its_body() {
    let emulator = start().await;
    emulator.kinesis().create_stream("s", 1).unwrap();
    emulator
        .faults()
        .add("Kinesis.ListShards", Fault::Truncate, 1);
    let list = json!({"StreamName": "s"});
    assert_eq!(
        kinesis(&emulator, "ListShards", &list).await,
        Err(Some(200))
    );
    succeed(&emulator, "ListShards", &list).await;
}

#[tokio::test]
async fn a_function_fails_by_script() {
    let emulator = start().await;
    let body = emulator.ledger().put_payload("sqs/q", "k", 1);
    let arn = "arn:aws:sqs:us-east-1:000000000000:q";
    let event = json!({"Records": [{"eventSourceARN": arn, "body": body}]}).to_string();
    emulator
        .faults()
        .add("function.f", Fault::InternalFailure, 1);
    emulator.faults().add("function.f", Fault::DropAnswer, 1);
    let invoke = || ask(&emulator, Method::POST, "/function/f", "", &event);
    assert_eq!(invoke().await.unwrap().0, 500);
    assert_eq!(emulator.ledger().counts().delivered, 0);
    assert!(invoke().await.is_err());
    assert_eq!(invoke().await.unwrap().0, 200);
    let counts = emulator.ledger().counts();
    assert_eq!((counts.delivered, counts.repeated), (1, 1));
}

#[tokio::test]
async fn queues_are_reached_at_their_urls_and_at_the_root() {
    let emulator = start().await;
    let call = async |path: &str, operation: &str, request: Value| {
        let target = format!("AmazonSQS.{operation}");
        let request = request.to_string();
        let (status, body) = ask(&emulator, Method::POST, path, &target, &request)
            .await
            .unwrap();
        assert_eq!(status, 200, "{body:?}");
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    let made = call("/", "CreateQueue", json!({"QueueName": "q"})).await;
    let url = made["QueueUrl"].as_str().unwrap();
    assert_eq!(url, format!("{}/000000000000/q", emulator.endpoint()));
    let path = url.strip_prefix(&emulator.endpoint()).unwrap();
    let body = emulator.ledger().put_payload("sqs/q", "k", 1);
    let sent = call(
        path,
        "SendMessage",
        json!({"QueueUrl": url, "MessageBody": body}),
    );
    let wait = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
    let (received, sent) = tokio::join!(call(path, "ReceiveMessage", wait), sent);
    let message = &received["Messages"][0];
    assert_eq!(message["MessageId"], sent["MessageId"]);
    let arn = "arn:aws:sqs:us-east-1:000000000000:q";
    let event = json!({"Records": [{"eventSourceARN": arn, "body": message["Body"]}]});
    let event = event.to_string();
    let invoked = ask(&emulator, Method::POST, "/function/f", "", &event).await;
    assert_eq!(invoked.unwrap().0, 200);
    assert_eq!(emulator.ledger().by_source()["sqs/q"].delivered, 1);
    assert_eq!(emulator.sqs().counts("q").unwrap().in_flight, 1);
}

#[tokio::test]
async fn a_refusal_of_sqs_has_its_header_and_a_throttle_its_code() {
    let emulator = start().await;
    emulator.faults().add("SQS.GetQueueUrl", Fault::Throttle, 1);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let handshake =
            hyper::client::conn::http1::handshake(TokioIo::new(connect(&emulator).await));
        let (mut sender, connection) = handshake.await.unwrap();
        let request = request(
            Method::POST,
            "/",
            "AmazonSQS.GetQueueUrl",
            r#"{"QueueName":"none"}"#,
        );
        let asked = async {
            let answer = sender.send_request(request).await.unwrap();
            let header = answer.headers().get("x-amzn-query-error").cloned();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            drop(sender);
            let body: Value = serde_json::from_slice(&body).unwrap();
            (header, body["__type"].as_str().unwrap().to_owned())
        };
        let (answered, _) = tokio::join!(asked, connection);
        seen.push(answered);
    }
    let code = http::HeaderValue::from_static("AWS.SimpleQueueService.NonExistentQueue;Sender");
    let expected = [
        (None, "RequestThrottled".to_owned()),
        (Some(code), "com.amazonaws.sqs#QueueDoesNotExist".to_owned()),
    ];
    assert_eq!(seen, expected);
}
