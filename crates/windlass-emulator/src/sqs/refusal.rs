//! Why a call was refused, in the words of SQS.

use crate::answer::Answer;

/// A refusal of SQS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct SqsRefusal {
    /// AWS's name of the error in the JSON protocol, without its namespace.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html>
    pub code: &'static str,
    /// What is wrong, for people.
    pub message: String,
}

impl SqsRefusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A parameter with a value that it cannot have.
    pub(super) fn invalid(value: &str, parameter: &str, reason: &str) -> Self {
        Self::new(
            "InvalidParameterValueException",
            format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}"),
        )
    }

    /// A parameter that must be given and is not.
    pub(super) fn missing(parameter: &str) -> Self {
        Self::new(
            "MissingRequiredParameterException",
            format!("The request must contain the parameter {parameter}."),
        )
    }

    pub(super) fn no_queue() -> Self {
        Self::new("QueueDoesNotExist", "The specified queue does not exist.")
    }

    /// The code in the older query protocol, which is also that of the entries of a batch.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-json-faqs.html>
    pub(super) fn query_code(&self) -> &'static str {
        match self.code {
            "InvalidParameterValueException" => "InvalidParameterValue",
            "MissingRequiredParameterException" => "MissingParameter",
            "QueueNameExists" => "QueueAlreadyExists",
            "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
            "PurgeQueueInProgress" => "AWS.SimpleQueueService.PurgeQueueInProgress",
            "MessageNotInflight" => "AWS.SimpleQueueService.MessageNotInflight",
            "EmptyBatchRequest" => "AWS.SimpleQueueService.EmptyBatchRequest",
            "TooManyEntriesInBatchRequest" => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            "BatchEntryIdsNotDistinct" => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            "BatchRequestTooLong" => "AWS.SimpleQueueService.BatchRequestTooLong",
            "InvalidBatchEntryId" => "AWS.SimpleQueueService.InvalidBatchEntryId",
            code => code,
        }
    }
}

impl From<SqsRefusal> for Answer {
    fn from(refusal: SqsRefusal) -> Self {
        let code = format!("com.amazonaws.sqs#{}", refusal.code);
        Self {
            query_error: Some(format!("{};Sender", refusal.query_code())),
            ..Self::error(400, &code, &refusal.message)
        }
    }
}
