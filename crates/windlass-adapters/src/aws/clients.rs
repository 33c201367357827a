//! SDK clients for each service and region, from one configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::service_config::ServiceConfigKey;
use futures::FutureExt as _;
use windlass_core::arn::Arn;

use super::assumed_role::AssumedRole;
use super::call_rules::{CallRules, OnlyLostConnections};
use super::calls::{DynamoDbStreams, Kinesis, Lambda, S3, Sns, Sqs, Sts};
use super::credentials::CurrentCredentials;
use super::partition::is_region;
use super::roles::{Role, RoleRule};
use super::server_clock::ServerClock;
use crate::tls_roots::{CaBundle, Connections, TLS};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Limit of one attempt of a call that brings no records, messages or results of a function. The
/// others set their own.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The SDK repeats a call once, for a lost connection; see [`OnlyLostConnections`].
const MAX_ATTEMPTS: u32 = 2;

/// Limit of the other regions whose clients are kept, with each role; AWS has fewer.
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
    Sts,
}

impl Service {
    pub const ALL: [Self; 7] = [
        Self::Kinesis,
        Self::DynamoDbStreams,
        Self::Sqs,
        Self::Sns,
        Self::S3,
        Self::Lambda,
        Self::Sts,
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
            Self::Sts => "sts",
        }
    }

    /// Whether it has a protocol of XML, not one of JSON.
    pub(super) const fn answers_in_xml(self) -> bool {
        match self {
            Self::Sns | Self::S3 | Self::Sts => true,
            Self::Kinesis | Self::DynamoDbStreams | Self::Sqs | Self::Lambda => false,
        }
    }

    /// Its identifier in the SDK.
    pub(super) const fn sdk_id(self) -> &'static str {
        match self {
            Self::Kinesis => "Kinesis",
            Self::DynamoDbStreams => "DynamoDB Streams",
            Self::Sqs => "SQS",
            Self::Sns => "SNS",
            Self::S3 => "S3",
            Self::Lambda => "Lambda",
            Self::Sts => "STS",
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
    /// Roles for sources and destinations; the first rule that fits applies.
    pub assume_roles: Vec<RoleRule>,
}

/// Clients of all regions and roles. A resource is called in the region of its ARN, whatever the
/// daemon's.
#[derive(Debug)]
pub struct Aws {
    caller: Caller,
    subscription_http: Option<SharedHttpClient>,
    endpoints: BTreeMap<Service, String>,
    region: String,
    assume_roles: Vec<RoleRule>,
    /// Those of the daemon's region and credentials.
    home: AwsClients,
    others: Mutex<Others>,
}

/// What calls have in common that are made with the same credentials.
#[derive(Clone, Debug)]
struct Caller {
    shared: SdkConfig,
    rules: CallRules,
}

/// Clients of other regions and of roles; they share connections with those of the daemon's region.
#[derive(Debug, Default)]
struct Others {
    clients: BTreeMap<(Option<Role>, String), AwsClients>,
    /// The configuration names them, so there are few.
    roles: BTreeMap<Role, Caller>,
}

/// Clients of all services in one region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AwsClients {
    pub(crate) kinesis: Kinesis,
    pub(crate) dynamodb_streams: DynamoDbStreams,
    pub(crate) sqs: Sqs,
    pub(crate) sns: Sns,
    pub(crate) s3: S3,
    pub(crate) lambda: Lambda,
    pub(crate) sts: Sts,
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
    /// Services with an endpoint other than AWS's.
    pub(crate) custom_endpoints: Arc<BTreeSet<Service>>,
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

    /// Whose calls a test sees; signed with placeholders.
    #[cfg(test)]
    pub(crate) async fn with_http(settings: &AwsSettings, http: SharedHttpClient) -> Self {
        Self::with(settings, Some(http), None).await
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
        let rules = CallRules {
            credentials,
            role: None,
        };
        let caller = Caller { shared, rules };
        let home = AwsClients::new(&caller, &settings.endpoints, &settings.region);
        Self {
            caller,
            subscription_http: None,
            endpoints: settings.endpoints.clone(),
            region: settings.region.clone(),
            assume_roles: settings.assume_roles.clone(),
            home,
            others: Mutex::default(),
        }
    }

    /// The endpoints that the environment or the profile gives, of services without one in the settings.
    pub(crate) fn custom_endpoints(&self) -> impl Iterator<Item = (Service, String)> {
        let services = Service::ALL.into_iter();
        services.filter_map(|service| {
            let url = custom_endpoint(&self.caller.shared, service)?;
            (!self.endpoints.contains_key(&service)).then_some((service, url))
        })
    }

    /// The clients of the daemon's region, with its own credentials.
    pub(crate) const fn home(&self) -> &AwsClients {
        &self.home
    }

    /// The clients for a source or a destination: of the region of its ARN, and with the role of the
    /// first rule that matches it.
    pub fn clients_for(&self, arn: &Arn) -> AwsClients {
        let mut rules = self.assume_roles.iter();
        let rule = rules.find(|rule| rule.resources.matches(arn));
        self.clients_as(rule.map(|rule| &rule.role), arn)
    }

    /// The clients of the region of an ARN, with a role or with the daemon's own credentials.
    ///
    /// Local servers use ARNs with regions that do not exist, `ddblocal` and `elasticmq`. They are
    /// called in the daemon's region, in which their other clients call them, too.
    pub fn clients_as(&self, role: Option<&Role>, arn: &Arn) -> AwsClients {
        let region = match arn.region() {
            region if is_region(region) => region,
            _ => &self.region,
        };
        if region == self.region && role.is_none() {
            return self.home.clone();
        }
        let others = self.others.lock();
        let others = &mut *others.unwrap_or_else(PoisonError::into_inner);
        let key = (role.cloned(), region.to_owned());
        if let Some(clients) = others.clients.get(&key) {
            return clients.clone();
        }
        // Callers of the API name regions, too. Clients in use outlive their place here.
        if MAX_REGIONS <= others.clients.len() {
            others.clients.clear();
        }
        let caller = match role {
            Some(role) => {
                let caller = others.roles.entry(role.clone());
                caller.or_insert_with(|| self.caller_as(role))
            }
            None => &self.caller,
        };
        let clients = AwsClients {
            subscription_http: self.subscription_http.clone(),
            ..AwsClients::new(caller, &self.endpoints, region)
        };
        others.clients.insert(key, clients.clone());
        clients
    }

    /// All callers with a role share its credentials. It is assumed in the daemon's region.
    fn caller_as(&self, role: &Role) -> Caller {
        let credentials = CurrentCredentials::of(AssumedRole::new(&self.home.sts, role));
        let shared = self.caller.shared.to_builder();
        let shared = shared
            .identity_cache(credentials.clone())
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()));
        Caller {
            shared: shared.build(),
            rules: CallRules {
                credentials: Some(credentials),
                role: Some(role.arn.clone()),
            },
        }
    }
}

