//! The errors of SQS, which also have a code of the older query protocol.

use crate::protocol::{AwsError, Response};

/// A parameter with a value that is not allowed.
pub(super) fn invalid_parameter(value: &str, parameter: &str, reason: &str) -> AwsError {
    AwsError::new(
        "InvalidParameterValueException",
        format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}"),
    )
}

/// The code in the query protocol, which batches use for failed entries in both protocols.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-json-faqs.html>
pub(super) fn query_code(error: &AwsError) -> &'static str {
    match error.code {
        "InvalidParameterValueException" => "InvalidParameterValue",
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
        "MessageNotInflight" => "AWS.SimpleQueueService.MessageNotInflight",
        "EmptyBatchRequest" => "AWS.SimpleQueueService.EmptyBatchRequest",
        "TooManyEntriesInBatchRequest" => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        "BatchEntryIdsNotDistinct" => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        "InvalidBatchEntryId" => "AWS.SimpleQueueService.InvalidBatchEntryId",
        code => code,
    }
}

pub(super) fn response(error: AwsError) -> Response {
    let code = format!("com.amazonaws.sqs#{}", error.code);
    Response {
        query_error: Some(format!("{};Sender", query_code(&error))),
        ..Response::error(400, &code, &error.message)
    }
}
