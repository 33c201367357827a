//! The history: who changed what, and when.

mod lines;

pub(crate) use lines::{line, mapping_line};
