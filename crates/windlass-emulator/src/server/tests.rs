//! The emulator over HTTP.

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::*;

#[derive(Debug, PartialEq, Eq)]
struct Received {
    status: u16,
    query_error: Option<HeaderValue>,
    body: Bytes,
}

/// The error is the status, if one was received before the connection broke.
type HttpOutcome = Result<Received, Option<u16>>;

async fn start() -> Emulator {
    Emulator::start("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap()
}

async fn send(emulator: &Emulator, path: &str, target: &str, body: &str) -> HttpOutcome {
    let socket = TcpStream::connect(emulator.addr).await.unwrap();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = handshake.map_err(|_| None)?;
    let request = Request::post(path)
        .header("host", "localhost")
        .header("x-amz-target", target)
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|_| None)?;
        let status = response.status().as_u16();
        let query_error = response.headers().get("x-amzn-query-error").cloned();
        let body = response.into_body().collect().await;
        drop(sender);
        Ok(Received {
            status,
            query_error,
            body: body.map_err(|_| Some(status))?.to_bytes(),
        })
    };
    let (outcome, _) = tokio::join!(exchange, connection);
    outcome
}

async fn call(emulator: &Emulator, target: &str, request: &Value) -> Received {
    let outcome = send(emulator, "/", target, &request.to_string()).await;
    outcome.unwrap()
}

async fn json(emulator: &Emulator, target: &str, request: &Value) -> Value {
    let received = call(emulator, target, request).await;
    assert_eq!(received.status, 200, "{received:?}");
    serde_json::from_slice(&received.body).unwrap()
}

async fn invoke(emulator: &Emulator, arn: &str, mut record: Value) -> HttpOutcome {
    record["eventSourceARN"] = arn.into();
    let event = json!({"Records": [record]}).to_string();
    send(emulator, "/function/f", "", &event).await
}

fn code_of(received: &Received) -> Value {
    let body: Value = serde_json::from_slice(&received.body).unwrap();
    body["__type"].clone()
}

