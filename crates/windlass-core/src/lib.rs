//! Decides: mappings, batches, retries, checkpoints, lineage and reconciliation.
//!
//! Everything here is plain synchronous Rust: inputs and the time go in, commands come out. Nothing
//! performs I/O, reads a clock or draws from an unseeded generator, so a test can set up any
//! situation in microseconds.
//!
//! # How to call a consumer
//!
//! A [`shard::ShardConsumer`] and a [`queue::QueueConsumer`] are called in the same way:
//!
//! - After `new` and after every `handle` and `handle_timeout`, take commands until `poll_command`
//!   returns `None`. Only then read `poll_timeout` and pass the next input. A command that was
//!   taken must be executed, even if the next input is `Drain`.
//! - Every command is answered by exactly one input, except `Report`, `CancelSlot` and `Finish`, which
//!   have no answer. `RequestSlot` is answered when the slot is granted, and after `CancelSlot` not at
//!   all; the slot then belongs to the next `Invoke` until that is answered. After `Finish`, I/O in flight may be dropped and inputs have no effect.
//! - `now` must not decrease.
//! - `handle` also fires every timer that is due, so a busy unit cannot starve its own batching
//!   window or backoff. A late or repeated `handle_timeout` has no effect.
//!
//! A consumer panics, also in release builds, if the caller breaks this contract (an answer to
//! something that is not in flight) or the consumer breaks one of its invariants: a consumer whose
//! state is wrong must not write a checkpoint or delete a message.

pub mod time;

pub mod arn;
pub mod function;
pub mod mapping;
pub mod parameters;
pub mod replay;
pub mod spec;
pub mod tags;
pub mod validate;

pub mod event;
pub mod failure;
pub mod ids;
pub mod marks;
pub mod message;
pub mod outcome;
pub mod place;
pub mod position;
pub mod record;
pub mod record_page;
pub mod stretch;
pub mod window;

pub mod batch;
mod lifecycle;
mod progress;
pub mod rate;
mod retry;
mod slot_request;
pub mod slots;

pub mod process;
pub mod queue;
pub mod shard;

pub mod lease;
pub mod lease_rows;
pub mod overrides;
pub mod parks;
pub mod reconcile;
pub mod redrive;
pub mod seek;
pub mod stretch_rows;
