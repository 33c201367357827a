//! The parameters of a mapping in AWS's JSON form, the only serialized type of the domain.
//!
//! The API receives it, mapping files contain it, the stores keep it. Its values have the right
//! types; [`crate::validate`] checks everything else.

use std::sync::Arc;

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};
use thiserror::Error;

use crate::arn::SourceKind;
use crate::parameters::{self, Type};
use crate::tags::Tags;

/// The members of `CreateEventSourceMapping`.
///
/// Those of [`parameters::PARAMETERS`] have values of their type. All others are kept as they
/// came, so that they can be refused by name. A member that is null is absent.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MappingSpec {
    /// Shared by copies: rows are copied more often than they are changed.
    members: Arc<Map<String, Value>>,
}

/// A value of another type than its member has.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{}", type_error_text(self))]
pub struct TypeError {
    /// `BatchSize`, `FilterCriteria.Filters[0].Pattern`.
    pub member: String,
    pub expected: Type,
    pub found: Value,
}

impl MappingSpec {
    /// Keeps the members whose values have the right type, and reports the others.
    ///
    /// With `convert_texts`, a text that reads as a number or a boolean is one where that type is
    /// expected: a variable of the environment is always a text.
    pub fn read(members: &Map<String, Value>, convert_texts: bool) -> (Self, Vec<TypeError>) {
        let mut reader = Reader {
            convert_texts,
            errors: Vec::new(),
        };
        let top = |name: &str| parameters::find(name).map(|parameter| &parameter.value_type);
        let members = Arc::new(reader.members(members, top, ""));
        (Self { members }, reader.errors)
    }

    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        Arc::make_mut(&mut self.members).insert(name.to_owned(), value.into());
    }

    pub fn remove(&mut self, name: &str) -> Option<Value> {
        Arc::make_mut(&mut self.members).remove(name)
    }

    /// The function, in any form that the API accepts.
    pub fn function_name(&self) -> Option<&str> {
        self.get("FunctionName")?.as_str()
    }

    pub fn event_source_arn(&self) -> Option<&str> {
        self.get("EventSourceArn")?.as_str()
    }

    pub fn enabled(&self) -> Option<bool> {
        self.get("Enabled")?.as_bool()
    }

    pub fn batch_size(&self, kind: SourceKind) -> i64 {
        self.integer("BatchSize", kind)
    }

    pub fn maximum_batching_window_in_seconds(&self, kind: SourceKind) -> i64 {
        self.integer("MaximumBatchingWindowInSeconds", kind)
    }

    pub fn parallelization_factor(&self, kind: SourceKind) -> i64 {
        self.integer("ParallelizationFactor", kind)
    }

    /// 0: none.
    pub fn tumbling_window_in_seconds(&self, kind: SourceKind) -> i64 {
        self.integer("TumblingWindowInSeconds", kind)
    }

    /// `None` if they are not given.
    pub fn tags(&self) -> Option<Tags> {
        self.get("Tags").map(Tags::from_json)
    }

    /// Retries after the first attempt; -1: without limit.
    pub fn maximum_retry_attempts(&self, kind: SourceKind) -> i64 {
        self.integer("MaximumRetryAttempts", kind)
    }

    /// -1: without limit.
    pub fn maximum_record_age_in_seconds(&self, kind: SourceKind) -> i64 {
        self.integer("MaximumRecordAgeInSeconds", kind)
    }

    pub fn bisect_batch_on_function_error(&self) -> bool {
        let value = self.get("BisectBatchOnFunctionError");
        value.and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn starting_position(&self) -> Option<&str> {
        self.get("StartingPosition")?.as_str()
    }

    /// Seconds since the epoch.
    pub fn starting_position_timestamp(&self) -> Option<f64> {
        self.get("StartingPositionTimestamp")?.as_f64()
    }

    /// The pattern of each filter, empty where none is given.
    pub fn filter_patterns(&self) -> Vec<&str> {
        let filters = self.items("FilterCriteria", "Filters");
        let patterns = filters.map(|filter| filter.get("Pattern").and_then(Value::as_str));
        patterns.map(Option::unwrap_or_default).collect()
    }

    /// The ARN of the destination for records that are given up.
    pub fn on_failure(&self) -> Option<&str> {
        let destination = self.get("DestinationConfig")?.get("OnFailure")?;
        let arn = destination.get("Destination")?.as_str()?;
        (!arn.is_empty()).then_some(arn)
    }

    /// Whether the order of each key or message group is kept when items of a batch fail.
    pub fn strict_order(&self) -> bool {
        let value = self.get("Windlass").and_then(|it| it.get("StrictOrder"));
        value.and_then(Value::as_bool).unwrap_or(false)
    }

    /// The member of `Windlass`; null switches it off.
    pub fn retry_backoff(&self) -> Option<&Value> {
        self.get("Windlass")?.get("RetryBackoff")
    }

    /// Whether the function's responses say which items of a batch failed.
    pub fn reports_item_failures(&self) -> bool {
        let types = self.get("FunctionResponseTypes").and_then(Value::as_array);
        types.is_some_and(|types| types.iter().any(|it| it == "ReportBatchItemFailures"))
    }

    /// Concurrent invocations of the function by a queue, if they are limited.
    pub fn maximum_concurrency(&self) -> Option<i64> {
        self.get("ScalingConfig")?
            .get("MaximumConcurrency")?
            .as_i64()
    }

    /// Minimum and maximum of the pollers of a queue, if they are provisioned.
    pub fn provisioned_pollers(&self) -> Option<(i64, i64)> {
        let config = self.get("ProvisionedPollerConfig")?;
        let number = |name| config.get(name).and_then(Value::as_i64);
        match (number("MinimumPollers"), number("MaximumPollers")) {
            (None, None) => None,
            (minimum, maximum) => Some((
                minimum.unwrap_or(parameters::DEFAULT_MINIMUM_POLLERS),
                maximum.unwrap_or(parameters::DEFAULT_MAXIMUM_POLLERS),
            )),
        }
    }

    /// The groups of metrics that are kept.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.items("MetricsConfig", "Metrics")
            .filter_map(Value::as_str)
    }

    /// A number that has a default.
    fn integer(&self, name: &str, kind: SourceKind) -> i64 {
        let default = || parameters::find(name)?.default_for(kind)?.as_i64();
        let value = self.get(name).and_then(Value::as_i64);
        value
            .or_else(default)
            .expect("the table has a default for it")
    }

    fn items(&self, name: &str, list: &str) -> impl Iterator<Item = &Value> {
        let items = self.get(name).and_then(|it| it.get(list)?.as_array());
        items.into_iter().flatten()
    }
}

