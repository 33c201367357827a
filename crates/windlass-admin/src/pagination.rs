//! Pages of a list of mappings.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_ListEventSourceMappings.html>

use windlass_core::mapping::{MappingId, MappingRow};

use crate::errors::ApiError;

/// Whatever `MaxItems` requests.
pub(crate) const MAX_PAGE_SIZE: usize = 100;

/// A page while it is gathered.
pub(crate) struct Page {
    size: usize,
    after: Option<MappingId>,
    /// One more than the page has tells that there is another.
    rows: Vec<MappingRow>,
}

impl Page {
    pub(crate) fn new(marker: Option<&str>, max_items: Option<&str>) -> Result<Self, ApiError> {
        let size = max_items.and_then(|text| text.parse().ok());
        Ok(Self {
            size: size.unwrap_or(MAX_PAGE_SIZE).clamp(1, MAX_PAGE_SIZE),
            after: marker
                .filter(|text| !text.is_empty())
                .map(last_shown)
                .transpose()?,
            rows: Vec::new(),
        })
    }

    /// The id after which rows are added.
    pub(crate) const fn after(&self) -> Option<&MappingId> {
        self.after.as_ref()
    }

    /// How many rows there is room for.
    pub(crate) const fn room(&self) -> usize {
        (self.size + 1).saturating_sub(self.rows.len())
    }

    /// Adds the next row, if it is wanted; it is passed by otherwise.
    pub(crate) fn push(&mut self, row: MappingRow, is_wanted: bool) {
        self.after = Some(row.id.clone());
        if is_wanted && 0 < self.room() {
            self.rows.push(row);
        }
    }

    /// The rows, and the marker of the next page.
    pub(crate) fn finish(mut self) -> (Vec<MappingRow>, Option<String>) {
        let more = self.size < self.rows.len();
        self.rows.truncate(self.size);
        let next = self.rows.last().filter(|_| more);
        let next = next.map(|row| row.id.to_string());
        (self.rows, next)
    }
}

/// A marker is the id of the last mapping of a page. It stays valid when that mapping is deleted.
fn last_shown(marker: &str) -> Result<MappingId, ApiError> {
    // The other forms of a UUID would be in another order than ids.
    match uuid::Uuid::try_parse(marker) {
        Ok(uuid) if uuid.hyphenated().to_string() == marker => Ok(MappingId::new(marker)),
        Ok(_) | Err(_) => {
            let text =
                format!("Invalid Marker: '{marker}'; use the NextMarker of the previous page.");
            Err(ApiError::invalid(text))
        }
    }
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

    /// Of all these rows.
    fn page(
        all: Vec<MappingRow>,
        marker: Option<&str>,
        max_items: Option<&str>,
    ) -> (Vec<MappingRow>, Option<String>) {
        let mut page = Page::new(marker, max_items).unwrap();
        for row in all {
            if page.after().is_none_or(|after| *after < row.id) {
                page.push(row, true);
            }
        }
        page.finish()
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let all = rows(250);
        let (mut seen, mut marker, mut sizes) = (Vec::new(), None, Vec::new());
        loop {
            let (page, next) = page(all.clone(), marker.as_deref(), Some("1000"));
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
        let (_, marker) = page(all.clone(), None, Some("2"));
        all.remove(1);
        let (rest, next) = page(all.clone(), marker.as_deref(), Some("2"));
        assert_eq!((rest, next), (all[1..].to_vec(), None));
    }
}
