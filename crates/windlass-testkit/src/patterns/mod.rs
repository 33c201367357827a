//! Patterns and events for them, each pair from a seed.
//!
//! Drawn apart from each other, a pattern and an event hardly ever match. So the event is made from
//! the pattern: first one that should match, then changed here and there. About half of the pairs
//! match, and those that do not fail by little.

pub mod defects;

mod damage;
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
    /// The pattern, as JSON.
    pub pattern: String,
    /// The event, as JSON.
    pub event: String,
}

/// A case of any kind. In most of them the pattern and the event are whole.
pub fn any_case(seed: u64) -> Case {
    match seed % 20 {
        0..=3 => damaged_pattern(seed),
        4 => damaged_event(seed),
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

/// A pattern with something wrong in it, which it may survive, and an event that is whole.
pub fn damaged_pattern(seed: u64) -> Case {
    let (pattern, event) = trees(&mut Rng::new(seed));
    let rng = &mut Rng::new(!seed);
    Case {
        pattern: damage::pattern(rng, pattern),
        event: render::text(rng, &event),
    }
}

/// A valid pattern, and an event that is no JSON object.
pub fn damaged_event(seed: u64) -> Case {
    let (pattern, event) = trees(&mut Rng::new(seed));
    let rng = &mut Rng::new(!seed);
    Case {
        pattern: render::text(rng, &pattern),
        event: damage::event(rng, &event),
    }
}

fn trees(rng: &mut Rng) -> (Json, Json) {
    let values = Values::new(rng);
    let pattern = rules::pattern(rng, &values);
    let event = events::event_for(rng, &values, &pattern);
    (pattern, event)
}
