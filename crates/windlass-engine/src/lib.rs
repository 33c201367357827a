//! Drives the core's machines against ports, and supervises the drivers.
//!
//! The engine knows no AWS type: what touches the world is behind the traits of [`ports`]. One
//! [`supervisor::Supervisor`] compares what should run with what runs; one short loop for each
//! shard or queue takes the commands of its machine, starts the I/O and feeds the results back.

pub mod clock;
pub mod ports;
pub mod settings;

pub mod at_limit;
pub mod budget;
mod invoking;
mod message_memory;
mod page_memory;
mod queue_driver;
mod shard_driver;

mod discovery;
mod launch;
pub mod supervisor;

pub mod metrics;
pub mod status;
