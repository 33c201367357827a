//! Drives the consumers of the core against ports, and supervises the drivers.
//!
//! The engine knows no AWS type: I/O happens in implementations of the traits in [`ports`]. One
//! [`supervisor::Supervisor`] compares what should run with what runs; one driver for each shard or
//! queue executes the commands of its consumer and feeds the results back.

pub mod backoff;
mod claims;
pub mod clock;
mod count;
pub mod dead_letters;
pub mod ports;
pub mod requests;
pub mod settings;
pub mod stop;

pub mod memory;
pub mod slots;

mod checkpoint_saver;
mod histogram;
mod invoker;
mod queue_driver;
mod rate;
mod shard_driver;
mod shared_reads;

mod run_unit;

pub mod jobs;
pub mod supervisor;

mod labels;
pub mod metrics;
mod metrics_text;
pub mod status;
