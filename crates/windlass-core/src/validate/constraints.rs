//! Constraints of the API's model: lengths, ranges, enums and patterns, whatever the source is.
//!
//! AWS checks them before anything else.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>

use std::cmp::Ordering;
use std::time::Duration;

use serde_json::{Number, Value};

use crate::arn::Arn;
use crate::function::FunctionName;
use crate::parameters::{Member, PARAMETERS, Type};
use crate::spec::MappingSpec;
use crate::time::{display_duration, parse_duration};
use crate::validate::tags;
use crate::validate::violation::Violation;

const FUNCTION_NAME_PATTERN: &str = "(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?";
const ARN_PATTERN: &str =
    "arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:([a-z]{2}(-gov)?-[a-z]+-\\d{1})?:(\\d{12})?:(.*)";

const DESTINATION_ARN_PATTERN: &str = "$|kafka://([^.]([a-zA-Z0-9\\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1})?:(\\d{12})?:(.*)";

const UUID_LENGTH: usize = 36;
const MAX_ARN_LENGTH: usize = 10_000;
const MAX_DESTINATION_ARN_LENGTH: usize = 350;
const MAX_FUNCTION_NAME_LENGTH: usize = 256;

pub(super) fn spec(spec: &MappingSpec) -> Vec<Violation> {
    let mut found = Vec::new();
    if spec.function_name().is_none() {
        let constraint = "Member must not be null";
        found.push(Violation::constraint("FunctionName", "null", constraint));
    }
    for parameter in &PARAMETERS {
        if let Some(value) = spec.get(parameter.name) {
            check(&parameter.value_type, parameter.name, value, &mut found);
        }
    }
    found
}

pub(super) fn list_query(
    event_source_arn: Option<&str>,
    name: Option<&str>,
    max_items: Option<&str>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(text) = event_source_arn {
        source_arn("EventSourceArn", text, &mut found);
    }
    if let Some(text) = name {
        function_name("FunctionName", text, &mut found);
    }
    match max_items.map(|text| (text, text.parse::<i64>())) {
        Some((_, Ok(number))) => integer("MaxItems", number, 1, 10_000, &mut found),
        Some((text, Err(_))) => found.push(not_an_integer("MaxItems", text)),
        None => {}
    }
    found
}

pub(super) fn uuid(text: &str) -> Option<Violation> {
    let constraint = match text.chars().count().cmp(&UUID_LENGTH) {
        Ordering::Less => "Member must have length greater than or equal to 36",
        Ordering::Greater => "Member must have length less than or equal to 36",
        Ordering::Equal => return None,
    };
    Some(Violation::constraint("UUID", &quoted(text), constraint))
}

fn check(value_type: &Type, member: &str, value: &Value, found: &mut Vec<Violation>) {
    match (value_type, value) {
        (Type::Text { max_length }, Value::String(text)) => {
            fits(member, text, *max_length, found);
        }
        (Type::FunctionName, Value::String(text)) => function_name(member, text, found),
        (Type::SourceArn, Value::String(text)) => source_arn(member, text, found),
        (Type::DestinationArn, Value::String(text)) => destination_arn(member, text, found),
        (Type::Enum(values), Value::String(text)) if !values.contains(&text.as_str()) => {
            let constraint = enum_set(values);
            found.push(Violation::constraint(member, &quoted(text), &constraint));
        }
        (Type::Integer { min, max }, Value::Number(number)) => match number.as_i64() {
            Some(number) => integer(member, number, *min, *max, found),
            None => found.push(not_an_integer(member, &number.to_string())),
        },
        (Type::Decimal { min }, Value::Number(number)) => decimal(member, number, *min, found),
        (Type::Duration { max }, Value::String(text)) => duration(member, text, *max, found),
        (Type::Nullable(value_type), value) => check(value_type, member, value, found),
        (Type::TagMap, Value::Object(_)) => tags::constraints(member, value, found),
        (Type::List { item, max_items }, Value::Array(items)) => {
            list(item, *max_items, member, items, found);
        }
        (Type::Structure { members, .. }, Value::Object(values)) => {
            for Member(name, value_type) in *members {
                if let Some(value) = values.get(*name) {
                    check(value_type, &format!("{member}.{name}"), value, found);
                }
            }
        }
        _ => {}
    }
}

