//! The daemon, as a process, against servers that others wrote; and event patterns against AWS's
//! own library.

mod clients;
mod drain;
mod dynamodb;
mod event_ruler;
mod filters;
mod kill;
mod kinesis;
mod numbered;
mod outage;
mod setup;
mod sqs;

/// What a test waits for takes seconds; where it does not come, the test ends after this.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(120);
