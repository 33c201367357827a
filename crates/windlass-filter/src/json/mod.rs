//! JSON events, read in place: nothing is allocated and nothing is copied unless it is escaped.

pub(crate) mod error;
pub(crate) mod leaf;
pub(crate) mod number;
pub(crate) mod reader;
pub(crate) mod string;
mod tokens;
