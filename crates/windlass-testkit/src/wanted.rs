//! Events that a certain filter lets through, and events that it does not: for worlds and scripts,
//! in which what an event says is of no account.

use std::sync::Arc;

use bytes::Bytes;
use windlass_filter::{Criteria, View};

/// The start of every event that is wanted; white space follows.
const WANTED: &[u8] = br#"{"w":1}"#;

/// Events up to this length take no memory of their own: worlds have a great many.
const SHARED: usize = 4096;

static WANTED_EVENT: [u8; SHARED] = {
    let mut event = [b' '; SHARED];
    let mut at = 0;
    while at < WANTED.len() {
        event[at] = WANTED[at];
        at += 1;
    }
    event
};

static OTHER_EVENT: [u8; SHARED] = [b'x'; SHARED];

/// The filter that lets through what is wanted.
///
/// # Panics
/// Never: its pattern is valid.
pub fn filter() -> Arc<Criteria> {
    let criteria = Criteria::compile(View::Whole, &[r#"{"w":[1]}"#]);
    Arc::new(criteria.expect("the pattern is valid"))
}

/// An event of `len` bytes. One of fewer than seven is never wanted.
pub fn event(len: usize, wanted: bool) -> Bytes {
    let text = if wanted && WANTED.len() <= len {
        &WANTED_EVENT
    } else {
        &OTHER_EVENT
    };
    let Some(rest) = len.checked_sub(SHARED) else {
        return Bytes::from_static(&text[..len]);
    };
    let last = text[SHARED - 1];
    Bytes::from([text.as_slice(), &vec![last; rest]].concat())
}

/// Whether an event is wanted, told without the filter.
pub fn is_wanted(event: &[u8]) -> bool {
    event.starts_with(WANTED)
}
