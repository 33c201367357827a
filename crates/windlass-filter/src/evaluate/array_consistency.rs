//! Array consistency: the values that satisfy one rule must not come from different elements of one
//! array.
//!
//! `[{"name": "Anna", "sold": 1}, {"name": "Jones", "sold": 9}]` contains an Anna and a nine, but no
//! Anna who sold nine. So a value is assigned to each condition of a rule, in the order of their
//! paths, and no two of them may lie in different elements of one array. A field is absent if all its
//! values conflict with the values assigned so far.
//!
//! <https://github.com/aws/event-ruler#and-and-or-relationship-among-fields-with-ruler>

use std::ops::Range;

/// Bounds the search: at most this number of assignments for each value found, plus its square.
/// Beyond that the values count as consistent. Only names with dots that lead to many arrays of one
/// path need more.
const MAX_TRIES_PER_VALUE: usize = 64;

/// An object or array that is an element of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ElementId(u32);

impl ElementId {
    /// Outside all arrays.
    pub(super) const NONE: Self = Self(0);
}

/// The array elements of an event, in the order of its text, and the values found in them.
#[derive(Debug, Default)]
pub(super) struct ArrayConsistency {
    /// [`ElementId`] one is the first.
    elements: Vec<Element>,
    arrays: Vec<Array>,
    values: Vec<Value>,
    /// The arrays with a chosen element, in the order of the choices.
    chosen: Vec<u32>,
    requirements: Vec<Requirement>,
    tries_left: usize,
}

#[derive(Clone, Copy, Debug)]
struct Element {
    array: u32,
    parent: ElementId,
}

#[derive(Clone, Copy, Debug, Default)]
struct Array {
    /// First element number after its last element and everything in it.
    end: u32,
    /// The chosen element; zero if there is none.
    chosen: u32,
    /// Index of the last requirement that has a value in it.
    last: usize,
}

/// A value inside an array.
#[derive(Clone, Copy, Debug)]
struct Value {
    condition: usize,
    element: ElementId,
    /// Whether it meets the condition; if not, it only prevents absence.
    met: bool,
}

/// A condition of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requirement {
    pub(super) condition: usize,
    /// Whether a value outside arrays meets it.
    pub(super) met_outside: bool,
    /// Whether it is met if all its values conflict with the values assigned so far.
    pub(super) may_be_absent: bool,
}

impl ArrayConsistency {
    pub(super) fn clear(&mut self) {
        self.elements.clear();
        self.arrays.clear();
        self.values.clear();
    }

    pub(super) fn begin_array(&mut self) -> u32 {
        self.arrays.push(Array::default());
        u32::try_from(self.arrays.len() - 1).expect("an event has less than 4 billion arrays")
    }

    pub(super) fn end_array(&mut self, array: u32) {
        self.arrays[array as usize].end = self.next_element();
    }

    pub(super) fn begin_element(&mut self, array: u32, parent: ElementId) -> ElementId {
        let id = ElementId(self.next_element());
        self.elements.push(Element { array, parent });
        id
    }

    pub(super) fn add_value(&mut self, condition: usize, element: ElementId, met: bool) {
        self.values.push(Value {
            condition,
            element,
            met,
        });
    }

    /// Whether all conditions of a rule, in the order of their paths, can be met together.
    pub(super) fn consistent(&mut self, requirements: impl Iterator<Item = Requirement>) -> bool {
        self.values
            .sort_unstable_by_key(|value| (value.condition, value.element));
        let mut all = std::mem::take(&mut self.requirements);
        all.clear();
        all.extend(requirements);
        for array in &mut self.arrays {
            *array = Array {
                end: array.end,
                ..Array::default()
            };
        }
        for (index, requirement) in all.iter().enumerate() {
            for value in self.values_of(requirement.condition) {
                let mut element = self.values[value].element;
                while let Some(Element { array, parent }) = self.get(element) {
                    self.arrays[array as usize].last = index;
                    element = parent;
                }
            }
        }
        self.chosen.clear();
        self.tries_left = MAX_TRIES_PER_VALUE * (self.values.len() + MAX_TRIES_PER_VALUE);
        let consistent = self.assign(&all, 0);
        self.requirements = all;
        consistent
    }

    /// Whether values can be assigned to the requirements from `index` on, given the chosen elements.
    fn assign(&mut self, all: &[Requirement], index: usize) -> bool {
        let Some(requirement) = all.get(index) else {
            return true;
        };
        if requirement.met_outside && self.assign(all, index + 1) {
            return true;
        }
        let values = self.values_of(requirement.condition);
        let (mut next, mut absent, mut failed) = (values.start, requirement.may_be_absent, None);
        while next < values.end {
            let Value { element, met, .. } = self.values[next];
            if let Some(resume) = self.conflict(element) {
                next += self.values[next..values.end].partition_point(|it| it.element.0 < resume);
                continue;
            }
            next += 1;
            absent = false;
            let scope = self.scope(element, index);
            if !met || failed == Some(scope) {
                continue;
            }
            if self.tries_left == 0 {
                return true;
            }
            self.tries_left -= 1;
            let n_chosen = self.chosen.len();
            self.choose(element);
            if self.assign(all, index + 1) {
                return true;
            }
            self.backtrack(n_chosen);
            // Another value in the same scope restricts later requirements in the same way.
            failed = Some(scope);
        }
        absent && self.assign(all, index + 1)
    }

    /// If an element conflicts with a chosen one, the first element number that may not.
    fn conflict(&self, element: ElementId) -> Option<u32> {
        let mut ancestor = element;
        while let Some(Element { array, parent }) = self.get(ancestor) {
            let Array { chosen, end, .. } = self.arrays[array as usize];
            if chosen != 0 && chosen != ancestor.0 {
                return Some(if element.0 < chosen { chosen } else { end });
            }
            ancestor = parent;
        }
        None
    }

    /// The innermost element around a value whose array has values of requirements after `index`.
    fn scope(&self, element: ElementId, index: usize) -> ElementId {
        let mut ancestor = element;
        while let Some(Element { array, parent }) = self.get(ancestor) {
            if index < self.arrays[array as usize].last {
                break;
            }
            ancestor = parent;
        }
        ancestor
    }

    /// Chooses an element and the elements around it.
    fn choose(&mut self, element: ElementId) {
        let mut ancestor = element;
        while let Some(Element { array, parent }) = self.get(ancestor) {
            let chosen = &mut self.arrays[array as usize].chosen;
            if *chosen == 0 {
                *chosen = ancestor.0;
                self.chosen.push(array);
            }
            ancestor = parent;
        }
    }

    /// Undoes all choices except the first `n_chosen`.
    fn backtrack(&mut self, n_chosen: usize) {
        for array in self.chosen.drain(n_chosen..) {
            self.arrays[array as usize].chosen = 0;
        }
    }

    /// Indices of the values of a condition, in the order of the text.
    fn values_of(&self, condition: usize) -> Range<usize> {
        let start = |condition: usize| self.values.partition_point(|it| it.condition < condition);
        start(condition)..start(condition + 1)
    }

    fn get(&self, id: ElementId) -> Option<Element> {
        let index = (id.0 as usize).checked_sub(1)?;
        Some(self.elements[index])
    }

    fn next_element(&self) -> u32 {
        u32::try_from(self.elements.len() + 1).expect("an event has less than 4 billion elements")
    }
}
