//! Classifies the SDK's errors and describes them to operators.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use windlass_core::outcome::Fault;
use windlass_engine::ports::{BoxError, PortError, RoleDenied, chain};

use super::assumed_role::NotAssumed;
use super::call_rules::CallerRole;
use super::calls::Call;
use crate::tls_roots;

/// Codes that request fewer calls.
const THROTTLED: [&str; 13] = [
    "KMSThrottling",
    "KMSThrottlingException",
    "KmsThrottled",
    "LimitExceededException",
    "OverLimit",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "Throttled",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Codes of missing permissions.
const FORBIDDEN: [&str; 4] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "NotAuthorized",
];

/// Codes of credentials that are not accepted.
const INVALID_CREDENTIALS: [&str; 13] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Codes of an encryption key that cannot be used.
const UNUSABLE_KEY: [&str; 18] = [
    // Of Kinesis.
    "KMSAccessDeniedException",
    "KMSDisabledException",
    "KMSInvalidStateException",
    "KMSNotFoundException",
    // Of SNS.
    "KMSAccessDenied",
    "KMSDisabled",
    "KMSInvalidState",
    "KMSNotFound",
    "KMSOptInRequired",
    // Of SQS.
    "KmsAccessDenied",
    "KmsDisabled",
    "KmsInvalidKeyUsage",
    "KmsInvalidState",
    "KmsNotFound",
    "KmsOptInRequired",
    // Of S3.
    "KMS.DisabledException",
    "KMS.KMSInvalidStateException",
    "KMS.NotFoundException",
];

/// Codes of S3 for a bucket in another region than the one that was called.
const OTHER_REGION: [&str; 3] = [
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
];

/// What a role that cannot be assumed needs. STS answers the same if it does not exist.
const NOT_TRUSTED: &str = "grant sts:AssumeRole on this role to the daemon's AWS credentials, and admit \
     them in the trust policy of the role, with the external_id if it demands one";

/// The code of STS for a region that is not activated.
///
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const REGION_DISABLED: &str = "RegionDisabledException";

/// The SDK's message for a call without credentials.
const NO_IDENTITY: &str = "failed to select an auth scheme";

/// In the SDK's message for a profile of `aws login`: the feature of the SDK that it needs, which
/// brings cryptography that nothing else uses.
const LOGIN_FEATURE: &str = "credentials-login";

/// Codes of resources that do not exist.
const GONE: [&str; 7] = [
    "AWS.SimpleQueueService.NonExistentQueue",
    "NoSuchBucket",
    "NonExistentQueue",
    "NotFound",
    "QueueDoesNotExist",
    "QueueDeletedRecently",
    "ResourceNotFoundException",
];

/// Codes with which servers reject a sequence number or a shard, and much else.
const REJECTED_ARGUMENT: [&str; 3] = [
    "InvalidArgumentException",
    "ResourceNotFoundException",
    "ValidationException",
];

/// The error of a call. `operation` names the call and its resource.
pub(crate) fn port_error<E>(operation: String, error: SdkError<E, HttpResponse>) -> PortError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let fault = fault_of(&error);
    if let Some(text) = credentials_error(&error) {
        let source = match is_role_denied(&error) {
            true => RoleDenied(text).into(),
            false => text.into(),
        };
        return PortError {
            operation,
            fault,
            source,
        };
    }
    let response = error.raw_response().filter(|it| {
        let call = it.extension::<Call>();
        let answers_in_xml = call.is_some_and(|call| call.service().answers_in_xml());
        !it.status().is_server_error() && !answers_in_xml
    });
    if let Some(explanation) = response.and_then(|it| explain_xml(it.body().bytes()?)) {
        return PortError {
            operation,
            fault,
            source: explanation.into(),
        };
    }
    // The SDK's own texts, "service error" and "dispatch failure", say nothing about the cause.
    let source = if let SdkError::ServiceError(service) = &error {
        let (error, status) = (service.err(), service.raw().status().as_u16());
        // Responses without a code come from a proxy or a load balancer.
        let mut text = error.code().map_or_else(
            || format!("HTTP {status} without an error code"),
            str::to_owned,
        );
        if let Some(message) = error.message().filter(|message| !message.is_empty()) {
            text = format!("{text}: {message}");
        }
        let response = service.raw();
        let (call, role) = (response.extension(), response.extension());
        let remedy = error.code().and_then(|code| remedy(code, call, role));
        if let Some(remedy) = remedy.filter(|_| fault != Fault::UnknownPosition) {
            text = format!("{text}; {remedy}");
        }
        text.into()
    } else if let Some(explanation) = tls_roots::explain(&error) {
        explanation.into()
    } else {
        error.into_source().unwrap_or_else(|error| error.into())
    };
    PortError {
        operation,
        fault,
        source,
    }
}

