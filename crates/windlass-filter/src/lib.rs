//! Filters: which records reach the function.
//!
//! A filter is an event pattern in the language of EventBridge, judged as AWS's own matcher does.
//! A pattern is compiled once (`rules`, `operator`) into rules over conditions (`criteria`).
//! An event is walked over once for all of them (`walk`, on the tokens of `tokens`) and nothing
//! is built of it; what was found is judged at the end (`findings`, for lists `elements`), or
//! as soon as the answer is known.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html>
//! <https://github.com/aws/event-ruler>

mod criteria;
mod view;

mod json;
mod operator;
mod rules;

mod address;
mod fold;
mod number;
mod value;
mod wildcard;

mod reader;
mod text;
mod tokens;
mod tree;
mod walk;

mod elements;
mod explanation;
mod findings;

use std::fmt;

pub use criteria::{Criteria, Scratch, Subject};
pub use explanation::Explanation;
pub use view::View;

/// The most filters of one mapping: AWS allows five, and ten on request.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html>
pub const MAXIMUM_FILTERS: usize = 10;

/// The most combinations that `$or` makes of one pattern.
///
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>
pub const MAXIMUM_RULES: usize = 1_000;

/// The most fields of one combination, as AWS's matcher has it.
pub const MAXIMUM_FIELDS: usize = 256;

/// What is wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// At which byte of the pattern.
    pub at: usize,
    /// In which field, if in one.
    pub path: String,
    /// What, and what would be right.
    pub reason: String,
}

impl PatternError {
    fn new(at: usize, reason: &str) -> Self {
        Self {
            at,
            path: String::new(),
            reason: reason.to_owned(),
        }
    }

    /// The same, in a field.
    fn within(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// The line and column, from 1, of the place in the pattern.
    pub fn place(&self, pattern: &str) -> (usize, usize) {
        let before = &pattern[..pattern.floor_char_boundary(self.at)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

/// Without the place: who has the pattern can say it better.
impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for PatternError {}

#[cfg(test)]
mod tests;
