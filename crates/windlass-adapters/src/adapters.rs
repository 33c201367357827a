//! Makes adapters from ARNs and names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use windlass_core::arn::{Arn, ArnScope, SourceArn, SourceKind, StreamKind};
use windlass_core::failure::DestinationArn;
use windlass_core::function::FunctionName;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::mapping::{Mapping, MappingId, QueueSource, StreamSource};
use windlass_core::outcome::Fault;
use windlass_core::position::{Cursor, Position};
use windlass_core::replay::ReplayName;
use windlass_core::shard::lineage::Shard;
use windlass_core::time::Timestamp;
use windlass_engine::clock::Clock;
use windlass_engine::memory::OneRecord;
use windlass_engine::ports::{
    AdapterFactory, BoxError, Destination, DocumentBucket, FunctionLookup, NeededCall, Permission,
    PortError, QueueDefaults, QueueReader, QueueSender, ReadLimits, ResourceLookup, StreamReader,
    Target,
};
use windlass_engine::requests::QueueRequests;
use windlass_engine::status::StatusBoard;

use crate::aws::bucket::S3Bucket;
use crate::aws::caller::{self, CredentialsFound};
use crate::aws::checks;
use crate::aws::dynamodb_streams::DynamoDbStreamsReader;
use crate::aws::kinesis::KinesisReader;
use crate::aws::queue_sender::SqsSender;
use crate::aws::sqs::SqsReader;
use crate::aws::{
    Aws, AwsClients, AwsSettings, Partition, ServerClock, Service, look_up_source, source_exists,
};
use crate::destinations::{DocumentTemplate, new_destination};
use crate::targets::process::{MemoryGroups, ProcessTarget, ProcessTargetParts};
use crate::targets::{
    FunctionKind, FunctionSettings, HttpTarget, LambdaTarget, find_function, validate_url,
};
use crate::tls_roots::CaBundle;

/// Everything that the adapters of one daemon need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSettings {
    pub aws: AwsSettings,
    /// Account of names without an ARN: twelve digits.
    pub account_id: String,
    /// By name. Any other function is AWS Lambda's.
    pub functions: BTreeMap<String, FunctionSettings>,
}

impl AdapterSettings {
    /// Partition, region and account of names without an ARN.
    pub fn home(&self) -> ArnScope {
        ArnScope {
            partition: Partition::of(&self.aws.region).name.to_owned(),
            region: self.aws.region.clone(),
            account_id: self.account_id.clone(),
        }
    }
}

/// Of a read for the API.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the adapters of one daemon from ARNs and names.
pub struct Adapters {
    aws: Aws,
    /// For lookups of the API, which has a thread of its own: a connection is driven by the thread
    /// that opened it, and the connections of consumers must not depend on that one.
    lookup_aws: Aws,
    ca_bundle: Option<CaBundle>,
    home: ArnScope,
    functions: BTreeMap<String, FunctionSettings>,
    /// One target per function: all mappings of a function share its concurrency limit. A target
    /// ends with the last of its users.
    targets: Mutex<BTreeMap<Arn, Weak<dyn Target>>>,
    /// Functions that run in processes of this machine, by name. They live as long as the daemon:
    /// they may have processes while no mapping uses them.
    processes: OnceLock<BTreeMap<String, Arc<ProcessTarget>>>,
}

impl Adapters {
    /// Loads credentials and endpoints; makes no calls to services.
    pub async fn load(settings: AdapterSettings) -> Self {
        Self {
            aws: Aws::load(&settings.aws).await,
            lookup_aws: Aws::load(&settings.aws).await,
            home: settings.home(),
            ca_bundle: settings.aws.ca_bundle,
            functions: settings.functions,
            targets: Mutex::default(),
            processes: OnceLock::new(),
        }
    }

    /// What is wrong with an endpoint of the AWS profile: the SDK would ignore it, and call AWS.
    pub fn endpoint_problem(&self) -> Option<String> {
        let mut endpoints = self.aws.custom_endpoints();
        let (service, _) = endpoints.find(|(_, url)| validate_url(url).is_err())?;
        Some(format!(
            "endpoint_url of {} in the AWS profile is not a URL such as http://127.0.0.1:4566; \
             correct or remove it",
            service.name()
        ))
    }

