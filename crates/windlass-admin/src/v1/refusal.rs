//! Refusals of windlass's own operations.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde_json::json;
use windlass_core::place::PlaceError;
use windlass_engine::ports::PortError;
use windlass_engine::supervisor::OperationError;

use crate::errors::{ApiError, Code};

/// `{"error": {"type", "message", "field"}}`, with the type in `x-amzn-errortype` as well. It has
/// changed nothing, unless it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: Code,
    message: String,
    /// The member or parameter at fault: `shard`, `from.timestamp`.
    field: Option<String>,
}

impl Refusal {
    /// 404: what the path names does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceNotFound, message)
    }

    /// 409: it does not fit what there is at the moment.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceConflict, message)
    }

    /// 400, of one member or parameter.
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::malformed(message)
        }
    }

    /// 400, of no single member.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameterValue, message)
    }

    /// 400, of a member that is a place.
    pub(crate) fn place(member: &str, error: &PlaceError) -> Self {
        let field = match &error.member {
            Some(part) => format!("{member}.{part}"),
            None => member.to_owned(),
        };
        Self::invalid(field, error.to_string())
    }

    /// 503: the daemon is stopping.
    pub(crate) fn draining() -> Self {
        let text =
            "the daemon is draining and accepts no new work; repeat the request when it runs again";
        Self::new(Code::ServiceUnavailable, text)
    }

    /// Of a seek or a skip. `number`: the member that has its sequence number.
    pub(crate) fn of_operation(error: OperationError, number: &str) -> Self {
        let text = error.to_string();
        match error {
            OperationError::Busy
            | OperationError::Contended
            | OperationError::Unlisted(_)
            | OperationError::NothingToSkip
            | OperationError::NothingRetried(_)
            | OperationError::Passed { .. }
            | OperationError::NoRoom { .. }
            | OperationError::OtherStream(_)
            | OperationError::Unreadable { .. } => Self::conflict(text),
            OperationError::Draining => Self::draining(),
            OperationError::UnknownShard(_)
            | OperationError::NoCheckpoint(_)
            | OperationError::Gone(_) => Self::invalid("shard", text),
            OperationError::UnknownNumber { .. } => Self::invalid(number, text),
            OperationError::NotKept => Self::invalid("discard", text),
            OperationError::Invalid(_) => Self::malformed(text),
            OperationError::Unread { .. } => Self::new(Code::ServiceUnavailable, text),
            OperationError::NotStarted(error) => error.into(),
            OperationError::Port(error) => error.into(),
        }
    }

    /// The same for another member.
    #[must_use]
    pub(crate) fn of_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds what was done before.
    #[must_use]
    pub(crate) fn and_done(mut self, done: &str) -> Self {
        self.message = format!("{}; {done}", self.message);
        self
    }

    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: None,
        }
    }
}

/// A refusal of what both APIs share, such as the body of a request.
impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let is_of_aws = matches!(
            error.code,
            Code::Serialization | Code::Validation | Code::ResourceInUse
        );
        let code = match is_of_aws {
            true => Code::InvalidParameterValue,
            false => error.code,
        };
        Self::new(code, error.message)
    }
}

impl From<PortError> for Refusal {
    fn from(error: PortError) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let name = self.code.name();
        let mut error = json!({"type": name, "message": self.message});
        if let Some(field) = self.field {
            error["field"] = field.into();
        }
        let body = json!({"error": error}).to_string();
        let mut response = (self.code.status(), body).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert("x-amzn-errortype", HeaderValue::from_static(name));
        response
    }
}
