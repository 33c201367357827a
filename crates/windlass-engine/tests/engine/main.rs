//! A daemon's engine, whole, with fakes behind the ports, under paused time.
//!
//! Whatever is logged as an error fails the test, unless the test is about that.

mod daemon;
mod fairness;
mod life;
mod limits;
mod metrics;
mod trouble;
