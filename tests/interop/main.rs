//! The daemon, as a process, against servers that others wrote.

mod clients;
mod drain;
mod dynamodb;
mod kill;
mod kinesis;
mod outage;
mod setup;
mod sqs;

/// What a test waits for takes seconds; where it does not come, the test ends after this.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