impl Serialize for MappingSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.members.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MappingSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Map::deserialize(deserializer)?;
        let (spec, errors) = Self::read(&members, false);
        match errors.into_iter().next() {
            None => Ok(spec),
            Some(error) => Err(D::Error::custom(error)),
        }
    }
}

struct Reader {
    convert_texts: bool,
    errors: Vec<TypeError>,
}

impl Reader {
    fn members(
        &mut self,
        members: &Map<String, Value>,
        type_of: impl Fn(&str) -> Option<&'static Type>,
        path: &str,
    ) -> Map<String, Value> {
        let mut read = Map::new();
        for (name, value) in members {
            let expected = type_of(name);
            if value.is_null() && !matches!(expected, Some(Type::Nullable(_))) {
                continue;
            }
            let value = match expected {
                Some(expected) => self.value(expected, value, &format!("{path}{name}")),
                None => Some(value.clone()),
            };
            read.extend(value.map(|value| (name.clone(), value)));
        }
        read
    }

    /// `None` if the type is wrong, which is reported. Of lists and structures, the items and
    /// members that fit are kept.
    fn value(&mut self, expected: &'static Type, value: &Value, path: &str) -> Option<Value> {
        if let Type::Nullable(expected) = expected {
            return if value.is_null() {
                Some(Value::Null)
            } else {
                self.value(expected, value, path)
            };
        }
        let text = value.as_str().filter(|_| self.convert_texts);
        let converted = text.and_then(|text| convert(expected, text));
        let value = converted.as_ref().unwrap_or(value);
        match (expected, value) {
            (Type::List { item, .. }, Value::Array(items)) => {
                let items = items.iter().enumerate();
                let read = items
                    .filter_map(|(index, it)| self.value(item, it, &format!("{path}[{index}]")));
                Some(read.collect())
            }
            (Type::Structure { members: known, .. }, Value::Object(members)) => {
                let type_of = |name: &str| known.iter().find(|it| it.0 == name).map(|it| &it.1);
                let read = self.members(members, type_of, &format!("{path}."));
                Some(Value::Object(read))
            }
            (Type::TagMap, Value::Object(members)) => {
                let read = members.iter().filter_map(|(key, it)| {
                    let value = self.value(&Type::TEXT, it, &format!("{path}.{key}"));
                    value.map(|value| (key.clone(), value))
                });
                Some(Value::Object(read.collect()))
            }
            (Type::Boolean, Value::Bool(_))
            | (
                Type::Text { .. }
                | Type::FunctionName
                | Type::SourceArn
                | Type::DestinationArn
                | Type::Duration { .. }
                | Type::Enum(_),
                Value::String(_),
            )
            | (Type::Decimal { .. }, Value::Number(_)) => Some(value.clone()),
            (Type::Integer { .. }, Value::Number(number)) if number.is_i64() => Some(value.clone()),
            (Type::Number, Value::Number(number)) => number.as_f64().map(Value::from),
            _ => {
                self.errors.push(TypeError {
                    member: path.to_owned(),
                    expected: *expected,
                    found: value.clone(),
                });
                None
            }
        }
    }
}