    /// Starts the processes of functions, as many as each needs from the start. Must be called in
    /// the runtime that is to run them.
    pub fn start_processes(&self, board: &StatusBoard, clock: Clock) {
        self.processes.get_or_init(|| {
            let processes = self.functions.iter().filter_map(|(name, settings)| {
                let FunctionKind::Process(function) = &settings.kind else {
                    return None;
                };
                Some((name, settings, function))
            });
            let is_limited = processes.clone().any(|(_, _, it)| it.memory.is_some());
            let groups = is_limited.then(MemoryGroups::of_daemon).flatten();
            let targets = processes.filter_map(|(name, settings, function)| {
                let arn = FunctionName::parse(name)?.resolve(&self.home);
                let target = ProcessTarget::start(ProcessTargetParts {
                    name: name.clone(),
                    arn,
                    region: self.home.region.clone(),
                    function: function.clone(),
                    timeout: settings
                        .timeout
                        .unwrap_or(FunctionSettings::DEFAULT_TIMEOUT),
                    memory_groups: groups.clone(),
                    clock,
                    status: board.function(name),
                });
                Some((name.clone(), Arc::new(target)))
            });
            targets.collect()
        });
    }

    /// Stops the processes without an event; the others finish theirs.
    pub fn drain_processes(&self) {
        for target in self.processes() {
            target.drain();
        }
    }

    /// Waits until all processes have ended after a drain.
    pub async fn drained_processes(&self) {
        join_all(self.processes().map(|target| target.stopped())).await;
    }

    /// Kills all processes and waits for their end.
    pub async fn kill_processes(&self) {
        join_all(self.processes().map(|target| target.kill())).await;
    }

    fn processes(&self) -> impl Iterator<Item = &Arc<ProcessTarget>> {
        self.processes.get().into_iter().flat_map(BTreeMap::values)
    }

    /// The function of the configuration that an ARN of our own region and account names.
    fn configured(&self, arn: &Arn) -> Option<&FunctionSettings> {
        let name = FunctionName::parse(arn.as_str())?;
        let scope = name.scope?;
        // The partition is not compared: a region belongs to one.
        let is_ours = scope.region == self.home.region && scope.account_id == self.home.account_id;
        self.functions.get(&name.name).filter(|_| is_ours)
    }

    /// Settings of a function, by its own ARN or by that of its Lambda function.
    fn settings_of(&self, arn: &Arn) -> Option<&FunctionSettings> {
        self.configured(arn).or_else(|| {
            let mut functions = self.functions.values();
            functions.find(|it| matches!(&it.kind, FunctionKind::Lambda(lambda) if lambda == arn))
        })
    }

    fn new_target(&self, function: &Arn) -> Result<Arc<dyn Target>, BoxError> {
        let settings = self.settings_of(function).cloned();
        let settings = settings
            .unwrap_or_else(|| FunctionSettings::new(FunctionKind::Lambda(function.clone())));
        let (timeout, limit) = (settings.timeout, settings.maximum_concurrency);
        Ok(match &settings.kind {
            FunctionKind::Http(http) => {
                let timeout = timeout.unwrap_or(FunctionSettings::DEFAULT_TIMEOUT);
                let ca_bundle = self.ca_bundle.as_ref();
                Arc::new(HttpTarget::new(http, timeout, limit, ca_bundle)?)
            }
            FunctionKind::Process(_) => {
                let name = FunctionName::parse(function.as_str()).map(|it| it.name);
                let processes = self.processes.get();
                let target = processes.zip(name).and_then(|(all, name)| all.get(&name));
                let target = target.ok_or("the processes of functions are not started")?;
                Arc::clone(target) as _
            }
            FunctionKind::Lambda(arn) => {
                let clients = self.aws.clients_as(settings.assume_role.as_ref(), arn);
                Arc::new(LambdaTarget::new(&clients.lambda, arn, timeout, limit))
            }
        })
    }

