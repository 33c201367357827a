//! Parses event patterns and compiles them.

pub(crate) mod compile;
mod document;
pub(crate) mod error;
mod operators;
pub(crate) mod rules;
