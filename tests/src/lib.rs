//! Shared parts of the tests across crates: a client of AWS's protocols, the daemon as a process, a
//! function, a proxy, and the third-party servers.

pub mod aws;
pub mod certificate;
pub mod daemon;
pub mod examples;
pub mod function;
pub mod openapi;
pub mod producer;
pub mod proxy;
pub mod servers;
pub mod signature;
pub mod temp_dir;
pub mod wait;
