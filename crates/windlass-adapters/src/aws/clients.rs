//! One client for each service and region, made of one configuration.

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

/// A service that does not accept a connection within this cannot be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// No answer takes longer: the longest wait is a receive's of 20 s.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(40);

/// The machines have their own backoff; the SDK tries once more where a connection was lost.
const ATTEMPTS: u32 = 2;

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

/// AWS in every region. What an ARN names is called in its own region, wherever the daemon is.
#[derive(Debug)]
pub struct Aws {
    shared: SdkConfig,
    endpoints: BTreeMap<Service, String>,
    region: String,
    home: AwsClients,
    /// By region; they share connections and credentials with those at home.
    elsewhere: Mutex<BTreeMap<String, AwsClients>>,
}

/// The clients of all services in one region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AwsClients {
    pub(crate) kinesis: aws_sdk_kinesis::Client,
    pub(crate) dynamodb_streams: aws_sdk_dynamodbstreams::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    /// Whether Kinesis is somewhere else than at AWS.
    pub(crate) custom_kinesis: bool,
}

impl Aws {
    /// Makes the clients: region and endpoints as given, everything else from the standard
    /// environment and its files.
    pub async fn load(settings: &AwsSettings) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .timeout_config(timeouts())
            // Each call has its limit in time; to watch the pace of each body beside that costs more
            // than it finds.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if settings.placeholder_credentials {
            let none =
                aws_sdk_kinesis::config::Credentials::new("none", "none", None, None, "none");
            loader = loader.credentials_provider(none);
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
            elsewhere: Mutex::default(),
        }
    }

    /// The clients of the region where something is.
    ///
    /// Servers that are not AWS's name regions that are none, `ddblocal` and `elasticmq`; those are
    /// called as at home, since the configured region is the one in which others call them too.
    pub fn clients_for(&self, arn: &Arn) -> AwsClients {
        let region = arn.region();
        if region == self.region || !is_region(region) {
            return self.home.clone();
        }
        let elsewhere = self.elsewhere.lock();
        let mut elsewhere = elsewhere.unwrap_or_else(PoisonError::into_inner);
        let clients = elsewhere
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
        let custom_kinesis = endpoint(Service::Kinesis).is_some() || kinesis_is_elsewhere(shared);
        Self {
            kinesis: aws_sdk_kinesis::Client::from_conf(kinesis.build()),
            dynamodb_streams: aws_sdk_dynamodbstreams::Client::from_conf(streams.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            lambda: aws_sdk_lambda::Client::from_conf(lambda.build()),
            custom_kinesis,
        }
    }
}

/// The region that the profile names, which applies where the environment names none.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html>
pub async fn region_of_profile() -> Option<String> {
    let provider = ProfileFileRegionProvider::builder().build();
    let region = provider.region().await;
    region
        .map(|region| region.as_ref().to_owned())
        .filter(|region| !region.is_empty())
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

/// Whether this is how AWS names its regions: `us-east-1`, `us-gov-west-1`.
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

    fn region(client: &AwsClients) -> Vec<String> {
        let named = [
            client.kinesis.config().region(),
            client.dynamodb_streams.config().region(),
            client.sqs.config().region(),
            client.lambda.config().region(),
        ];
        let named = named.into_iter().flatten();
        named.map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn what_an_arn_names_is_called_in_its_own_region() {
        let aws = Aws::load(&AwsSettings {
            region: "eu-west-1".to_owned(),
            placeholder_credentials: true,
            ..AwsSettings::default()
        })
        .await;
        let of = |text: &str| region(&aws.clients_for(&Arn::parse(text).unwrap()));
        let queue = "arn:aws:sqs:us-gov-west-1:000000000000:q";
        assert_eq!(of(queue), ["us-gov-west-1"; 4]);
        assert_eq!(of(queue), ["us-gov-west-1"; 4]);
        assert_eq!(aws.elsewhere.lock().unwrap().len(), 1, "they are kept");
        let here = "arn:aws:kinesis:eu-west-1:000000000000:stream/s";
        assert_eq!(of(here), ["eu-west-1"; 4]);
        for place in ["elasticmq", "ddblocal", "", "000000000000", "a-b-1"] {
            let arn = format!("arn:aws:sqs:{place}:000000000000:q");
            assert_eq!(of(&arn), ["eu-west-1"; 4], "{arn}");
        }
    }
}