fn function_name(member: &str, text: &str, found: &mut Vec<Violation>) {
    if text.is_empty() {
        let constraint = "Member must have length greater than or equal to 1";
        found.push(Violation::constraint(member, "''", constraint));
    } else if fits(member, text, MAX_FUNCTION_NAME_LENGTH, found)
        && FunctionName::parse(text).is_none()
    {
        found.push(malformed_function_name(member, text));
    }
}

pub(super) fn malformed_function_name(member: &str, text: &str) -> Violation {
    Violation::mismatch(member, text, FUNCTION_NAME_PATTERN)
}

fn source_arn(member: &str, text: &str, found: &mut Vec<Violation>) {
    if fits(member, text, MAX_ARN_LENGTH, found) && !is_well_formed_arn(text) {
        found.push(Violation::mismatch(member, text, ARN_PATTERN));
    }
}

/// Topics of Kafka match, too; they are destinations of other sources.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_OnFailure.html>
fn destination_arn(member: &str, text: &str, found: &mut Vec<Violation>) {
    let well_formed = text.is_empty() || text.starts_with("kafka://") || is_well_formed_arn(text);
    if fits(member, text, MAX_DESTINATION_ARN_LENGTH, found) && !well_formed {
        found.push(Violation::mismatch(member, text, DESTINATION_ARN_PATTERN));
    }
}

/// The form of a region is not checked: emulators have regions that AWS does not.
fn is_well_formed_arn(text: &str) -> bool {
    Arn::parse(text).is_ok_and(|arn| {
        let account = arn.account_id();
        let digits = account.bytes().all(|byte| byte.is_ascii_digit());
        arn.partition().starts_with("aws")
            && arn.is_plain()
            && (account.is_empty() || (account.len() == 12 && digits))
            && !arn.resource().contains(char::is_control)
    })
}

fn integer(member: &str, value: i64, min: i64, max: i64, found: &mut Vec<Violation>) {
    let constraint = if value < min {
        format!("Member must have value greater than or equal to {min}")
    } else if max < value {
        format!("Member must have value less than or equal to {max}")
    } else {
        return;
    };
    found.push(Violation::constraint(
        member,
        &format!("'{value}'"),
        &constraint,
    ));
}

fn decimal(member: &str, number: &Number, min: i32, found: &mut Vec<Violation>) {
    if number.as_f64().is_none_or(|it| it < f64::from(min)) {
        let constraint = format!("Member must have value greater than or equal to {min}");
        let shown = quoted(&number.to_string());
        found.push(Violation::constraint(member, &shown, &constraint));
    }
}

fn duration(member: &str, text: &str, max: Duration, found: &mut Vec<Violation>) {
    if parse_duration(text).is_none_or(|duration| max < duration) {
        let max = display_duration(max);
        let constraint =
            format!("Member must be a duration from 0s to {max}, such as 500ms, 5s, 15m or 1h");
        found.push(Violation::constraint(member, &quoted(text), &constraint));
    }
}

/// A list of enum values is reported as a whole, any other by its items.
fn list(item: &Type, max_items: usize, member: &str, items: &[Value], found: &mut Vec<Violation>) {
    let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
    let shown = format!("'[{}]'", texts.join(", "));
    if max_items < items.len() {
        let constraint = format!("Member must have length less than or equal to {max_items}");
        found.push(Violation::constraint(member, &shown, &constraint));
    }
    if let Type::Enum(values) = item {
        if !texts.iter().all(|text| values.contains(text)) {
            let constraint = format!("Member must satisfy constraint: [{}]", enum_set(values));
            found.push(Violation::constraint(member, &shown, &constraint));
        }
        return;
    }
    for (index, value) in items.iter().enumerate() {
        check(item, &format!("{member}[{index}]"), value, found);
    }
}

fn enum_set(values: &[&str]) -> String {
    format!(
        "Member must satisfy enum value set: [{}]",
        values.join(", ")
    )
}

/// Whether a text is short enough. Lengths are in characters, here and everywhere.
fn fits(member: &str, text: &str, max: usize, found: &mut Vec<Violation>) -> bool {
    let fits = text.chars().count() <= max;
    if !fits {
        let constraint = format!("Member must have length less than or equal to {max}");
        found.push(Violation::constraint(member, &quoted(text), &constraint));
    }
    fits
}

fn not_an_integer(member: &str, text: &str) -> Violation {
    Violation::constraint(member, &quoted(text), "Member must be an integer")
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}
