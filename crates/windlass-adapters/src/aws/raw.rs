//! The way to an answer's raw body: the SDK calls, and our walker reads.
//!
//! For one call, an interceptor puts a deserializer of ours in place of the SDK's. Of a success it
//! takes the body as it begins to arrive and gives the SDK an empty output; the walker reads the
//! body when the call has ended. Errors are read for their code, which is all that the SDK's retries
//! and our decisions look at.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Error, Output,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::ErrorMetadata;
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::clients::ATTEMPT_TIMEOUT;
use crate::wire::arriving::{Arriving, Walker};

/// No server has room made for more by saying so: the largest page of Kinesis, 10 MB in base64.
const MOST_ANNOUNCED: u64 = 16 * 1024 * 1024;

/// Reads the body of one call.
pub(super) struct RawCall {
    shared: Arc<Shared>,
}

struct Shared {
    /// Of an answer that is a success.
    body: Mutex<Option<SdkBody>>,
    /// What the SDK's operation is given for a success, and for an error.
    empty: fn() -> Output,
    failed: fn(ErrorMetadata) -> Error,
}

/// The interceptor that puts the deserializer in its place.
pub(super) struct RawInterceptor(Arc<Shared>);

struct RawDeserializer(Arc<Shared>);

impl RawCall {
    /// A call of an operation whose output and errors are made by these.
    pub(super) fn new(empty: fn() -> Output, failed: fn(ErrorMetadata) -> Error) -> Self {
        Self {
            shared: Arc::new(Shared {
                body: Mutex::new(None),
                empty,
                failed,
            }),
        }
    }

    /// What must be part of the call.
    pub(super) fn interceptor(&self) -> RawInterceptor {
        RawInterceptor(Arc::clone(&self.shared))
    }

    /// Reads the answer of a call that was a success. The walker is made for an answer of about so
    /// many bytes, zero if that is not known before.
    ///
    /// # Errors
    /// If the answer breaks off, takes longer than an attempt may, or is malformed.
    pub(super) async fn answer<W: Walker>(
        self,
        walker: impl FnOnce(usize) -> W,
    ) -> Result<W::Answer, BoxError> {
        let body = self.shared.body.lock();
        let body = body.unwrap_or_else(PoisonError::into_inner).take();
        let mut body = body.expect("a success has a body");
        let mut arriving = Arriving::new(walker(announced(body.content_length())));
        let reading = async {
            while let Some(frame) = body.frame().await {
                if let Some(piece) = frame?.data_ref() {
                    arriving.push(piece)?;
                }
            }
            Ok(arriving.finish()?)
        };
        let read = tokio::time::timeout(ATTEMPT_TIMEOUT, reading).await;
        read.map_err(|_| {
            let seconds = ATTEMPT_TIMEOUT.as_secs();
            format!("the answer has begun, but not ended within {seconds} s")
        })?
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
        config
            .interceptor_state()
            .store_put(SharedResponseDeserializer::new(deserializer));
        Ok(())
    }
}

impl DeserializeResponse for RawDeserializer {
    fn deserialize_streaming_with_config(
        &self,
        response: &mut HttpResponse,
        _: &ConfigBag,
    ) -> Option<Result<Output, OrchestratorError<Error>>> {
        if !response.status().is_success() {
            return None;
        }
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        *self.0.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        Some(Ok((self.0.empty)()))
    }

    /// Of what is no success.
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let body = response.body().bytes().unwrap_or_default();
        let metadata = metadata(response, body);
        Err(OrchestratorError::operation((self.0.failed)(metadata)))
    }
}

/// For how many bytes room is made before they are there.
fn announced(length: Option<u64>) -> usize {
    let length = length.unwrap_or_default().min(MOST_ANNOUNCED);
    usize::try_from(length).unwrap_or_default()
}

/// Code and message of an error in AWS's JSON protocols. Servers differ in the names, and some send
/// several of them.
fn metadata(response: &HttpResponse, body: &[u8]) -> ErrorMetadata {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_cannot_be_is_not_believed() {
        assert_eq!(announced(None), 0);
        assert_eq!(announced(Some(1_000)), 1_000);
        assert_eq!(announced(Some(u64::MAX)), 16 * 1024 * 1024);
    }
}