/// The code of a consumer that has another subscription of a shard, or is not active yet.
pub(super) const IN_USE: &str = "ResourceInUseException";

/// A subscription may be replaced by another one this long after it began.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html>
const TAKEOVER_DELAY: Duration = Duration::from_secs(5);

/// The error of a call that is refused with [`IN_USE`].
pub(super) fn in_use(operation: String, message: &str) -> PortError {
    let seconds = TAKEOVER_DELAY.as_secs();
    PortError {
        operation,
        fault: Fault::Throttled {
            retry_after: Some(TAKEOVER_DELAY),
        },
        source: format!(
            "{IN_USE}: {message}; a subscription can be replaced {seconds} s after it began, and a              consumer that is being created is not active yet"
        )
        .into(),
    }
}

/// The error that ends a stream of events.
pub(super) fn error_of_stream(operation: String, code: &str, message: &str) -> PortError {
    if without_prefix(code) == IN_USE {
        return in_use(operation, message);
    }
    let remedy = remedy(code, None, None).map(|remedy| format!("; {remedy}"));
    PortError {
        operation,
        fault: rejected_argument(code, message).unwrap_or_else(|| fault_of_code(code, 200)),
        source: format!("{code}: {message}{}", remedy.unwrap_or_default()).into(),
    }
}

/// What is wrong with a server that answers in XML, if this is the start of such an answer. Pages of
/// proxies, in HTML, are not meant.
pub(super) fn explain_xml(body: &[u8]) -> Option<&'static str> {
    let text = body.trim_ascii_start().get(..6)?.to_ascii_lowercase();
    let is_xml = text.starts_with(b"<") && !text.starts_with(b"<!doc") && text != b"<html>"[..];
    is_xml.then_some(
        "the server answers in XML, not in AWS's JSON protocols: it is older than the JSON protocol \
         of SQS (2023), or another service; update the server, or correct its endpoint",
    )
}

/// The error of a successful call whose response cannot be used; it may be better next time.
pub(super) fn unusable_response(operation: String, cause: impl Into<BoxError>) -> PortError {
    PortError {
        operation,
        fault: Fault::Transient,
        source: cause.into(),
    }
}

/// What an operator can do about an error that does not resolve itself.
fn remedy(code: &str, call: Option<&Call>, role: Option<&CallerRole>) -> Option<String> {
    let code = without_prefix(code);
    let text = if is_forbidden(code) {
        if call == Some(&Call::StsAssumeRole) {
            return Some(NOT_TRUSTED.to_owned());
        }
        let action = call.map_or("this action", |call| call.action());
        let whom = role.map_or_else(
            || "the daemon's AWS credentials".to_owned(),
            |CallerRole(role)| role.to_string(),
        );
        return Some(format!("grant {action} on this resource to {whom}"));
    } else if code == REGION_DISABLED {
        "activate STS in the daemon's region in the account of its credentials"
    } else if INVALID_CREDENTIALS.contains(&code) && role.is_some() {
        "the role is assumed again; a wrong clock of the machine is rejected, too"
    } else if INVALID_CREDENTIALS.contains(&code) {
        "renew the daemon's AWS credentials; a wrong clock of the machine is rejected, too"
    } else if UNUSABLE_KEY.contains(&code) {
        "check the state of the KMS key, and that its policy admits the daemon's credentials"
    } else if OTHER_REGION.contains(&code) {
        "the bucket is in another region than the daemon; use one in the daemon's region"
    } else if GONE.contains(&code) {
        "check the name, the account and the region in its ARN"
    } else {
        return None;
    };
    Some(text.to_owned())
}

