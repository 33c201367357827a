//! What an operator has set of a mapping that runs, beyond its parameters.

use crate::parks::Parks;
use crate::seek::SeekStart;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub parks: Parks,
    /// Where shards without a row begin, since a seek has moved all shards.
    pub start: Option<SeekStart>,
}
