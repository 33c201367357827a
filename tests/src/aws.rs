//! A client of AWS's protocols with a fake signature, which no local server verifies. It shares
//! no code with the adapters that it helps to test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// The account of all local servers, where a client names no other.
pub const ACCOUNT: &str = "000000000000";

/// The region of all local servers.
pub const REGION: &str = "us-east-1";

const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Aws {
    endpoint: String,
    http: Client<HttpConnector, Full<Bytes>>,
    account: String,
    access_key: String,
}

impl Aws {
    pub fn new(endpoint: &str) -> Self {
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            http,
            account: ACCOUNT.to_owned(),
            access_key: "test".to_owned(),
        }
    }

    /// The same as a client of another account, which MiniStack takes from the access key.
    #[must_use]
    pub fn of_account(self, account: &str) -> Self {
        Self {
            account: account.to_owned(),
            access_key: account.to_owned(),
            ..self
        }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Calls Kinesis. Any status except a success is an error, as in all methods.
    pub async fn kinesis(&self, operation: &str, body: Value) -> anyhow::Result<Value> {
        self.call(
            "kinesis",
            &format!("Kinesis_20131202.{operation}"),
            "1.1",
            &body,
        )
        .await
    }

    pub async fn dynamodb(&self, operation: &str, body: Value) -> anyhow::Result<Value> {
        self.call(
            "dynamodb",
            &format!("DynamoDB_20120810.{operation}"),
            "1.0",
            &body,
        )
        .await
    }

    pub async fn sqs(&self, operation: &str, body: Value) -> anyhow::Result<Value> {
        self.call("sqs", &format!("AmazonSQS.{operation}"), "1.0", &body)
            .await
    }

    /// Calls SNS, which answers in XML. `fields` have no characters that need escaping.
    pub async fn sns(&self, operation: &str, fields: &[(&str, &str)]) -> anyhow::Result<String> {
        let mut form = format!("Action={operation}&Version=2010-03-31");
        for (name, value) in fields {
            form.push_str(&format!("&{name}={value}"));
        }
        let request = Request::post(format!("{}/", self.endpoint))
            .header("content-type", "application/x-www-form-urlencoded");
        let response = self.send("sns", operation, request, form).await?;
        Ok(String::from_utf8(response.to_vec())?)
    }

    /// Calls S3 with a path such as `/bucket/key`.
    pub async fn s3(&self, method: &str, path: &str) -> anyhow::Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint));
        self.send("s3", path, request, String::new()).await
    }

    /// Creates a Kinesis stream with a unique name, waits until it is active and returns its ARN.
    pub async fn create_stream(&self, prefix: &str, shards: u32) -> anyhow::Result<String> {
        self.create_stream_named(&unique_name(prefix), shards).await
    }

    /// The same with a name that may have been used before.
    pub async fn create_stream_named(&self, name: &str, shards: u32) -> anyhow::Result<String> {
        self.kinesis(
            "CreateStream",
            json!({"StreamName": name, "ShardCount": shards}),
        )
        .await?;
        self.until_active(name).await
    }

    /// Waits until a Kinesis stream is active and returns its ARN.
    pub async fn until_active(&self, name: &str) -> anyhow::Result<String> {
        for _ in 0..200 {
            let body = json!({"StreamName": name});
            let summary = self.kinesis("DescribeStreamSummary", body).await?;
            let summary = &summary["StreamDescriptionSummary"];
            if summary["StreamStatus"] == "ACTIVE" {
                let arn = summary["StreamARN"]
                    .as_str()
                    .context("a stream has an ARN")?;
                return Ok(arn.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the stream {name} is not active after 10 s")
    }

    /// Deletes a Kinesis stream and waits until its name is free.
    pub async fn delete_stream(&self, name: &str) -> anyhow::Result<()> {
        let body = json!({"StreamName": name});
        self.kinesis("DeleteStream", body.clone()).await?;
        for _ in 0..200 {
            let summary = self.kinesis("DescribeStreamSummary", body.clone()).await;
            if summary.is_err() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the stream {name} still exists after 10 s")
    }

    /// Creates a table with a unique name, the string key `key` and a stream of new and old images.
    /// Returns its name and the ARN of the stream.
    pub async fn create_table(&self, prefix: &str) -> anyhow::Result<(String, String)> {
        let name = unique_name(prefix);
        let body = json!({
            "TableName": name,
            "KeySchema": [{"AttributeName": "key", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "key", "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
            "StreamSpecification": {
                "StreamEnabled": true,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        });
        let answer = self.dynamodb("CreateTable", body).await?;
        let arn = answer["TableDescription"]["LatestStreamArn"].as_str();
        Ok((name, arn.context("a table has a stream")?.to_owned()))
    }

    /// Creates a queue with a unique name and returns its URL and ARN.
    pub async fn create_queue(
        &self,
        prefix: &str,
        fifo: bool,
        attributes: Value,
    ) -> anyhow::Result<(String, String)> {
        let mut name = unique_name(prefix);
        let mut attributes = attributes;
        if fifo {
            name.push_str(".fifo");
            attributes["FifoQueue"] = "true".into();
        }
        let body = json!({"QueueName": name, "Attributes": attributes});
        let answer = self.sqs("CreateQueue", body).await?;
        let url = answer["QueueUrl"].as_str().context("a queue has a URL")?;
        Ok((
            url.to_owned(),
            format!("arn:aws:sqs:{REGION}:{}:{name}", self.account),
        ))
    }

    /// The number of messages of a queue: visible, in flight and delayed.
    pub async fn queue_depth(&self, url: &str) -> anyhow::Result<u64> {
        let names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ];
        let body = json!({"QueueUrl": url, "AttributeNames": names});
        let answer = self.sqs("GetQueueAttributes", body).await?;
        let count = |name: &str| {
            answer["Attributes"][name]
                .as_str()
                .and_then(|it| it.parse::<u64>().ok())
        };
        Ok(names.iter().filter_map(|name| count(name)).sum::<u64>())
    }

    async fn call(
        &self,
        service: &str,
        target: &str,
        version: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let request = Request::post(format!("{}/", self.endpoint))
            .header("content-type", format!("application/x-amz-json-{version}"))
            .header("x-amz-target", target);
        let body = self
            .send(service, target, request, body.to_string())
            .await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).with_context(|| format!("parsing the response to {target}"))
    }

    /// Signs and sends a request; `operation` names it in errors.
    async fn send(
        &self,
        service: &str,
        operation: &str,
        request: hyper::http::request::Builder,
        body: String,
    ) -> anyhow::Result<Bytes> {
        let scope = format!(
            "{}/20260101/{REGION}/{service}/aws4_request",
            self.access_key
        );
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=x");
        let request = request
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", authorization)
            .body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let response = self.http.request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, body))
        };
        let answer = tokio::time::timeout(CALL_TIMEOUT, answer).await;
        let (status, body) = answer
            .with_context(|| format!("{operation} at {} timed out", self.endpoint))?
            .with_context(|| format!("{operation} at {}", self.endpoint))?;
        if !status.is_success() {
            bail!(
                "{operation} returned {status}: {}",
                String::from_utf8_lossy(&body)
            );
        }
        Ok(body)
    }
}

/// A name that no other test uses.
pub fn unique_name(prefix: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!(
        "{prefix}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
