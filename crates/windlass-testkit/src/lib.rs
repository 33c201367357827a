//! Fakes, simulators, checkers and the script runner. For tests only: no program of ours uses it.

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
