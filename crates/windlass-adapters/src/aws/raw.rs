//! The way to an answer's raw body: the SDK calls, and our walker reads.
//!
//! For one call, an interceptor puts a deserializer of ours in place of the SDK's. It is handed the
//! whole body inside the SDK's attempt, so timeouts and retries cover the reading; it gives the
//! body to a walker and the SDK an empty output. Errors are read for their code, which is all that
//! the SDK's retries and our decisions look at.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Error, Output,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::ErrorMetadata;
use serde_json::Value;

use crate::wire::WireError;

/// Reads the body of one call.
pub(super) struct RawCall<T> {
    shared: Arc<Shared<T>>,
}

type Read<T> = dyn Fn(&[u8]) -> Result<T, WireError> + Send + Sync;

struct Shared<T> {
    read: Box<Read<T>>,
    answer: Mutex<Option<T>>,
    /// What the SDK's operation is given for a success, and for an error.
    empty: fn() -> Output,
    failed: fn(ErrorMetadata) -> Error,
}

/// The interceptor that puts the deserializer in its place.
pub(super) struct RawInterceptor<T>(Arc<Shared<T>>);

struct RawDeserializer<T>(Arc<Shared<T>>);

impl<T: Send + 'static> RawCall<T> {
    /// A call whose body is read by `read`.
    pub(super) fn new(
        read: impl Fn(&[u8]) -> Result<T, WireError> + Send + Sync + 'static,
        empty: fn() -> Output,
        failed: fn(ErrorMetadata) -> Error,
    ) -> Self {
        let read = Box::new(read);
        Self {
            shared: Arc::new(Shared {
                read,
                answer: Mutex::new(None),
                empty,
                failed,
            }),
        }
    }

    /// What must be part of the call.
    pub(super) fn interceptor(&self) -> RawInterceptor<T> {
        RawInterceptor(Arc::clone(&self.shared))
    }

    /// What was read, after a call that was a success.
    pub(super) fn answer(self) -> Option<T> {
        self.shared
            .answer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

#[dyn_dispatch_hint]
impl<T: Send + 'static> Intercept for RawInterceptor<T> {
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

impl<T: Send + 'static> DeserializeResponse for RawDeserializer<T> {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let body = response.body().bytes().unwrap_or_default();
        if !response.status().is_success() {
            let metadata = metadata(response, body);
            return Err(OrchestratorError::operation((self.0.failed)(metadata)));
        }
        let answer = (self.0.read)(body).map_err(OrchestratorError::other)?;
        *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        Ok((self.0.empty)())
    }
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

impl<T> fmt::Debug for RawInterceptor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawInterceptor")
    }
}

impl<T> fmt::Debug for RawDeserializer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawDeserializer")
    }
}
