//! Turns the values and operators of a pattern into tests.
//!
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>

use super::document::{Kind, Member, Value};
use super::error::PatternError;
use crate::compiled::address::{self, CidrBlock};
use crate::compiled::case_insensitive::CaseInsensitive;
use crate::compiled::value_test::{Excluded, NumericRange, ValueTest};
use crate::compiled::wildcard::Wildcard;
use crate::json::number::comparable;

const EMPTY_ANYTHING_BUT: &str = "`anything-but` takes at least one value";

/// The test for one entry of a field's array; `None` for `{"exists": false}`.
pub(crate) fn value_test(value: &Value) -> Result<Option<ValueTest>, PatternError> {
    Ok(Some(match &value.kind {
        Kind::Null => ValueTest::Null,
        Kind::Boolean(expected) => ValueTest::Boolean(*expected),
        Kind::Number(text) => ValueTest::Number {
            value: comparable(text.as_bytes()),
            text: text.clone().into_bytes(),
        },
        Kind::String(string) => match address::parse(string.as_bytes()) {
            Some(address) => ValueTest::Address(address),
            None => ValueTest::String(string.clone().into_bytes()),
        },
        Kind::Object(members) => {
            let member = only_member(value, members)?;
            if member.name == "exists" {
                return exists(&member.value);
            }
            operator(member)?
        }
        Kind::Array(_) => {
            return Err(error(value, "nested arrays are not allowed"));
        }
    }))
}

fn exists(value: &Value) -> Result<Option<ValueTest>, PatternError> {
    match value.kind {
        Kind::Boolean(true) => Ok(Some(ValueTest::Exists)),
        Kind::Boolean(false) => Ok(None),
        Kind::Null | Kind::Number(_) | Kind::String(_) | Kind::Array(_) | Kind::Object(_) => {
            Err(error(value, "`exists` takes true or false"))
        }
    }
}

fn operator(member: &Member) -> Result<ValueTest, PatternError> {
    let value = &member.value;
    let name = member.name.as_str();
    Ok(match name {
        "exactly" => ValueTest::String(string(name, value)?.as_bytes().to_vec()),
        "prefix" => match ignoring_case(name, value)? {
            Some(prefix) => ValueTest::PrefixIgnoreCase(prefix),
            None => ValueTest::Prefix(string(name, value)?.as_bytes().to_vec()),
        },
        "suffix" => match ignoring_case(name, value)? {
            Some(suffix) => ValueTest::SuffixIgnoreCase(suffix),
            None => ValueTest::Suffix(string(name, value)?.as_bytes().to_vec()),
        },
        "equals-ignore-case" => {
            ValueTest::EqualsIgnoreCase(CaseInsensitive::new(string(name, value)?))
        }
        "wildcard" => ValueTest::Wildcard(wildcard(value)?),
        "numeric" => ValueTest::Numeric(numeric(value)?),
        "cidr" => {
            let block = CidrBlock::parse(string(name, value)?);
            ValueTest::Cidr(block.map_err(|reason| error(value, reason))?)
        }
        "anything-but" => ValueTest::AnythingBut(anything_but(value)?),
        _ => {
            let reason = format!("unknown operator `{name}`");
            return Err(PatternError::new(member.offset, &reason));
        }
    })
}

/// The string of `{"equals-ignore-case": …}` inside `prefix` or `suffix`; `None` if the value is not an
/// object.
fn ignoring_case(operator: &str, value: &Value) -> Result<Option<CaseInsensitive>, PatternError> {
    let Kind::Object(members) = &value.kind else {
        return Ok(None);
    };
    let member = only_member(value, members)?;
    if member.name != "equals-ignore-case" {
        let reason = format!("`{operator}` takes a string or `equals-ignore-case`");
        return Err(PatternError::new(member.offset, &reason));
    }
    Ok(Some(CaseInsensitive::new(string(
        &member.name,
        &member.value,
    )?)))
}

fn anything_but(value: &Value) -> Result<Excluded, PatternError> {
    let Kind::Object(members) = &value.kind else {
        return excluded_values(value);
    };
    let member = only_member(value, members)?;
    let name = member.name.as_str();
    let values = member.value.elements();
    if values.is_empty() {
        return Err(error(&member.value, EMPTY_ANYTHING_BUT));
    }
    let strings = || values.iter().map(|value| string(name, value));
    let not_empty = || {
        let bytes = values.iter().map(|value| match string(name, value)? {
            "" => Err(error(
                value,
                &format!("`{name}` inside `anything-but` must not be empty"),
            )),
            string => Ok(string.as_bytes().to_vec()),
        });
        bytes.collect::<Result<Vec<_>, _>>()
    };
    Ok(match name {
        "prefix" => Excluded::Prefixes(not_empty()?),
        "suffix" => Excluded::Suffixes(not_empty()?),
        "equals-ignore-case" => {
            let strings = strings().map(|string| string.map(CaseInsensitive::new));
            Excluded::IgnoreCase(strings.collect::<Result<_, _>>()?)
        }
        "wildcard" => {
            let wildcards = values.iter().map(wildcard);
            Excluded::Wildcards(wildcards.collect::<Result<_, _>>()?)
        }
        _ => {
            let reason = format!("`anything-but` does not support `{name}`");
            return Err(PatternError::new(member.offset, &reason));
        }
    })
}

