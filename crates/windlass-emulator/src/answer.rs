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
}

impl Answer {
    /// A success with this body.
    #[must_use]
    pub fn ok(body: Value) -> Self {
        Self {
            status: 200,
            body: Bytes::from(body.to_string()),
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
        }
    }
}
