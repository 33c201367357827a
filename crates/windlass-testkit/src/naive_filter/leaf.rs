//! An event as a list of leaves.

use std::collections::BTreeMap;

use super::json::Json;

/// A value of an event that is neither an object nor an array.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// The names that lead to it, with dots between them.
    pub(super) path: String,
    pub(super) value: Json,
    pub(super) memberships: Memberships,
}

/// In which element of which arrays something lies.
///
/// Only an element that is an object or an array itself can hold more than one leaf, so only those
/// count.
#[derive(Clone, Debug, Default)]
pub(super) struct Memberships(BTreeMap<usize, usize>);

impl Memberships {
    /// Whether no array holds the two in different elements.
    pub(super) fn agree_with(&self, other: &Self) -> bool {
        let mut ours = self.0.iter();
        ours.all(|(array, index)| other.0.get(array).is_none_or(|theirs| theirs == index))
    }

    /// Both together.
    pub(super) fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.0.extend(&other.0);
        both
    }
}

/// The leaves of an event, or nothing if it is no object.
pub(super) fn leaves_of(event: &Json) -> Option<Vec<Leaf>> {
    let Json::Object(members) = event else {
        return None;
    };
    let mut walk = Walk::default();
    walk.members(&[], members, &Memberships::default());
    Some(walk.leaves)
}

#[derive(Default)]
struct Walk {
    n_arrays: usize,
    leaves: Vec<Leaf>,
}

impl Walk {
    /// Of members with the same name the first counts.
    fn members(&mut self, names: &[&str], members: &[(String, Json)], inside: &Memberships) {
        for (place, (name, value)) in members.iter().enumerate() {
            if members[..place].iter().any(|(earlier, _)| earlier == name) {
                continue;
            }
            let names = [names, &[name.as_str()]].concat();
            self.value(&names, value, inside);
        }
    }

    fn value(&mut self, names: &[&str], value: &Json, inside: &Memberships) {
        match value {
            Json::Object(members) => self.members(names, members, inside),
            Json::Array(elements) => self.elements(names, elements, inside),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => {
                self.leaves.push(Leaf {
                    path: names.join("."),
                    value: value.clone(),
                    memberships: inside.clone(),
                });
            }
        }
    }

    fn elements(&mut self, names: &[&str], elements: &[Json], inside: &Memberships) {
        let array = self.n_arrays;
        self.n_arrays += 1;
        for (index, element) in elements.iter().enumerate() {
            let mut inside = inside.clone();
            if matches!(element, Json::Object(_) | Json::Array(_)) {
                inside.0.insert(array, index);
            }
            self.value(names, element, &inside);
        }
    }
}
