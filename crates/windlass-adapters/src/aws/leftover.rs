//! Records of a page beyond those that a read may return: kept for the next one.

use std::sync::Arc;
use std::time::Duration;

use windlass_core::position::{Checkpoint, Cursor};
use windlass_core::shard::{PageStart, ReadResult};

/// Of one shard; with the iterator of a read that continues with them.
#[derive(Debug, Default)]
pub(super) struct Leftover(Option<(ReadResult, Arc<str>)>);

impl Leftover {
    /// The records that a read from this position continues with. Those of any other are dropped.
    pub(super) fn take(&mut self, from: &Cursor) -> Option<ReadResult> {
        let (page, token) = self.0.take()?;
        (from.iterator.as_ref() == Some(&token)).then_some(page)
    }

    /// Whether a read from this position continues with the records that were kept.
    pub(super) fn continues(&self, from: &Cursor) -> bool {
        let kept = self.0.as_ref();
        kept.is_some_and(|(_, token)| from.iterator.as_ref() == Some(token))
    }

    /// As many records of a page as a read may return; the others are kept.
    pub(super) fn limit(&mut self, mut page: ReadResult, max_records: u32) -> ReadResult {
        let max_records = (max_records as usize).max(1);
        if page.records.len() <= max_records {
            return page;
        }
        let rest = page.records.split_off(max_records);
        let token = Arc::from(format!("{} of a page", rest.len()));
        let last = page.records.last().expect("there is at least one");
        let next = Cursor {
            iterator: Some(Arc::clone(&token)),
            ..Cursor::at(Checkpoint::after(last).position)
        };
        let first = ReadResult {
            start: page.start,
            records: page.records,
            next: Some(next),
            behind: page.behind.max(Duration::from_millis(1)),
            has_children: false,
            unreadable: None,
        };
        let rest = ReadResult {
            start: PageStart::Continued,
            records: rest,
            ..page
        };
        self.0 = Some((rest, token));
        first
    }
}
