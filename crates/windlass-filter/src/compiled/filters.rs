//! Compiled filters: rules over conditions, and the tree of the paths they need.

use super::path_tree::{NodeId, PathTree};
use super::value_test::ValueTest;
use crate::event_format::EventFormat;

/// The filters of a mapping: an event matches if one of the rules holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CompiledFilters {
    pub(crate) format: EventFormat,
    pub(crate) tree: PathTree,
    pub(crate) conditions: Vec<Condition>,
    /// For each rule, the indices of its conditions, sorted by path.
    pub(crate) rules: Vec<Vec<usize>>,
    /// Root of the paths in the event; `None` if no condition needs it.
    pub(crate) envelope: Option<NodeId>,
    /// Root of the paths in the data.
    pub(crate) data: NodeId,
    /// Indices of the conditions on the data as a string.
    pub(crate) plain_data: Vec<usize>,
}

/// What a pattern requires of one field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    pub(crate) path: String,
    /// Alternatives: one is enough.
    pub(crate) tests: Vec<ValueTest>,
    /// Whether the field may be absent.
    pub(crate) allows_absent: bool,
    /// The array in the pattern, for people.
    pub(crate) text: String,
    /// Indices of the rules that contain it.
    pub(crate) rules: Vec<usize>,
    /// The node of its path; `None` for plain data and for fields that the format never has.
    pub(crate) node: Option<NodeId>,
    pub(crate) part: Part,
}

/// The part of an event that a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Envelope,
    /// A field of the data.
    Data,
    /// The data as a string.
    PlainData,
}
