//! What the tests across crates share: a client of AWS's protocols, the daemon as a process, and
//! the servers that others wrote.

pub mod aws;
pub mod daemon;
pub mod servers;
