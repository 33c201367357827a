//! Decides: mappings, batches, retries, checkpoints, lineage and reconciliation.
//!
//! Everything here is plain synchronous Rust that is handed inputs and the time and hands back
//! commands. Nothing here performs I/O, reads a clock or draws from an unseeded generator, so any
//! situation can be set up in a test in microseconds.
//!
//! The machines ([`shard::ShardConsumer`], [`queue::QueueConsumer`]) have four kinds of method:
//! *getters*, `handle` and `handle_timeout` (something happened), `poll_command` (what to do next)
//! and `poll_timeout` (when to call again).

pub mod time;

pub mod arn;
pub mod function;
pub mod mapping;
pub mod parameters;
pub mod spec;
pub mod validate;

pub mod event;
pub mod ids;
pub mod message;
pub mod outcome;
pub mod position;
pub mod record;
pub mod record_page;

pub mod batch;
mod progress;
mod retry;

pub mod queue;
pub mod shard;

pub mod lease;
pub mod reconcile;
