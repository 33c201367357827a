//! From an ARN or a name to an adapter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use windlass_core::arn::{Arn, ArnScope, SourceArn, StreamKind};
use windlass_core::function::FunctionName;
use windlass_core::mapping::{QueueSource, StreamSource};
use windlass_core::outcome::Fault;
use windlass_engine::ports::{
    AdapterFactory, BoxError, PortError, QueueReader, ResourceLookup, StreamReader, Target,
};

use crate::aws::dynamodb_streams::DynamoDbStreamsReader;
use crate::aws::kinesis::KinesisReader;
use crate::aws::sqs::SqsReader;
use crate::aws::{Aws, AwsSettings, source_exists};
use crate::targets::{
    DEFAULT_TIMEOUT, HttpTarget, HttpTargetSettings, LambdaTarget, find_function,
};
use crate::trust::CaBundle;

/// What the world is made of.
#[derive(Clone, Debug)]
pub struct AdapterSettings {
    /// Where AWS is.
    pub aws: AwsSettings,
    /// For names given without an ARN: twelve digits.
    pub account_id: String,
    /// Functions by name. Any other is AWS Lambda's.
    pub functions: BTreeMap<String, FunctionSettings>,
}

/// A function of the configuration.
#[derive(Clone, Debug)]
pub struct FunctionSettings {
    /// How it is invoked.
    pub kind: FunctionKind,
    /// The longest that one invocation may take.
    pub timeout: Duration,
    /// Most invocations at a time; others wait.
    pub maximum_concurrency: Option<usize>,
    /// What it sees as `invokeIdentityArn`.
    pub role_arn: Option<String>,
}

/// How a function is invoked.
#[derive(Clone, Debug)]
pub enum FunctionKind {
    /// By HTTP.
    Url {
        /// Absolute.
        url: String,
        /// Sent with every request.
        headers: BTreeMap<String, String>,
        /// Signs the body.
        signing_secret: Option<String>,
    },
    /// Through AWS Lambda's API.
    Lambda {
        /// Its ARN.
        arn: Arn,
    },
}

/// Everything outside, as one daemon is configured to see it.
pub struct Adapters {
    aws: Aws,
    ca_bundle: Option<CaBundle>,
    home: ArnScope,
    functions: BTreeMap<String, FunctionSettings>,
    /// One target for each function, since a limit of concurrency is the function's.
    targets: Mutex<BTreeMap<Arn, Arc<dyn Target>>>,
}

impl Adapters {
    /// Looks up credentials and endpoints; calls nobody.
    pub async fn load(settings: AdapterSettings) -> Self {
        let home = ArnScope {
            partition: "aws".to_owned(),
            region: settings.aws.region.clone(),
            account_id: settings.account_id,
        };
        Self {
            aws: Aws::load(&settings.aws).await,
            ca_bundle: settings.aws.ca_bundle,
            home,
            functions: settings.functions,
            targets: Mutex::default(),
        }
    }

    /// The function of the configuration that an ARN of ours names.
    fn configured(&self, arn: &Arn) -> Option<&FunctionSettings> {
        let name = FunctionName::parse(arn.as_str())?;
        if name.scope.as_ref() != Some(&self.home) {
            return None;
        }
        self.functions.get(&name.name)
    }

    /// The ARN that a `lambda` function of the configuration stands for, shown as `FunctionArn`.
    fn shown(&self, name: &FunctionName) -> (Arn, bool) {
        let arn = name.resolve(&self.home);
        match self.configured(&arn).map(|function| &function.kind) {
            Some(FunctionKind::Url { .. }) => (arn, true),
            Some(FunctionKind::Lambda { arn }) => (arn.clone(), false),
            None => (arn, false),
        }
    }

    fn settings_of(&self, arn: &Arn) -> Option<&FunctionSettings> {
        self.configured(arn).or_else(|| {
            let of_arn = |settings: &&FunctionSettings| {
                matches!(&settings.kind, FunctionKind::Lambda { arn: it } if it == arn)
            };
            self.functions.values().find(of_arn)
        })
    }

