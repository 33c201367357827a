//! What a check has found.

use std::fmt;

use serde::Serialize;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) result: Verdict,
    /// What was checked: `function resize`.
    pub(super) subject: String,
    pub(super) found: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    /// The daemon works, but not in every situation, or it could not be found out.
    Warning,
    /// Something that the configuration asks for does not work.
    Wrong,
}

impl Finding {
    pub(super) fn ok(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            result: Verdict::Ok,
            subject: subject.into(),
            found: found.into(),
            remedy: None,
        }
    }

    pub(super) fn warning(
        subject: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            result: Verdict::Warning,
            remedy: Some(remedy.into()),
            ..Self::ok(subject, found)
        }
    }

    /// `found` has the remedy, or `remedy` is given.
    pub(super) fn wrong(
        subject: impl Into<String>,
        found: impl Into<String>,
        remedy: Option<&str>,
    ) -> Self {
        Self {
            result: Verdict::Wrong,
            remedy: remedy.map(str::to_owned),
            ..Self::ok(subject, found)
        }
    }
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            result,
            subject,
            found,
            remedy,
        } = self;
        write!(f, "{:<7}  {subject}: {found}", result.as_str())?;
        match remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}
