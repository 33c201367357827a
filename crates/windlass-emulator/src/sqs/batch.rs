//! Requests with a batch of entries. Each entry has its own result.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::error::query_code;
use crate::protocol::AwsError;

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessageBatch.html>
const MAX_ENTRIES: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct BatchRequest<E> {
    pub(super) queue_url: String,
    #[serde(default = "Vec::new")]
    pub(super) entries: Vec<E>,
}

pub(super) trait BatchEntry {
    fn id(&self) -> &str;
}

/// Executes the entries one by one, unless the batch is invalid as a whole.
pub(super) fn execute<E: BatchEntry>(
    entries: &[E],
    mut execute_entry: impl FnMut(&E) -> Result<(), AwsError>,
) -> Result<Bytes, AwsError> {
    validate(entries)?;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        match execute_entry(entry) {
            Ok(()) => successful.push(json!({"Id": entry.id()})),
            Err(error) => failed.push(json!({
                "Id": entry.id(),
                "SenderFault": true,
                "Code": query_code(&error),
                "Message": error.message,
            })),
        }
    }
    let response = json!({"Successful": successful, "Failed": failed});
    Ok(response.to_string().into())
}

fn validate<E: BatchEntry>(entries: &[E]) -> Result<(), AwsError> {
    if entries.is_empty() {
        return Err(AwsError::new(
            "EmptyBatchRequest",
            "There should be at least one entry in the request.",
        ));
    }
    if MAX_ENTRIES < entries.len() {
        return Err(AwsError::new(
            "TooManyEntriesInBatchRequest",
            format!(
                "Maximum number of entries per request are {MAX_ENTRIES}. You have sent {}.",
                entries.len()
            ),
        ));
    }
    let mut ids = BTreeSet::new();
    for entry in entries {
        let id = entry.id();
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !(1..=80).contains(&id.len()) || !id.bytes().all(is_allowed) {
            return Err(AwsError::new(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and \
                 underscores. It can be at most 80 letters long.",
            ));
        }
        if !ids.insert(id) {
            let message = format!("Id {id} repeated.");
            return Err(AwsError::new("BatchEntryIdsNotDistinct", message));
        }
    }
    Ok(())
}
