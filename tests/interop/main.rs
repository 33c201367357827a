//! The daemon as a process against third-party servers, and event patterns against AWS's own library.

mod clients;
mod destinations;
mod doctor;
mod drain;
mod dynamodb;
mod dynamodb_switched_off;
mod event_ruler;
mod fan_out;
mod filters;
mod kill;
mod kinesis;
mod kinesis_changes;
mod kinesis_lanes;
mod kinesis_recreated;
mod kinesis_resharding;
mod kinesis_windows;
mod lifecycle;
mod numbered;
mod outage;
mod parks;
mod powertools;
mod processes;
mod queue;
mod redrive;
mod replays;
mod roles;
mod setup;
mod sqs;
mod sqs_kill;
mod sqs_order;
mod sqs_visibility;
mod tls;

/// For everything that a test waits for, which takes seconds.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(120);
