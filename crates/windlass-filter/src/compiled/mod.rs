//! What patterns compile to: data that does not change while events are evaluated.

pub(crate) mod address;
pub(crate) mod case_insensitive;
pub(crate) mod filters;
pub(crate) mod path_tree;
pub(crate) mod value_test;
pub(crate) mod wildcard;
