//! SDK clients for each service and region, from one configuration.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use windlass_core::arn::Arn;

use crate::tls_roots::CaBundle;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Limit of one attempt: long polling of SQS takes up to 20 s.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(40);

/// The SDK retries once, for lost connections; all further retries are those of the consumers.
const MAX_ATTEMPTS: u32 = 2;

/// A service of AWS that windlass calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Kinesis,
    DynamoDbStreams,
    Sqs,
    Lambda,
}

impl Service {
    pub const ALL: [Self; 4] = [
        Self::Kinesis,
        Self::DynamoDbStreams,
        Self::Sqs,
        Self::Lambda,
    ];

    /// Key of the service in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::DynamoDbStreams => "dynamodb_streams",
            Self::Sqs => "sqs",
            Self::Lambda => "lambda",
        }
    }
}

/// How AWS is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// Region of what is named without one.
    pub region: String,
    /// Endpoints that take precedence over those of the environment.
    pub endpoints: BTreeMap<Service, String>,
    /// Signs with meaningless credentials, for endpoints that check no signature.
    pub placeholder_credentials: bool,
    /// Authorities that are trusted instead of the machine's.
    pub ca_bundle: Option<CaBundle>,
}

/// Clients of all regions. A resource is called in the region of its ARN, whatever the daemon's.
#[derive(Debug)]
pub struct Aws {
    shared: SdkConfig,
    endpoints: BTreeMap<Service, String>,
    region: String,
    home: AwsClients,
    /// Clients of other regions; they share connections and credentials with `home`.
    others: Mutex<BTreeMap<String, AwsClients>>,
}

/// Clients of all services in one region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AwsClients {
    pub(crate) kinesis: aws_sdk_kinesis::Client,
    pub(crate) dynamodb_streams: aws_sdk_dynamodbstreams::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    /// Whether Kinesis has an endpoint other than AWS's.
    pub(crate) custom_kinesis: bool,
    /// The same of DynamoDB Streams.
    pub(crate) custom_dynamodb_streams: bool,
}

impl Aws {
    /// Region and endpoints come from the settings, everything else from the standard environment
    /// variables and files of AWS.
    pub async fn load(settings: &AwsSettings) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .timeout_config(timeouts())
            // Each call has a timeout; watching the throughput of each body costs more than it
            // finds.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS));
        if settings.placeholder_credentials {
            let placeholder =
                aws_sdk_kinesis::config::Credentials::new("none", "none", None, None, "none");
            loader = loader.credentials_provider(placeholder);
        }
        if let Some(bundle) = &settings.ca_bundle {
            loader = loader.http_client(bundle.http_client());
        }
        let shared = loader.load().await;
        let home = AwsClients::new(&shared, &settings.endpoints, &settings.region);
        Self {
            shared,
            endpoints: settings.endpoints.clone(),
            region: settings.region.clone(),
            home,
            others: Mutex::default(),
        }
    }

    /// The clients of an ARN's region.
    ///
    /// Local servers use ARNs with regions that do not exist, `ddblocal` and `elasticmq`. They are
    /// called in the daemon's region, in which their other clients call them, too.
    pub fn clients_for(&self, arn: &Arn) -> AwsClients {
        let region = arn.region();
        if region == self.region || !is_region(region) {
            return self.home.clone();
        }
        let others = self.others.lock();
        let mut others = others.unwrap_or_else(PoisonError::into_inner);
        let clients = others
            .entry(region.to_owned())
            .or_insert_with(|| AwsClients::new(&self.shared, &self.endpoints, region));
        clients.clone()
    }
}

impl AwsClients {
    fn new(shared: &SdkConfig, endpoints: &BTreeMap<Service, String>, region: &str) -> Self {
        let endpoint = |service| endpoints.get(&service).cloned();
        let region = Region::new(region.to_owned());
        let mut kinesis =
            aws_sdk_kinesis::config::Builder::from(shared).region(Some(region.clone()));
        let mut streams =
            aws_sdk_dynamodbstreams::config::Builder::from(shared).region(Some(region.clone()));
        let mut sqs = aws_sdk_sqs::config::Builder::from(shared).region(Some(region.clone()));
        let mut lambda = aws_sdk_lambda::config::Builder::from(shared).region(Some(region));
        // Without an endpoint in the settings, that of the environment or the profile applies.
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
        let is_custom = |service, variable| {
            endpoint(service).is_some() || has_custom_endpoint(shared, variable)
        };
        let custom_kinesis = is_custom(Service::Kinesis, "AWS_ENDPOINT_URL_KINESIS");
        let custom_dynamodb_streams = is_custom(
            Service::DynamoDbStreams,
            "AWS_ENDPOINT_URL_DYNAMODB_STREAMS",
        );
        Self {
            kinesis: aws_sdk_kinesis::Client::from_conf(kinesis.build()),
            dynamodb_streams: aws_sdk_dynamodbstreams::Client::from_conf(streams.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            lambda: aws_sdk_lambda::Client::from_conf(lambda.build()),
            custom_kinesis,
            custom_dynamodb_streams,
        }
    }
}

/// The region of the AWS profile, which applies if the environment has none.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html>
pub async fn region_of_profile() -> Option<String> {
    let provider = ProfileFileRegionProvider::builder().build();
    let region = provider.region().await;
    region
        .map(|region| region.as_ref().to_owned())
        .filter(|region| !region.is_empty())
}

/// Timeouts of calls that do not set their own.
pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build()
}

/// Whether the environment has an endpoint for a service, in this variable, or for all services.
fn has_custom_endpoint(shared: &SdkConfig, variable: &str) -> bool {
    let own = std::env::var(variable);
    own.is_ok_and(|url| !url.is_empty()) || shared.endpoint_url().is_some()
}

/// Whether a text has the form of an AWS region: `us-east-1`, `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let mut parts = text.rsplit('-');
    let number = parts.next().unwrap_or_default();
    let names: Vec<&str> = parts.collect();
    2 <= names.len()
        && names.last().is_some_and(|first| first.len() == 2)
        && !number.is_empty()
        && number.bytes().all(|it| it.is_ascii_digit())
        && names
            .iter()
            .all(|name| !name.is_empty() && name.bytes().all(|it| it.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(client: &AwsClients) -> Vec<String> {
        let regions = [
            client.kinesis.config().region(),
            client.dynamodb_streams.config().region(),
            client.sqs.config().region(),
            client.lambda.config().region(),
        ];
        let regions = regions.into_iter().flatten();
        regions.map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn a_resource_is_called_in_the_region_of_its_arn() {
        let aws = Aws::load(&AwsSettings {
            region: "eu-west-1".to_owned(),
            placeholder_credentials: true,
            ..AwsSettings::default()
        })
        .await;
        let of = |text: &str| regions(&aws.clients_for(&Arn::parse(text).unwrap()));
        let queue = "arn:aws:sqs:us-gov-west-1:000000000000:q";
        assert_eq!(of(queue), ["us-gov-west-1"; 4]);
        assert_eq!(of(queue), ["us-gov-west-1"; 4]);
        assert_eq!(aws.others.lock().unwrap().len(), 1, "clients are reused");
        let home = "arn:aws:kinesis:eu-west-1:000000000000:stream/s";
        assert_eq!(of(home), ["eu-west-1"; 4]);
        for region in ["elasticmq", "ddblocal", "", "000000000000", "a-b-1"] {
            let arn = format!("arn:aws:sqs:{region}:000000000000:q");
            assert_eq!(of(&arn), ["eu-west-1"; 4], "{arn}");
        }
    }
}
