//! Why a call was refused, in the words of DynamoDB and its streams.

use crate::answer::Answer;
use crate::kinesis::Refusal;

/// A refusal of DynamoDB or of its streams.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct DynamoDbRefusal {
    /// AWS's name of the error, without its namespace.
    ///
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
    pub code: &'static str,
    /// What is wrong, for people.
    pub message: String,
}

impl DynamoDbRefusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    pub(super) fn not_found(what: &str) -> Self {
        let message = format!("Requested resource not found: {what} not found");
        Self::new("ResourceNotFoundException", message)
    }

    pub(super) fn no_operation(service: &str, operation: &str) -> Self {
        let message = format!("the emulator's {service} has no operation {operation}");
        Self::new("UnknownOperationException", message)
    }

    pub(super) fn trimmed(shard_id: &str) -> Self {
        Self::new(
            "TrimmedDataAccessException",
            format!("The data you are trying to access in shard {shard_id} has been trimmed."),
        )
    }
}

/// A refusal of an iterator: the iterators of both services are of one kind.
impl From<Refusal> for DynamoDbRefusal {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            "InvalidArgumentException" => Self::validation(refusal.message),
            code => Self::new(code, refusal.message),
        }
    }
}

impl From<DynamoDbRefusal> for Answer {
    fn from(refusal: DynamoDbRefusal) -> Self {
        let namespace = match refusal.code {
            "ValidationException" => "com.amazon.coral.validate",
            "SerializationException" | "UnknownOperationException" => "com.amazon.coral.service",
            _ => "com.amazonaws.dynamodb.v20120810",
        };
        let code = format!("{namespace}#{}", refusal.code);
        Self::error(400, &code, &refusal.message)
    }
}
