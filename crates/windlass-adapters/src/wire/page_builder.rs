//! The page that an answer becomes: how large it will be, and where it ends.

use std::sync::atomic::{AtomicUsize, Ordering};

use windlass_core::record::Record;
use windlass_core::record_page::RecordPageBuilder;

/// How many bytes 1,024 bytes of an answer became the last time, whoever it was for. It is nothing
/// but a guess that is right for as long as records are alike: then a page fits as it is, and need
/// not be copied.
static GROWTH: AtomicUsize = AtomicUsize::new(2 * 1024);

/// How many bytes of an answer were one record, as a guess of the same kind.
static RECORD: AtomicUsize = AtomicUsize::new(1024);

/// An answer of fewer bytes says little of others: most of it may be names.
const TELLING: usize = 64 * 1024;

/// A page that is being rendered.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) builder: RecordPageBuilder,
    /// It ends with the record that brings it to so many bytes; one record it always has.
    most: usize,
    is_cut: bool,
}

impl Page {
    /// Room for what a body of this length becomes.
    pub(super) fn begin(body: usize, most: usize) -> Self {
        let expected = body / 1024 * GROWTH.load(Ordering::Relaxed);
        let n_records = body / RECORD.load(Ordering::Relaxed).max(1);
        let builder = RecordPageBuilder::with_capacity(
            body.max(expected + expected / 32),
            n_records + n_records / 32,
        );
        Self {
            builder,
            most,
            is_cut: false,
        }
    }

    /// Whether there is room for the record that comes next. It is left out if not.
    pub(super) fn has_room(&mut self) -> bool {
        self.is_cut |= !self.builder.is_empty() && self.most <= self.builder.len();
        !self.is_cut
    }

    /// The records of a body of this length, and whether any were left out.
    pub(super) fn finish(self, body: usize) -> (Vec<Record>, bool) {
        let text = self.builder.len();
        let records = Record::of_page(self.builder.finish());
        if TELLING <= body && !records.is_empty() && !self.is_cut {
            GROWTH.store(text / (body / 1024), Ordering::Relaxed);
            RECORD.store(body / records.len(), Ordering::Relaxed);
        }
        (records, self.is_cut)
    }
}

/// Appends several pieces of text.
pub(super) fn push_all(text: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        text.extend_from_slice(piece);
    }
}
