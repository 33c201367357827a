//! Attributes of items.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html>

use serde_json::{Map, Value, json};

/// Attributes by name: an item, or its key. Each value is an object with one member, named after
/// the type.
pub(super) type Attributes = Map<String, Value>;

pub(super) fn from_members(members: Map<String, Value>) -> Attributes {
    let members = members.into_iter();
    members
        .map(|(name, value)| (name, from_json(value)))
        .collect()
}

fn from_json(value: Value) -> Value {
    match value {
        Value::Null => json!({"NULL": true}),
        Value::Bool(value) => json!({"BOOL": value}),
        Value::Number(number) => json!({"N": number.to_string()}),
        Value::String(text) => json!({"S": text}),
        Value::Array(values) => {
            let values: Vec<Value> = values.into_iter().map(from_json).collect();
            json!({"L": values})
        }
        Value::Object(members) => json!({"M": from_members(members)}),
    }
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

fn size_of_value(value: &Value) -> usize {
    let members = value.as_object().into_iter().flatten();
    let size = members.map(|(kind, value)| match value {
        Value::String(number) if kind == "N" => size_of_number(number),
        Value::String(text) => text.len(),
        Value::Array(values) => {
            let values = values.iter().map(|value| size_of_value(value) + 1);
            values.sum::<usize>() + 3
        }
        Value::Object(members) => size(members) + members.len() + 3,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    });
    size.sum()
}

fn size_of_number(number: &str) -> usize {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_matches('0').len();
    significant.div_ceil(2) + 1 + usize::from(number.starts_with('-'))
}
