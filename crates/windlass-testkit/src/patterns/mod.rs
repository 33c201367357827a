//! Generates pairs of a pattern and an event, each from a seed.
//!
//! An independent pattern and event hardly ever match. So the event is derived from the pattern:
//! first an event that should match, then with a few changes. About half of the pairs match, and most
//! of the others nearly do.

pub mod event_ruler_bugs;

mod corrupt;
mod events;
mod render;
mod rules;
mod values;

#[cfg(test)]
mod tests;

use self::values::Values;
use crate::naive_filter::json::Json;
use crate::rng::Rng;

/// A pattern and an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// As JSON.
    pub pattern: String,
    /// As JSON.
    pub event: String,
}

/// A case of any kind; in most of them neither the pattern nor the event is corrupted.
pub fn any_case(seed: u64) -> Case {
    match seed % 20 {
        0..=3 => corrupted_pattern(seed),
        4 => corrupted_event(seed),
        _ => case(seed),
    }
}

/// A valid pattern, and a valid event that may match it.
pub fn case(seed: u64) -> Case {
    let (pattern, event) = trees(&mut Rng::new(seed));
    let rng = &mut Rng::new(!seed);
    Case {
        pattern: render::text(rng, &pattern),
        event: render::text(rng, &event),
    }
}

/// A corrupted pattern, which may still be valid, and a valid event.
pub fn corrupted_pattern(seed: u64) -> Case {
    let (pattern, event) = trees(&mut Rng::new(seed));
    let rng = &mut Rng::new(!seed);
    Case {
        pattern: corrupt::pattern(rng, pattern),
        event: render::text(rng, &event),
    }
}

/// A valid pattern, and an event that is not a JSON object.
pub fn corrupted_event(seed: u64) -> Case {
    let (pattern, event) = trees(&mut Rng::new(seed));
    let rng = &mut Rng::new(!seed);
    Case {
        pattern: render::text(rng, &pattern),
        event: corrupt::event(rng, &event),
    }
}

fn trees(rng: &mut Rng) -> (Json, Json) {
    let values = Values::new(rng);
    let pattern = rules::pattern(rng, &values);
    let event = events::event_for(rng, &values, &pattern);
    (pattern, event)
}
