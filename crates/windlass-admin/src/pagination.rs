//! Pages of a list: at most 100 mappings each, whatever was asked for.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_ListEventSourceMappings.html>

use windlass_core::mapping::{MappingId, MappingRow};

use crate::errors::ApiError;

/// The most mappings of one page.
const MAXIMUM_PAGE: usize = 100;

/// One page, and the marker of the next if there is one.
pub(crate) fn page(
    rows: Vec<MappingRow>,
    marker: Option<&str>,
    max_items: Option<&str>,
) -> Result<(Vec<MappingRow>, Option<String>), ApiError> {
    let size = max_items.and_then(|text| text.parse().ok());
    let size = size.unwrap_or(MAXIMUM_PAGE).clamp(1, MAXIMUM_PAGE);
    let after = marker
        .filter(|text| !text.is_empty())
        .map(last_shown)
        .transpose()?;
    let rest = rows
        .into_iter()
        .filter(|row| after.as_ref().is_none_or(|after| *after < row.id));
    let mut page: Vec<MappingRow> = rest.take(size + 1).collect();
    let more = size < page.len();
    page.truncate(size);
    let next = page.last().filter(|_| more).map(|row| row.id.to_string());
    Ok((page, next))
}

/// A marker is the id of the last mapping of the page before: it stays good if that is deleted.
fn last_shown(marker: &str) -> Result<MappingId, ApiError> {
    if uuid::Uuid::try_parse(marker).is_err() {
        let text = format!("Invalid Marker: '{marker}'; use the NextMarker of the page before.");
        return Err(ApiError::invalid(text));
    }
    Ok(MappingId::new(marker))
}
