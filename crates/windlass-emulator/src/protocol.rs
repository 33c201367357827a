//! Requests, responses and errors of AWS's JSON protocol, without HTTP.
//!
//! Services use nothing else, so each can be called and tested without a socket.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

/// The response of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The header `x-amzn-query-error`, sent by services that had a query protocol before.
    ///
    /// <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait>
    pub(crate) query_error: Option<String>,
}

/// An error by AWS's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct AwsError {
    /// Without a namespace, such as `ResourceNotFoundException`.
    pub code: &'static str,
    /// The text for people.
    pub message: String,
}

impl Response {
    pub(crate) fn json(body: &Value) -> Self {
        Self::ok(body.to_string().into())
    }

    /// A success whose body is already JSON.
    pub(crate) fn ok(body: Bytes) -> Self {
        Self {
            status: 200,
            body,
            query_error: None,
        }
    }

    /// <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"__type": code, "message": message});
        Self {
            status,
            ..Self::json(&body)
        }
    }
}

impl AwsError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new("InvalidArgumentException", message)
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    pub(crate) fn unknown_operation(service: &str, operation: &str) -> Self {
        let message = format!("the emulator of {service} has no operation '{operation}'");
        Self::new("UnknownOperationException", message)
    }
}

impl From<AwsError> for Response {
    fn from(error: AwsError) -> Self {
        Self::error(400, error.code, &error.message)
    }
}

pub(crate) fn parse_request<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, AwsError> {
    serde_json::from_slice(body)
        .map_err(|error| AwsError::new("SerializationException", error.to_string()))
}
