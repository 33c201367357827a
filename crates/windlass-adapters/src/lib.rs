//! Implements the ports: sources, functions and stores.
//!
//! [`World`] is the one place that goes from an ARN or a name to an adapter.

pub mod aws;
#[cfg(test)]
mod canned;
mod reconnect;
pub mod stores;
pub mod targets;
pub mod trust;
mod wire;
mod world;

pub use wire::WireError;
pub use world::{FunctionKind, FunctionSettings, World, WorldSettings};
