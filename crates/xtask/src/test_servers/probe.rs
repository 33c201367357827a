//! Checks whether a server is ready.
//!
//! An open port is not enough: some servers listen seconds before they can answer.

use super::catalog::Server;
use crate::http;

/// Whether the server on this port answers its request with 200.
///
/// The signature is a fake: no server verifies it, but some require one.
pub(super) fn is_ready(port: u16, server: &Server) -> bool {
    let headers = [
        format!("x-amz-target: {}", server.ready_target),
        format!("content-type: {}", server.ready_content_type),
        "x-amz-date: 20260101T000000Z".to_owned(),
        "authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/test/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=none"
            .to_owned(),
    ];
    http::send(port, "POST", "/", &headers, "{}").is_ok_and(|answer| answer.status == 200)
}
