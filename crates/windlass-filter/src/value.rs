//! What a pattern asks of one value.

use std::fmt;
use std::net::IpAddr;

use super::address::{self, Block};
use super::fold::Folded;
use super::number::comparable;
use super::wildcard::Wildcard;

/// A value of an event that is neither an object nor a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf<'t> {
    Null,
    Boolean(bool),
    /// As it is written.
    Number(&'t [u8]),
    /// The text that the string stands for.
    Text(&'t [u8]),
}

/// One of the alternatives that a pattern lists for a field.
///
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ValueTest {
    Null,
    Boolean(bool),
    Text(Vec<u8>),
    /// A text that is an IP address: its other forms are the same.
    Address(IpAddr),
    /// A number equals its own text, and what has its value.
    Number {
        text: Vec<u8>,
        value: Option<f64>,
    },
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    EqualsIgnoreCase(Folded),
    PrefixIgnoreCase(Folded),
    SuffixIgnoreCase(Folded),
    Wildcard(Wildcard),
    Numeric(Range),
    Cidr(Block),
    AnythingBut(Excluded),
    /// `{"exists": true}`.
    Exists,
}

/// What `anything-but` excludes. Everything else passes, also what is of another type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Excluded {
    Texts(Vec<Vec<u8>>),
    Numbers(Vec<f64>),
    Prefixes(Vec<Vec<u8>>),
    Suffixes(Vec<Vec<u8>>),
    IgnoreCase(Vec<Folded>),
    Wildcards(Vec<Wildcard>),
}

/// A range of numbers; each end with whether the end itself is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Range {
    pub(super) low: Option<(f64, bool)>,
    pub(super) high: Option<(f64, bool)>,
}

impl ValueTest {
    /// Whether a value is what is asked for.
    pub(super) fn passes(&self, leaf: Leaf<'_>) -> bool {
        match self {
            Self::Null => leaf == Leaf::Null,
            Self::Boolean(wanted) => leaf == Leaf::Boolean(*wanted),
            Self::Text(wanted) => leaf == Leaf::Text(wanted),
            Self::Number { text, value } => leaf.number().is_some_and(|number| {
                number == text || (value.is_some() && comparable(number) == *value)
            }),
            Self::Numeric(range) => leaf.value().is_some_and(|value| range.contains(value)),
            Self::AnythingBut(excluded) => !excluded.has(leaf),
            Self::Exists => true,
            Self::Address(_)
            | Self::Prefix(_)
            | Self::Suffix(_)
            | Self::EqualsIgnoreCase(_)
            | Self::PrefixIgnoreCase(_)
            | Self::SuffixIgnoreCase(_)
            | Self::Wildcard(_)
            | Self::Cidr(_) => leaf.text().is_some_and(|text| self.passes_text(text)),
        }
    }

    fn passes_text(&self, text: &[u8]) -> bool {
        match self {
            Self::Address(wanted) => address::parse(text) == Some(*wanted),
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Suffix(suffix) => text.ends_with(suffix),
            Self::EqualsIgnoreCase(folded) => folded.equals(text),
            Self::PrefixIgnoreCase(folded) => folded.begins(text),
            Self::SuffixIgnoreCase(folded) => folded.ends(text),
            Self::Wildcard(wildcard) => wildcard.matches(text),
            Self::Cidr(block) => address::parse(text).is_some_and(|it| block.contains(it)),
            Self::Null
            | Self::Boolean(_)
            | Self::Text(_)
            | Self::Number { .. }
            | Self::Numeric(_)
            | Self::AnythingBut(_)
            | Self::Exists => unreachable!("these are not about texts alone"),
        }
    }
}

impl Excluded {
    fn has(&self, leaf: Leaf<'_>) -> bool {
        let text = leaf.text();
        match self {
            Self::Texts(texts) => text.is_some_and(|text| texts.iter().any(|it| it == text)),
            Self::Numbers(numbers) => leaf.value().is_some_and(|value| numbers.contains(&value)),
            Self::Prefixes(prefixes) => {
                text.is_some_and(|text| prefixes.iter().any(|it| text.starts_with(it)))
            }
            Self::Suffixes(suffixes) => {
                text.is_some_and(|text| suffixes.iter().any(|it| text.ends_with(it)))
            }
            Self::IgnoreCase(texts) => {
                text.is_some_and(|text| texts.iter().any(|it| it.equals(text)))
            }
            Self::Wildcards(wildcards) => {
                text.is_some_and(|text| wildcards.iter().any(|it| it.matches(text)))
            }
        }
    }
}

impl Range {
    fn contains(&self, value: f64) -> bool {
        let above = |(low, closed): (f64, bool)| low < value || (closed && low == value);
        let below = |(high, closed): (f64, bool)| value < high || (closed && high == value);
        self.low.is_none_or(above) && self.high.is_none_or(below)
    }
}

impl<'t> Leaf<'t> {
    fn text(self) -> Option<&'t [u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Boolean(_) | Self::Number(_) => None,
        }
    }

    fn number(self) -> Option<&'t [u8]> {
        match self {
            Self::Number(text) => Some(text),
            Self::Null | Self::Boolean(_) | Self::Text(_) => None,
        }
    }

    fn value(self) -> Option<f64> {
        comparable(self.number()?)
    }
}

/// As people write it in JSON.
impl fmt::Display for Leaf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Number(text) => f.write_str(&String::from_utf8_lossy(text)),
            Self::Text(text) => {
                let text = serde_json::Value::from(String::from_utf8_lossy(text));
                write!(f, "{text}")
            }
        }
    }
}
