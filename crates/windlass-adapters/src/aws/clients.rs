//! One client for each service, made of one configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

/// A service that does not accept a connection within this cannot be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// No answer takes longer: the longest wait is a receive's of 20 s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(40);

/// The machines have their own backoff; the SDK tries once more where a connection was lost.
const ATTEMPTS: u32 = 2;

/// A service of AWS that windlass calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Kinesis data streams.
    Kinesis,
    /// DynamoDB Streams.
    DynamoDbStreams,
    /// SQS.
    Sqs,
    /// Lambda.
    Lambda,
}

/// Where AWS is.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// For what is named without a region.
    pub region: String,
    /// By service: endpoints that go before those of the environment.
    pub endpoints: BTreeMap<Service, String>,
    /// Signs with credentials that mean nothing, for endpoints that check none.
    pub placeholder_credentials: bool,
}

/// The clients of all services. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AwsClients {
    pub(crate) kinesis: aws_sdk_kinesis::Client,
    pub(crate) dynamodb_streams: aws_sdk_dynamodbstreams::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    /// Whether Kinesis is somewhere else than at AWS.
    pub(crate) custom_kinesis: bool,
}

impl AwsClients {
    /// Makes the clients: region and endpoints as given, everything else from the standard
    /// environment and its files.
    pub async fn load(settings: &AwsSettings) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .timeout_config(timeouts())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if settings.placeholder_credentials {
            let none =
                aws_sdk_kinesis::config::Credentials::new("none", "none", None, None, "none");
            loader = loader.credentials_provider(none);
        }
        let shared = loader.load().await;
        let endpoint = |service| settings.endpoints.get(&service).cloned();
        let mut kinesis = aws_sdk_kinesis::config::Builder::from(&shared);
        let mut streams = aws_sdk_dynamodbstreams::config::Builder::from(&shared);
        let mut sqs = aws_sdk_sqs::config::Builder::from(&shared);
        let mut lambda = aws_sdk_lambda::config::Builder::from(&shared);
        // Where the settings say nothing, the SDK has found what environment and profile say.
        if let Some(url) = endpoint(Service::Kinesis) {
            kinesis = kinesis.endpoint_url(url);
        }
        if let Some(url) = endpoint(Service::DynamoDbStreams) {
            streams = streams.endpoint_url(url);
        }
        if let Some(url) = endpoint(Service::Sqs) {
            sqs = sqs.endpoint_url(url);
        }
        if let Some(url) = endpoint(Service::Lambda) {
            lambda = lambda.endpoint_url(url);
        }
        let custom_kinesis = endpoint(Service::Kinesis).is_some() || kinesis_is_elsewhere(&shared);
        Self {
            kinesis: aws_sdk_kinesis::Client::from_conf(kinesis.build()),
            dynamodb_streams: aws_sdk_dynamodbstreams::Client::from_conf(streams.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            lambda: aws_sdk_lambda::Client::from_conf(lambda.build()),
            custom_kinesis,
        }
    }
}

/// The limits of every call that sets no others.
pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build()
}

/// Whether the environment gives an endpoint for Kinesis or for all services.
fn kinesis_is_elsewhere(shared: &SdkConfig) -> bool {
    let own = std::env::var("AWS_ENDPOINT_URL_KINESIS");
    own.is_ok_and(|url| !url.is_empty()) || shared.endpoint_url().is_some()
}