/// The strings or numbers that `anything-but` excludes: a single value, or an array of one type.
fn excluded_values(value: &Value) -> Result<Excluded, PatternError> {
    let (mut strings, mut numbers) = (Vec::new(), Vec::new());
    for value in value.elements() {
        match &value.kind {
            Kind::String(string) => strings.push(string.clone().into_bytes()),
            Kind::Number(_) => numbers.push(number(value)?),
            Kind::Null | Kind::Boolean(_) | Kind::Array(_) | Kind::Object(_) => {
                return Err(error(value, "`anything-but` takes strings or numbers"));
            }
        }
    }
    match (strings.is_empty(), numbers.is_empty()) {
        (false, true) => Ok(Excluded::Strings(strings)),
        (true, false) => Ok(Excluded::Numbers(numbers)),
        (true, true) => Err(error(value, EMPTY_ANYTHING_BUT)),
        (false, false) => {
            let reason = "`anything-but` takes either strings or numbers, not both";
            Err(error(value, reason))
        }
    }
}

/// `[">", 0, "<=", 5]`: one comparison, or a lower bound followed by an upper bound.
fn numeric(value: &Value) -> Result<NumericRange, PatternError> {
    let Kind::Array(parts) = &value.kind else {
        return Err(error(
            value,
            "`numeric` takes an array: [\">\", 0, \"<=\", 5]",
        ));
    };
    let mut bounds = Vec::new();
    for pair in parts.chunks(2) {
        let [operator, bound] = pair else {
            return Err(error(
                &pair[0],
                "expected a comparison operator followed by a number",
            ));
        };
        bounds.push((comparison(operator)?, number(bound)?));
    }
    let end = |(operator, bound): &(&str, f64)| Some((*bound, operator.ends_with('=')));
    let (low, high) = match bounds.as_slice() {
        [equal @ ("=", _)] => (end(equal), end(equal)),
        [lower @ (">" | ">=", _)] => (end(lower), None),
        [upper @ ("<" | "<=", _)] => (None, end(upper)),
        [lower @ (">" | ">=", low), upper @ ("<" | "<=", high)] if low < high => {
            (end(lower), end(upper))
        }
        [(">" | ">=", _), ("<" | "<=", _)] => {
            return Err(error(
                &parts[3],
                "the upper bound must be greater than the lower bound",
            ));
        }
        _ => {
            let reason =
                "`numeric` takes one comparison, or a lower bound followed by an upper bound";
            return Err(error(value, reason));
        }
    };
    Ok(NumericRange { low, high })
}

fn comparison(value: &Value) -> Result<&str, PatternError> {
    let operators = ["=", "<", "<=", ">", ">="];
    let operator = value.as_str().filter(|it| operators.contains(it));
    operator.ok_or_else(|| {
        let reason = "expected a comparison operator: \"=\", \"<\", \"<=\", \">\" or \">=\"";
        error(value, reason)
    })
}

fn number(value: &Value) -> Result<f64, PatternError> {
    let Kind::Number(text) = &value.kind else {
        return Err(error(value, "expected a number"));
    };
    comparable(text.as_bytes()).ok_or_else(|| {
        error(
            value,
            "the number is too large or has too many digits to be compared",
        )
    })
}

fn wildcard(value: &Value) -> Result<Wildcard, PatternError> {
    let text = string("wildcard", value)?;
    Wildcard::parse(text).map_err(|(offset, reason)| {
        let reason = format!("{reason}, at byte {} of the wildcard", offset + 1);
        error(value, &reason)
    })
}

fn string<'v>(operator: &str, value: &'v Value) -> Result<&'v str, PatternError> {
    let string = value.as_str();
    string.ok_or_else(|| error(value, &format!("`{operator}` takes a string")))
}

fn only_member<'v>(value: &Value, members: &'v [Member]) -> Result<&'v Member, PatternError> {
    match members {
        [member] => Ok(member),
        [] => Err(error(value, "expected an operator: {\"prefix\": \"…\"}")),
        [_, second, ..] => {
            let reason = "an object in an array has exactly one operator";
            Err(PatternError::new(second.offset, reason))
        }
    }
}

fn error(value: &Value, reason: &str) -> PatternError {
    PatternError::new(value.offset, reason)
}