    fn new_target(&self, function: &Arn) -> Result<Arc<dyn Target>, BoxError> {
        let settings = self.settings_of(function);
        let timeout = settings.map_or(DEFAULT_TIMEOUT, |it| it.timeout);
        let limit = settings.and_then(|it| it.maximum_concurrency);
        let arn = match settings.map(|it| &it.kind) {
            Some(FunctionKind::Url {
                url,
                headers,
                signing_secret,
            }) => {
                return Ok(Arc::new(HttpTarget::new(&HttpTargetSettings {
                    url: url.clone(),
                    headers: headers.clone(),
                    signing_secret: signing_secret.clone(),
                    timeout,
                    maximum_concurrency: limit,
                    ca_bundle: self.ca_bundle.clone(),
                })?));
            }
            Some(FunctionKind::Lambda { arn }) => arn,
            None => function,
        };
        Ok(Arc::new(LambdaTarget::new(
            &self.aws.of(arn).lambda,
            arn,
            timeout,
            limit,
        )))
    }

    fn identity_of(&self, function: &Arn) -> String {
        let role = self
            .settings_of(function)
            .and_then(|settings| settings.role_arn.clone());
        role.unwrap_or_else(|| format!("arn:aws:iam::{}:role/windlass", self.home.account_id))
    }
}

impl AdapterFactory for Adapters {
    fn stream(
        &self,
        source: &StreamSource,
        function: &Arn,
    ) -> Result<Arc<dyn StreamReader>, PortError> {
        let clients = self.aws.of(&source.arn);
        Ok(match source.kind {
            StreamKind::Kinesis => {
                let identity = self.identity_of(function);
                Arc::new(KinesisReader::new(&clients, &source.arn, &identity))
            }
            StreamKind::DynamoDbStreams => {
                Arc::new(DynamoDbStreamsReader::new(&clients, &source.arn))
            }
        })
    }

    fn queue(&self, source: &QueueSource) -> Result<Arc<dyn QueueReader>, PortError> {
        let clients = self.aws.of(&source.arn);
        Ok(Arc::new(SqsReader::new(&clients, source)))
    }

    fn target(&self, function: &Arn) -> Result<Arc<dyn Target>, PortError> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        // Qualifiers of a function that is not Lambda's change nothing about it.
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
        if let Some(target) = targets.get(key) {
            return Ok(Arc::clone(target));
        }
        let target = self.new_target(key).map_err(|source| PortError {
            operation: format!("setting up the function {function}"),
            fault: Fault::Denied,
            source,
        })?;
        targets.insert(key.clone(), Arc::clone(&target));
        Ok(target)
    }
}

#[async_trait]
impl ResourceLookup for Adapters {
    async fn function(&self, name: &FunctionName) -> Result<Option<Arn>, PortError> {
        let (arn, configured) = self.shown(name);
        if configured || find_function(&self.aws.of(&arn).lambda, &arn).await? {
            return Ok(Some(arn));
        }
        Ok(None)
    }

    async fn source(&self, source: &SourceArn) -> Result<(), PortError> {
        source_exists(&self.aws.of(source.arn()), source).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::aws::Service;

    /// The region that one call to a service was signed for.
    async fn signed_for(region: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Adapters::load(AdapterSettings {
            aws: AwsSettings {
                region: "us-east-1".to_owned(),
                endpoints: BTreeMap::from([(Service::Kinesis, url)]),
                placeholder_credentials: true,
                ca_bundle: None,
            },
            account_id: "000000000000".to_owned(),
            functions: BTreeMap::new(),
        })
        .await;
        let arn = format!("arn:aws:kinesis:{region}:000000000000:stream/s");
        let source = SourceArn::parse(&arn).unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 * 1024];
            let length = stream.read(&mut request).await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        let (request, answer) = tokio::join!(answering, world.source(&source));
        assert!(answer.is_err());
        let (_, scope) = request.split_once("Credential=none/").unwrap();
        scope.split('/').nth(1).unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_source_is_called_in_the_region_of_its_arn() {
        assert_eq!(signed_for("us-east-1").await, "us-east-1");
        assert_eq!(signed_for("eu-central-1").await, "eu-central-1");
        // DynamoDB Local, ElasticMQ and others have names that are no regions.
        assert_eq!(signed_for("elsewhere").await, "us-east-1");
    }
}
