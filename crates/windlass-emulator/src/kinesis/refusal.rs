//! Why a call was refused, in AWS's words.

use crate::answer::Answer;

/// A refusal of Kinesis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// AWS's name of the error.
    pub code: &'static str,
    /// What is wrong, for people.
    pub message: String,
}

impl Refusal {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: "InvalidArgumentException",
            message: message.into(),
        }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self {
            code: "ValidationException",
            message: message.into(),
        }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self {
            code: "ResourceNotFoundException",
            message: message.into(),
        }
    }

    pub(super) fn expired_iterator(message: impl Into<String>) -> Self {
        Self {
            code: "ExpiredIteratorException",
            message: message.into(),
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::error(400, refusal.code, &refusal.message)
    }
}
