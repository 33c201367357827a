//! Tests of one value: the entries of a pattern's arrays.

use std::net::IpAddr;

use super::address::{Block, address};
use super::json::Json;
use super::number::comparable;
use super::text::{EitherCase, Wildcard};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// `true`, `false` or `null`.
    Word(Json),
    /// Equal by value or by literal.
    Number {
        literal: String,
        value: Option<f64>,
    },
    Text(String),
    /// A string that is an IP address equals its other spellings.
    Address(IpAddr),
    Prefix(String),
    Suffix(String),
    EitherCase(EitherCase),
    PrefixEitherCase(EitherCase),
    SuffixEitherCase(EitherCase),
    Wildcard(Wildcard),
    /// Accepts values that satisfy none of these.
    AnythingBut(Vec<Test>),
    Range {
        low: Option<Bound>,
        high: Option<Bound>,
    },
    Block(Block),
    Exists,
    /// The field must be absent.
    Absent,
}

/// One end of a range of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bound {
    value: f64,
    included: bool,
}

impl Test {
    pub(super) fn accepts(&self, leaf: &Json) -> bool {
        match (self, leaf) {
            (Test::Exists, _) => true,
            (Test::Absent, _) => false,
            (Test::AnythingBut(others), _) => !others.iter().any(|other| other.accepts(leaf)),
            (Test::Word(word), _) => word == leaf,
            (Test::Number { literal, value }, Json::Number(theirs)) => {
                literal == theirs || value.is_some() && *value == comparable(theirs)
            }
            (Test::Range { low, high }, Json::Number(theirs)) => {
                comparable(theirs).is_some_and(|theirs| {
                    low.is_none_or(|low| low.value < theirs || low.is_at(theirs))
                        && high.is_none_or(|high| theirs < high.value || high.is_at(theirs))
                })
            }
            (_, Json::Text(text)) => self.accepts_text(text),
            (_, _) => false,
        }
    }

    fn accepts_text(&self, text: &str) -> bool {
        match self {
            Test::Text(ours) => ours == text,
            Test::Address(ours) => address(text) == Some(*ours),
            Test::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Test::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Test::EitherCase(ours) => ours.equals(text),
            Test::PrefixEitherCase(prefix) => prefix.begins(text),
            Test::SuffixEitherCase(suffix) => suffix.ends(text),
            Test::Wildcard(wildcard) => wildcard.matches(text),
            Test::Block(block) => address(text).is_some_and(|address| block.contains(address)),
            Test::Word(_)
            | Test::Number { .. }
            | Test::Range { .. }
            | Test::AnythingBut(_)
            | Test::Exists
            | Test::Absent => false,
        }
    }
}

impl Bound {
    #[expect(
        clippy::float_cmp,
        reason = "numbers are compared as doubles, to the last bit"
    )]
    fn is_at(self, value: f64) -> bool {
        self.included && self.value == value
    }
}

/// The tests of a field. A value must satisfy one of them.
pub(super) fn tests_of(elements: &[Json]) -> Result<Vec<Test>, String> {
    if elements.is_empty() {
        return Err("an array is empty".to_owned());
    }
    elements.iter().map(test_of).collect()
}

fn test_of(element: &Json) -> Result<Test, String> {
    match element {
        Json::Text(text) => Ok(match address(text) {
            Some(address) => Test::Address(address),
            None => Test::Text(text.clone()),
        }),
        Json::Number(literal) => Ok(Test::Number {
            literal: literal.clone(),
            value: comparable(literal),
        }),
        Json::Null | Json::Bool(_) => Ok(Test::Word(element.clone())),
        Json::Array(_) => Err("nested arrays".to_owned()),
        Json::Object(members) => {
            let (name, argument) = only_member(members)?;
            match_expression(name, argument)
        }
    }
}

fn only_member(members: &[(String, Json)]) -> Result<(&str, &Json), String> {
    match members {
        [(name, argument)] => Ok((name, argument)),
        [] | [_, _, ..] => Err("an operator object needs exactly one member".to_owned()),
    }
}

