//! Turns an event into a list of leaves.

use std::collections::BTreeMap;

use super::json::Json;

/// A value of an event that is neither an object nor an array.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// The names that lead to it, joined by dots.
    pub(super) path: String,
    pub(super) value: Json,
    pub(super) memberships: Memberships,
}

/// Array number → index of the element that contains a leaf, for each array around it.
///
/// Only elements that are objects or arrays are recorded: others have no more than one leaf.
#[derive(Clone, Debug, Default)]
pub(super) struct Memberships(BTreeMap<usize, usize>);

impl Memberships {
    /// Whether the two are not in different elements of one array.
    pub(super) fn is_compatible_with(&self, other: &Self) -> bool {
        let mut ours = self.0.iter();
        ours.all(|(array, index)| other.0.get(array).is_none_or(|theirs| theirs == index))
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.0.extend(&other.0);
        both
    }
}

/// The leaves of an event; `None` if it is not an object.
pub(super) fn leaves_of(event: &Json) -> Option<Vec<Leaf>> {
    let Json::Object(members) = event else {
        return None;
    };
    let mut collector = Collector::default();
    collector.members(&[], members, &Memberships::default());
    Some(collector.leaves)
}

#[derive(Default)]
struct Collector {
    n_arrays: usize,
    leaves: Vec<Leaf>,
}

impl Collector {
    /// Of duplicate members the first counts.
    fn members(&mut self, names: &[&str], members: &[(String, Json)], inside: &Memberships) {
        for (index, (name, value)) in members.iter().enumerate() {
            if members[..index].iter().any(|(earlier, _)| earlier == name) {
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
