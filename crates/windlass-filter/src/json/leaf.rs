//! The values that patterns test.

use std::fmt;

use super::number::comparable;

/// A value that is neither an object nor an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf<'t> {
    Null,
    Boolean(bool),
    /// As written.
    Number(&'t [u8]),
    /// Unescaped.
    String(&'t [u8]),
}

impl<'t> Leaf<'t> {
    pub(crate) fn string(self) -> Option<&'t [u8]> {
        match self {
            Self::String(string) => Some(string),
            Self::Null | Self::Boolean(_) | Self::Number(_) => None,
        }
    }

    pub(crate) fn number(self) -> Option<&'t [u8]> {
        match self {
            Self::Number(number) => Some(number),
            Self::Null | Self::Boolean(_) | Self::String(_) => None,
        }
    }

    /// The value of a number that can be compared by value.
    pub(crate) fn numeric_value(self) -> Option<f64> {
        comparable(self.number()?)
    }
}

/// As JSON.
impl fmt::Display for Leaf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Number(number) => f.write_str(&String::from_utf8_lossy(number)),
            Self::String(string) => {
                let string = serde_json::Value::from(String::from_utf8_lossy(string));
                write!(f, "{string}")
            }
        }
    }
}
