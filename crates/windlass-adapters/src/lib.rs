//! Implements the ports: sources, targets and stores.

mod reconnect;
pub mod stores;
