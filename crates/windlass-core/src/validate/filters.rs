//! Validates and compiles the filter criteria of a mapping.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_FilterCriteria.html>

use windlass_filter::{Criteria, EventFormat, MAX_FILTERS};

use crate::arn::{SourceKind, StreamKind};
use crate::spec::MappingSpec;
use crate::validate::violation::Violation;

/// `None` if the mapping has no filters: every record passes.
///
/// # Errors
/// Every invalid pattern, with AWS's text, and with position and reason as the detail.
pub(super) fn compile(
    spec: &MappingSpec,
    kind: SourceKind,
) -> Result<Option<Criteria>, Vec<Violation>> {
    let patterns = spec.filter_patterns();
    if patterns.is_empty() {
        return Ok(None);
    }
    if MAX_FILTERS < patterns.len() {
        let text = format!("Number of filters must not exceed {MAX_FILTERS}.");
        return Err(vec![Violation::rule("FilterCriteria.Filters", text)]);
    }
    let format = match kind {
        SourceKind::Stream(StreamKind::Kinesis) => EventFormat::Kinesis,
        SourceKind::Stream(StreamKind::DynamoDbStreams) => EventFormat::DynamoDbStreams,
        SourceKind::Queue => EventFormat::Sqs,
    };
    let errors = match Criteria::compile(format, &patterns) {
        Ok(criteria) => return Ok(Some(criteria)),
        Err(errors) => errors,
    };
    let violations = errors.into_iter().map(|(index, error)| {
        let (line, column) = error.line_and_column(patterns[index]);
        let member = format!("FilterCriteria.Filters[{index}].Pattern");
        Violation {
            detail: Some(format!("At line {line}, column {column}: {error}.")),
            ..Violation::rule(&member, "Invalid filter pattern definition.")
        }
    });
    Err(violations.collect())
}
