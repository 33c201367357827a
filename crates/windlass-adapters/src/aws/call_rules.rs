//! What applies to every call of the SDK: which failures are repeated at once, how large a response
//! may be, and what follows from a call that is denied.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use http_body_util::Limited;
use windlass_core::arn::Arn;

use super::calls::Call;
use super::credentials::CurrentCredentials;
use super::fault::is_rejection_of_credentials;
use super::raw::metadata;

/// Limit of a response: above the largest page of Kinesis, 10 MB in base64, with the rest of its
/// JSON, and above the largest response of a function.
const MAX_RESPONSE_BYTES: usize = 32 * 1024 * 1024;

/// Its response is a stream of events, which the reader bounds one by one.
const WITHOUT_LIMIT: &str = "SubscribeToShard";

/// Limit of the response to a call that failed.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Repeats a call only if its connection was lost or could not be made. All other failures are the
/// consumers' to repeat: a repeated throttled call would be throttled again, and counts.
#[derive(Debug)]
pub(super) struct OnlyLostConnections;

impl ClassifyRetry for OnlyLostConnections {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        match error.as_connector_error() {
            Some(error) if !error.is_timeout() && !error.is_user() => {
                RetryAction::NoActionIndicated
            }
            _ => RetryAction::RetryForbidden,
        }
    }

    fn name(&self) -> &'static str {
        "OnlyLostConnections"
    }

    /// After the SDK's own classifiers, whose decisions it overrides.
    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// Bounds responses, attaches the [`Call`], and reports rejected credentials.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallRules {
    pub(super) credentials: Option<CurrentCredentials>,
    /// The role to which they belong, if they are not the daemon's own.
    pub(super) role: Option<Arn>,
}

/// The role with which a call was made. Attached to the response to it.
#[derive(Clone, Debug)]
pub(super) struct CallerRole(pub(super) Arn);

impl CallRules {
    /// Bounds a response whose body was not read yet, and attaches the [`Call`] and the
    /// [`CallerRole`] to an error.
    pub(super) fn bound(&self, response: &mut HttpResponse, call: &Metadata) {
        let limit = if response.status().is_success() {
            if call.name() == WITHOUT_LIMIT {
                return;
            }
            MAX_RESPONSE_BYTES
        } else {
            if let Some(call) = Call::find(call.service(), call.name()) {
                response.add_extension(call);
            }
            if let Some(role) = &self.role {
                response.add_extension(CallerRole(role.clone()));
            }
            MAX_ERROR_BYTES
        };
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, limit));
    }

    /// Looks the credentials up again if this response rejects them.
    pub(super) fn check_credentials(&self, response: &HttpResponse) {
        let Some(credentials) = &self.credentials else {
            return;
        };
        if response.status().is_client_error() {
            let body = response.body().bytes().unwrap_or_default();
            let error = metadata(response, body);
            let code = error.code().or_else(|| code_in_xml(body));
            if code.is_some_and(is_rejection_of_credentials) {
                credentials.rejected();
            }
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for CallRules {
    fn name(&self) -> &'static str {
        "CallRules"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let call = config.load::<Metadata>().ok_or("a call without a name")?;
        self.bound(context.response_mut(), call);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(response) = context.response() {
            self.check_credentials(response);
        }
        Ok(())
    }
}

/// The code of an error of SNS or S3.
fn code_in_xml(body: &[u8]) -> Option<&str> {
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::result::SdkError;

    use super::*;
    use crate::aws::{Aws, AwsClients, AwsSettings};
    use crate::tests::test_http::TestHttp;

    async fn clients() -> (TestHttp, AwsClients) {
        let (http, _) = TestHttp::new();
        let settings = AwsSettings {
            region: "us-east-1".to_owned(),
            placeholder_credentials: true,
            ..AwsSettings::default()
        };
        let aws = Aws::with(&settings, Some(http.shared()), None).await;
        (
            http,
            aws.clients_for(&Arn::parse("arn:aws:kinesis:us-east-1:1:stream/s").unwrap()),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_lost_connection_is_repeated() {
        let (http, clients) = clients().await;
        let call = async || {
            let call = clients.kinesis.get_records().shard_iterator("i");
            drop(call.send().await.unwrap_err());
            http.requests().len()
        };
        for (status, body) in [
            (
                400,
                r#"{"__type":"ProvisionedThroughputExceededException"}"#,
            ),
            (400, r#"{"__type":"LimitExceededException"}"#),
            (429, "{}"),
            (500, r#"{"__type":"InternalFailure"}"#),
            (503, ""),
        ] {
            http.respond_with(status, &[], body.as_bytes());
            assert_eq!(call().await, 1, "{status} {body}");
        }
        http.fail_to_connect();
        assert_eq!(call().await, 2);
    }

    #[test]
    fn codes_of_sns_and_s3_are_found() {
        let sns = "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code></Error>";
        assert_eq!(code_in_xml(sns.as_bytes()), Some("ExpiredToken"));
        let s3 = "<?xml version=\"1.0\"?>\n<Error><Code>InvalidAccessKeyId</Code></Error>";
        assert_eq!(code_in_xml(s3.as_bytes()), Some("InvalidAccessKeyId"));
        for other in ["", "{}", "<Code>", "<html></html>"] {
            assert_eq!(code_in_xml(other.as_bytes()), None);
        }
    }

    #[tokio::test]
    async fn responses_are_read_up_to_a_limit() {
        let (http, clients) = clients().await;
        for (status, limit) in [(200, MAX_RESPONSE_BYTES), (400, MAX_ERROR_BYTES)] {
            http.respond_with(status, &[], &vec![b' '; limit + 1]);
            let error = clients.kinesis.list_shards().send().await.unwrap_err();
            assert!(matches!(error, SdkError::ResponseError(_)), "{error:?}");
        }
    }
}