    /// Of a function of AWS Lambda.
    fn lookup_clients_of_function(&self, arn: &Arn) -> AwsClients {
        let settings = self.settings_of(arn);
        let role = settings.and_then(|it| it.assume_role.as_ref());
        self.lookup_aws.clients_as(role, arn)
    }

    /// The call that invokes a function; `None` if it is not one of AWS Lambda.
    pub fn call_to_invoke(&self, function: &Arn) -> Option<NeededCall> {
        let lambda = match self.settings_of(function).map(|it| &it.kind) {
            Some(FunctionKind::Http(_) | FunctionKind::Process(_)) => None,
            Some(FunctionKind::Lambda(lambda)) => Some(lambda),
            None => Some(function),
        };
        lambda.map(checks::to_invoke)
    }

    /// Whether what an ARN names is called at AWS's own endpoint.
    pub fn is_at_aws(&self, arn: &Arn) -> bool {
        let service = match arn.service() {
            "kinesis" => Service::Kinesis,
            "dynamodb" => Service::DynamoDbStreams,
            "sqs" => Service::Sqs,
            "sns" => Service::Sns,
            "s3" => Service::S3,
            "lambda" => Service::Lambda,
            _ => return false,
        };
        !self.lookup_aws.home().is_custom(service)
    }

    /// The daemon's own credentials; `None` if it signs with meaningless ones.
    ///
    /// # Errors
    /// No provider of credentials has any, or one failed.
    pub async fn credentials(&self) -> Option<Result<CredentialsFound, BoxError>> {
        caller::credentials(self.lookup_aws.home()).await
    }

    /// The ARN of the user or role that the daemon's own credentials belong to; `None` if STS has an
    /// endpoint other than AWS's.
    ///
    /// # Errors
    /// STS cannot be reached, or rejects them.
    pub async fn caller(&self) -> Option<Result<String, PortError>> {
        caller::identity(self.lookup_aws.home()).await
    }

    /// Whether a source exists and can be read, and how many milliseconds its clock is ahead of the
    /// machine's, if its answer says so.
    ///
    /// # Errors
    /// As those of [`ResourceLookup::source`].
    pub async fn look_up_source(&self, source: &SourceArn) -> (Result<(), PortError>, Option<i64>) {
        let (clients, clock) = (
            self.lookup_aws.clients_for(source.arn()),
            ServerClock::default(),
        );
        let found = look_up_source(&clients, source, &clock).await;
        (found, clock.difference())
    }

    /// Whether a destination exists; `None` at AWS, where [`ResourceLookup::permission`] finds it out.
    pub async fn look_up_destination(
        &self,
        destination: &DestinationArn,
    ) -> Option<Result<(), PortError>> {
        let clients = self.lookup_aws.clients_for(destination.arn());
        checks::look_up_destination(&clients, destination).await
    }

    /// Reads a stream for the API.
    fn lookup_reader(&self, stream: &SourceArn) -> Result<Arc<dyn StreamReader>, PortError> {
        let arn = stream.arn();
        let clients = self.lookup_aws.clients_for(arn);
        match stream.kind() {
            SourceKind::Stream(StreamKind::Kinesis) => {
                Ok(Arc::new(KinesisReader::new(&clients, arn, None, "")))
            }
            SourceKind::Stream(StreamKind::DynamoDbStreams) => {
                Ok(Arc::new(DynamoDbStreamsReader::new(&clients, arn)))
            }
            SourceKind::Queue => Err(PortError {
                operation: format!("reading {arn}"),
                fault: Fault::Gone,
                source: "it is a queue, not a stream".into(),
            }),
        }
    }

    fn identity_of(&self, function: &Arn) -> String {
        let role = self
            .settings_of(function)
            .and_then(|settings| settings.role_arn.clone());
        role.unwrap_or_else(|| {
            let ArnScope {
                partition,
                account_id,
                ..
            } = &self.home;
            format!("arn:{partition}:iam::{account_id}:role/windlass")
        })
    }
}

