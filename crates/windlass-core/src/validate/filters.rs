//! The filters of a mapping.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_FilterCriteria.html>

use windlass_filter::{Criteria, MAXIMUM_FILTERS, View};

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
    if MAXIMUM_FILTERS < patterns.len() {
        let text = format!("Number of filters must not exceed {MAXIMUM_FILTERS}.");
        return Err(vec![Violation::rule("FilterCriteria.Filters", text)]);
    }
    let view = match kind {
        SourceKind::Stream(StreamKind::Kinesis) => View::Kinesis,
        SourceKind::Stream(StreamKind::DynamoDbStreams) => View::DynamoDbStreams,
        SourceKind::Queue => View::Sqs,
    };
    let errors = match Criteria::compile(view, &patterns) {
        Ok(criteria) => return Ok(Some(criteria)),
        Err(errors) => errors,
    };
    let violations = errors.into_iter().map(|(index, error)| {
        let (line, column) = error.place(patterns[index]);
        let member = format!("FilterCriteria.Filters[{index}].Pattern");
        Violation {
            detail: Some(format!("At line {line}, column {column}: {error}.")),
            ..Violation::rule(&member, "Invalid filter pattern definition.")
        }
    });
    Err(violations.collect())
}
