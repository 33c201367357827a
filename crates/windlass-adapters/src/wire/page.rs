//! How large the page that an answer becomes will be.

use std::sync::atomic::{AtomicUsize, Ordering};

use windlass_core::rendering::{Record, Rendering};

/// How many bytes 1,024 bytes of an answer became the last time, whoever it was for. It is nothing
/// but a guess that is right for as long as records are alike: then a page fits as it is, and need
/// not be copied.
static GROWTH: AtomicUsize = AtomicUsize::new(2 * 1024);

/// How many bytes of an answer were one record, as a guess of the same kind.
static RECORD: AtomicUsize = AtomicUsize::new(1024);

/// An answer of fewer bytes says little of others: most of it may be names.
const TELLING: usize = 64 * 1024;

/// Room for what a body of this length becomes.
pub(super) fn begin(body: usize) -> Rendering {
    let expected = body / 1024 * GROWTH.load(Ordering::Relaxed);
    let n_records = body / RECORD.load(Ordering::Relaxed).max(1);
    Rendering::with_capacity(
        body.max(expected + expected / 32),
        n_records + n_records / 32,
    )
}

/// The records of a body of this length, or those that there was room for.
pub(super) fn finish(body: usize, page: Rendering, is_cut: bool) -> Vec<Record> {
    let text = page.len();
    let records = page.finish();
    if TELLING <= body && !records.is_empty() && !is_cut {
        GROWTH.store(text / (body / 1024), Ordering::Relaxed);
        RECORD.store(body / records.len(), Ordering::Relaxed);
    }
    records
}

/// Appends several pieces of text.
pub(super) fn push_all(text: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        text.extend_from_slice(piece);
    }
}
