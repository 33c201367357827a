//! Constraints of the API's model: lengths, ranges, sets and patterns, whatever the source is.
//!
//! AWS checks them before anything else, and names the member with a small first letter.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>

use std::cmp::Ordering;

use crate::arn::Arn;
use crate::function::FunctionName;
use crate::spec::MappingSpec;
use crate::validate::{ErrorCode, Violation};

const FUNCTION_NAME_PATTERN: &str = "(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?";
const ARN_PATTERN: &str =
    "arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:([a-z]{2}(-gov)?-[a-z]+-\\d{1})?:(\\d{12})?:(.*)";

const UUID_LENGTH: usize = 36;
const MAXIMUM_ARN_LENGTH: usize = 10_000;
const MAXIMUM_FUNCTION_NAME_LENGTH: usize = 256;
const MAXIMUM_DESTINATION_LENGTH: usize = 350;
const MAXIMUM_PATTERN_LENGTH: usize = 4_096;

pub(super) fn violations(spec: &MappingSpec) -> Vec<Violation> {
    let mut found = Vec::new();
    match spec.function_name.as_deref() {
        Some(text) => function_name(text, &mut found),
        None => found.push(violation("FunctionName", "null", "Member must not be null")),
    }
    if let Some(text) = &spec.event_source_arn {
        source_arn(text, &mut found);
    }
    let ranges = [
        ("BatchSize", spec.batch_size, 1, 10_000),
        (
            "MaximumBatchingWindowInSeconds",
            spec.maximum_batching_window_in_seconds,
            0,
            300,
        ),
        ("ParallelizationFactor", spec.parallelization_factor, 1, 10),
        (
            "MaximumRetryAttempts",
            spec.maximum_retry_attempts,
            -1,
            10_000,
        ),
        (
            "MaximumRecordAgeInSeconds",
            spec.maximum_record_age_in_seconds,
            -1,
            604_800,
        ),
        (
            "TumblingWindowInSeconds",
            spec.tumbling_window_in_seconds,
            0,
            900,
        ),
    ];
    for (member, value, least, most) in ranges {
        range(member, value, least, most, &mut found);
    }
    one_of(
        "StartingPosition",
        spec.starting_position.as_deref(),
        &["LATEST", "AT_TIMESTAMP", "TRIM_HORIZON"],
        &mut found,
    );
    list(
        "FunctionResponseTypes",
        spec.function_response_types.as_deref(),
        1,
        &["ReportBatchItemFailures"],
        &mut found,
    );
    let metrics = spec
        .metrics_config
        .as_ref()
        .and_then(|config| config.metrics.as_deref());
    let known = ["EventCount", "ErrorCount", "KafkaMetrics"];
    list("MetricsConfig.Metrics", metrics, 3, &known, &mut found);
    nested_lengths(spec, &mut found);
    found
}

pub(super) fn of_list(
    event_source_arn: Option<&str>,
    name: Option<&str>,
    max_items: Option<&str>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(text) = event_source_arn {
        source_arn(text, &mut found);
    }
    if let Some(text) = name {
        function_name(text, &mut found);
    }
    match max_items.map(|text| (text, text.parse::<i64>())) {
        Some((_, Ok(number))) => range("MaxItems", Some(number), 1, 10_000, &mut found),
        Some((text, Err(_))) => {
            let constraint = "Member must be an integer";
            found.push(violation("MaxItems", &format!("'{text}'"), constraint));
        }
        None => {}
    }
    found
}

pub(super) fn of_uuid(text: &str) -> Vec<Violation> {
    let constraint = match text.chars().count().cmp(&UUID_LENGTH) {
        Ordering::Less => "Member must have length greater than or equal to 36",
        Ordering::Greater => "Member must have length less than or equal to 36",
        Ordering::Equal => return Vec::new(),
    };
    vec![violation("UUID", &format!("'{text}'"), constraint)]
}

fn function_name(text: &str, found: &mut Vec<Violation>) {
    let member = "FunctionName";
    if text.is_empty() {
        let constraint = "Member must have length greater than or equal to 1";
        found.push(violation(member, "''", constraint));
    } else if MAXIMUM_FUNCTION_NAME_LENGTH < text.len() {
        length(member, text, MAXIMUM_FUNCTION_NAME_LENGTH, found);
    } else if FunctionName::parse(text).is_none() {
        found.push(mismatch(member, text, FUNCTION_NAME_PATTERN));
    }
}