#[tokio::test]
async fn a_record_goes_from_the_stream_to_the_function() {
    let emulator = start().await;
    let arn = emulator.kinesis().create_stream("s", 1).unwrap();
    let payload = emulator.ledger().put_payload(&arn, "k", 1);
    emulator
        .kinesis()
        .put("s", "k", payload.as_bytes())
        .unwrap();
    let request = json!({"StreamName": "s", "ShardId": "shardId-000000000000",
        "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = json(&emulator, "Kinesis_20131202.GetShardIterator", &request).await;
    let page = json(&emulator, "Kinesis_20131202.GetRecords", &iterator).await;
    let kinesis = json!({"data": page["Records"][0]["Data"]});
    let received = invoke(&emulator, &arn, json!({"kinesis": kinesis})).await;
    let received = received.unwrap();
    assert_eq!(received.status, 200);
    assert_eq!(received.body, r#"{"batchItemFailures":[]}"#);
    let counts = emulator.ledger().counts();
    assert_eq!((counts.put, counts.missing()), (1, 0));
}

#[tokio::test]
async fn an_item_goes_from_its_table_to_the_function() {
    let emulator = start().await;
    let arn = emulator.dynamodb().create_table("orders", "key", 1);
    let arn = arn.unwrap();
    let payload = emulator.ledger().put_payload("dynamodb/orders", "k", 1);
    emulator
        .dynamodb()
        .put_item("orders", "k", &payload)
        .unwrap();
    let target = |operation: &str| format!("DynamoDBStreams_20120810.{operation}");
    let request = json!({"StreamArn": arn});
    let described = json(&emulator, &target("DescribeStream"), &request).await;
    let shard = &described["StreamDescription"]["Shards"][0]["ShardId"];
    let request = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = json(&emulator, &target("GetShardIterator"), &request).await;
    let page = json(&emulator, &target("GetRecords"), &iterator).await;
    let received = invoke(&emulator, &arn, page["Records"][0].clone()).await;
    assert_eq!(received.unwrap().status, 200);
    assert_eq!(emulator.ledger().counts().delivered, 1);
}

#[tokio::test]
async fn a_message_goes_from_its_queue_to_the_function() {
    let emulator = start().await;
    let arn = emulator.sqs().create_queue("q", &[]).unwrap();
    let request = json!({"QueueName": "q"});
    let url = json(&emulator, "AmazonSQS.GetQueueUrl", &request).await["QueueUrl"].clone();
    assert_eq!(url, format!("{}/000000000000/q", emulator.endpoint()));
    let payload = emulator.ledger().put_payload(&arn, "k", 1);
    emulator.sqs().send("q", None, &payload).unwrap();
    let request = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
    let received = json(&emulator, "AmazonSQS.ReceiveMessage", &request).await;
    let body = &received["Messages"][0]["Body"];
    let received = invoke(&emulator, &arn, json!({"body": body})).await;
    assert_eq!(received.unwrap().status, 200);
    assert_eq!(emulator.ledger().counts().delivered, 1);
}

#[tokio::test]
async fn unknown_resources_operations_and_paths_are_errors() {
    let emulator = start().await;
    let request = json!({"StreamName": "none"});
    let received = call(&emulator, "Kinesis_20131202.ListShards", &request).await;
    assert_eq!(received.status, 400);
    assert_eq!(code_of(&received), "ResourceNotFoundException");
    for target in ["Kinesis_20131202.Fly", "Glacier.ListVaults", ""] {
        let received = call(&emulator, target, &json!({})).await;
        assert_eq!(received.status, 400);
        assert_eq!(code_of(&received), "UnknownOperationException", "{target}");
    }
    let received = send(&emulator, "/nowhere", "", "").await;
    assert_eq!(received.unwrap().status, 404);
    let received = send(&emulator, "/function/f", "", "{}").await;
    assert_eq!(received.unwrap().status, 400);
}

#[tokio::test]
async fn sqs_errors_have_the_header_of_the_query_protocol() {
    let emulator = start().await;
    let request = json!({"QueueName": "none"});
    let received = call(&emulator, "AmazonSQS.GetQueueUrl", &request).await;
    assert_eq!(code_of(&received), "com.amazonaws.sqs#QueueDoesNotExist");
    let code = HeaderValue::from_static("AWS.SimpleQueueService.NonExistentQueue;Sender");
    assert_eq!(received.query_error, Some(code));
}

#[tokio::test]
async fn each_call_meets_the_next_scripted_fault() {
    let emulator = start().await;
    emulator.kinesis().create_stream("s", 1).unwrap();
    let faults = [
        Fault::Throttle,
        Fault::InternalFailure,
        Fault::Error("AccessDeniedException".to_owned()),
    ];
    for fault in faults {
        emulator.faults().add("Kinesis.ListShards", fault, 1);
    }
    let request = json!({"StreamName": "s"});
    for (status, code) in [
        (400, "ProvisionedThroughputExceededException".into()),
        (500, "InternalFailure".into()),
        (400, "AccessDeniedException".into()),
        (200, Value::Null),
    ] {
        let received = call(&emulator, "Kinesis_20131202.ListShards", &request).await;
        assert_eq!((received.status, code_of(&received)), (status, code));
    }
}

#[tokio::test]
async fn each_service_has_its_own_throttling_error() {
    let emulator = start().await;
    for (operation, target, code) in [
        (
            "DynamoDBStreams.DescribeStream",
            "DynamoDBStreams_20120810.DescribeStream",
            "LimitExceededException",
        ),
        (
            "SQS.GetQueueUrl",
            "AmazonSQS.GetQueueUrl",
            "RequestThrottled",
        ),
    ] {
        emulator.faults().add(operation, Fault::Throttle, 1);
        let received = call(&emulator, target, &json!({})).await;
        assert_eq!(code_of(&received), code);
    }
    emulator.faults().add("function.f", Fault::Throttle, 1);
    let received = send(&emulator, "/function/f", "", "{}").await;
    assert_eq!(received.unwrap().status, 429);
}

#[tokio::test]
async fn a_dropped_request_is_not_executed_and_a_dropped_response_is() {
    let emulator = start().await;
    let arn = emulator.sqs().create_queue("q", &[]).unwrap();
    let body = emulator.ledger().put_payload(&arn, "k", 1);
    let record = json!({"body": body});
    for (fault, is_executed) in [(Fault::DropRequest, false), (Fault::DropResponse, true)] {
        emulator.faults().add("function.f", fault, 1);
        let outcome = invoke(&emulator, &arn, record.clone()).await;
        assert_eq!(outcome, Err(None));
        let delivered = emulator.ledger().counts().delivered;
        assert_eq!(delivered, u64::from(is_executed));
    }
    let received = invoke(&emulator, &arn, record).await;
    assert_eq!(received.unwrap().status, 200);
    assert_eq!(emulator.ledger().counts().repeated, 1);
}

#[tokio::test]
async fn a_truncated_response_breaks_off_in_its_body() {
    let emulator = start().await;
    emulator.kinesis().create_stream("s", 1).unwrap();
    let faults = emulator.faults();
    faults.add("Kinesis.ListShards", Fault::TruncateResponse, 1);
    let request = json!({"StreamName": "s"}).to_string();
    let target = "Kinesis_20131202.ListShards";
    let outcome = send(&emulator, "/", target, &request).await;
    assert_eq!(outcome, Err(Some(200)));
    let outcome = send(&emulator, "/", target, &request).await;
    assert_eq!(outcome.unwrap().status, 200);
}
