//! The HTTP server of the daemon: AWS's API of event source mappings, status, health and metrics.
//!
//! Handlers write mappings, read the status board and start jobs of the engine, nothing else: no request
//! can drive a poller.
//! The server has its own thread and runtime, so it responds while the data path is busy.

mod api;
mod auth;
mod config_mappings;
mod connections;
mod control;
mod dead_letters;
mod errors;
mod health;
mod history;
mod metrics;
mod openapi;
mod pagination;
mod parks;
mod permissions;
mod problems;
mod rebinding_guard;
mod redrive;
mod rendering;
pub mod replays;
pub mod report;
mod requests;
mod seek;
mod server;
mod state;
mod status;
mod tagging;
mod v1;

pub use auth::{AccessKey, AuthSettings, BearerToken, Role, Secret};
pub use config_mappings::{
    ApplyParts, ConfigMapping, ConfigMappingError, MappingProblem, PendingMappings,
};
pub use control::{Control, ControlParts};
pub use metrics::{Metrics, MetricsSettings};
pub use problems::MappingProblems;
pub use rebinding_guard::AllowedHost;
pub use server::{Server, ServerParts};
pub use state::Readiness;
