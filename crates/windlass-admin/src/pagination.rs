//! Pages of a list of mappings.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_ListEventSourceMappings.html>

use windlass_core::mapping::{MappingId, MappingRow};

use crate::errors::ApiError;

/// Whatever `MaxItems` requests.
const MAX_PAGE_SIZE: usize = 100;

/// One page, and the marker of the next.
pub(crate) fn page(
    rows: Vec<MappingRow>,
    marker: Option<&str>,
    max_items: Option<&str>,
) -> Result<(Vec<MappingRow>, Option<String>), ApiError> {
    let size = max_items.and_then(|text| text.parse().ok());
    let size = size.unwrap_or(MAX_PAGE_SIZE).clamp(1, MAX_PAGE_SIZE);
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

/// A marker is the id of the last mapping of a page. It stays valid when that mapping is deleted.
fn last_shown(marker: &str) -> Result<MappingId, ApiError> {
    if uuid::Uuid::try_parse(marker).is_err() {
        let text = format!("Invalid Marker: '{marker}'; use the NextMarker of the previous page.");
        return Err(ApiError::invalid(text));
    }
    Ok(MappingId::new(marker))
}

#[cfg(test)]
mod tests {
    use windlass_core::arn::{Arn, SourceArn};
    use windlass_core::mapping::{Change, DesiredState, Origin, Revision};
    use windlass_core::spec::MappingSpec;
    use windlass_core::time::Timestamp;

    use super::*;

    fn rows(count: u32) -> Vec<MappingRow> {
        let row = |number| MappingRow {
            id: MappingId::new(&format!("00000000-0000-4000-8000-{number:012}")),
            revision: Revision(1),
            spec: MappingSpec::default(),
            source: SourceArn::parse("arn:aws:sqs:r:1:q").unwrap(),
            function_arn: Arn::parse("arn:aws:lambda:r:1:function:f").unwrap(),
            desired: DesiredState::Enabled,
            change: Change::Created,
            created: Timestamp::EPOCH,
            last_modified: Timestamp::EPOCH,
            origin: Origin::Api,
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let all = rows(250);
        let (mut seen, mut marker, mut sizes) = (Vec::new(), None, Vec::new());
        loop {
            let (page, next) = page(all.clone(), marker.as_deref(), Some("1000")).unwrap();
            sizes.push(page.len());
            seen.extend(page);
            marker = next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(seen, all);
    }

    #[test]
    fn a_marker_stays_valid_when_its_mapping_is_deleted() {
        let mut all = rows(4);
        let (_, marker) = page(all.clone(), None, Some("2")).unwrap();
        all.remove(1);
        let (rest, next) = page(all.clone(), marker.as_deref(), Some("2")).unwrap();
        assert_eq!((rest, next), (all[1..].to_vec(), None));
    }
}
