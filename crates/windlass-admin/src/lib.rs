//! The daemon's face: AWS's API of mappings, the status of what runs, health and metrics.
//!
//! Handlers write mappings and read the status board, nothing else: no request can drive a poller.
//! The server runs on a thread and a runtime of its own, so it answers while the data path is busy.

mod api;
mod config_mappings;
mod control;
mod errors;
mod health;
mod metrics;
mod pagination;
mod rebinding_guard;
mod rendering;
pub mod report;
mod server;
mod status;

pub use config_mappings::{ApplyError, ConfigMapping, ConfigMappingError, MissingFunction};
pub use control::{Control, ControlParts};
pub use metrics::Metrics;
pub use server::{Readiness, Server, ServerParts};
