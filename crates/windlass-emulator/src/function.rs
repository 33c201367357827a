//! A sample function that records the events of event source mappings in the ledger.

use serde_json::json;

use crate::ledger::Ledger;
use crate::protocol::Response;

/// Path prefix of all functions; the name follows.
pub(crate) const PATH: &str = "/function/";

/// Succeeds with all records, in the form of a partial batch response; mappings without
/// `ReportBatchItemFailures` ignore it.
pub(crate) fn invoke(ledger: &Ledger, event: &[u8]) -> Response {
    match ledger.deliver(event) {
        Ok(()) => Response::json(&json!({"batchItemFailures": []})),
        Err(error) => Response::error(400, "InvalidRequestContentException", &error.to_string()),
    }
}
