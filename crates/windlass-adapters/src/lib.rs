//! Implements the ports: sources, functions and stores.
//!
//! [`Adapters`] is the one place that goes from an ARN or a name to an adapter.

mod adapters;
pub mod aws;
#[cfg(test)]
mod canned;
mod reconnect;
pub mod stores;
pub mod targets;
pub mod trust;
mod wire;

pub use adapters::{AdapterSettings, Adapters, FunctionKind, FunctionSettings};
pub use wire::WireError;