pub(crate) fn fault_of<E: Error + ProvideErrorMetadata + 'static>(
    error: &SdkError<E, HttpResponse>,
) -> Fault {
    let SdkError::ServiceError(service) = error else {
        return not_assumed(error).map_or(Fault::Transient, NotAssumed::fault);
    };
    let (code, message) = (service.err().code(), service.err().message());
    let code = code.unwrap_or_default();
    rejected_argument(code, message.unwrap_or_default())
        .unwrap_or_else(|| fault_of_code(code, service.raw().status().as_u16()))
}

/// The fault of a call that failed because the stream does not have its sequence number or its shard,
/// however the server words that: "StartingSequenceNumber 49… is invalid because it did not come from
/// this stream", "Unable to find record with provided SequenceNumber 49…", "Invalid ShardId".
fn rejected_argument(code: &str, message: &str) -> Option<Fault> {
    if !REJECTED_ARGUMENT.contains(&without_prefix(code)) {
        return None;
    }
    let words = message.split_ascii_whitespace().collect::<String>();
    let words = words.to_ascii_lowercase();
    if words.contains("sequencenumber") {
        Some(Fault::UnknownPosition)
    } else {
        let names_shard = words.contains("shard") && !words.contains("iterator");
        names_shard.then_some(Fault::Gone)
    }
}

pub(crate) fn fault_of_code(code: &str, status: u16) -> Fault {
    let code = without_prefix(code);
    if THROTTLED.contains(&code) || status == 429 {
        Fault::Throttled { retry_after: None }
    } else if [
        &FORBIDDEN[..],
        &INVALID_CREDENTIALS,
        &UNUSABLE_KEY,
        &OTHER_REGION,
    ]
    .iter()
    .any(|codes| codes.contains(&code))
        || code == REGION_DISABLED
    {
        Fault::Denied
    } else if GONE.contains(&code) {
        Fault::Gone
    } else if code == "TrimmedDataAccessException" {
        Fault::Trimmed
    } else {
        Fault::Transient
    }
}

/// Whether a code says that a permission is missing.
pub(crate) fn is_forbidden(code: &str) -> bool {
    FORBIDDEN.contains(&without_prefix(code))
}

/// Whether a code says that other credentials are needed.
pub(super) fn is_rejection_of_credentials(code: &str) -> bool {
    INVALID_CREDENTIALS.contains(&without_prefix(code))
}

/// The code of `com.amazonaws.sqs#Code`.
fn without_prefix(code: &str) -> &str {
    code.rsplit('#').next().unwrap_or(code)
}

