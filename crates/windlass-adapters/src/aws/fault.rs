//! The SDK's errors, as far as decisions depend on them.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use windlass_core::outcome::Fault;
use windlass_engine::ports::PortError;

/// Codes that ask to be called less often.
const THROTTLED: [&str; 9] = [
    "KMSThrottlingException",
    "LimitExceededException",
    "OverLimit",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Codes that will not change until a person does something.
const DENIED: [&str; 17] = [
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "KMSAccessDeniedException",
    "KMSDisabledException",
    "KMSInvalidStateException",
    "KMSNotFoundException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Codes for what does not exist.
const GONE: [&str; 5] = [
    "AWS.SimpleQueueService.NonExistentQueue",
    "NonExistentQueue",
    "QueueDoesNotExist",
    "QueueDeletedRecently",
    "ResourceNotFoundException",
];

/// The error of one call: `operation` names the call and its object.
pub(crate) fn port_error<E>(operation: String, error: SdkError<E, HttpResponse>) -> PortError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let fault = fault_of(&error);
    let no_credentials = matches!(
        &error,
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_)
    ) && tells_of_credentials(&error);
    if no_credentials {
        return PortError {
            operation,
            fault: Fault::Denied,
            source: "no AWS credentials were found; set AWS_ACCESS_KEY_ID and \
                     AWS_SECRET_ACCESS_KEY (any value will do for most local servers), or \
                     AWS_PROFILE, or give the machine a role"
                .into(),
        };
    }
    // The cause says more than «service error» and «dispatch failure» do.
    let source = if let SdkError::ServiceError(service) = &error {
        let (error, status) = (service.err(), service.raw().status().as_u16());
        // Answers without a code come from what stands between: a proxy, a load balancer.
        let code = error.code().map_or_else(
            || format!("HTTP {status} without an error code"),
            str::to_owned,
        );
        match error.message() {
            Some(message) if !message.is_empty() => format!("{code}: {message}").into(),
            _ => code.into(),
        }
    } else {
        error.into_source().unwrap_or_else(|error| error.into())
    };
    PortError {
        operation,
        fault,
        source,
    }
}

/// What an error of the SDK means for decisions.
pub(crate) fn fault_of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Fault {
    let SdkError::ServiceError(service) = error else {
        return Fault::Transient;
    };
    of_code(
        service.err().code().unwrap_or_default(),
        service.raw().status().as_u16(),
    )
}

/// What an error's code means for decisions, with the status of its answer.
pub(crate) fn of_code(code: &str, status: u16) -> Fault {
    let code = code.rsplit('#').next().unwrap_or(code);
    if THROTTLED.contains(&code) || status == 429 {
        Fault::Throttled { retry_after: None }
    } else if DENIED.contains(&code) {
        Fault::Denied
    } else if GONE.contains(&code) {
        Fault::Gone
    } else if code == "TrimmedDataAccessException" {
        Fault::Trimmed
    } else {
        Fault::Transient
    }
}

fn tells_of_credentials(error: &dyn Error) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if text.contains("credential") || text.contains("identity") {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        let throttled = Fault::Throttled { retry_after: None };
        assert_eq!(
            of_code("ProvisionedThroughputExceededException", 400),
            throttled
        );
        assert_eq!(of_code("Anything", 429), throttled);
        assert_eq!(
            of_code("com.amazonaws.sqs#QueueDoesNotExist", 400),
            Fault::Gone
        );
        assert_eq!(of_code("UnrecognizedClientException", 400), Fault::Denied);
        assert_eq!(of_code("TrimmedDataAccessException", 400), Fault::Trimmed);
        assert_eq!(of_code("InternalFailure", 500), Fault::Transient);
        assert_eq!(of_code("", 502), Fault::Transient);
    }
}
