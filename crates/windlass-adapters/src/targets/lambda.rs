//! Functions of AWS Lambda, invoked through the SDK.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_lambda::error::SdkError;
use aws_sdk_lambda::operation::RequestId as _;
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationError;
use aws_sdk_lambda::operation::invoke::{InvokeError, InvokeOutput};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use windlass_core::arn::Arn;
use windlass_core::outcome::{Fault, Outcome, Response};
use windlass_engine::ports::{
    BoxError, FunctionLookup, Invocation, PortError, Purpose, Target, chain,
};

use super::invocation_facts::client_context;
use super::own_timeout::OwnTimeout;
use super::response::{error_kind, no_response, not_invoked, parse_retry_after, plain_text};
use super::response_body::{ResponseBody, SharedWalker, TooLarge};
use super::response_walker::Reads;
use crate::aws::{Lambda, fault};

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

/// Codes about the records of the event: treated as a function that fails, so that the messages of
/// a queue return to it and its redrive policy applies. By the status of those about its size, a
/// batch of messages is halved.
const REJECTED: [&str; 3] = [
    "RecursiveInvocationException",
    "RequestTooLargeException",
    "SerializedRequestEntityTooLargeException",
];

/// Codes of Lambda for lookups that may succeed later, in addition to those of all services.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html>
/// <https://docs.aws.amazon.com/lambda/latest/api/CommonErrors.html>
const LOOKUP_ERRORS: [&str; 9] = [
    "InternalFailure",
    "InvalidParameterValueException",
    "OptInRequired",
    "RequestExpired",
    "ServiceException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "ValidationError",
    "ValidationException",
];

/// Invokes one function of AWS Lambda synchronously.
#[derive(Debug)]
pub struct LambdaTarget {
    client: Lambda,
    /// The ARN, with the qualifier if it has one.
    function: Arn,
    /// The configured one.
    timeout: Option<Duration>,
    own_timeout: OwnTimeout,
    maximum_concurrency: Option<usize>,
}

/// Limits the response and discards it where the headers say all that is needed.
#[derive(Debug)]
struct LimitResponse {
    /// Sees the response of a function that was invoked.
    walker: Option<SharedWalker>,
}

impl LambdaTarget {
    pub fn new(
        client: &Lambda,
        function: &Arn,
        timeout: Option<Duration>,
        maximum_concurrency: Option<usize>,
    ) -> Self {
        Self {
            client: client.clone(),
            function: function.clone(),
            timeout,
            own_timeout: OwnTimeout::default(),
            maximum_concurrency,
        }
    }

    /// The time after which an invocation is given up.
    async fn time_limit(&self) -> Duration {
        let timeout = match self.timeout {
            Some(timeout) => timeout,
            None => self.own_timeout.get(&self.client, &self.function).await,
        };
        timeout + MARGIN
    }

    async fn call(&self, invocation: Invocation) -> Outcome {
        let limit = self.time_limit().await;
        // The timeouts that are not set here are those of other, shorter calls.
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(limit)
            .operation_attempt_timeout(limit)
            .build();
        // The consumers retry, and count attempts.
        let config = aws_sdk_lambda::config::Builder::new()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        let walker = Reads::of(&invocation).map(SharedWalker::new);
        // A mapping of AWS sends none.
        let context = match invocation.purpose {
            Purpose::Mapping(_) => None,
            Purpose::Replay(_) | Purpose::Redrive(_) => {
                let context = client_context(&invocation);
                Some(base64_simd::STANDARD.encode_to_string(context))
            }
        };
        let response = self
            .client
            .invoke()
            .set_client_context(context)
            .function_name(self.function.as_str())
            .invocation_type(InvocationType::RequestResponse)
            .payload(Blob::new(invocation.event.to_bytes()))
            .customize()
            .config_override(config)
            .interceptor(LimitResponse {
                walker: walker.clone(),
            })
            .send()
            .await;
        match response {
            Ok(response) => match &response.function_error {
                None => {
                    let answer = walker.map(|walker| walker.finish()).unwrap_or_default();
                    answer.outcome(|| response_of(&response))
                }
                Some(kind) => Outcome::FunctionError {
                    error: error_kind(kind).to_owned(),
                    response: Box::new(response_of(&response).failed()),
                },
            },
            Err(error) => {
                if matches!(error, SdkError::TimeoutError(_)) {
                    self.own_timeout.read_again().await;
                }
                outcome_of(&error, &self.function)
            }
        }
    }
}

