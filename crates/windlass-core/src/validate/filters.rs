//! Validates and compiles the filter criteria of a mapping.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_FilterCriteria.html>

use windlass_filter::{Criteria, EventFormat, MAX_FILTERS};

use crate::arn::{SourceKind, StreamKind};
use crate::spec::MappingSpec;
use crate::validate::Violation;
use crate::validate::rules::invalid;

/// Compiles the filters of a mapping; `None` without filters, which let every record through.
///
/// # Errors
/// Every invalid pattern, in AWS's words; the detail adds the position and the reason.
pub(super) fn compile(
    spec: &MappingSpec,
    kind: SourceKind,
) -> Result<Option<Criteria>, Vec<Violation>> {
    let criteria = spec.filter_criteria.as_ref();
    let filters = criteria.and_then(|criteria| criteria.filters.as_deref());
    let filters = filters.unwrap_or_default();
    if filters.is_empty() {
        return Ok(None);
    }
    if MAX_FILTERS < filters.len() {
        let text = format!("Number of filters must not exceed {MAX_FILTERS}.");
        return Err(vec![invalid("FilterCriteria.Filters", &text)]);
    }
    let format = match kind {
        SourceKind::Stream(StreamKind::Kinesis) => EventFormat::Kinesis,
        SourceKind::Stream(StreamKind::DynamoDbStreams) => EventFormat::DynamoDbStreams,
        SourceKind::Queue => EventFormat::Sqs,
    };
    // A filter without a pattern counts as an empty pattern, which is invalid.
    let pattern = |index: usize| filters[index].pattern.as_deref().unwrap_or_default();
    let patterns: Vec<&str> = (0..filters.len()).map(pattern).collect();
    let errors = match Criteria::compile(format, &patterns) {
        Ok(criteria) => return Ok(Some(criteria)),
        Err(errors) => errors,
    };
    let violations = errors.into_iter().map(|(index, error)| {
        let (line, column) = error.line_and_column(patterns[index]);
        let member = format!("FilterCriteria.Filters[{index}].Pattern");
        Violation {
            detail: Some(format!("At line {line}, column {column}: {error}.")),
            ..invalid(&member, "Invalid filter pattern definition.")
        }
    });
    Err(violations.collect())
}
