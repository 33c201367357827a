//! Errors of the API, with AWS's names, texts and shapes.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use thiserror::Error;
use windlass_core::validate::{ErrorCode, Violation};
use windlass_engine::ports::{PortError, chain};

/// AWS's text about one violated constraint starts with this.
const ONE_VIOLATION: &str = "1 validation error detected: ";

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// /// <https://docs.aws.amazon.com/lambda/latest/api/CommonErrors.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    AccessDenied,
    IncompleteSignature,
    InvalidParameterValue,
    InvalidSignature,
    MissingAuthenticationToken,
    RequestTimeout,
    RequestTooLarge,
    ResourceConflict,
    ResourceInUse,
    ResourceNotFound,
    Serialization,
    Service,
    ServiceUnavailable,
    TooManyRequests,
    UnknownOperation,
    UnrecognizedClient,
    Validation,
}

/// JSON of an error response, which differs between AWS's errors.
enum Shape {
    /// `{"Type":…,"message":…}`
    Small(&'static str),
    /// `{"Type":…,"Message":…}`
    Capital(&'static str),
    /// `{"message":…}`
    Bare,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameterValue, message)
    }

    pub(crate) fn mapping_not_found() -> Self {
        let text = "The resource you requested does not exist.";
        Self::new(Code::ResourceNotFound, text)
    }
}

impl From<Vec<Violation>> for ApiError {
    /// AWS reports every violated constraint, or else only the first violated rule.
    fn from(violations: Vec<Violation>) -> Self {
        let constraints: Vec<&str> = violations
            .iter()
            .filter(|violation| violation.code == ErrorCode::ValidationException)
            .map(|it| {
                it.message
                    .strip_prefix(ONE_VIOLATION)
                    .unwrap_or(&it.message)
            })
            .collect();
        match (&constraints[..], violations.first()) {
            ([], Some(rule)) => Self::invalid(&rule.message),
            ([], None) => Self::new(Code::Service, "refused without a violation"),
            ([only], _) => Self::new(Code::Validation, format!("{ONE_VIOLATION}{only}")),
            (all, _) => {
                let (n, all) = (all.len(), all.join("; "));
                let text = format!("{n} validation errors detected: {all}");
                Self::new(Code::Validation, text)
            }
        }
    }
}

impl From<PortError> for ApiError {
    fn from(error: PortError) -> Self {
        Self::new(Code::Service, chain(&error))
    }
}

impl Code {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::IncompleteSignature => "IncompleteSignatureException",
            Self::InvalidParameterValue => "InvalidParameterValueException",
            Self::InvalidSignature => "InvalidSignatureException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::RequestTimeout => "RequestTimeoutException",
            Self::RequestTooLarge => "RequestTooLargeException",
            Self::ResourceConflict => "ResourceConflictException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::Serialization => "SerializationException",
            Self::Service => "ServiceException",
            Self::ServiceUnavailable => "ServiceUnavailableException",
            Self::TooManyRequests => "TooManyRequestsException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
            Self::Validation => "ValidationException",
        }
    }

    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::AccessDenied
            | Self::IncompleteSignature
            | Self::InvalidSignature
            | Self::MissingAuthenticationToken
            | Self::UnrecognizedClient => StatusCode::FORBIDDEN,
            Self::InvalidParameterValue
            | Self::ResourceInUse
            | Self::Serialization
            | Self::Validation => StatusCode::BAD_REQUEST,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ResourceConflict => StatusCode::CONFLICT,
            Self::ResourceNotFound | Self::UnknownOperation => StatusCode::NOT_FOUND,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Service => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn shape(self) -> Shape {
        match self {
            Self::InvalidParameterValue | Self::ResourceConflict | Self::TooManyRequests => {
                Shape::Small("User")
            }
            Self::ResourceInUse | Self::ResourceNotFound | Self::RequestTooLarge => {
                Shape::Capital("User")
            }
            Self::Service | Self::ServiceUnavailable => Shape::Capital("Service"),
            Self::AccessDenied
            | Self::IncompleteSignature
            | Self::InvalidSignature
            | Self::MissingAuthenticationToken
            | Self::UnrecognizedClient
            | Self::RequestTimeout
            | Self::Serialization
            | Self::UnknownOperation
            | Self::Validation => Shape::Bare,
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { code, message } = self;
        let body = match code.shape() {
            Shape::Small(kind) => json!({"Type": kind, "message": message}),
            Shape::Capital(kind) => json!({"Type": kind, "Message": message}),
            Shape::Bare => json!({"message": message}),
        };
        let mut response = (code.status(), body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert("x-amzn-errortype", HeaderValue::from_static(code.name()));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(code: ErrorCode, message: &str) -> Violation {
        Violation {
            code,
            member: "M".to_owned(),
            message: message.to_owned(),
            detail: None,
        }
    }

    #[test]
    fn constraints_are_reported_together_and_hide_the_rules() {
        let rule = violation(ErrorCode::InvalidParameterValueException, "a rule");
        let first = violation(
            ErrorCode::ValidationException,
            "1 validation error detected: a",
        );
        let second = violation(
            ErrorCode::ValidationException,
            "1 validation error detected: b",
        );
        let text = |violations| ApiError::from(violations).to_string();
        assert_eq!(
            text(vec![rule.clone()]),
            "InvalidParameterValueException: a rule"
        );
        assert_eq!(
            text(vec![first.clone(), rule.clone()]),
            "ValidationException: 1 validation error detected: a"
        );
        assert_eq!(
            text(vec![first, second, rule]),
            "ValidationException: 2 validation errors detected: a; b"
        );
    }
}
