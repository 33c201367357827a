//! Fakes, simulations, checkers and the script runner, for tests only.

pub mod checkers;
pub mod contract;
pub mod fakes;
pub mod filter_bench;
pub mod naive_filter;
pub mod patterns;
pub mod rng;
pub mod sample_filter;
pub mod script;
pub mod world;
