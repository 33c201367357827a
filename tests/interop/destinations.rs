//! On-failure destinations: queues of ElasticMQ, topics and buckets of MiniStack.

use anyhow::Context;
use serde_json::{Value, json};
use windlass_tests::aws::{ACCOUNT, Aws, REGION, unique_name};
use windlass_tests::function::Function;
use windlass_tests::proxy::{Proxy, ProxyMode};
use windlass_tests::servers::Servers;
use windlass_tests::wait;

use crate::TIMEOUT;
use crate::setup::Setup;

const RECORDS: usize = 3;

/// One destination of each kind, and a queue that is subscribed to the topic.
struct Destinations {
    elasticmq: Aws,
    ministack: Aws,
    queue_url: String,
    queue: String,
    topic: String,
    subscriber_url: String,
    bucket: String,
}

impl Destinations {
    async fn new() -> anyhow::Result<Self> {
        let servers = Servers::running();
        let (elasticmq, ministack) = (servers.aws("elasticmq"), servers.aws("ministack"));
        let (queue_url, queue) = elasticmq.create_queue("failed", false, json!({})).await?;
        let (subscriber_url, subscriber) =
            ministack.create_queue("failed", false, json!({})).await?;
        let topic = unique_name("failed");
        ministack.sns("CreateTopic", &[("Name", &topic)]).await?;
        let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{topic}");
        let subscription = [
            ("TopicArn", &*topic),
            ("Protocol", "sqs"),
            ("Endpoint", &*subscriber),
        ];
        ministack.sns("Subscribe", &subscription).await?;
        let bucket = unique_name("failed");
        ministack.s3("PUT", &format!("/{bucket}")).await?;
        Ok(Self {
            elasticmq,
            ministack,
            queue_url,
            queue,
            topic,
            subscriber_url,
            bucket,
        })
    }

    /// A daemon whose stream has three mappings, each with another destination.
    fn setup(&self, function: &Function, stream: &str) -> Setup {
        let mut setup = Setup::new("destinations")
            .endpoint("sqs", self.elasticmq.endpoint())
            .endpoint("sns", self.ministack.endpoint())
            .endpoint("s3", self.ministack.endpoint());
        let bucket = format!("arn:aws:s3:::{}", self.bucket);
        for (name, destination) in [
            ("queue", &self.queue),
            ("topic", &self.topic),
            ("bucket", &bucket),
        ] {
            setup =
                setup
                    .function(name, &function.url)
                    .mapping(name, stream, given_up_to(destination));
        }
        setup
    }

