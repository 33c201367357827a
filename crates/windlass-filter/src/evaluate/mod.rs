//! Evaluates events with compiled filters.

mod array_consistency;
pub(crate) mod explanation;
mod match_state;
pub(crate) mod matching;
mod scanner;
