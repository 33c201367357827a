//! A violated constraint or rule, in AWS's words.

use std::fmt;

use thiserror::Error;

/// Displayed with everything that is known about it: for the person who wrote the parameters.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{member}: {message}{}", .detail.iter().map(|it| format!(" {it}")).collect::<String>())]
pub struct Violation {
    pub code: ErrorCode,
    /// As AWS spells it: `BatchSize`, `FilterCriteria.Filters[0].Pattern`.
    pub member: String,
    /// AWS's text.
    pub message: String,
    /// What AWS does not report: the position within the member, and the reason.
    pub detail: Option<String>,
}

/// The names under which AWS refuses parameters, in the order in which it checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorCode {
    /// A constraint of the API's model is not satisfied.
    ValidationException,
    /// The source does not have the parameter, or not with this value.
    InvalidParameterValueException,
}

/// What comes before a constraint in AWS's texts.
const UNSATISFIED: &str = " failed to satisfy constraint: ";

impl Violation {
    /// The constraint that is not satisfied, without the value; `None` for other rules.
    pub fn constraint_text(&self) -> Option<&str> {
        let (_, constraint) = self.message.rsplit_once(UNSATISFIED)?;
        Some(constraint)
    }

    pub(super) fn constraint(member: &str, shown: &str, constraint: &str) -> Self {
        let path = wire_path(member);
        Self {
            code: ErrorCode::ValidationException,
            member: member.to_owned(),
            message: format!(
                "1 validation error detected: Value {shown} at '{path}'{UNSATISFIED}{constraint}"
            ),
            detail: None,
        }
    }

    pub(super) fn mismatch(member: &str, text: &str, pattern: &str) -> Self {
        let constraint = format!("Member must satisfy regular expression pattern: {pattern}");
        Self::constraint(member, &format!("'{text}'"), &constraint)
    }

    pub(super) fn rule(member: &str, message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::InvalidParameterValueException,
            member: member.to_owned(),
            message: message.into(),
            detail: None,
        }
    }
}

impl ErrorCode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ValidationException => "ValidationException",
            Self::InvalidParameterValueException => "InvalidParameterValueException",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `FilterCriteria.Filters[0].Pattern` as AWS writes it in texts about constraints:
/// `filterCriteria.filters.1.member.pattern`.
fn wire_path(member: &str) -> String {
    let parts = member.split('.').map(|part| {
        let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((name, index)) => (name, index.parse::<usize>().ok()),
            None => (part, None),
        };
        let mut letters = name.chars();
        let first = letters.next().into_iter().flat_map(char::to_lowercase);
        let index = index.map_or_else(String::new, |index| {
            format!(".{}.member", index.saturating_add(1))
        });
        first.chain(letters).collect::<String>() + &index
    });
    parts.collect::<Vec<_>>().join(".")
}
