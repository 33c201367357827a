//! Generates events that match a pattern, or nearly do.

use super::values::Values;
use crate::naive_filter::json::Json;
use crate::rng::Rng;

pub(super) fn event_for(rng: &mut Rng, values: &Values, pattern: &Json) -> Json {
    let mut event = Json::Object(Vec::new());
    if let Json::Object(members) = pattern {
        satisfy(rng, values, members, &mut event);
    }
    let change = Change {
        values,
        // Many cases have a single kind of change, which makes a failure easier to understand.
        other_values: rng.pick(&[0, 0, 100, 300]),
        more_members: rng.pick(&[0, 0, 200]),
        arrays: rng.pick(if values.are_few() {
            &[500, 800]
        } else {
            &[0, 300, 500]
        }),
    };
    change.members(rng, &mut event);
    event
}

/// Adds values to the event that satisfy the members of a pattern, as far as they are compatible.
fn satisfy(rng: &mut Rng, values: &Values, members: &[(String, Json)], event: &mut Json) {
    for (name, value) in members {
        match value {
            Json::Array(branches) if name == "$or" => {
                let branch = &branches[rng.size(0, branches.len() - 1)];
                if let Json::Object(members) = branch {
                    satisfy(rng, values, members, event);
                }
            }
            Json::Array(tests) => {
                let test = &tests[rng.size(0, tests.len() - 1)];
                if let Some(value) = values.accepted(rng, test) {
                    put(rng, event, name, value);
                }
            }
            Json::Object(members) => {
                let mut inner = Json::Object(Vec::new());
                satisfy(rng, values, members, &mut inner);
                put(rng, event, name, inner);
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => {}
        }
    }
}

/// Adds a member. If the event has an object of this name, merges the objects.
fn put(rng: &mut Rng, event: &mut Json, name: &str, value: Json) {
    let Json::Object(members) = event else {
        return;
    };
    // A name with a dot is the same path as two names.
    if let Some((first, rest)) = name.split_once('.')
        && rng.per_mille(500)
    {
        let mut inner = Json::Object(Vec::new());
        put(rng, &mut inner, rest, value);
        return put(rng, event, first, inner);
    }
    match (members.iter_mut().find(|(other, _)| other == name), value) {
        (Some((_, old @ Json::Object(_))), Json::Object(new)) => {
            for (name, value) in new {
                put(rng, old, &name, value);
            }
        }
        (Some((_, old)), value) => *old = value,
        (None, value) => members.push((name.to_owned(), value)),
    }
}

/// Changes of an event, with their probabilities in per mille.
struct Change<'a> {
    values: &'a Values,
    other_values: u64,
    more_members: u64,
    arrays: u64,
}

impl Change<'_> {
    fn members(&self, rng: &mut Rng, object: &mut Json) {
        let Json::Object(members) = object else {
            return;
        };
        if rng.per_mille(self.more_members) {
            let name = self.values.name(rng);
            if members.iter().all(|(other, _)| other != name) {
                let index = rng.size(0, members.len());
                members.insert(index, (name.to_owned(), self.values.any(rng)));
            }
        }
        if rng.per_mille(self.other_values) && 1 < members.len() {
            members.remove(rng.size(0, members.len() - 1));
        }
        for (_, value) in members {
            self.value(rng, value);
        }
    }

    fn value(&self, rng: &mut Rng, value: &mut Json) {
        self.members(rng, value);
        if !matches!(value, Json::Object(_) | Json::Array(_)) && rng.per_mille(self.other_values) {
            *value = self.another(rng);
        }
        if rng.per_mille(self.arrays) {
            let mut elements = vec![value.clone()];
            if rng.per_mille(300) {
                self.vary(rng, &mut elements[0]);
            }
            for _ in 0..rng.size(0, 2) {
                let mut other = value.clone();
                self.vary(rng, &mut other);
                elements.insert(rng.size(0, elements.len()), other);
            }
            *value = Json::Array(elements);
            // An array in an array belongs to the same field.
            if rng.per_mille(200) {
                *value = Json::Array(vec![value.clone(), self.another(rng)]);
            }
        }
    }

    /// Turns a copy of an array element into a different element.
    fn vary(&self, rng: &mut Rng, value: &mut Json) {
        match value {
            Json::Object(members) => {
                if rng.per_mille(500) && !members.is_empty() {
                    members.remove(rng.size(0, members.len() - 1));
                }
                if self.values.are_few() {
                    let name = self.values.name(rng);
                    if members.iter().all(|(other, _)| other != name) {
                        members.push((name.to_owned(), self.values.any(rng)));
                    }
                }
                for (_, value) in members {
                    self.vary(rng, value);
                }
            }
            Json::Array(elements) => {
                for element in elements {
                    self.vary(rng, element);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => {
                if rng.per_mille(400) {
                    *value = self.another(rng);
                }
            }
        }
    }

    fn another(&self, rng: &mut Rng) -> Json {
        match rng.between(0, 19) {
            0 => Json::Array(Vec::new()),
            1 => Json::Object(Vec::new()),
            _ => self.values.any(rng),
        }
    }
}
