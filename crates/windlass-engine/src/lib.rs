//! Drives the core's machines against ports, and supervises the drivers.
//!
//! The engine knows no AWS type: what touches the world is behind the traits of [`ports`].

pub mod ports;