    /// The document of each destination, by the name of its function.
    async fn documents(&self) -> anyhow::Result<[(&'static str, Value); 3]> {
        let queue = message(&self.elasticmq, &self.queue_url).await?;
        let notification = message(&self.ministack, &self.subscriber_url).await?;
        assert_eq!(notification["Type"], "Notification");
        assert_eq!(notification["TopicArn"], self.topic);
        assert_eq!(notification.get("Subject"), None);
        assert_eq!(notification.get("MessageAttributes"), None);
        let topic = notification["Message"].as_str().context("a text")?;
        Ok([
            ("queue", queue),
            ("topic", serde_json::from_str(topic)?),
            ("bucket", self.object().await?),
        ])
    }

    /// The only object of the bucket. Its name is checked, and its payload parsed.
    async fn object(&self) -> anyhow::Result<Value> {
        let bucket = &self.bucket;
        let key = wait::until_some("an object in the bucket", TIMEOUT, async || {
            let list = format!("/{bucket}?list-type=2");
            let list = self.ministack.s3("GET", &list).await?;
            let list = String::from_utf8(list.to_vec())?;
            let key = list.split_once("<Key>").and_then(|it| it.1.split_once('<'));
            Ok(key.map(|(key, _)| key.to_owned()))
        });
        let key = key.await?;
        let object = format!("/{bucket}/{key}");
        let object = self.ministack.s3("GET", &object).await?;
        let mut document: Value = serde_json::from_slice(&object)?;
        let parts: Vec<&str> = key.split('/').collect();
        let time = document["timestamp"].as_str().context("a timestamp")?;
        let (date, time) = time.split_once('T').context("a date and a time")?;
        let name = format!("{date}T{}-", time[..8].replace(':', "."));
        let shard = &batch_info(&document)["shardId"];
        assert_eq!(parts[..2], ["aws", "lambda"]);
        assert_eq!(parts[2].len(), 36, "{key}");
        assert_eq!(parts[3], *shard);
        assert_eq!(parts[4..7].join("-"), date);
        assert!(parts[7].starts_with(&name), "{key}");
        let payload = document["payload"].as_str().context("a text")?;
        document["payload"] = serde_json::from_str(payload)?;
        Ok(document)
    }
}

fn given_up_to(destination: &str) -> Value {
    json!({
        "StartingPosition": "TRIM_HORIZON",
        "MaximumRetryAttempts": 1,
        "DestinationConfig": {"OnFailure": {"Destination": destination}},
    })
}

fn batch_info(document: &Value) -> &Value {
    let kinesis = document.get("KinesisBatchInfo");
    kinesis.unwrap_or(&document["DDBStreamBatchInfo"])
}

/// The body of the next message of a queue.
async fn message(aws: &Aws, url: &str) -> anyhow::Result<Value> {
    let body = json!({"QueueUrl": url, "WaitTimeSeconds": 1});
    wait::until_some("a message in the queue", TIMEOUT, async || {
        let answer = aws.sqs("ReceiveMessage", body.clone()).await?;
        let text = answer["Messages"][0]["Body"].as_str();
        Ok(text.map(serde_json::from_str).transpose()?)
    })
    .await
}

/// Compares the documents of one batch with its event. `number` points to the sequence number of a
/// record.
#[track_caller]
fn assert_documents(
    documents: [(&str, Value); 3],
    event: &Value,
    stream: &str,
    info: &str,
    number: &str,
) -> anyhow::Result<()> {
    let records = event["Records"].as_array();
    let records = records.context("an event has records")?;
    let number = |record: Option<&Value>| record?.pointer(number).cloned();
    for (name, mut document) in documents {
        let payload = document.as_object_mut().and_then(|it| it.remove("payload"));
        assert_eq!(payload, (name == "bucket").then(|| event.clone()), "{name}");
        let expected = json!({
            "startSequenceNumber": number(records.first()),
            "endSequenceNumber": number(records.last()),
            "batchSize": RECORDS,
            "streamArn": stream,
        });
        assert_document(name, document, info, expected);
    }
    Ok(())
}

/// Compares a document with those that AWS was recorded to send, field by field.
#[track_caller]
fn assert_document(function: &str, mut document: Value, info: &str, mut expected: Value) {
    let mut take = |pointer: &str| {
        let value = document.pointer_mut(pointer).map(Value::take);
        value
            .and_then(|it| it.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    assert_eq!(take("/requestContext/requestId").len(), 36);
    assert_eq!(take("/timestamp").len(), "2019-11-14T00:38:06.021Z".len());
    let arrival = match info {
        "KinesisBatchInfo" => "2019-11-14T00:38:04.835Z",
        _ => "2019-11-14T00:38:04Z",
    };
    for end in ["First", "Last"] {
        let time = take(&format!("/{info}/approximateArrivalOf{end}Record"));
        assert_eq!(time.len(), arrival.len(), "{time}");
    }
    let shard = take(&format!("/{info}/shardId"));
    assert!(!shard.is_empty());
    let mut all = json!({
        "requestContext": {
            "requestId": null,
            "functionArn": format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"),
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 2,
        },
        "responseContext": {
            "statusCode": 500,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        },
        "version": "1.0",
        "timestamp": null,
    });
    for member in [
        "shardId",
        "approximateArrivalOfFirstRecord",
        "approximateArrivalOfLastRecord",
    ] {
        expected[member] = Value::Null;
    }
    all[info] = expected;
    assert_eq!(document, all);
}

#[tokio::test]
async fn each_destination_receives_the_document_of_a_kinesis_batch() {
    kinesis().await.unwrap();
}

async fn put_records(aws: &Aws, stream: &str, number: usize) -> anyhow::Result<()> {
    let (_, name) = stream.rsplit_once('/').context("a stream has a name")?;
    let record = json!({"PartitionKey": "k", "Data": "aGVsbG8="});
    let body = json!({"StreamName": name, "Records": vec![record; number]});
    aws.kinesis("PutRecords", body).await?;
    Ok(())
}

async fn kinesis() -> anyhow::Result<()> {
    let aws = Servers::running().aws("kinesis_mock");
    let stream = aws.create_stream("failing", 1).await?;
    put_records(&aws, &stream, RECORDS).await?;
    let (function, destinations) = (Function::start(500).await?, Destinations::new().await?);
    let setup = destinations.setup(&function, &stream);
    let daemon = setup.endpoint("kinesis", aws.endpoint()).start().await?;
    let documents = destinations.documents().await?;
    let event = function.events().swap_remove(0);
    assert_documents(
        documents,
        &event,
        &stream,
        "KinesisBatchInfo",
        "/kinesis/sequenceNumber",
    )?;
    // Each mapping continues after the batch.
    function.set_status(200);
    put_records(&aws, &stream, 1).await?;
    let all_continue = || function.records().len() == 3;
    wait::until("the next record arrives", TIMEOUT, all_continue).await?;
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn each_destination_receives_the_document_of_a_dynamodb_batch() {
    dynamodb().await.unwrap();
}

async fn dynamodb() -> anyhow::Result<()> {
    let aws = Servers::running().aws("ministack");
    let (table, stream) = aws.create_table("failing").await?;
    for number in 0..RECORDS {
        let item = json!({"key": {"S": number.to_string()}});
        aws.dynamodb("PutItem", json!({"TableName": table, "Item": item}))
            .await?;
    }
    let (function, destinations) = (Function::start(500).await?, Destinations::new().await?);
    let setup = destinations.setup(&function, &stream);
    let setup = setup.endpoint("dynamodb_streams", aws.endpoint());
    let daemon = setup.start().await?;
    let documents = destinations.documents().await?;
    let event = function.events().swap_remove(0);
    assert_documents(
        documents,
        &event,
        &stream,
        "DDBStreamBatchInfo",
        "/dynamodb/SequenceNumber",
    )?;
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_destination_that_is_down_holds_its_shard_and_loses_nothing() {
    destination_is_down().await.unwrap();
}

async fn destination_is_down() -> anyhow::Result<()> {
    let servers = Servers::running();
    let (aws, sqs) = (servers.aws("kinesis_mock"), servers.aws("elasticmq"));
    let stream = aws.create_stream("held", 1).await?;
    put_records(&aws, &stream, 1).await?;
    let (url, queue) = sqs.create_queue("held", false, json!({})).await?;
    let (function, proxy) = (
        Function::start(500).await?,
        Proxy::start(sqs.endpoint()).await?,
    );
    proxy.set_mode(ProxyMode::Refuse).await?;
    let setup = Setup::new("held")
        .endpoint("kinesis", aws.endpoint())
        .endpoint("sqs", &proxy.endpoint())
        .function("f", &function.url)
        .mapping("f", &stream, given_up_to(&queue));
    let daemon = setup.start().await?;
    let waits = wait::until_some("the shard waits for its destination", TIMEOUT, async || {
        let (_, mappings) = daemon.call("GET", "/windlass/v1/mappings", None).await?;
        let uuid = mappings[0]["uuid"].as_str().unwrap_or_default();
        let path = format!("/windlass/v1/mappings/{uuid}");
        let (_, mapping) = daemon.call("GET", &path, None).await?;
        let waiting = mapping["shards"][0]["waiting_for"]
            .as_str()
            .unwrap_or_default();
        Ok(waiting
            .contains("on-failure destination")
            .then(|| waiting.to_owned()))
    });
    let waiting = waits.await?;
    assert!(waiting.contains("cannot be reached"), "{waiting}");
    function.set_status(200);
    put_records(&aws, &stream, 1).await?;
    proxy.set_mode(ProxyMode::Forward).await?;
    let document = message(&sqs, &url).await?;
    let first = &function.events()[0]["Records"][0]["kinesis"]["sequenceNumber"];
    assert_eq!(document["KinesisBatchInfo"]["startSequenceNumber"], *first);
    assert_eq!(document["KinesisBatchInfo"]["endSequenceNumber"], *first);
    let next = || function.records().len() == 1;
    wait::until("the next record arrives", TIMEOUT, next).await?;
    assert_ne!(function.records()[0]["kinesis"]["sequenceNumber"], *first);
    daemon.stop().await?;
    Ok(())
}
