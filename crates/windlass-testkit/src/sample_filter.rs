//! A filter, with events that match it and events that do not, for simulations and scripts in which
//! the content of an event does not matter.

use std::sync::Arc;

use bytes::Bytes;
use windlass_filter::{Criteria, EventFormat};

/// The start of every event that matches; white space follows.
const MATCHING: &[u8] = br#"{"w":1}"#;

/// Events up to this length share static memory: simulations have many of them.
const MAX_SHARED_LEN: usize = 4096;

static MATCHING_EVENT: [u8; MAX_SHARED_LEN] = {
    let mut event = [b' '; MAX_SHARED_LEN];
    let mut index = 0;
    while index < MATCHING.len() {
        event[index] = MATCHING[index];
        index += 1;
    }
    event
};

static OTHER_EVENT: [u8; MAX_SHARED_LEN] = [b'x'; MAX_SHARED_LEN];

/// The filter.
///
/// # Panics
/// Never: its pattern is valid.
pub fn criteria() -> Arc<Criteria> {
    let criteria = Criteria::compile(EventFormat::Json, &[r#"{"w":[1]}"#]);
    Arc::new(criteria.expect("the pattern is valid"))
}

/// An event of `len` bytes. Events of less than seven bytes never match.
pub fn event(len: usize, matching: bool) -> Bytes {
    let text = if matching && MATCHING.len() <= len {
        &MATCHING_EVENT
    } else {
        &OTHER_EVENT
    };
    let Some(rest) = len.checked_sub(MAX_SHARED_LEN) else {
        return Bytes::from_static(&text[..len]);
    };
    let last = text[MAX_SHARED_LEN - 1];
    Bytes::from([text.as_slice(), &vec![last; rest]].concat())
}

/// Whether an event matches, decided without the filter.
pub fn matches(event: &[u8]) -> bool {
    event.starts_with(MATCHING)
}
