//! What can be wrong with the mappings of the configuration file.

use windlass_core::parameters::Type;
use windlass_core::spec::TypeError;
use windlass_core::validate::Violation;

/// An error in the members of a mapping, for the person who wrote them. Their values are not in it:
/// they may be secrets, which only the reader of the file knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMappingError {
    /// `BatchSize`, `FilterCriteria.Filters[0].Pattern`.
    pub member: String,
    pub problem: MappingProblem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingProblem {
    /// The value is not this: `a whole number`.
    Expected(&'static str),
    Violation {
        /// It may contain the ARN of the source.
        message: String,
        /// It may quote the value.
        detail: Option<String>,
    },
}

impl From<Violation> for ConfigMappingError {
    fn from(violation: Violation) -> Self {
        let message = violation.constraint_text();
        let is_malformed = message.is_some_and(|text| text.contains("regular expression"));
        let problem = match violation.member.as_str() {
            "EventSourceArn" if is_malformed || message.is_none() => MappingProblem::Expected(
                "the ARN of a Kinesis stream or of a consumer of one, a DynamoDB stream or an SQS \
                 queue, such as arn:aws:sqs:us-east-1:000000000000:jobs",
            ),
            "FunctionName" if is_malformed => {
                MappingProblem::Expected("the name or the ARN of a function")
            }
            _ => MappingProblem::Violation {
                message: message.map_or_else(
                    || violation.message.clone(),
                    |text| text.replacen("Member must", "must", 1),
                ),
                detail: violation.detail,
            },
        };
        Self {
            member: violation.member,
            problem,
        }
    }
}

impl From<TypeError> for ConfigMappingError {
    fn from(error: TypeError) -> Self {
        let expected = match error.expected {
            Type::Boolean => "true or false",
            Type::Number | Type::Decimal { .. } => "a number",
            Type::Duration { .. } => "a duration such as 500ms, 5s, 15m or 1h",
            Type::Integer { .. } => "a whole number",
            Type::Text { .. }
            | Type::FunctionName
            | Type::SourceArn
            | Type::DestinationArn
            | Type::Enum(_) => "text",
            Type::List { .. } => "a list",
            Type::Structure { .. } | Type::TagMap | Type::Nullable(_) => "keys and values",
        };
        Self {
            member: error.member,
            problem: MappingProblem::Expected(expected),
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
        let found: Vec<_> = errors.map(|it| (it.member, it.problem)).collect();
        let expected = [
            ("BatchSize", "a whole number"),
            ("DestinationConfig", "keys and values"),
            ("Enabled", "true or false"),
            ("FilterCriteria.Filters[1].Pattern", "text"),
            ("FilterCriteria.Filters[2]", "keys and values"),
            ("FunctionName", "text"),
            ("FunctionResponseTypes[1]", "text"),
            ("MaximumBatchingWindowInSeconds", "a whole number"),
        ];
        let expected = expected.map(|(it, what)| (it.to_owned(), MappingProblem::Expected(what)));
        assert_eq!(found, expected);
    }
}