/// Regions are read more freely than by AWS: the endpoints of emulators have names of their own.
fn source_arn(text: &str, found: &mut Vec<Violation>) {
    let plain = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let well_formed = Arn::parse(text).is_ok_and(|arn| {
        let account = arn.account_id();
        let digits = account.bytes().all(|byte| byte.is_ascii_digit());
        arn.partition().starts_with("aws")
            && [arn.partition(), arn.service(), arn.region()]
                .into_iter()
                .all(plain)
            && (account.is_empty() || (account.len() == 12 && digits))
            && !arn.resource().contains(char::is_control)
    });
    if MAXIMUM_ARN_LENGTH < text.len() {
        length("EventSourceArn", text, MAXIMUM_ARN_LENGTH, found);
    } else if !well_formed {
        found.push(mismatch("EventSourceArn", text, ARN_PATTERN));
    }
}

fn range(member: &str, value: Option<i64>, least: i64, most: i64, found: &mut Vec<Violation>) {
    let Some(value) = value else { return };
    let constraint = if value < least {
        format!("Member must have value greater than or equal to {least}")
    } else if most < value {
        format!("Member must have value less than or equal to {most}")
    } else {
        return;
    };
    found.push(violation(member, &format!("'{value}'"), &constraint));
}

fn one_of(member: &str, value: Option<&str>, set: &[&str], found: &mut Vec<Violation>) {
    let Some(value) = value else { return };
    if !set.contains(&value) {
        let set = set.join(", ");
        let constraint = format!("Member must satisfy enum value set: [{set}]");
        found.push(violation(member, &format!("'{value}'"), &constraint));
    }
}

fn list(
    member: &str,
    values: Option<&[String]>,
    most: usize,
    set: &[&str],
    found: &mut Vec<Violation>,
) {
    let Some(values) = values else { return };
    let shown = format!("'[{}]'", values.join(", "));
    if most < values.len() {
        let constraint = format!("Member must have length less than or equal to {most}");
        found.push(violation(member, &shown, &constraint));
    }
    if values.iter().any(|value| !set.contains(&value.as_str())) {
        let set = set.join(", ");
        let constraint = format!(
            "Member must satisfy constraint: [Member must satisfy enum value set: [{set}]]"
        );
        found.push(violation(member, &shown, &constraint));
    }
}

fn nested_lengths(spec: &MappingSpec, found: &mut Vec<Violation>) {
    let destinations = spec.destination_config.iter().flat_map(|config| {
        [
            (
                "DestinationConfig.OnSuccess.Destination",
                &config.on_success,
            ),
            (
                "DestinationConfig.OnFailure.Destination",
                &config.on_failure,
            ),
        ]
    });
    for (member, destination) in destinations {
        let text = destination
            .as_ref()
            .and_then(|it| it.destination.as_deref());
        length(
            member,
            text.unwrap_or(""),
            MAXIMUM_DESTINATION_LENGTH,
            found,
        );
    }
    let filters = spec
        .filter_criteria
        .iter()
        .flat_map(|criteria| criteria.filters.iter().flatten());
    for (index, filter) in filters.enumerate() {
        let member = format!("FilterCriteria.Filters.{}.Member.Pattern", index + 1);
        let text = filter.pattern.as_deref().unwrap_or("");
        length(&member, text, MAXIMUM_PATTERN_LENGTH, found);
    }
}

fn length(member: &str, text: &str, most: usize, found: &mut Vec<Violation>) {
    if most < text.chars().count() {
        let constraint = format!("Member must have length less than or equal to {most}");
        found.push(violation(member, &format!("'{text}'"), &constraint));
    }
}

fn mismatch(member: &str, text: &str, pattern: &str) -> Violation {
    let constraint = format!("Member must satisfy regular expression pattern: {pattern}");
    violation(member, &format!("'{text}'"), &constraint)
}

fn violation(member: &str, shown: &str, constraint: &str) -> Violation {
    let at = wire_path(member);
    Violation {
        code: ErrorCode::ValidationException,
        member: member.to_owned(),
        message: format!(
            "1 validation error detected: Value {shown} at '{at}' failed to satisfy constraint: {constraint}"
        ),
        detail: None,
    }
}

/// `DestinationConfig.OnFailure` as AWS writes it in these texts: `destinationConfig.onFailure`.
fn wire_path(member: &str) -> String {
    let small = |part: &str| {
        let mut letters = part.chars();
        match letters.next() {
            Some(first) => first.to_lowercase().chain(letters).collect(),
            None => String::new(),
        }
    };
    let parts: Vec<String> = member.split('.').map(small).collect();
    parts.join(".")
}
