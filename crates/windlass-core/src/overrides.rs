//! What an operator has set of a mapping that runs, beyond its parameters.

use crate::parks::Parks;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub parks: Parks,
}