impl AwsClients {
    fn new(caller: &Caller, endpoints: &BTreeMap<Service, String>, region: &str) -> Self {
        let Caller { shared, rules } = caller;
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
            ($client:ident, $sdk:ident, $clock:expr) => {
                $client::new(config!($sdk, Service::$client, $clock).build())
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
            kinesis: client!(Kinesis, aws_sdk_kinesis, kinesis_clock),
            dynamodb_streams: client!(
                DynamoDbStreams,
                aws_sdk_dynamodbstreams,
                dynamodb_streams_clock
            ),
            sqs: client!(Sqs, aws_sdk_sqs, sqs_clock),
            sns: client!(Sns, aws_sdk_sns, unwatched),
            s3: S3::new(s3.build()),
            lambda: client!(Lambda, aws_sdk_lambda, unwatched),
            sts: client!(Sts, aws_sdk_sts, unwatched),
            subscription_http: None,
            rules: rules.clone(),
            kinesis_clock,
            dynamodb_streams_clock,
            sqs_clock,
            custom_endpoints: Arc::new(
                Service::ALL
                    .into_iter()
                    .filter(|it| is_custom(*it))
                    .collect(),
            ),
        }
    }

    /// Whether a service has an endpoint other than AWS's.
    pub(crate) fn is_custom(&self, service: Service) -> bool {
        self.custom_endpoints.contains(&service)
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
    custom_endpoint(shared, service).is_some() || shared.endpoint_url().is_some()
}

/// The endpoint that they have, as it is written there.
fn custom_endpoint(shared: &SdkConfig, service: Service) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service.sdk_id())
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let url = shared.service_config()?.load_config(key.ok()?)?;
    (!url.is_empty()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::test_http::TestHttp;

    fn regions(client: &AwsClients) -> Vec<String> {
        let regions = [
            client.kinesis.region(),
            client.dynamodb_streams.region(),
            client.sqs.region(),
            client.sns.region(),
            client.s3.region(),
            client.lambda.region(),
            client.sts.region(),
        ];
        let regions = regions.into_iter().flatten();
        regions.map(str::to_owned).collect()
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
        let aws = Aws::with_http(&settings, http.shared()).await;
        http.respond(b"");
        let put = aws.home.s3.put_object().bucket("failed").key("a/b");
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
        assert_eq!(of(queue), ["us-gov-west-1"; 7]);
        assert_eq!(of(queue), ["us-gov-west-1"; 7]);
        assert_eq!(
            aws.others.lock().unwrap().clients.len(),
            1,
            "clients are reused"
        );
        let long = "arn:aws-eusc:kinesis:eusc-de-east-1:000000000000:stream/s";
        assert_eq!(of(long), ["eusc-de-east-1"; 7]);
        let home = "arn:aws:kinesis:eu-west-1:000000000000:stream/s";
        assert_eq!(of(home), ["eu-west-1"; 7]);
        for region in ["elasticmq", "ddblocal", "", "000000000000", "a-b-1"] {
            let arn = format!("arn:aws:sqs:{region}:000000000000:q");
            assert_eq!(of(&arn), ["eu-west-1"; 7], "{arn}");
        }
        for number in 1..=2 * MAX_REGIONS {
            of(&format!("arn:aws:sqs:eu-south-{number}:000000000000:q"));
            let kept = aws.others.lock().unwrap().clients.len();
            assert!(kept <= MAX_REGIONS, "{kept} regions are kept");
        }
    }
}
