//! Gives a parser of ours the raw body of a response to an SDK call.
//!
//! For one call, an interceptor replaces the SDK's deserializer. For a success, ours takes the body
//! as it begins to arrive and returns an empty output to the SDK; the parser reads the body after
//! the SDK's call has ended. For an error, it reads only code and message, which is all that the
//! SDK's retries and our decisions use.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Error as ErrorOutput, Output,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::timeout::TimeoutConfig;
use http_body_util::BodyExt as _;
use serde_json::Value;
use thiserror::Error;

use windlass_engine::ports::ResponseMemory;

use super::fault::explain_xml;
use crate::wire::streaming_parser::{ResponseParser, StreamingParser};

/// Limit of the buffer allocated because of a `content-length`: the largest page of Kinesis, 10 MB
/// in base64.
const MAX_ALLOCATED: usize = 16 * 1024 * 1024;

/// One call whose response is parsed by us.
pub(super) struct RawCall {
    shared: Arc<Shared>,
}

struct Shared {
    /// Body of a successful response.
    body: Mutex<Option<SdkBody>>,
    /// Limit of the time until the response begins, and again of that until it is complete.
    timeout: Duration,
    /// Makes the output that the SDK receives for a success.
    empty_output: fn() -> Output,
    /// Makes the error that the SDK receives.
    make_error: fn(ErrorMetadata) -> ErrorOutput,
}

/// Why a successful response is not used.
#[derive(Debug, Error)]
pub(super) enum ResponseError {
    #[error("timeout: the response began, but was not complete within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error(transparent)]
    Unusable(BoxError),
}

/// Installs the deserializer.
pub(super) struct RawInterceptor(Arc<Shared>);

struct RawDeserializer(Arc<Shared>);

impl RawCall {
    pub(super) fn new(
        timeout: Duration,
        empty_output: fn() -> Output,
        make_error: fn(ErrorMetadata) -> ErrorOutput,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                body: Mutex::new(None),
                timeout,
                empty_output,
                make_error,
            }),
        }
    }

    /// Must be added to the call.
    pub(super) fn interceptor(&self) -> RawInterceptor {
        RawInterceptor(Arc::clone(&self.shared))
    }

    /// [`read_response`] of a successful call.
    pub(super) async fn response<P: ResponseParser>(
        self,
        memory: &dyn ResponseMemory,
        event_bytes: impl Fn(usize) -> usize,
        new_parser: impl FnOnce(usize, usize) -> P,
    ) -> Result<P::Response, ResponseError> {
        let body = self.shared.body.lock();
        let body = body.unwrap_or_else(PoisonError::into_inner).take();
        let body = body.expect("a success has a body");
        read_response(body, self.shared.timeout, memory, event_bytes, new_parser).await
    }
}

/// Waits for memory and parses a body within `timeout` of that. `event_bytes` computes the expected
/// size of its events from its length in bytes. `new_parser` receives the length, zero if that is
/// unknown, and how many bytes of events there is memory for.
///
/// # Errors
/// The response is incomplete or malformed, or takes too long.
pub(super) async fn read_response<P: ResponseParser>(
    mut body: SdkBody,
    timeout: Duration,
    memory: &dyn ResponseMemory,
    event_bytes: impl Fn(usize) -> usize,
    new_parser: impl FnOnce(usize, usize) -> P,
) -> Result<P::Response, ResponseError> {
    let length = body.content_length();
    let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    let max_bytes = memory.reserve(length.map(event_bytes)).await;
    let capacity = length.unwrap_or_default().min(MAX_ALLOCATED);
    let mut parser = StreamingParser::new(new_parser(capacity, max_bytes));
    let parse = async {
        let mut is_start = true;
        while let Some(frame) = body.frame().await {
            if let Some(piece) = frame?.data_ref() {
                if is_start && let Some(explanation) = explain_xml(piece) {
                    return Err(explanation.into());
                }
                is_start = false;
                parser.push(piece)?;
            }
        }
        Ok::<_, BoxError>(parser.finish()?)
    };
    match tokio::time::timeout(timeout, parse).await {
        Ok(response) => response.map_err(ResponseError::Unusable),
        Err(_) => Err(ResponseError::TimedOut(timeout)),
    }
}

#[dyn_dispatch_hint]
impl Intercept for RawInterceptor {
    fn name(&self) -> &'static str {
        "RawBody"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let deserializer = RawDeserializer(Arc::clone(&self.0));
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(self.0.timeout);
        let state = config.interceptor_state();
        state.store_put(SharedResponseDeserializer::new(deserializer));
        state.store_put(timeouts.build());
        Ok(())
    }
}

impl DeserializeResponse for RawDeserializer {
    fn deserialize_streaming_with_config(
        &self,
        response: &mut HttpResponse,
        _: &ConfigBag,
    ) -> Option<Result<Output, OrchestratorError<ErrorOutput>>> {
        if !response.status().is_success() {
            return None;
        }
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        *self.0.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        Some(Ok((self.0.empty_output)()))
    }

    /// Deserializes an error.
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<ErrorOutput>> {
        let body = response.body().bytes().unwrap_or_default();
        let metadata = metadata(response, body);
        Err(OrchestratorError::operation((self.0.make_error)(metadata)))
    }
}

/// Code and message of an error in AWS's JSON protocols. Servers differ in the member names, and
/// some send several of them.
pub(super) fn metadata(response: &HttpResponse, body: &[u8]) -> ErrorMetadata {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |names: [&str; 2]| names.into_iter().find_map(|name| body.get(name)?.as_str());
    let header = response.headers().get("x-amzn-errortype");
    let code = header.or_else(|| text(["__type", "code"]));
    // `prefix#Code` and `Code:http://…` both occur.
    let code = code.unwrap_or_default().split(':').next();
    let code = code.unwrap_or_default().rsplit('#').next();
    let mut metadata = ErrorMetadata::builder();
    if let Some(code) = code.filter(|code| !code.is_empty()) {
        metadata = metadata.code(code);
    }
    if let Some(message) = text(["message", "Message"]) {
        metadata = metadata.message(message);
    }
    metadata.build()
}

impl fmt::Debug for RawInterceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawInterceptor")
    }
}

impl fmt::Debug for RawDeserializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawDeserializer")
    }
}
