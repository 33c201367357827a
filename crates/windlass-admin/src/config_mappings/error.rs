//! What can be wrong with the mappings of the configuration file.

use serde_json::Value;
use windlass_core::parameters::Type;
use windlass_core::spec::TypeError;
use windlass_core::validate::Violation;

/// An error in the members of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMappingError {
    /// `BatchSize`, `FilterCriteria.Filters[0].Pattern`.
    pub member: String,
    /// With the name of the member.
    pub message: String,
}

impl From<Violation> for ConfigMappingError {
    fn from(violation: Violation) -> Self {
        Self {
            message: violation.to_string(),
            member: violation.member,
        }
    }
}

impl From<TypeError> for ConfigMappingError {
    fn from(error: TypeError) -> Self {
        let member = error.member;
        let expected = match error.expected {
            Type::Boolean => "true or false",
            Type::Number => "a number",
            Type::Integer { .. } => "a whole number",
            Type::Text { .. } | Type::FunctionName | Type::SourceArn | Type::Enum(_) => "text",
            Type::List { .. } => "a list",
            Type::Structure { .. } => "keys and values",
        };
        let found = match error.found {
            Value::Null => "nothing".to_owned(),
            Value::Bool(_) => "true or false".to_owned(),
            Value::Number(number) => format!("the number {number}"),
            Value::String(_) => "text".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "keys and values".to_owned(),
        };
        Self {
            message: format!("{member}: expected {expected}, found {found}"),
            member,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_core::spec::MappingSpec;

    use super::*;

    #[test]
    fn a_wrong_type_is_reported_with_its_position() {
        let members = json!({
            "BatchSize": "ten",
            "Enabled": 1,
            "FunctionName": ["f"],
            "MaximumBatchingWindowInSeconds": 1.5,
            "FunctionResponseTypes": ["ReportBatchItemFailures", 7],
            "FilterCriteria": {"Filters": [{"Pattern": "{}"}, {"Pattern": {"a": [1]}}, 3]},
            "DestinationConfig": [],
        });
        let (_, errors) = MappingSpec::read(members.as_object().unwrap(), true);
        let errors = errors.into_iter().map(ConfigMappingError::from);
        let messages: Vec<String> = errors.map(|error| error.message).collect();
        assert_eq!(
            messages,
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
    }
}
