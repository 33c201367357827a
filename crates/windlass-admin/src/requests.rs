//! What requests have in common: their bodies, their time, and what their paths need.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::errors::{ApiError, Code};

/// Bytes of the body: 1 MiB, and 16 MiB of a redrive, which may have events, and of all mappings of a
/// file.
const MAX_REQUEST_SIZE: usize = 1024 * 1024;
const MAX_LARGE_SIZE: usize = 16 * 1024 * 1024;

/// The paths of these end in this.
const LARGE: [&str; 2] = ["/redrive", "/mappings/apply"];

/// From the headers of a request to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// For the response to a request whose caller is known. Clients of AWS wait as long by default.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Fails if a response takes too long.
pub(crate) async fn in_time<T>(response: impl Future<Output = T>) -> Result<T, ApiError> {
    let response = tokio::time::timeout(REQUEST_TIMEOUT, response).await;
    response.map_err(|_| {
        let text = format!("the request took longer than {REQUEST_TIMEOUT:?}");
        ApiError::new(Code::Service, text)
    })
}

/// Reads the body of a request to a path, in time and not more than it may have.
pub(crate) async fn read_body(path: &str, body: Body) -> Result<Bytes, ApiError> {
    let is_large = LARGE.iter().any(|end| path.ends_with(end));
    let max_size = if is_large && !is_of_aws(path) {
        MAX_LARGE_SIZE
    } else {
        MAX_REQUEST_SIZE
    };
    let body = Limited::new(body, max_size).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("Request must be smaller than {max_size} bytes");
            Err(ApiError::new(Code::RequestTooLarge, text))
        }
        Ok(Err(error)) => Err(ApiError::new(Code::Serialization, error.to_string())),
        Err(_) => {
            let text = format!("the body did not arrive within {BODY_TIMEOUT:?}");
            Err(ApiError::new(Code::RequestTimeout, text))
        }
    }
}

/// Whether a path belongs to the API of AWS.
pub(crate) fn is_of_aws(path: &str) -> bool {
    path.starts_with("/2015-03-31/") || path.starts_with("/2017-03-31/")
}

/// The action of IAM that an operation needs, if it changes something.
///
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html>
pub(crate) fn action(method: &Method, path: &str) -> Option<&'static str> {
    let is_of_tags = path.starts_with("/2017-03-31/tags/");
    match (method.as_str(), is_of_tags) {
        _ if !is_of_aws(path) => None,
        ("POST", true) => Some("lambda:TagResource"),
        ("DELETE", true) => Some("lambda:UntagResource"),
        ("POST", false) => Some("lambda:CreateEventSourceMapping"),
        ("PUT", false) => Some("lambda:UpdateEventSourceMapping"),
        ("DELETE", false) => Some("lambda:DeleteEventSourceMapping"),
        _ => None,
    }
}