/// The failure to assume the role with which a call was to be made.
fn not_assumed<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a NotAssumed> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Whether a call was not made since its role may not be assumed.
pub(super) fn is_role_denied(error: &(dyn Error + 'static)) -> bool {
    not_assumed(error).is_some_and(|it| it.fault() == Fault::Denied)
}

/// Reason and remedy, if a call was not sent for lack of credentials.
///
/// Without a role, such a call is not `Denied`: it was never sent, and credentials may appear while the daemon
/// runs, from a file, an instance's role or a login.
pub(crate) fn credentials_error<E: Error + 'static>(
    error: &SdkError<E, HttpResponse>,
) -> Option<String> {
    if !matches!(
        error,
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_)
    ) {
        return None;
    }
    if let Some(error) = not_assumed(error) {
        return Some(error.to_string());
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut reason = None;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            let not_found = matches!(error, CredentialsError::CredentialsNotLoaded(_));
            reason = Some((!not_found).then(|| chain(error)));
        } else if reason.is_none() && error.to_string().contains(NO_IDENTITY) {
            reason = Some(None);
        }
        cause = error.source();
    }
    Some(match reason? {
        None => {
            "no AWS credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (most local \
                 servers accept any value), set AWS_PROFILE, or assign a role to the machine"
                .to_owned()
        }
        Some(cause) if cause.contains(LOGIN_FEATURE) => {
            "cannot load AWS credentials: the profile signs in with 'aws login' (its key is \
                 login_session), which windlass does not support; add a profile with \
                 credential_process = aws configure export-credentials --profile NAME, where NAME \
                 is this profile, and set AWS_PROFILE to the new one"
                .to_owned()
        }
        Some(cause) => format!("cannot load AWS credentials: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

    use super::*;
    use crate::aws::Kinesis;

    #[test]
    fn codes_are_classified() {
        let throttled = Fault::Throttled { retry_after: None };
        assert_eq!(
            fault_of_code("ProvisionedThroughputExceededException", 400),
            throttled
        );
        assert_eq!(fault_of_code("Anything", 429), throttled);
        assert_eq!(
            fault_of_code("com.amazonaws.sqs#QueueDoesNotExist", 400),
            Fault::Gone
        );
        assert_eq!(
            fault_of_code("UnrecognizedClientException", 400),
            Fault::Denied
        );
        assert_eq!(
            fault_of_code("TrimmedDataAccessException", 400),
            Fault::Trimmed
        );
        assert_eq!(fault_of_code("InternalFailure", 500), Fault::Transient);
        assert_eq!(fault_of_code("", 502), Fault::Transient);
    }

    #[test]
    fn a_rejected_sequence_number_is_recognized_in_the_words_of_every_server() {
        for (code, message) in [
            (
                "InvalidArgumentException",
                "StartingSequenceNumber 49 used in GetShardIterator on shard s in stream t under \
                 account 1 is invalid because it did not come from this stream.",
            ),
            (
                "ResourceNotFoundException",
                "Unable to find record with provided SequenceNumber 49 in stream t",
            ),
            (
                "ResourceNotFoundException",
                "Record for provided SequenceNumber not found",
            ),
            ("ValidationException", "Invalid sequence number"),
        ] {
            let fault = rejected_argument(code, message);
            assert_eq!(fault, Some(Fault::UnknownPosition), "{message}");
        }
        for (code, message) in [
            ("InvalidArgumentException", "Invalid ShardIterator."),
            (
                "ResourceNotFoundException",
                "Stream t under account 1 not found.",
            ),
            ("InternalFailure", "SequenceNumber"),
            ("InternalFailure", "Invalid ShardId"),
        ] {
            assert_eq!(rejected_argument(code, message), None, "{message}");
        }
    }

    #[test]
    fn a_shard_that_a_server_does_not_have_is_gone_whatever_its_code() {
        for (code, message) in [
            ("InvalidArgumentException", "Invalid ShardId: shardId-1"),
            ("ValidationException", "The shard does not exist"),
            ("ResourceNotFoundException", "Could not find shard"),
        ] {
            let fault = rejected_argument(code, message);
            assert_eq!(fault, Some(Fault::Gone), "{message}");
        }
    }

    async fn call_with(credentials: SharedCredentialsProvider) -> PortError {
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(aws_sdk_kinesis::config::BehaviorVersion::latest())
            .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
            .endpoint_url("http://127.0.0.1:9")
            .credentials_provider(credentials)
            .build();
        let client = Kinesis::new(config);
        let response = client.list_shards().send().await;
        port_error("ListShards".to_owned(), response.unwrap_err())
    }

    /// A provider that always fails.
    #[derive(Debug)]
    struct Failing(fn() -> CredentialsError);

    impl ProvideCredentials for Failing {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err(self.0()))
        }
    }

    #[tokio::test]
    async fn missing_credentials_are_distinguished_from_rejected_ones() {
        let none = Failing(|| CredentialsError::not_loaded("nothing is set"));
        let error = call_with(SharedCredentialsProvider::new(none)).await;
        assert_eq!(error.fault, Fault::Transient);
        let text = chain(&error);
        assert!(text.contains("no AWS credentials found"), "{text}");
        assert!(text.contains("AWS_ACCESS_KEY_ID"), "{text}");

        let broken = Failing(|| CredentialsError::invalid_configuration("no profile 'x'"));
        let error = call_with(SharedCredentialsProvider::new(broken)).await;
        assert_eq!(error.fault, Fault::Transient);
        let text = chain(&error);
        assert!(text.contains("cannot load AWS credentials"), "{text}");
        assert!(text.contains("no profile 'x'"), "{text}");

        // A signed call that fails to connect is another error.
        let some = aws_sdk_kinesis::config::Credentials::new("a", "b", None, None, "test");
        let error = call_with(SharedCredentialsProvider::new(some)).await;
        assert!(!chain(&error).contains("credentials"), "{error:?}");
    }
}
