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

use super::response::{error_kind, no_response, not_invoked, parse_retry_after};
use crate::aws::fault;

/// Time that a call may take in addition to the timeout of its function.
const MARGIN: Duration = Duration::from_secs(5);

/// Codes that an operator must resolve: permissions, keys, code, network.
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

/// Codes of requests that Lambda will never accept: treated as a function that fails.
const REJECTED: [&str; 4] = [
    "InvalidRequestContentException",
    "RecursiveInvocationException",
    "RequestTooLargeException",
    "SerializedRequestEntityTooLargeException",
];

/// Invokes one function of AWS Lambda synchronously.
#[derive(Debug)]
pub struct LambdaTarget {
    client: Client,
    /// The ARN, with the qualifier if it has one.
    function: Arn,
    timeout: Duration,
    slots: Option<Arc<Semaphore>>,
}

impl LambdaTarget {
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
        // The timeouts that are not set here are those of other, shorter calls.
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(self.timeout + MARGIN)
            .operation_attempt_timeout(self.timeout + MARGIN)
            .build();
        // The consumers retry, and count attempts.
        let config = aws_sdk_lambda::config::Builder::new()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        let response = self
            .client
            .invoke()
            .function_name(self.function.as_str())
            .invocation_type(InvocationType::RequestResponse)
            .payload(Blob::new(invocation.event.to_bytes()))
            .customize()
            .config_override(config)
            .send()
            .await;
        match response {
            Ok(response) => match response.function_error {
                None => Outcome::Success,
                Some(kind) => {
                    let status = u16::try_from(response.status_code).unwrap_or_default();
                    Outcome::FunctionError {
                        status,
                        error: error_kind(&kind).to_owned(),
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

/// Whether Lambda has a function with this ARN.
///
/// # Errors
/// The lookup failed.
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

/// The outcome of a failed call.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the SDK may add kinds of errors; for all others, nothing was sent"
)]
fn outcome_of(error: &SdkError<InvokeError>, function: &Arn) -> Outcome {
    match error {
        SdkError::ServiceError(service) => {
            let (code, status) = (
                service.err().code().unwrap_or_default(),
                service.raw().status().as_u16(),
            );
            tracing::debug!(%function, code, status, "Lambda did not invoke the function");
            if REJECTED.contains(&code) {
                return Outcome::FunctionError {
                    status,
                    error: error_kind(code).to_owned(),
                };
            }
            if status == 429 {
                let headers = service.raw().headers();
                let retry_after = headers.get("retry-after").and_then(parse_retry_after);
                return not_invoked(Fault::Throttled { retry_after });
            }
            if CONFIGURATION.contains(&code) || code.starts_with("KMS") || status == 403 {
                return not_invoked(Fault::Denied);
            }
            not_invoked(fault::fault_of_code(code, status))
        }
        SdkError::TimeoutError(_) => no_response("timeout"),
        SdkError::ResponseError(_) => no_response("response broken off"),
        // The connection is to the service and not to the function: the service or the network has
        // failed, or there are no credentials.
        SdkError::DispatchFailure(_) => {
            if let Some(reason) = fault::credentials_error(error) {
                tracing::warn!(%function, reason, "cannot invoke the function");
            }
            not_invoked(Fault::Transient)
        }
        _ => not_invoked(Fault::Denied),
    }
}
