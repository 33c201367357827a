//! Functions of AWS Lambda, invoked through the SDK.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::SdkError;
use aws_sdk_lambda::operation::invoke::InvokeError;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use tokio::sync::Semaphore;
use windlass_core::arn::Arn;
use windlass_core::outcome::{Fault, Outcome};
use windlass_engine::ports::{Invocation, PortError, Target};

use super::answer::{not_invoked, word};
use crate::aws::fault;

/// A call may take so much longer than its function, until it is given up.
const MARGIN: Duration = Duration::from_secs(5);

/// Codes for what a person must mend: permissions, keys, code, network.
const CONFIGURATION: [&str; 19] = [
    "CodeArtifactUserDeletedException",
    "CodeArtifactUserFailedException",
    "CodeArtifactUserPendingException",
    "EC2AccessDeniedException",
    "EFSIOException",
    "EFSMountFailureException",
    "InvalidRuntimeException",
    "InvalidSecurityGroupIDException",
    "InvalidSubnetIDException",
    "InvalidZipFileException",
    "ModeNotSupportedException",
    "NoPublishedVersionException",
    "RuntimeAliasDeletedException",
    "RuntimeVersionDeletedException",
    "S3FilesMountFailureException",
    "ServiceQuotaExceededException",
    "SnapStartException",
    "InvalidParameterValueException",
    "UnsupportedMediaTypeException",
];

/// Codes for a request that Lambda has looked at and that will never be taken as it is: like a
/// function that fails.
const NEVER: [&str; 4] = [
    "InvalidRequestContentException",
    "RecursiveInvocationException",
    "RequestTooLargeException",
    "SerializedRequestEntityTooLargeException",
];

/// Invokes one function, and waits for its answer.
#[derive(Debug)]
pub struct LambdaTarget {
    client: Client,
    /// The ARN with the qualifier, if there is one.
    function: Arn,
    timeout: Duration,
    slots: Option<Arc<Semaphore>>,
}

impl LambdaTarget {
    /// A target for one function, which may take at most `timeout`; with a limit, further
    /// invocations wait.
    pub fn new(
        client: &Client,
        function: &Arn,
        timeout: Duration,
        maximum_concurrency: Option<usize>,
    ) -> Self {
        Self {
            client: client.clone(),
            function: function.clone(),
            timeout,
            slots: maximum_concurrency.map(|limit| Arc::new(Semaphore::new(limit))),
        }
    }

    async fn call(&self, invocation: Invocation) -> Outcome {
        // What is not set here is as for other calls, which are shorter.
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(self.timeout + MARGIN)
            .operation_attempt_timeout(self.timeout + MARGIN)
            .build();
        // The machines try again themselves, and count.
        let config = aws_sdk_lambda::config::Builder::new()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        let answer = self
            .client
            .invoke()
            .function_name(self.function.as_str())
            .invocation_type(InvocationType::RequestResponse)
            .payload(Blob::new(invocation.event.to_bytes()))
            .customize()
            .config_override(config)
            .send()
            .await;
        match answer {
            Ok(answer) => match answer.function_error {
                None => Outcome::Success,
                Some(kind) => {
                    let status = u16::try_from(answer.status_code).unwrap_or_default();
                    Outcome::FunctionError {
                        status,
                        error: word(&kind).to_owned(),
                    }
                }
            },
            Err(error) => outcome_of(&error, &self.function),
        }
    }
}

#[async_trait]
impl Target for LambdaTarget {
    async fn invoke(&self, invocation: Invocation) -> Outcome {
        let slot = match &self.slots {
            Some(slots) => Some(slots.acquire().await),
            None => None,
        };
        let outcome = self.call(invocation).await;
        drop(slot);
        outcome
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// Whether Lambda has a function of this ARN.
///
/// # Errors
/// Lambda cannot be asked.
pub async fn find_function(client: &Client, function: &Arn) -> Result<bool, PortError> {
    match client
        .get_function_configuration()
        .function_name(function.as_str())
        .send()
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if fault::fault_of(&error) == Fault::Gone => Ok(false),
        Err(error) => {
            let operation = format!("GetFunctionConfiguration of {function}");
            Err(fault::port_error(operation, error))
        }
    }
}

/// What an error of the call means.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the SDK may add kinds of errors; what is known of them is that nothing was sent"
)]
fn outcome_of(error: &SdkError<InvokeError>, function: &Arn) -> Outcome {
    let lost = |error: &str| Outcome::FunctionError {
        status: 0,
        error: error.to_owned(),
    };
    match error {
        SdkError::ServiceError(service) => {
            let (code, status) = (
                service.err().code().unwrap_or_default(),
                service.raw().status().as_u16(),
            );
            tracing::debug!(%function, code, status, "the function was not invoked");
            if NEVER.contains(&code) {
                return Outcome::FunctionError {
                    status,
                    error: word(code).to_owned(),
                };
            }
            if status == 429 {
                let seconds = service.raw().headers().get("retry-after");
                let retry_after = seconds
                    .and_then(|it| it.parse().ok())
                    .map(Duration::from_secs);
                return not_invoked(Fault::Throttled { retry_after });
            }
            if CONFIGURATION.contains(&code) || code.starts_with("KMS") || status == 403 {
                return not_invoked(Fault::Denied);
            }
            not_invoked(fault::of_code(code, status))
        }
        // The request may have gone out, and the function may have run.
        SdkError::TimeoutError(_) => lost("timeout"),
        SdkError::ResponseError(_) => lost("response broken off"),
        // Functions do not hold the connection: when it fails, the service or the network has, or
        // there is nothing to sign with.
        SdkError::DispatchFailure(_) => {
            if let Some(reason) = fault::without_credentials(error) {
                tracing::warn!(%function, reason, "the function cannot be invoked");
            }
            not_invoked(Fault::Transient)
        }
        _ => not_invoked(Fault::Denied),
    }
}
