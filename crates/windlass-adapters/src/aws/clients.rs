//! SDK clients for each service and region, from one configuration.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::service_config::ServiceConfigKey;
use futures::FutureExt as _;
use windlass_core::arn::Arn;

use super::call_rules::{CallRules, OnlyLostConnections};
use super::credentials::CurrentCredentials;
use super::partition::is_region;
use super::server_clock::ServerClock;
use crate::tls_roots::{CaBundle, Connections, TLS};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Limit of one attempt of a call that brings no records, messages or results of a function. The
/// others set their own.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The SDK repeats a call once, for a lost connection; see [`OnlyLostConnections`].
const MAX_ATTEMPTS: u32 = 2;

/// Limit of the other regions whose clients are kept; AWS has fewer.
const MAX_REGIONS: usize = 64;

/// A service of AWS that windlass calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Kinesis,
    DynamoDbStreams,
    Sqs,
    Sns,
    S3,
    Lambda,
}

impl Service {
    pub const ALL: [Self; 6] = [
        Self::Kinesis,
        Self::DynamoDbStreams,
        Self::Sqs,
        Self::Sns,
        Self::S3,
        Self::Lambda,
    ];

    /// Key of the service in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::DynamoDbStreams => "dynamodb_streams",
            Self::Sqs => "sqs",
            Self::Sns => "sns",
            Self::S3 => "s3",
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
    subscription_http: Option<SharedHttpClient>,
    rules: CallRules,
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
    pub(crate) sns: aws_sdk_sns::Client,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    /// Opens a connection for each subscription to a shard; `None`: the client of all other calls.
    /// Over HTTP/2, subscriptions that are not read would stop all others on their connection, and its
    /// number of streams is limited.
    pub(crate) subscription_http: Option<SharedHttpClient>,
    /// What the interceptors of all clients apply.
    pub(crate) rules: CallRules,
    /// The clocks of the servers, as their answers show them.
    pub(crate) kinesis_clock: ServerClock,
    pub(crate) dynamodb_streams_clock: ServerClock,
    pub(crate) sqs_clock: ServerClock,
    /// Whether Kinesis has an endpoint other than AWS's.
    pub(crate) custom_kinesis: bool,
    /// The same of DynamoDB Streams.
    pub(crate) custom_dynamodb_streams: bool,
    /// The same for SQS.
    pub(crate) custom_sqs: bool,
}

impl Aws {
    /// Region and endpoints come from the settings, everything else from the standard environment
    /// variables and files of AWS.
    pub async fn load(settings: &AwsSettings) -> Self {
        let bundle = settings.ca_bundle.as_ref();
        let http = bundle.map(|bundle| bundle.http_client(Connections::Shared));
        let subscription_http = bundle.map_or_else(
            || {
                aws_smithy_http_client::Builder::new()
                    .pool_max_idle_per_host(0)
                    .tls_provider(TLS)
                    .build_https()
            },
            |bundle| bundle.http_client(Connections::OnePerCall),
        );
        let region = settings.region.clone();
        let credentials = (!settings.placeholder_credentials).then(|| {
            let http = http.clone();
            CurrentCredentials::new(move || {
                let loader = loader(&region, http.clone());
                async move { loader.load().await.credentials_provider() }.boxed()
            })
        });
        let mut aws = Self::with(settings, http, credentials).await;
        aws.home.subscription_http = Some(subscription_http.clone());
        aws.subscription_http = Some(subscription_http);
        aws
    }

    pub(super) async fn with(
        settings: &AwsSettings,
        http: Option<SharedHttpClient>,
        credentials: Option<CurrentCredentials>,
    ) -> Self {
        let loader = loader(&settings.region, http);
        let loader = if let Some(current) = &credentials {
            loader
                .identity_cache(current.clone())
                .credentials_provider(current.clone())
        } else {
            let keys = Credentials::new("none", "none", None, None, "none");
            loader.credentials_provider(keys)
        };
        let shared = loader.load().await;
        let rules = CallRules { credentials };
        let home = AwsClients::new(&shared, &rules, &settings.endpoints, &settings.region);
        Self {
            shared,
            subscription_http: None,
            rules,
            endpoints: settings.endpoints.clone(),
            region: settings.region.clone(),
            home,
            others: Mutex::default(),
        }
    }

    /// The clients of the daemon's region.
    pub(crate) const fn home(&self) -> &AwsClients {
        &self.home
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
        // Callers of the API name regions, too. Clients in use outlive their place here.
        if MAX_REGIONS <= others.len() && !others.contains_key(region) {
            others.clear();
        }
        let clients = others
            .entry(region.to_owned())
            .or_insert_with(|| AwsClients {
                subscription_http: self.subscription_http.clone(),
                ..AwsClients::new(&self.shared, &self.rules, &self.endpoints, region)
            });
        clients.clone()
    }
}

