//! The members of a declared mapping, read one by one.
//!
//! Serde ends at the first value of a wrong kind and does not say where it stands. So each value is
//! tried alone, in its place, and every one that does not fit is told.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use windlass_core::spec::MappingSpec;

/// One thing that is wrong with a declared mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMappingError {
    /// The member it is about: `BatchSize`, `FilterCriteria.Filters[0].Pattern`.
    pub member: String,
    /// What is wrong, the member's name included.
    pub message: String,
}

/// Members as they were read, with what could not be read.
pub(super) struct Members {
    /// Those that fit.
    pub(super) spec: MappingSpec,
    /// Those that do not.
    pub(super) mistakes: Vec<ConfigMappingError>,
    /// The members, at the top, that are incomplete for this.
    broken: BTreeSet<String>,
}

/// One step from a mapping to a value in it.
#[derive(Clone)]
enum Step {
    Member(String),
    Item(usize),
}

impl Members {
    /// Reads all members. A text that stands for a number or for true or false is one, since that
    /// is what a variable of the environment can give.
    pub(super) fn read(members: &Map<String, Value>) -> Self {
        let mut mistakes = Vec::new();
        let mut broken = BTreeSet::new();
        let mut fitting = Map::new();
        for (name, value) in members {
            let told = mistakes.len();
            let mut path = vec![Step::Member(name.clone())];
            if let Some(value) = fit(value, &mut path, &mut mistakes) {
                fitting.insert(name.clone(), value);
            }
            if told < mistakes.len() {
                broken.insert(name.clone());
            }
        }
        let spec = serde_json::from_value(Value::Object(fitting)).unwrap_or_else(|error| {
            mistakes.push(ConfigMappingError {
                member: String::new(),
                message: error.to_string(),
            });
            MappingSpec::default()
        });
        Self {
            spec,
            mistakes,
            broken,
        }
    }

    /// Whether a rule about a member says something new: what was read in part or not at all has
    /// been told, and seems to be missing to the rules.
    pub(super) fn is_whole(&self, member: &str) -> bool {
        let top = member.split(['.', '[']).next().unwrap_or(member);
        !self.broken.contains(top)
    }
}

/// The value as it is to be read; `None` if it does not fit, which is told.
fn fit(
    value: &Value,
    path: &mut Vec<Step>,
    mistakes: &mut Vec<ConfigMappingError>,
) -> Option<Value> {
    let shell = match value {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    };
    if let Err(error) = try_alone(path, shell) {
        let meant = value.as_str().and_then(|text| meant(text, path));
        if meant.is_none() {
            mistakes.push(mistake(path, value, &error));
        }
        return meant;
    }
    match value {
        Value::Object(members) => {
            let mut fitting = Map::new();
            for (name, value) in members {
                path.push(Step::Member(name.clone()));
                if let Some(value) = fit(value, path, mistakes) {
                    fitting.insert(name.clone(), value);
                }
                path.pop();
            }
            Some(Value::Object(fitting))
        }
        Value::Array(items) => {
            let mut fitting = Vec::new();
            for (index, item) in items.iter().enumerate() {
                path.push(Step::Item(index));
                fitting.extend(fit(item, path, mistakes));
                path.pop();
            }
            Some(Value::Array(fitting))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
    }
}

/// Whether a value fits, were it the only one of the mapping.
fn try_alone(path: &[Step], value: Value) -> Result<(), serde_json::Error> {
    let whole = path.iter().rev().fold(value, |inner, step| match step {
        Step::Member(name) => Value::Object(Map::from_iter([(name.clone(), inner)])),
        Step::Item(_) => Value::Array(vec![inner]),
    });
    serde_json::from_value::<MappingSpec>(whole).map(drop)
}

/// The number or the truth value that a text stands for, if one fits here.
fn meant(text: &str, path: &[Step]) -> Option<Value> {
    let whole = text.parse::<i64>().ok().map(Value::from);
    let truth = text.parse::<bool>().ok().map(Value::from);
    let number = text.parse::<f64>().ok().filter(|it| it.is_finite());
    let mut candidates = whole
        .into_iter()
        .chain(truth)
        .chain(number.map(Value::from));
    candidates.find(|it| try_alone(path, it.clone()).is_ok())
}

fn mistake(path: &[Step], value: &Value, error: &serde_json::Error) -> ConfigMappingError {
    let member = written(path);
    let found = match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "keys and values".to_owned(),
    };
    let message = format!("{member}: expected {}, found {found}", wanted(error));
    ConfigMappingError { member, message }
}

fn written(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Member(name) if text.is_empty() => text.push_str(name),
            Step::Member(name) => text.push_str(&format!(".{name}")),
            Step::Item(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// What serde wanted, in the words of the configuration.
fn wanted(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some((_, wanted)) = text.rsplit_once("expected ") else {
        return text;
    };
    match wanted {
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text",
        "a sequence" => "a list",
        "a map" => "keys and values",
        other if other.starts_with("struct ") => "keys and values",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn read(members: &Value) -> Members {
        Members::read(members.as_object().unwrap())
    }

    #[test]
    fn every_value_of_a_wrong_kind_is_told_with_its_place() {
        let members = read(&json!({
            "BatchSize": "ten",
            "Enabled": 1,
            "FunctionName": ["f"],
            "MaximumBatchingWindowInSeconds": 1.5,
            "FunctionResponseTypes": ["ReportBatchItemFailures", 7],
            "FilterCriteria": {"Filters": [{"Pattern": "{}"}, {"Pattern": {"a": [1]}}, 3]},
            "DestinationConfig": [],
        }));
        let told: Vec<&str> = members.mistakes.iter().map(|it| &*it.message).collect();
        assert_eq!(
            told,
            [
                "BatchSize: expected a whole number, found text",
                "DestinationConfig: expected keys and values, found a list",
                "Enabled: expected true or false, found the number 1",
                "FilterCriteria.Filters[1].Pattern: expected text, found keys and values",
                "FilterCriteria.Filters[2]: expected keys and values, found the number 3",
                "FunctionName: expected text, found a list",
                "FunctionResponseTypes[1]: expected text, found the number 7",
                "MaximumBatchingWindowInSeconds: expected a whole number, found the number 1.5",
            ]
        );
        assert!(!members.is_whole("FilterCriteria.Filters[0].Pattern"));
        assert!(members.is_whole("EventSourceArn"));
    }

    #[test]
    fn a_text_may_stand_for_a_number_and_for_true_or_false() {
        let members = read(&json!({
            "BatchSize": "7", "Enabled": "false", "StartingPositionTimestamp": "1.5",
            "FunctionName": "7",
        }));
        assert_eq!(members.mistakes, []);
        assert_eq!(members.spec.batch_size, Some(7));
        assert_eq!(members.spec.enabled, Some(false));
        assert_eq!(members.spec.starting_position_timestamp, Some(1.5));
        assert_eq!(members.spec.function_name.as_deref(), Some("7"));
    }
}
