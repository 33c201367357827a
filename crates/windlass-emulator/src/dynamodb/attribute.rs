//! Attributes of items: their values checked, and brought to the one form in which equal values
//! are equal.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html>

use serde_json::{Map, Value};

use super::decimal;
use super::refusal::DynamoDbRefusal;

/// Attributes by name: an item, or its key. Each value is an object of one member, the type.
pub(super) type Attributes = Map<String, Value>;

/// Levels of lists and maps within each other.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const DEEPEST: usize = 32;

/// All attributes in their one form: numbers as [`decimal::normal`] writes them, sets sorted.
///
/// # Errors
/// If a value is none that AWS takes.
pub(super) fn normal(attributes: Attributes) -> Result<Attributes, DynamoDbRefusal> {
    normal_members(attributes, 0)
}

/// Bytes of attributes, names included, as AWS counts them.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
pub(super) fn size(attributes: &Attributes) -> usize {
    let attributes = attributes.iter();
    attributes
        .map(|(name, value)| name.len() + size_of_value(value))
        .sum()
}

/// The type of a value and the value itself.
pub(super) fn parts(value: &Value) -> Option<(&str, &Value)> {
    let mut members = value.as_object()?.iter();
    let (kind, value) = members.next()?;
    members.next().is_none().then_some((kind.as_str(), value))
}

/// The attribute of a value of plain JSON.
pub(super) fn of_json(value: Value) -> Value {
    let (kind, value) = match value {
        Value::Null => ("NULL", Value::Bool(true)),
        Value::Bool(_) => ("BOOL", value),
        Value::Number(number) => ("N", number.to_string().into()),
        Value::String(_) => ("S", value),
        Value::Array(values) => ("L", values.into_iter().map(of_json).collect()),
        Value::Object(members) => {
            let members = members.into_iter();
            let members: Attributes = members
                .map(|(name, value)| (name, of_json(value)))
                .collect();
            ("M", members.into())
        }
    };
    of_kind(kind, value)
}

/// A value of this type.
pub(super) fn of_kind(kind: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(kind.to_owned(), value)]))
}

fn normal_members(members: Attributes, depth: usize) -> Result<Attributes, DynamoDbRefusal> {
    let members = members.into_iter();
    members
        .map(|(name, value)| Ok((name, normal_value(value, depth)?)))
        .collect()
}

fn normal_value(value: Value, depth: usize) -> Result<Value, DynamoDbRefusal> {
    let Value::Object(members) = value else {
        return Err(wrong("an attribute value must be an object of one type"));
    };
    let mut members = members.into_iter();
    let (Some((kind, value)), None) = (members.next(), members.next()) else {
        return Err(wrong(
            "Supplied AttributeValue must contain exactly one of the supported datatypes",
        ));
    };
    if DEEPEST < depth {
        return Err(wrong("Nesting Levels have exceeded supported limits"));
    }
    let value = match (kind.as_str(), value) {
        ("S" | "N" | "B", value) => scalar(&kind, value)?,
        ("BOOL", value @ Value::Bool(_)) | ("NULL", value @ Value::Bool(true)) => value,
        ("SS" | "NS" | "BS", Value::Array(values)) => set(&kind[..1], values)?,
        ("L", Value::Array(values)) => {
            let values = values.into_iter();
            values
                .map(|value| normal_value(value, depth + 1))
                .collect::<Result<Value, _>>()?
        }
        ("M", Value::Object(members)) => normal_members(members, depth + 1)?.into(),
        _ => {
            return Err(wrong(format!(
                "the value of an attribute is not of type {kind}"
            )));
        }
    };
    Ok(of_kind(&kind, value))
}

fn scalar(kind: &str, value: Value) -> Result<Value, DynamoDbRefusal> {
    let Value::String(text) = value else {
        return Err(wrong(format!("the value of a {kind} must be a string")));
    };
    match kind {
        "N" => Ok(decimal::normal(&text)?.into()),
        "B" if base64_simd::STANDARD.check(text.as_bytes()).is_err() => {
            Err(wrong("the value of a B is not base64"))
        }
        _ => Ok(text.into()),
    }
}

fn set(kind: &str, values: Vec<Value>) -> Result<Value, DynamoDbRefusal> {
    let values = values.into_iter().map(|value| scalar(kind, value));
    let mut values = values.collect::<Result<Vec<_>, _>>()?;
    if values.is_empty() {
        return Err(wrong("a set may not be empty"));
    }
    values.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    if values.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(wrong("Input collection contains duplicates"));
    }
    Ok(values.into())
}

fn size_of_value(value: &Value) -> usize {
    let Some((kind, value)) = parts(value) else {
        return 0;
    };
    let text = |value: &Value| match (kind, value.as_str().unwrap_or_default()) {
        ("N" | "NS", text) => decimal::size(text),
        ("B" | "BS", text) => text.trim_end_matches('=').len() * 3 / 4,
        (_, text) => text.len(),
    };
    match value {
        Value::String(_) => text(value),
        Value::Array(values) if kind == "L" => {
            let values = values.iter().map(|value| size_of_value(value) + 1);
            values.sum::<usize>() + 3
        }
        Value::Array(values) => values.iter().map(text).sum(),
        Value::Object(members) => size(members) + members.len() + 3,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

fn wrong(message: impl Into<String>) -> DynamoDbRefusal {
    let message = message.into();
    DynamoDbRefusal::validation(format!(
        "One or more parameter values were invalid: {message}"
    ))
}
