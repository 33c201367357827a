//! A sample function: takes what event source mappings send and writes it into the ledger.

use serde_json::json;

use crate::answer::Answer;
use crate::ledger::Ledger;

/// What the paths of functions begin with; their names follow.
pub(crate) const PATH: &str = "/function/";

/// Takes an event. It succeeds with all records, in the form of a partial batch response, which
/// mappings that do not ask for one ignore.
pub(crate) fn invoke(ledger: &Ledger, event: &[u8]) -> Answer {
    match ledger.deliver(event) {
        Ok(_) => Answer::ok(json!({"batchItemFailures": []})),
        Err(error) => Answer::error(400, "InvalidRequestContentException", &error.to_string()),
    }
}