/// The number or boolean that a text reads as.
fn convert(expected: &Type, text: &str) -> Option<Value> {
    match expected {
        Type::Boolean => text.parse::<bool>().ok().map(Value::from),
        Type::Integer { .. } => text.parse::<i64>().ok().map(Value::from),
        Type::Number => Number::from_f64(text.parse().ok()?).map(Value::Number),
        Type::Decimal { .. } => match text.parse::<i64>() {
            Ok(whole) => Some(whole.into()),
            Err(_) => Number::from_f64(text.parse().ok()?).map(Value::Number),
        },
        Type::Text { .. }
        | Type::FunctionName
        | Type::SourceArn
        | Type::DestinationArn
        | Type::Duration { .. }
        | Type::Enum(_)
        | Type::TagMap
        | Type::List { .. }
        | Type::Structure { .. }
        | Type::Nullable(_) => None,
    }
}

/// What the API reports: the text of serde, as AWS; for what AWS does not have, with the member.
fn type_error_text(error: &TypeError) -> String {
    let text = invalid_type(&error.found, &error.expected);
    if error.member.split('.').next() == Some("Windlass") {
        format!("{}: {text}", error.member)
    } else {
        text
    }
}

fn invalid_type(found: &Value, expected: &Type) -> String {
    let found = match found {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Unexpected::Signed(integer),
            None => Unexpected::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    };
    let expected = match expected {
        Type::Boolean => "a boolean",
        Type::Number => "f64",
        Type::Decimal { .. } => "a number",
        Type::Duration { .. } => "a duration such as \"5s\"",
        Type::Integer { .. } => "i64",
        Type::Text { .. }
        | Type::FunctionName
        | Type::SourceArn
        | Type::DestinationArn
        | Type::Enum(_) => "a string",
        Type::List { .. } => "a sequence",
        Type::TagMap => "a map",
        Type::Structure { name, .. } => &format!("struct {name}"),
        // The type of its value is reported.
        Type::Nullable(_) => "a value or null",
    };
    serde_json::Error::invalid_type(found, &expected).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value, convert_texts: bool) -> (MappingSpec, Vec<TypeError>) {
        MappingSpec::read(value.as_object().unwrap(), convert_texts)
    }

    #[test]
    fn the_first_wrong_type_ends_deserialization() {
        let filters = |filters: Value| json!({"FilterCriteria": {"Filters": filters}});
        for (members, text) in [
            (
                json!({"BatchSize": "5"}),
                r#"invalid type: string "5", expected i64"#,
            ),
            (
                json!({"BatchSize": 1.5}),
                "invalid type: floating point `1.5`, expected i64",
            ),
            (
                json!({"Enabled": 1}),
                "invalid type: integer `1`, expected a boolean",
            ),
            (
                filters(json!([null])),
                "invalid type: null, expected struct Filter",
            ),
            (
                json!({"Tags": {"a": null}}),
                "invalid type: null, expected a string",
            ),
            (
                json!({"Tags": ["a"]}),
                "invalid type: sequence, expected a map",
            ),
            (
                filters(json!([{"Pattern": {}}])),
                "invalid type: map, expected a string",
            ),
        ] {
            let error = serde_json::from_value::<MappingSpec>(members).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn null_is_absent_and_unknown_members_are_kept() {
        let members = json!({"BatchSize": null, "Topics": {"a": null}, "KMSKeyArn": null});
        let (spec, errors) = read(&members, false);
        assert_eq!(errors, []);
        assert_eq!(
            Value::from(spec.members().clone()),
            json!({"Topics": {"a": null}})
        );
    }

    #[test]
    fn a_text_can_be_a_number_or_a_boolean() {
        let members = json!({
            "BatchSize": "7", "Enabled": "false", "StartingPositionTimestamp": "1.5",
            "FunctionName": "7",
        });
        let (spec, errors) = read(&members, true);
        assert_eq!(errors, []);
        let expected = json!({
            "BatchSize": 7, "Enabled": false, "StartingPositionTimestamp": 1.5,
            "FunctionName": "7",
        });
        assert_eq!(Value::from(spec.members().clone()), expected);
        assert_eq!(
            read(&json!({"StartingPositionTimestamp": "inf"}), true)
                .1
                .len(),
            1
        );
    }
}
