//! Implementations of the ports: sources, functions, destinations and stores.
//!
//! [`Adapters`] makes them from ARNs and names.

mod adapters;
pub mod aws;
mod destinations;
pub mod stores;
pub mod targets;
#[cfg(test)]
mod tests;
pub mod tls_roots;
mod wire;

pub use adapters::{AdapterSettings, Adapters};
pub use wire::WireError;
