//! Tests of a single value.

use std::net::IpAddr;

use super::address::{self, CidrBlock};
use super::case_insensitive::CaseInsensitive;
use super::wildcard::Wildcard;
use crate::json::leaf::Leaf;
use crate::json::number::comparable;

/// One entry of the array that a pattern has for a field.
///
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ValueTest {
    Null,
    Boolean(bool),
    String(Vec<u8>),
    /// A string that is an IP address equals its other spellings.
    Address(IpAddr),
    /// Equals the same text and, if it is comparable, every number of the same value.
    Number {
        text: Vec<u8>,
        value: Option<f64>,
    },
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    EqualsIgnoreCase(CaseInsensitive),
    PrefixIgnoreCase(CaseInsensitive),
    SuffixIgnoreCase(CaseInsensitive),
    Wildcard(Wildcard),
    Numeric(NumericRange),
    Cidr(CidrBlock),
    AnythingBut(Excluded),
    /// `{"exists": true}`.
    Exists,
}

/// What `anything-but` excludes. All other values pass, including those of another type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Excluded {
    Strings(Vec<Vec<u8>>),
    Numbers(Vec<f64>),
    Prefixes(Vec<Vec<u8>>),
    Suffixes(Vec<Vec<u8>>),
    IgnoreCase(Vec<CaseInsensitive>),
    Wildcards(Vec<Wildcard>),
}

/// A range of numbers. Each bound says whether it is inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct NumericRange {
    pub(crate) low: Option<(f64, bool)>,
    pub(crate) high: Option<(f64, bool)>,
}

impl ValueTest {
    pub(crate) fn passes(&self, leaf: Leaf<'_>) -> bool {
        match self {
            Self::Null => leaf == Leaf::Null,
            Self::Boolean(expected) => leaf == Leaf::Boolean(*expected),
            Self::String(expected) => leaf == Leaf::String(expected),
            Self::Number { text, value } => leaf.number().is_some_and(|number| {
                number == text || (value.is_some() && comparable(number) == *value)
            }),
            Self::Numeric(range) => leaf
                .numeric_value()
                .is_some_and(|value| range.contains(value)),
            Self::AnythingBut(excluded) => !excluded.contains(leaf),
            Self::Exists => true,
            Self::Address(_)
            | Self::Prefix(_)
            | Self::Suffix(_)
            | Self::EqualsIgnoreCase(_)
            | Self::PrefixIgnoreCase(_)
            | Self::SuffixIgnoreCase(_)
            | Self::Wildcard(_)
            | Self::Cidr(_) => leaf
                .string()
                .is_some_and(|string| self.passes_string(string)),
        }
    }

    fn passes_string(&self, string: &[u8]) -> bool {
        match self {
            Self::Address(expected) => address::parse(string) == Some(*expected),
            Self::Prefix(prefix) => string.starts_with(prefix),
            Self::Suffix(suffix) => string.ends_with(suffix),
            Self::EqualsIgnoreCase(expected) => expected.equals(string),
            Self::PrefixIgnoreCase(prefix) => prefix.is_prefix_of(string),
            Self::SuffixIgnoreCase(suffix) => suffix.is_suffix_of(string),
            Self::Wildcard(wildcard) => wildcard.matches(string),
            Self::Cidr(block) => address::parse(string).is_some_and(|it| block.contains(it)),
            Self::Null
            | Self::Boolean(_)
            | Self::String(_)
            | Self::Number { .. }
            | Self::Numeric(_)
            | Self::AnythingBut(_)
            | Self::Exists => unreachable!("these do not test strings alone"),
        }
    }
}

impl Excluded {
    fn contains(&self, leaf: Leaf<'_>) -> bool {
        let string = leaf.string();
        match self {
            Self::Strings(strings) => {
                string.is_some_and(|string| strings.iter().any(|it| it == string))
            }
            Self::Numbers(numbers) => leaf
                .numeric_value()
                .is_some_and(|value| numbers.contains(&value)),
            Self::Prefixes(prefixes) => {
                string.is_some_and(|string| prefixes.iter().any(|it| string.starts_with(it)))
            }
            Self::Suffixes(suffixes) => {
                string.is_some_and(|string| suffixes.iter().any(|it| string.ends_with(it)))
            }
            Self::IgnoreCase(strings) => {
                string.is_some_and(|string| strings.iter().any(|it| it.equals(string)))
            }
            Self::Wildcards(wildcards) => {
                string.is_some_and(|string| wildcards.iter().any(|it| it.matches(string)))
            }
        }
    }
}

impl NumericRange {
    fn contains(&self, value: f64) -> bool {
        let above = |(low, closed): (f64, bool)| low < value || (closed && low == value);
        let below = |(high, closed): (f64, bool)| value < high || (closed && high == value);
        self.low.is_none_or(above) && self.high.is_none_or(below)
    }
}
