//! The request against its model: ranges, sets of values, patterns.

use super::{Code, Violation};
use crate::arn::Arn;
use crate::function::FunctionName;
use crate::spec::MappingSpec;

const FUNCTION_NAME_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?";
const ARN_PATTERN: &str =
    r"arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:([a-z]{2}(-gov)?-[a-z]+-\d{1})?:(\d{12})?:(.*)";

/// Every member that is not as the model says.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
pub fn model(spec: &MappingSpec) -> Vec<Violation> {
    let mut violations = Vec::new();
    let pattern =
        |pattern: &str| format!("Member must satisfy regular expression pattern: {pattern}");
    match spec.function_name.as_deref() {
        None => violations.push(violation("null", "functionName", "Member must not be null")),
        Some(name) if FunctionName::parse(name).is_none() => {
            violations.push(violation(
                &quote(name),
                "functionName",
                &pattern(FUNCTION_NAME_PATTERN),
            ));
        }
        Some(_) => {}
    }
    if let Some(arn) = spec
        .event_source_arn
        .as_deref()
        .filter(|arn| Arn::parse(arn).is_err())
    {
        violations.push(violation(
            &quote(arn),
            "eventSourceArn",
            &pattern(ARN_PATTERN),
        ));
    }
    for (member, value, least, most) in [
        ("batchSize", spec.batch_size, 1, 10_000),
        (
            "maximumBatchingWindowInSeconds",
            spec.maximum_batching_window_in_seconds,
            0,
            300,
        ),
        ("parallelizationFactor", spec.parallelization_factor, 1, 10),
        (
            "maximumRetryAttempts",
            spec.maximum_retry_attempts,
            -1,
            10_000,
        ),
        (
            "maximumRecordAgeInSeconds",
            spec.maximum_record_age_in_seconds,
            -1,
            604_800,
        ),
        (
            "tumblingWindowInSeconds",
            spec.tumbling_window_in_seconds,
            0,
            900,
        ),
    ] {
        violations.extend(value.and_then(|value| range(member, value, least, most)));
    }
    let positions = ["LATEST", "AT_TIMESTAMP", "TRIM_HORIZON"];
    if let Some(position) = spec.starting_position.as_deref()
        && !positions.contains(&position)
    {
        violations.push(violation(
            &quote(position),
            "startingPosition",
            &one_of(&positions),
        ));
    }
    for kind in spec.function_response_types.iter().flatten() {
        if kind != "ReportBatchItemFailures" {
            let constraint = format!(
                "Member must satisfy constraint: [{}]",
                one_of(&["ReportBatchItemFailures"])
            );
            violations.push(violation(
                &format!("'[{kind}]'"),
                "functionResponseTypes",
                &constraint,
            ));
        }
    }
    violations
}

fn range(member: &str, value: i64, least: i64, most: i64) -> Option<Violation> {
    let constraint = if value < least {
        format!("Member must have value greater than or equal to {least}")
    } else if most < value {
        format!("Member must have value less than or equal to {most}")
    } else {
        return None;
    };
    Some(violation(&format!("'{value}'"), member, &constraint))
}

fn one_of(values: &[&str]) -> String {
    format!(
        "Member must satisfy enum value set: [{}]",
        values.join(", ")
    )
}

fn quote(text: &str) -> String {
    format!("'{text}'")
}

fn violation(value: &str, member: &str, constraint: &str) -> Violation {
    let message = format!(
        "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: \
         {constraint}"
    );
    Violation {
        code: Code::Validation,
        message,
    }
}
