//! Calls with a batch of entries: each has a result of its own.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::refusal::SqsRefusal;
use super::requests::Entry;

/// Entries of one batch.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const MOST_ENTRIES: usize = 10;

/// Executes the entries in turn. What `each` answers is the entry's result, to which its id is
/// added.
///
/// # Errors
/// If it is no batch that AWS takes; then no entry is executed.
pub(super) fn execute<E: Entry>(
    entries: Vec<E>,
    mut each: impl FnMut(E) -> Result<Value, SqsRefusal>,
) -> Result<Bytes, SqsRefusal> {
    check(&entries)?;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        let id = entry.id().to_owned();
        match each(entry) {
            Ok(mut result) => {
                result["Id"] = id.into();
                successful.push(result);
            }
            Err(refusal) => failed.push(json!({
                "Id": id,
                "SenderFault": true,
                "Code": refusal.query_code(),
                "Message": refusal.message,
            })),
        }
    }
    let answer = json!({"Successful": successful, "Failed": failed});
    Ok(Bytes::from(answer.to_string()))
}

fn check<E: Entry>(entries: &[E]) -> Result<(), SqsRefusal> {
    if entries.is_empty() {
        return Err(SqsRefusal::new(
            "EmptyBatchRequest",
            "There should be at least one entry in the request.",
        ));
    }
    if MOST_ENTRIES < entries.len() {
        return Err(SqsRefusal::new(
            "TooManyEntriesInBatchRequest",
            format!(
                "Maximum number of entries per request are {MOST_ENTRIES}. You have sent {}.",
                entries.len()
            ),
        ));
    }
    let mut ids = BTreeSet::new();
    for entry in entries {
        let id = entry.id();
        let is_id_character = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !(1..=80).contains(&id.len()) || !id.bytes().all(is_id_character) {
            return Err(SqsRefusal::new(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and \
                 underscores. It can be at most 80 letters long.",
            ));
        }
        if !ids.insert(id) {
            return Err(SqsRefusal::new(
                "BatchEntryIdsNotDistinct",
                format!("Id {id} repeated."),
            ));
        }
    }
    Ok(())
}