impl AwsClients {
    fn new(
        shared: &SdkConfig,
        rules: &CallRules,
        endpoints: &BTreeMap<Service, String>,
        region: &str,
    ) -> Self {
        macro_rules! config {
            ($sdk:ident, $service:expr, $clock:expr) => {{
                let config = $sdk::config::Builder::from(shared)
                    .region(Region::new(region.to_owned()))
                    .retry_classifier(OnlyLostConnections)
                    .interceptor(rules.clone())
                    .interceptor($clock.clone());
                // Without an endpoint in the settings, that of the environment or the profile
                // applies.
                match endpoints.get(&$service) {
                    Some(url) => config.endpoint_url(url),
                    None => config,
                }
            }};
        }
        macro_rules! client {
            ($sdk:ident, $service:expr, $clock:expr) => {
                $sdk::Client::from_conf(config!($sdk, $service, $clock).build())
            };
        }
        let clocks: [ServerClock; 4] = Default::default();
        let [kinesis_clock, dynamodb_streams_clock, sqs_clock, unwatched] = clocks;
        let is_custom =
            |service| endpoints.contains_key(&service) || has_custom_endpoint(shared, service);
        let s3 = config!(aws_sdk_s3, Service::S3, unwatched);
        let s3 = if is_custom(Service::S3) {
            for_s3_servers(s3)
        } else {
            s3
        };
        Self {
            kinesis: client!(aws_sdk_kinesis, Service::Kinesis, kinesis_clock),
            dynamodb_streams: client!(
                aws_sdk_dynamodbstreams,
                Service::DynamoDbStreams,
                dynamodb_streams_clock
            ),
            sqs: client!(aws_sdk_sqs, Service::Sqs, sqs_clock),
            sns: client!(aws_sdk_sns, Service::Sns, unwatched),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            lambda: client!(aws_sdk_lambda, Service::Lambda, unwatched),
            subscription_http: None,
            rules: rules.clone(),
            kinesis_clock,
            dynamodb_streams_clock,
            sqs_clock,
            custom_kinesis: is_custom(Service::Kinesis),
            custom_dynamodb_streams: is_custom(Service::DynamoDbStreams),
            custom_sqs: is_custom(Service::Sqs),
        }
    }
}

/// For servers with the protocol of S3: they have no host name for each bucket, and older ones reject
/// the headers of checksums that are optional.
fn for_s3_servers(config: aws_sdk_s3::config::Builder) -> aws_sdk_s3::config::Builder {
    let checksums = aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired;
    config
        .force_path_style(true)
        .request_checksum_calculation(checksums)
}

/// Reads the standard environment variables and files of AWS.
fn loader(region: &str, http: Option<SharedHttpClient>) -> ConfigLoader {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .timeout_config(timeouts())
        // Each call has a timeout; watching the throughput of each body costs more than it finds.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS));
    match http {
        Some(http) => loader.http_client(http),
        None => loader,
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

/// Whether the environment or the profile has an endpoint for a service, or one for all services.
fn has_custom_endpoint(shared: &SdkConfig, service: Service) -> bool {
    // The identifiers of the SDK.
    let id = match service {
        Service::Kinesis => "Kinesis",
        Service::DynamoDbStreams => "DynamoDB Streams",
        Service::Sqs => "SQS",
        Service::Sns => "SNS",
        Service::S3 => "S3",
        Service::Lambda => "Lambda",
    };
    let key = ServiceConfigKey::builder()
        .service_id(id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let own = key
        .ok()
        .and_then(|key| shared.service_config()?.load_config(key));
    own.is_some_and(|url| !url.is_empty()) || shared.endpoint_url().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::test_http::TestHttp;

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

    /// The URI of an object as it is put with an endpoint, and whether it has a checksum.
    async fn put_object(endpoint: Option<&str>) -> (String, bool) {
        let (http, _) = TestHttp::new();
        let endpoints = endpoint.map(|url| (Service::S3, url.to_owned()));
        let settings = AwsSettings {
            region: "eu-west-1".to_owned(),
            placeholder_credentials: true,
            endpoints: endpoints.into_iter().collect(),
            ..AwsSettings::default()
        };
        let aws = Aws::with(&settings, Some(http.shared()), None).await;
        http.respond(b"");
        let put = aws.home().s3.put_object().bucket("failed").key("a/b");
        put.body(b"{}".to_vec().into()).send().await.unwrap();
        let request = http.requests().remove(0);
        let mut headers = request.headers.keys();
        let has_checksum = headers.any(|name| name.contains("checksum-"));
        let uri = request.uri.split('?').next().unwrap_or_default();
        (uri.to_owned(), has_checksum)
    }

    #[tokio::test]
    async fn a_bucket_of_another_server_is_part_of_the_path() {
        let at_aws = "https://failed.s3.eu-west-1.amazonaws.com/a/b";
        assert_eq!(put_object(None).await, (at_aws.to_owned(), true));
        let elsewhere = "http://127.0.0.1:4566/failed/a/b";
        let endpoint = "http://127.0.0.1:4566";
        let put = put_object(Some(endpoint)).await;
        assert_eq!(put, (elsewhere.to_owned(), false));
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
        let long = "arn:aws-eusc:kinesis:eusc-de-east-1:000000000000:stream/s";
        assert_eq!(of(long), ["eusc-de-east-1"; 4]);
        let home = "arn:aws:kinesis:eu-west-1:000000000000:stream/s";
        assert_eq!(of(home), ["eu-west-1"; 4]);
        for region in ["elasticmq", "ddblocal", "", "000000000000", "a-b-1"] {
            let arn = format!("arn:aws:sqs:{region}:000000000000:q");
            assert_eq!(of(&arn), ["eu-west-1"; 4], "{arn}");
        }
        for number in 1..=2 * MAX_REGIONS {
            of(&format!("arn:aws:sqs:eu-south-{number}:000000000000:q"));
            let kept = aws.others.lock().unwrap().len();
            assert!(kept <= MAX_REGIONS, "{kept} regions are kept");
        }
    }
}
