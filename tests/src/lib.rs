//! What the tests across crates share: a client of AWS's protocols, the daemon as a process, a
//! function and a relay to stand around it, and the servers that others wrote.

pub mod aws;
pub mod daemon;
pub mod function;
pub mod producer;
pub mod relay;
pub mod scratch;
pub mod servers;
pub mod waiting;