impl AdapterFactory for Adapters {
    fn stream(
        &self,
        source: &StreamSource,
        function: &Arn,
    ) -> Result<Arc<dyn StreamReader>, PortError> {
        let clients = self.aws.clients_for(&source.arn);
        let n_lanes = source.settings.parallelization_factor;
        Ok(match source.kind {
            StreamKind::Kinesis => {
                let identity = self.identity_of(function);
                let consumer = source.consumer.as_ref();
                let reader = KinesisReader::new(&clients, &source.arn, consumer, &identity)
                    .with_lanes(n_lanes);
                Arc::new(match source.takes_aggregates_apart {
                    true => reader.taking_aggregates_apart(),
                    false => reader,
                })
            }
            StreamKind::DynamoDbStreams => {
                Arc::new(DynamoDbStreamsReader::new(&clients, &source.arn).with_lanes(n_lanes))
            }
        })
    }

    fn queue(
        &self,
        source: &QueueSource,
        requests: Arc<QueueRequests>,
    ) -> Result<Arc<dyn QueueReader>, PortError> {
        let clients = self.aws.clients_for(&source.arn);
        Ok(Arc::new(SqsReader::new(&clients, source, requests)))
    }

    fn target(&self, function: &Arn) -> Result<Arc<dyn Target>, PortError> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        // A configured function is the same whatever the qualifier.
        let unqualified = FunctionName::parse(function.as_str())
            .filter(|_| self.configured(function).is_some())
            .map(|name| {
                FunctionName {
                    qualifier: None,
                    ..name
                }
                .resolve(&self.home)
            });
        let key = unqualified.as_ref().unwrap_or(function);
        if let Some(target) = targets.get(key).and_then(Weak::upgrade) {
            return Ok(target);
        }
        targets.retain(|_, target| target.strong_count() != 0);
        let target = self.new_target(key).map_err(|source| PortError {
            operation: format!("preparing to invoke function {function}"),
            fault: Fault::Denied,
            source,
        })?;
        targets.insert(key.clone(), Arc::downgrade(&target));
        Ok(target)
    }

    fn bucket(&self, name: &str) -> Result<Arc<dyn DocumentBucket>, PortError> {
        let arn = format!("arn:{}:s3:::{name}", self.home.partition);
        let arn = Arn::parse(&arn).map_err(|error| PortError {
            operation: format!("reading bucket {name}"),
            fault: Fault::Gone,
            source: error.into(),
        })?;
        Ok(Arc::new(S3Bucket::new(
            &self.aws.clients_for(&arn).s3,
            name,
        )))
    }

    fn sender(&self, queue: &Arn) -> Result<Arc<dyn QueueSender>, PortError> {
        Ok(Arc::new(SqsSender::new(
            &self.aws.clients_for(queue),
            queue,
        )))
    }

    fn is_configured(&self, function: &Arn) -> bool {
        self.settings_of(function).is_some()
    }

    fn destination(
        &self,
        mapping: &MappingId,
        replay: Option<&ReplayName>,
        source: &StreamSource,
        function: &Arn,
    ) -> Result<Option<Arc<dyn Destination>>, PortError> {
        let Some(destination) = &source.settings.on_failure else {
            return Ok(None);
        };
        let clients = self.aws.clients_for(destination.arn());
        let template = DocumentTemplate::new(mapping, replay, source, function);
        Ok(Some(new_destination(&clients, destination, template)))
    }
}

#[async_trait]
impl ResourceLookup for Adapters {
    async fn function(&self, name: &FunctionName) -> Result<FunctionLookup, PortError> {
        let arn = name.resolve(&self.home);
        let arn = match self.configured(&arn).map(|function| &function.kind) {
            Some(FunctionKind::Http(_) | FunctionKind::Process(_)) => {
                return Ok(FunctionLookup::Found(arn));
            }
            Some(FunctionKind::Lambda(lambda)) => lambda.clone(),
            None => arn,
        };
        find_function(&self.lookup_clients_of_function(&arn).lambda, &arn).await
    }

    fn function_arn(&self, name: &FunctionName) -> Option<Arn> {
        let arn = name.resolve(&self.home);
        Some(match self.configured(&arn).map(|function| &function.kind) {
            Some(FunctionKind::Lambda(lambda)) => lambda.clone(),
            Some(FunctionKind::Http(_) | FunctionKind::Process(_)) | None => arn,
        })
    }

