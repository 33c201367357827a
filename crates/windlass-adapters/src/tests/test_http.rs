//! Clients that are answered from memory.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
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
use windlass_core::mapping::{QueueSettings, QueueSource};

use crate::aws::{AwsClients, timeouts};

/// Answers every call with what it was last given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Canned(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Given once each, before `answer`.
    script: VecDeque<Answer>,
    answer: Answer,
    requests: Vec<Request>,
}

#[derive(Clone, Debug, Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    /// How long it takes.
    after: Duration,
    ending: Ending,
}

/// What comes behind the body of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing.
    #[default]
    Whole,
    /// The connection is lost.
    Lost,
    /// It is never said that nothing more comes.
    Open,
}

impl Ending {
    fn behind(self, body: Vec<u8>) -> SdkBody {
        let body = stream::iter([Ok(Frame::data(Bytes::from(body)))]);
        match self {
            Self::Whole => SdkBody::from_body_1_x(StreamBody::new(body)),
            Self::Lost => {
                let lost = io::Error::other("the connection was lost");
                SdkBody::from_body_1_x(StreamBody::new(body.chain(stream::iter([Err(lost)]))))
            }
            Self::Open => SdkBody::from_body_1_x(StreamBody::new(body.chain(stream::pending()))),
        }
    }
}

/// A request as it would have gone out.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) uri: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The operation of a JSON protocol, and what was sent.
    pub(crate) fn call(&self) -> (&str, Value) {
        let target = self.headers.get("x-amz-target").map_or("", String::as_str);
        let operation = target.rsplit('.').next().unwrap_or_default();
        (operation, serde_json::from_slice(&self.body).unwrap())
    }
}

impl Canned {
    /// A connector and clients that use it.
    pub(crate) fn new() -> (Self, AwsClients) {
        let canned = Self::default();
        let keys = Credentials::new("id", "secret", None, None, "test");
        macro_rules! client {
            ($sdk:ident) => {
                $sdk::Client::from_conf(
                    $sdk::Config::builder()
                        .behavior_version(BehaviorVersion::latest())
                        .region(Region::new("us-east-1"))
                        .credentials_provider(keys.clone())
                        .retry_config(RetryConfig::disabled())
                        .timeout_config(timeouts())
                        .http_client(canned.clone())
                        .build(),
                )
            };
        }
        let clients = AwsClients {
            kinesis: client!(aws_sdk_kinesis),
            dynamodb_streams: client!(aws_sdk_dynamodbstreams),
            sqs: client!(aws_sdk_sqs),
            lambda: client!(aws_sdk_lambda),
            custom_kinesis: false,
        };
        (canned, clients)
    }

    /// What is answered from now on, with status 200.
    pub(crate) fn answer(&self, body: &[u8]) {
        self.fail(200, &[], body);
    }

    /// What is answered from now on.
    pub(crate) fn fail(&self, status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) {
        self.state().answer = Answer {
            status,
            headers: headers.to_vec(),
            body: body.to_vec(),
            ..Answer::default()
        };
    }

    /// What one of the next calls is answered, in the order in which this is called.
    pub(crate) fn next(&self, status: u16, body: &str) {
        let answer = Answer {
            status,
            body: body.as_bytes().to_vec(),
            ..Answer::default()
        };
        self.state().script.push_back(answer);
    }

    /// How long the answer that is set takes.
    pub(crate) fn delay(&self, after: Duration) {
        self.state().answer.after = after;
    }

    /// What comes behind the body of the answer that is set.
    pub(crate) fn end(&self, ending: Ending) {
        self.state().answer.ending = ending;
    }

    /// What has been asked since this was last asked.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().requests)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let headers = request.headers().iter();
        let headers: BTreeMap<_, _> = headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let target = headers.get("x-amz-target");
        let answer = if target.is_some_and(|target| target.ends_with(".GetQueueUrl")) {
            Answer {
                status: 200,
                body: br#"{"QueueUrl":"https://sqs.us-east-1.amazonaws.com/1/q"}"#.to_vec(),
                ..Answer::default()
            }
        } else {
            let mut state = self.state();
            let next = state.script.pop_front();
            next.unwrap_or_else(|| state.answer.clone())
        };
        let (canned, uri) = (self.clone(), request.uri().to_owned());
        HttpConnectorFuture::new(async move {
            // The SDK watches how the body is taken.
            let body = ByteStream::new(request.into_body())
                .collect()
                .await
                .unwrap();
            let body = body.to_vec();
            canned.state().requests.push(Request { uri, headers, body });
            tokio::time::sleep(answer.after).await;
            let status = answer.status.try_into().expect("a status");
            let mut response = HttpResponse::new(status, answer.ending.behind(answer.body));
            for (name, value) in answer.headers {
                response.headers_mut().insert(name, value);
            }
            Ok(response)
        })
    }
}

impl HttpClient for Canned {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// A runtime for one test.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A queue with a batching window.
pub(crate) fn queue(arn: &str, fifo: bool, maximum_batching_window: Duration) -> QueueSource {
    QueueSource {
        settings: QueueSettings {
            fifo,
            batch_size: 10,
            maximum_batching_window,
        },
        arn: Arn::parse(arn).unwrap(),
    }
}
