//! What a service answers: a status and a body of JSON.
//!
//! Services know nothing of HTTP but this, so each can be called and tested without a socket.

use bytes::Bytes;
use serde_json::{Value, json};

/// The answer of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: Bytes,
    /// For services that had a query protocol before: the header `x-amzn-query-error`.
    ///
    /// <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait>
    pub query_error: Option<String>,
}

impl Answer {
    /// A success with this body.
    #[must_use]
    pub fn ok(body: Value) -> Self {
        Self::written(Bytes::from(body.to_string()))
    }

    /// A success with a body that is JSON already, or empty.
    #[must_use]
    pub fn written(body: Bytes) -> Self {
        Self {
            status: 200,
            body,
            query_error: None,
        }
    }

    /// A refusal, as AWS's JSON protocols write it.
    ///
    /// <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"__type": code, "message": message});
        Self {
            status,
            body: Bytes::from(body.to_string()),
            query_error: None,
        }
    }
}
