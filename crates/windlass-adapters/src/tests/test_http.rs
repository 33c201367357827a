//! SDK clients whose responses come from memory.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::retry::RetryConfig;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use windlass_core::arn::Arn;
use windlass_core::mapping::{MessageBackoff, QueueSettings, QueueSource};

use crate::aws::{
    AwsClients, CallRules, DynamoDbStreams, Kinesis, Lambda, S3, ServerClock, Service, Sns, Sqs,
    Sts, timeouts,
};

/// An HTTP client with scripted responses.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestHttp(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Sent once each, before `default`.
    script: VecDeque<ScriptedResponse>,
    default: ScriptedResponse,
    requests: Vec<Request>,
    unreachable: bool,
}

#[derive(Clone, Debug, Default)]
struct ScriptedResponse {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    delay: Duration,
    ending: Ending,
}

/// What follows the body of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    #[default]
    Complete,
    ConnectionLost,
    /// Nothing, but the body does not end either.
    Hanging,
}

impl Ending {
    fn append_to(self, body: Vec<u8>) -> SdkBody {
        let body = stream::iter([Ok(Frame::data(Bytes::from(body)))]);
        match self {
            Self::Complete => SdkBody::from_body_1_x(StreamBody::new(body)),
            Self::ConnectionLost => {
                let lost = io::Error::other("the connection was lost");
                SdkBody::from_body_1_x(StreamBody::new(body.chain(stream::iter([Err(lost)]))))
            }
            Self::Hanging => SdkBody::from_body_1_x(StreamBody::new(body.chain(stream::pending()))),
        }
    }
}

/// A request as it would have been sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) uri: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The operation of a JSON protocol, and its input.
    pub(crate) fn call(&self) -> (&str, Value) {
        let target = self.headers.get("x-amz-target").map_or("", String::as_str);
        let operation = target.rsplit('.').next().unwrap_or_default();
        (operation, serde_json::from_slice(&self.body).unwrap())
    }
}

impl TestHttp {
    /// An HTTP client, and SDK clients that use it.
    pub(crate) fn new() -> (Self, AwsClients) {
        let http = Self::default();
        let keys = Credentials::new("id", "secret", None, None, "test");
        macro_rules! client {
            ($client:ident, $sdk:ident, $clock:expr) => {
                $client::new(
                    $sdk::Config::builder()
                        .behavior_version(BehaviorVersion::latest())
                        .region(Region::new("us-east-1"))
                        .credentials_provider(keys.clone())
                        .retry_config(RetryConfig::disabled())
                        .timeout_config(timeouts())
                        .http_client(http.clone())
                        .interceptor(CallRules::default())
                        .interceptor($clock.clone())
                        .build(),
                )
            };
        }
        let clocks: [ServerClock; 3] = Default::default();
        let [kinesis_clock, streams_clock, unwatched] = clocks;
        let clients = AwsClients {
            kinesis: client!(Kinesis, aws_sdk_kinesis, kinesis_clock),
            dynamodb_streams: client!(DynamoDbStreams, aws_sdk_dynamodbstreams, streams_clock),
            sqs: client!(Sqs, aws_sdk_sqs, unwatched),
            sns: client!(Sns, aws_sdk_sns, unwatched),
            s3: client!(S3, aws_sdk_s3, unwatched),
            lambda: client!(Lambda, aws_sdk_lambda, unwatched),
            sts: client!(Sts, aws_sdk_sts, unwatched),
            subscription_http: None,
            rules: CallRules::default(),
            kinesis_clock,
            dynamodb_streams_clock: streams_clock,
            custom_endpoints: Arc::new([Service::Sqs].into()),
        };
        (http, clients)
    }

    /// The same for clients that are made elsewhere.
    pub(crate) fn shared(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// Sets the response to all further calls, with status 200.
    pub(crate) fn respond(&self, body: &[u8]) {
        self.respond_with(200, &[], body);
    }

    /// Sets the response to all further calls.
    pub(crate) fn respond_with(
        &self,
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &[u8],
    ) {
        self.state().default = ScriptedResponse {
            status,
            headers: headers.to_vec(),
            body: body.to_vec(),
            ..ScriptedResponse::default()
        };
    }

    /// Appends the response to one call; it takes precedence over the response to all calls.
    pub(crate) fn respond_once(&self, status: u16, body: &str) {
        self.respond_once_after(Duration::ZERO, status, body);
    }

    /// The same, after a delay.
    pub(crate) fn respond_once_after(&self, delay: Duration, status: u16, body: &str) {
        let response = ScriptedResponse {
            status,
            body: body.as_bytes().to_vec(),
            delay,
            ..ScriptedResponse::default()
        };
        self.state().script.push_back(response);
    }

    /// Appends a successful response to one call, and what follows its body.
    pub(crate) fn respond_once_ending(&self, body: Vec<u8>, ending: Ending) {
        let response = ScriptedResponse {
            status: 200,
            body,
            ending,
            ..ScriptedResponse::default()
        };
        self.state().script.push_back(response);
    }

    /// Delays the response to all further calls.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state().default.delay = delay;
    }

    /// Fails all further calls before they are sent.
    pub(crate) fn fail_to_connect(&self) {
        self.state().unreachable = true;
    }

    /// Sets what follows the body of the response to all further calls.
    pub(crate) fn end(&self, ending: Ending) {
        self.state().default.ending = ending;
    }

    /// The requests since the last call of this.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().requests)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl HttpConnector for TestHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let headers = request.headers().iter();
        let headers: BTreeMap<_, _> = headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let target = headers.get("x-amz-target");
        let response = if target.is_some_and(|target| target.ends_with(".GetQueueUrl")) {
            ScriptedResponse {
                status: 200,
                body: br#"{"QueueUrl":"https://sqs.us-east-1.amazonaws.com/1/q"}"#.to_vec(),
                ..ScriptedResponse::default()
            }
        } else {
            let mut state = self.state();
            let next = state.script.pop_front();
            next.unwrap_or_else(|| state.default.clone())
        };
        let (client, uri) = (self.clone(), request.uri().to_owned());
        HttpConnectorFuture::new(async move {
            // The SDK observes how the body is read.
            let body = ByteStream::new(request.into_body())
                .collect()
                .await
                .unwrap();
            let body = body.to_vec();
            client.state().requests.push(Request { uri, headers, body });
            if client.state().unreachable {
                return Err(ConnectorError::io("connection refused".into()));
            }
            tokio::time::sleep(response.delay).await;
            let status = response.status.try_into().expect("a valid status");
            let body = response.ending.append_to(response.body);
            let mut sent = HttpResponse::new(status, body);
            for (name, value) in response.headers {
                sent.headers_mut().insert(name, value);
            }
            Ok(sent)
        })
    }
}

impl HttpClient for TestHttp {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn queue(arn: &str, fifo: bool, maximum_batching_window: Duration) -> QueueSource {
    QueueSource {
        retry_backoff: MessageBackoff::default(),
        settings: QueueSettings {
            fifo,
            batch_size: 10,
            maximum_batching_window,
            strict_order: false,
            pollers: None,
        },
        arn: Arn::parse(arn).unwrap(),
        maximum_concurrency: None,
    }
}