#[async_trait]
impl Target for LambdaTarget {
    async fn invoke(&self, invocation: Invocation) -> Outcome {
        self.call(invocation).await
    }

    fn concurrency(&self) -> Option<usize> {
        self.maximum_concurrency
    }

    async fn timeout(&self) -> Duration {
        self.time_limit().await
    }
}

#[dyn_dispatch_hint]
impl Intercept for LimitResponse {
    fn name(&self) -> &'static str {
        "LimitResponse"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        // The body of an error has its code.
        let is_needed = !response.status().is_success();
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        let body = ResponseBody::new(body, is_needed, self.walker.clone());
        *response.body_mut() = SdkBody::from_body_1_x(body);
        Ok(())
    }
}

/// Whether Lambda has a function with this ARN.
///
/// Servers that only invoke functions do not know the call, and credentials that may only invoke are
/// denied it. Neither keeps the function from being invoked.
///
/// # Errors
/// The lookup failed, and may succeed later.
pub async fn find_function(client: &Lambda, function: &Arn) -> Result<FunctionLookup, PortError> {
    let call = client.get_function_configuration();
    let error = match call.function_name(function.as_str()).send().await {
        Ok(_) => return Ok(FunctionLookup::Found(function.clone())),
        Err(error) => error,
    };
    if fault::fault_of(&error) == Fault::Gone {
        return Ok(FunctionLookup::Missing);
    }
    let is_final = cannot_be_looked_up(&error);
    let operation = format!("GetFunctionConfiguration of {function}");
    let error = fault::port_error(operation, error);
    if is_final {
        return Ok(FunctionLookup::Unchecked {
            arn: function.clone(),
            reason: chain(&error),
        });
    }
    Err(error)
}

/// Whether a lookup was denied, or answered by a server that does not know the call.
fn cannot_be_looked_up(error: &SdkError<GetFunctionConfigurationError>) -> bool {
    if let SdkError::ResponseError(response) = error {
        // A success that is not a function's configuration.
        return response.raw().status().is_success();
    }
    let SdkError::ServiceError(service) = error else {
        return false;
    };
    let (code, status) = (service.err().code(), service.raw().status().as_u16());
    match code {
        // AWS's code for a call that it does not know, and the status of local servers.
        Some("UnknownOperationException") => true,
        _ if status == 501 => true,
        Some(code) => {
            let fault = fault::fault_of_code(code, status);
            fault::is_forbidden(code) || fault == Fault::Transient && !LOOKUP_ERRORS.contains(&code)
        }
        // A gateway whose server does not respond.
        None => !matches!(status, 429 | 502 | 503 | 504),
    }
}

fn response_of(output: &InvokeOutput) -> Response {
    let plain = |text: &Option<String>| plain_text(text.as_deref()?);
    Response {
        status: u16::try_from(output.status_code).unwrap_or_default(),
        request_id: output.request_id().and_then(plain_text),
        executed_version: plain(&output.executed_version),
        function_error: None,
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
            if REJECTED.contains(&code) || status == 413 {
                return Outcome::function_error(status, error_kind(code));
            }
            if status == 429 {
                let headers = service.raw().headers();
                let retry_after = headers.get("retry-after").and_then(parse_retry_after);
                return not_invoked(Fault::Throttled { retry_after });
            }
            if CONFIGURATION.contains(&code) || code.starts_with("KMS") || status == 403 {
                return not_invoked(Fault::Denied);
            }
            not_invoked(match fault::fault_of_code(code, status) {
                // A request that Lambda does not accept is not accepted a second later either; 408
                // and 409 are about the function's surroundings.
                Fault::Transient if matches!(status, 400..500) && !matches!(status, 408 | 409) => {
                    Fault::Denied
                }
                fault => fault,
            })
        }
        SdkError::TimeoutError(_) => no_response("timeout"),
        SdkError::ResponseError(response) => {
            if is_too_large(error) {
                let status = response.raw().status().as_u16();
                return Outcome::function_error(status, "response too large");
            }
            no_response("response broken off")
        }
        // The connection is to the service and not to the function: the service or the network has
        // failed, or there are no credentials or the role cannot be assumed.
        SdkError::DispatchFailure(_) => {
            if let Some(reason) = fault::credentials_error(error) {
                tracing::warn!(%function, reason, "cannot invoke the function");
            }
            not_invoked(fault::fault_of(error))
        }
        _ => not_invoked(Fault::Denied),
    }
}

fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TooLarge>() {
            return true;
        }
        cause = error.source();
    }
    false
}