fn match_expression(name: &str, argument: &Json) -> Result<Test, String> {
    match (name, argument) {
        ("exists", Json::Bool(true)) => Ok(Test::Exists),
        ("exists", Json::Bool(false)) => Ok(Test::Absent),
        ("anything-but", _) => anything_but(argument),
        ("numeric", Json::Array(terms)) => numeric(terms),
        ("exactly", Json::Text(text)) => Ok(Test::Text(text.clone())),
        ("prefix", Json::Text(text)) => Ok(Test::Prefix(text.clone())),
        ("suffix", Json::Text(text)) => Ok(Test::Suffix(text.clone())),
        ("prefix", Json::Object(members)) => Ok(Test::PrefixEitherCase(either_case(members)?)),
        ("suffix", Json::Object(members)) => Ok(Test::SuffixEitherCase(either_case(members)?)),
        ("equals-ignore-case", Json::Text(text)) => Ok(Test::EitherCase(EitherCase::of(text))),
        ("wildcard", Json::Text(text)) => Ok(Test::Wildcard(Wildcard::of(text)?)),
        ("cidr", Json::Text(text)) => Ok(Test::Block(Block::of(text)?)),
        _ => Err(format!("invalid operator `{name}` with {argument:?}")),
    }
}

/// The argument of `{"prefix": {…}}`.
fn either_case(members: &[(String, Json)]) -> Result<EitherCase, String> {
    match only_member(members)? {
        ("equals-ignore-case", Json::Text(text)) => Ok(EitherCase::of(text)),
        (name, _) => Err(format!("`{name}` inside prefix or suffix")),
    }
}

fn anything_but(argument: &Json) -> Result<Test, String> {
    let (name, argument) = match argument {
        Json::Object(members) => {
            let (name, argument) = only_member(members)?;
            (Some(name), argument)
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {
            (None, argument)
        }
    };
    let values = match argument {
        Json::Array(values) => values.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Object(_) => {
            vec![argument.clone()]
        }
    };
    if values.is_empty() {
        return Err("anything-but without values".to_owned());
    }
    let is_number = |value: &Json| matches!(value, Json::Number(_));
    if values.iter().any(is_number) && !values.iter().all(is_number) {
        return Err("anything-but with numbers and other values".to_owned());
    }
    let others = values.iter().map(|value| excluded(name, value));
    Ok(Test::AnythingBut(others.collect::<Result<_, _>>()?))
}

/// The test for a value that `anything-but` excludes; without an operator name, equality.
fn excluded(name: Option<&str>, value: &Json) -> Result<Test, String> {
    match (name, value) {
        (None, Json::Text(text)) => Ok(Test::Text(text.clone())),
        (None, Json::Number(literal)) => Ok(Test::Number {
            literal: literal.clone(),
            value: Some(number(literal)?),
        }),
        (Some("prefix" | "suffix"), Json::Text(text)) if text.is_empty() => {
            Err("anything-but with every string".to_owned())
        }
        (Some(name @ ("prefix" | "suffix" | "equals-ignore-case" | "wildcard")), Json::Text(_)) => {
            match_expression(name, value)
        }
        _ => Err(format!("anything-but {name:?} with {value:?}")),
    }
}

/// The argument of `{"numeric": […]}`.
fn numeric(terms: &[Json]) -> Result<Test, String> {
    match terms {
        [Json::Text(operator), Json::Number(literal)] => {
            let value = number(literal)?;
            let at = |included| Some(Bound { value, included });
            let (low, high) = match operator.as_str() {
                "=" => (at(true), at(true)),
                ">" => (at(false), None),
                ">=" => (at(true), None),
                "<" => (None, at(false)),
                "<=" => (None, at(true)),
                other => return Err(format!("unknown comparison `{other}`")),
            };
            Ok(Test::Range { low, high })
        }
        [
            Json::Text(above),
            Json::Number(low),
            Json::Text(below),
            Json::Number(high),
        ] => {
            if !matches!(above.as_str(), ">" | ">=") || !matches!(below.as_str(), "<" | "<=") {
                return Err(format!("`{above}` and `{below}` are not a range"));
            }
            let (low, high) = (number(low)?, number(high)?);
            if high <= low {
                return Err("the upper bound must be greater than the lower bound".to_owned());
            }
            Ok(Test::Range {
                low: Some(Bound {
                    value: low,
                    included: above == ">=",
                }),
                high: Some(Bound {
                    value: high,
                    included: below == "<=",
                }),
            })
        }
        _ => Err(format!("invalid comparison {terms:?}")),
    }
}

fn number(literal: &str) -> Result<f64, String> {
    comparable(literal).ok_or_else(|| format!("{literal} is not comparable"))
}
