//! Errors of the configuration, collected so that all of them are reported at once.

use std::cell::RefCell;

/// An error in the configuration, its environment or an option that overrides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// From 1; 0 where there is no line.
    pub(crate) line: u32,
    /// What is wrong, and the remedy.
    pub(crate) message: String,
}

/// The errors found so far.
#[derive(Debug, Default)]
pub(super) struct Errors(RefCell<Vec<ConfigError>>);

impl ConfigError {
    /// An error outside of the file.
    pub(crate) const fn without_line(message: String) -> Self {
        Self { line: 0, message }
    }
}

impl Errors {
    pub(super) fn push(&self, line: u32, message: String) {
        self.0.borrow_mut().push(ConfigError { line, message });
    }

    /// All of them, by line.
    pub(super) fn into_sorted(self) -> Vec<ConfigError> {
        let mut errors = self.0.into_inner();
        errors.sort_by_key(|error| error.line);
        errors
    }
}
