//! Errors of patterns, with their position.

use std::fmt;

/// Why a pattern is not valid.
///
/// Its text names the field and the reason, not the position: see
/// [`PatternError::line_and_column`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Byte offset in the pattern.
    pub offset: usize,
    /// Path of the field; empty if the error is not in a field.
    pub path: String,
    /// What is wrong and, where it helps, what is valid.
    pub reason: String,
}

impl PatternError {
    pub(crate) fn new(offset: usize, reason: &str) -> Self {
        Self {
            offset,
            path: String::new(),
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn in_field(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Line and column of the error in `pattern`, each from 1. Columns count characters.
    pub fn line_and_column(&self, pattern: &str) -> (usize, usize) {
        let before = &pattern[..pattern.floor_char_boundary(self.offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for PatternError {}
