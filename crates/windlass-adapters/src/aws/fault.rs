//! The SDK's errors, as far as decisions depend on them.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use windlass_core::outcome::Fault;
use windlass_engine::ports::{PortError, chain};

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

/// What the SDK says of a call that there is nothing to sign with.
const NO_IDENTITY: &str = "failed to select an auth scheme";

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
    if let Some(source) = without_credentials(&error) {
        return PortError {
            operation,
            fault,
            source: source.into(),
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

/// Why a call was never sent, if that is because nobody could sign it: with the remedy.
///
/// Such a call is not `Denied`: nobody was asked, and credentials may come while the daemon runs,
/// from a file, an instance's role or a login.
pub(crate) fn without_credentials<E: Error + 'static>(
    error: &SdkError<E, HttpResponse>,
) -> Option<String> {
    if !matches!(
        error,
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_)
    ) {
        return None;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut reason = None;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            let nothing = matches!(error, CredentialsError::CredentialsNotLoaded(_));
            reason = Some((!nothing).then(|| chain(error)));
        } else if reason.is_none() && error.to_string().contains(NO_IDENTITY) {
            reason = Some(None);
        }
        cause = error.source();
    }
    Some(match reason? {
        None => "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
                 (any value will do for most local servers), or AWS_PROFILE, or give the machine \
                 a role"
            .to_owned(),
        Some(cause) => format!("the AWS credentials cannot be loaded: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

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

    async fn ask(credentials: SharedCredentialsProvider) -> PortError {
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(aws_sdk_kinesis::config::BehaviorVersion::latest())
            .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
            .endpoint_url("http://127.0.0.1:9")
            .credentials_provider(credentials)
            .build();
        let client = aws_sdk_kinesis::Client::from_conf(config);
        let answer = client.list_streams().send().await;
        port_error("ListStreams".to_owned(), answer.unwrap_err())
    }

    /// Gives no credentials, for one reason or another.
    #[derive(Debug)]
    struct Empty(fn() -> CredentialsError);

    impl ProvideCredentials for Empty {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err(self.0()))
        }
    }

    #[tokio::test]
    async fn missing_credentials_are_told_apart_from_refused_ones() {
        let none = Empty(|| CredentialsError::not_loaded("nothing is set"));
        let error = ask(SharedCredentialsProvider::new(none)).await;
        assert_eq!(error.fault, Fault::Transient);
        let text = chain(&error);
        assert!(text.contains("no AWS credentials were found"), "{text}");
        assert!(text.contains("AWS_ACCESS_KEY_ID"), "{text}");

        let broken = Empty(|| CredentialsError::invalid_configuration("no profile 'x'"));
        let error = ask(SharedCredentialsProvider::new(broken)).await;
        assert_eq!(error.fault, Fault::Transient);
        let text = chain(&error);
        assert!(text.contains("cannot be loaded"), "{text}");
        assert!(text.contains("no profile 'x'"), "{text}");

        // What is signed and finds nobody is something else.
        let some = aws_sdk_kinesis::config::Credentials::new("a", "b", None, None, "test");
        let error = ask(SharedCredentialsProvider::new(some)).await;
        assert!(!chain(&error).contains("credentials"), "{error:?}");
    }
}
