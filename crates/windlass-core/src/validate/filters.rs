//! The filters of a mapping.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_FilterCriteria.html>

use crate::arn::{SourceKind, StreamKind};
use crate::spec::MappingSpec;
use crate::validate::Violation;
use crate::validate::rules::invalid;
use windlass_filter::{Criteria, MAXIMUM_FILTERS, View};

/// What the filters of a mapping mean; `None`: there are none, and everything passes.
///
/// # Errors
/// Every pattern that is none, in AWS's words, with the place and the reason beside them.
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
    if MAXIMUM_FILTERS < filters.len() {
        let text = format!("Number of filters must not exceed {MAXIMUM_FILTERS}.");
        return Err(vec![invalid("FilterCriteria.Filters", &text)]);
    }
    let view = match kind {
        SourceKind::Stream(StreamKind::Kinesis) => View::Kinesis,
        SourceKind::Stream(StreamKind::DynamoDbStreams) => View::DynamoDbStreams,
        SourceKind::Queue => View::Sqs,
    };
    // A filter without a pattern has one that is empty, and so is invalid.
    let pattern = |index: usize| filters[index].pattern.as_deref().unwrap_or_default();
    let patterns: Vec<&str> = (0..filters.len()).map(pattern).collect();
    let errors = match Criteria::compile(view, &patterns) {
        Ok(criteria) => return Ok(Some(criteria)),
        Err(errors) => errors,
    };
    let violations = errors.into_iter().map(|(index, error)| {
        let (line, column) = error.place(patterns[index]);
        let member = format!("FilterCriteria.Filters[{index}].Pattern");
        Violation {
            detail: Some(format!("At line {line}, column {column}: {error}.")),
            ..invalid(&member, "Invalid filter pattern definition.")
        }
    });
    Err(violations.collect())
}
