//! From what a pattern lists for a field to tests of its value.
//!
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>

use super::PatternError;
use super::address::{self, Block};
use super::fold::Folded;
use super::json::{Kind, Member, Value};
use super::number::comparable;
use super::value::{Excluded, Range, ValueTest};
use super::wildcard::Wildcard;

const NOTHING_EXCLUDED: &str = "`anything-but` takes at least one value";

/// One alternative of a field: a test of its value, or `None` for `{"exists": false}`.
pub(super) fn alternative(value: &Value) -> Result<Option<ValueTest>, PatternError> {
    Ok(Some(match &value.kind {
        Kind::Null => ValueTest::Null,
        Kind::Boolean(wanted) => ValueTest::Boolean(*wanted),
        Kind::Number(text) => ValueTest::Number {
            value: comparable(text.as_bytes()),
            text: text.clone().into_bytes(),
        },
        Kind::String(text) => match address::parse(text.as_bytes()) {
            Some(address) => ValueTest::Address(address),
            None => ValueTest::Text(text.clone().into_bytes()),
        },
        Kind::Object(members) => {
            let member = only_member(value, members)?;
            if member.name == "exists" {
                return exists(&member.value);
            }
            operator(member)?
        }
        Kind::Array(_) => {
            return Err(error(value, "a list within a list is not allowed"));
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
        "exactly" => ValueTest::Text(text(name, value)?.as_bytes().to_vec()),
        "prefix" => match ignoring_case(name, value)? {
            Some(folded) => ValueTest::PrefixIgnoreCase(folded),
            None => ValueTest::Prefix(text(name, value)?.as_bytes().to_vec()),
        },
        "suffix" => match ignoring_case(name, value)? {
            Some(folded) => ValueTest::SuffixIgnoreCase(folded),
            None => ValueTest::Suffix(text(name, value)?.as_bytes().to_vec()),
        },
        "equals-ignore-case" => ValueTest::EqualsIgnoreCase(Folded::new(text(name, value)?)),
        "wildcard" => ValueTest::Wildcard(wildcard(value)?),
        "numeric" => ValueTest::Numeric(numeric(value)?),
        "cidr" => {
            let block = Block::parse(text(name, value)?);
            ValueTest::Cidr(block.map_err(|reason| error(value, reason))?)
        }
        "anything-but" => ValueTest::AnythingBut(anything_but(value)?),
        _ => {
            let reason = format!("there is no operator `{name}`");
            return Err(PatternError::new(member.at, &reason));
        }
    })
}

/// The text of `{"equals-ignore-case": …}` within `prefix` or `suffix`, if that is what stands there.
fn ignoring_case(operator: &str, value: &Value) -> Result<Option<Folded>, PatternError> {
    let Kind::Object(members) = &value.kind else {
        return Ok(None);
    };
    let member = only_member(value, members)?;
    if member.name != "equals-ignore-case" {
        let reason = format!("`{operator}` takes a text or `equals-ignore-case`");
        return Err(PatternError::new(member.at, &reason));
    }
    Ok(Some(Folded::new(text(&member.name, &member.value)?)))
}

fn anything_but(value: &Value) -> Result<Excluded, PatternError> {
    let Kind::Object(members) = &value.kind else {
        return excluded_values(value);
    };
    let member = only_member(value, members)?;
    let name = member.name.as_str();
    let values = member.value.elements();
    if values.is_empty() {
        return Err(error(&member.value, NOTHING_EXCLUDED));
    }
    let texts = || values.iter().map(|value| text(name, value));
    let not_empty = || {
        let bytes = values.iter().map(|value| match text(name, value)? {
            "" => Err(error(
                value,
                &format!("`{name}` within `anything-but` must not be empty"),
            )),
            text => Ok(text.as_bytes().to_vec()),
        });
        bytes.collect::<Result<Vec<_>, _>>()
    };
    Ok(match name {
        "prefix" => Excluded::Prefixes(not_empty()?),
        "suffix" => Excluded::Suffixes(not_empty()?),
        "equals-ignore-case" => {
            let folded = texts().map(|text| text.map(Folded::new));
            Excluded::IgnoreCase(folded.collect::<Result<_, _>>()?)
        }
        "wildcard" => {
            let wildcards = values.iter().map(wildcard);
            Excluded::Wildcards(wildcards.collect::<Result<_, _>>()?)
        }
        _ => {
            let reason = format!("`anything-but` does not take `{name}`");
            return Err(PatternError::new(member.at, &reason));
        }
    })
}

/// The texts or the numbers that `anything-but` excludes: one, or a list of one type.
fn excluded_values(value: &Value) -> Result<Excluded, PatternError> {
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    for value in value.elements() {
        match &value.kind {
            Kind::String(text) => texts.push(text.clone().into_bytes()),
            Kind::Number(_) => numbers.push(number(value)?),
            Kind::Null | Kind::Boolean(_) | Kind::Array(_) | Kind::Object(_) => {
                return Err(error(value, "`anything-but` takes texts or numbers"));
            }
        }
    }
    match (texts.is_empty(), numbers.is_empty()) {
        (false, true) => Ok(Excluded::Texts(texts)),
        (true, false) => Ok(Excluded::Numbers(numbers)),
        (true, true) => Err(error(value, NOTHING_EXCLUDED)),
        (false, false) => {
            let reason = "`anything-but` takes texts or numbers, but not both in one list";
            Err(error(value, reason))
        }
    }
}

/// `[">", 0, "<=", 5]`: one comparison, or a lower and then an upper bound.
fn numeric(value: &Value) -> Result<Range, PatternError> {
    let Kind::Array(parts) = &value.kind else {
        return Err(error(
            value,
            "`numeric` takes a list: [\">\", 0, \"<=\", 5]",
        ));
    };
    let mut bounds = Vec::new();
    for pair in parts.chunks(2) {
        let [operator, bound] = pair else {
            return Err(error(&pair[0], "a comparison without a number"));
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
                "the upper bound must be above the lower one",
            ));
        }
        _ => {
            let reason = "`numeric` takes one comparison, or a lower and then an upper bound";
            return Err(error(value, reason));
        }
    };
    Ok(Range { low, high })
}