    async fn source(&self, source: &SourceArn) -> Result<Option<Timestamp>, PortError> {
        source_exists(&self.lookup_aws.clients_for(source.arn()), source).await
    }

    fn needed_calls(&self, mapping: &Mapping, queues: &QueueDefaults) -> Vec<NeededCall> {
        let invoke = self.call_to_invoke(&mapping.function);
        let others = checks::needed_calls(mapping, queues);
        invoke.into_iter().chain(others).collect()
    }

    async fn permission(&self, call: &NeededCall) -> Permission {
        let resource = &call.resource;
        let clients = if resource.service() == "lambda" {
            self.lookup_clients_of_function(resource)
        } else {
            self.lookup_aws.clients_for(resource)
        };
        checks::permission(&clients, call).await
    }

    async fn shards(&self, stream: &SourceArn) -> Result<Vec<Shard>, PortError> {
        self.lookup_reader(stream)?.list_shards().await
    }

    async fn is_of_shard(
        &self,
        stream: &SourceArn,
        shard: &ShardId,
        number: &SequenceNumber,
    ) -> Result<bool, PortError> {
        let mut reader = self.lookup_reader(stream)?.open(shard);
        let at = Cursor::at(Position::At(number.clone()));
        let limits = ReadLimits {
            max_records: 1,
            memory: &OneRecord,
            timeout: LOOKUP_TIMEOUT,
        };
        match reader.read(&at, limits).await {
            Ok(_) => Ok(true),
            Err(error) => match error.fault {
                Fault::UnknownPosition => Ok(false),
                // It was there.
                Fault::Trimmed => Ok(true),
                Fault::Throttled { .. }
                | Fault::Transient
                | Fault::TimedOut
                | Fault::Denied
                | Fault::Gone => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod role_tests;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::StreamExt as _;
    use futures::stream::FuturesUnordered;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::targets::HttpFunction;

    async fn with_kinesis_at(url: String) -> Adapters {
        Adapters::load(AdapterSettings {
            aws: AwsSettings {
                region: "us-east-1".to_owned(),
                endpoints: BTreeMap::from([(Service::Kinesis, url)]),
                placeholder_credentials: true,
                ..AwsSettings::default()
            },
            account_id: "000000000000".to_owned(),
            functions: BTreeMap::new(),
        })
        .await
    }

    /// The API has a thread of its own, on which connections would stand still with it.
    #[tokio::test]
    async fn lookups_of_the_api_share_no_connection_with_readers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let adapters = with_kinesis_at(url).await;
        let source = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
        let source = SourceArn::parse(source).unwrap();
        let connections = AtomicUsize::new(0);
        let server = async {
            let mut open = FuturesUnordered::new();
            loop {
                tokio::select! {
                    Ok((mut stream, _)) = listener.accept() => {
                        connections.fetch_add(1, Ordering::Relaxed);
                        open.push(async move {
                            let mut request = vec![0; 16 * 1024];
                            while stream.read(&mut request).await.is_ok_and(|length| 0 < length) {
                                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                                stream.write_all(answer).await.unwrap();
                            }
                        });
                    }
                    Some(()) = open.next() => {}
                }
            }
        };
        let calls = async {
            // Whether the answer is good does not matter.
            for _ in 0..2 {
                drop(adapters.source(&source).await);
            }
            assert_eq!(connections.load(Ordering::Relaxed), 1);
            let clients = adapters.aws.clients_for(source.arn());
            drop(source_exists(&clients, &source).await);
            assert_eq!(connections.load(Ordering::Relaxed), 2);
        };
        tokio::select! {
            () = calls => {}
            () = server => unreachable!("it answers without an end"),
        }
    }

    /// The region that a call about a stream in `region` is signed for.
    async fn signed_for(region: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let adapters = with_kinesis_at(url).await;
        let arn = format!("arn:aws:kinesis:{region}:000000000000:stream/s");
        let source = SourceArn::parse(&arn).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 * 1024];
            let length = stream.read(&mut request).await.unwrap();
            let response = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(response).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        let (request, result) = tokio::join!(server, adapters.source(&source));
        assert!(result.is_err());
        let (_, scope) = request.split_once("Credential=none/").unwrap();
        scope.split('/').nth(1).unwrap().to_owned()
    }

    #[tokio::test]
    async fn arns_are_of_the_partition_of_the_region() {
        for (region, partition) in [
            ("us-east-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eusc-de-east-1", "aws-eusc"),
            ("elsewhere", "aws"),
        ] {
            let resize =
                FunctionSettings::new(FunctionKind::Http(HttpFunction::new("http://127.0.0.1:9")));
            let adapters = Adapters::load(AdapterSettings {
                aws: AwsSettings {
                    region: region.to_owned(),
                    placeholder_credentials: true,
                    ..AwsSettings::default()
                },
                account_id: "000000000000".to_owned(),
                functions: BTreeMap::from([("resize".to_owned(), resize)]),
            })
            .await;
            let arn = format!("arn:{partition}:lambda:{region}:000000000000:function:resize");
            for text in ["resize", &arn] {
                let name = FunctionName::parse(text).unwrap();
                let found = adapters.function(&name).await.unwrap();
                let expected = FunctionLookup::Found(Arn::parse(&arn).unwrap());
                assert_eq!(found, expected, "{text}");
            }
            let role = format!("arn:{partition}:iam::000000000000:role/windlass");
            assert_eq!(adapters.identity_of(&Arn::parse(&arn).unwrap()), role);
        }
    }

    #[tokio::test]
    async fn a_target_lives_as_long_as_its_users() {
        let adapters = Adapters::load(AdapterSettings {
            aws: AwsSettings {
                region: "us-east-1".to_owned(),
                placeholder_credentials: true,
                ..AwsSettings::default()
            },
            account_id: "000000000000".to_owned(),
            functions: BTreeMap::new(),
        })
        .await;
        let arn = |name: usize| {
            let text = format!("arn:aws:lambda:us-east-1:000000000000:function:f{name}");
            Arn::parse(&text).unwrap()
        };
        let first = adapters.target(&arn(0)).unwrap();
        for name in 1..100 {
            drop(adapters.target(&arn(name)).unwrap());
        }
        let again = adapters.target(&arn(0)).unwrap();
        assert!(Arc::ptr_eq(&first, &again), "users share it");
        assert!(adapters.targets.lock().unwrap().len() <= 2);
    }

    #[tokio::test]
    async fn a_target_states_the_maximum_concurrency_of_its_function() {
        let http = FunctionKind::Http(HttpFunction::new("http://127.0.0.1:9"));
        let lambda = "arn:aws:lambda:us-east-1:000000000000:function:b";
        let lambda = FunctionKind::Lambda(Arn::parse(lambda).unwrap());
        for (kind, limit) in [(http, Some(3)), (lambda, None)] {
            let mut function = FunctionSettings::new(kind);
            function.maximum_concurrency = limit;
            let adapters = Adapters::load(AdapterSettings {
                aws: AwsSettings {
                    region: "us-east-1".to_owned(),
                    placeholder_credentials: true,
                    ..AwsSettings::default()
                },
                account_id: "000000000000".to_owned(),
                functions: BTreeMap::from([("a".to_owned(), function)]),
            })
            .await;
            let arn = Arn::parse("arn:aws:lambda:us-east-1:000000000000:function:a").unwrap();
            assert_eq!(adapters.target(&arn).unwrap().concurrency(), limit);
        }
    }

    #[tokio::test]
    async fn sources_are_called_in_the_region_of_their_arn() {
        assert_eq!(signed_for("us-east-1").await, "us-east-1");
        assert_eq!(signed_for("eusc-de-east-1").await, "eusc-de-east-1");
        assert_eq!(signed_for("eu-central-1").await, "eu-central-1");
        // DynamoDB Local, ElasticMQ and others use names that are not regions of AWS.
        assert_eq!(signed_for("elsewhere").await, "us-east-1");
    }
}