fn comparison(value: &Value) -> Result<&str, PatternError> {
    let operators = ["=", "<", "<=", ">", ">="];
    let operator = value.text().filter(|text| operators.contains(text));
    operator.ok_or_else(|| {
        let reason = "a comparison was expected: \"=\", \"<\", \"<=\", \">\" or \">=\"";
        error(value, reason)
    })
}

fn number(value: &Value) -> Result<f64, PatternError> {
    let Kind::Number(text) = &value.kind else {
        return Err(error(value, "a number was expected"));
    };
    comparable(text.as_bytes()).ok_or_else(|| {
        error(
            value,
            "the number is too large, or has too many digits, to be compared",
        )
    })
}

fn wildcard(value: &Value) -> Result<Wildcard, PatternError> {
    let text = text("wildcard", value)?;
    Wildcard::parse(text).map_err(|(at, reason)| {
        let reason = format!("{reason}, at byte {} of the text", at + 1);
        error(value, &reason)
    })
}

fn text<'v>(operator: &str, value: &'v Value) -> Result<&'v str, PatternError> {
    let text = value.text();
    text.ok_or_else(|| error(value, &format!("`{operator}` takes a text")))
}

fn only_member<'v>(value: &Value, members: &'v [Member]) -> Result<&'v Member, PatternError> {
    match members {
        [member] => Ok(member),
        [] => Err(error(
            value,
            "an operator was expected: {\"prefix\": \"…\"}",
        )),
        [_, second, ..] => {
            let reason = "one operator stands alone in its braces";
            Err(PatternError::new(second.at, reason))
        }
    }
}

fn error(value: &Value, reason: &str) -> PatternError {
    PatternError::new(value.at, reason)
}
