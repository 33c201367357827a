//! Which values may be taken together: of one list, one element.
//!
//! `[{"name": "Anna", "sold": 1}, {"name": "Jones", "sold": 9}]` has an Anna and has a nine, but no
//! Anna who sold nine. So each condition of a rule takes a value, in the order of their paths, and no
//! two may come from different elements of one list. A field is absent if none of its values goes
//! with what was taken before.
//!
//! <https://github.com/aws/event-ruler#and-and-or-relationship-among-fields-with-ruler>

use std::ops::Range;

/// How many values are tried for each that was found, before the rest is taken for granted. Only
/// names with dots in them that lead to many lists of one path ask for more.
const TRIES: usize = 64;

/// An object or list that is an element of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ElementId(u32);

impl ElementId {
    /// Part of no list.
    pub(super) const NONE: Self = Self(0);
}

/// The elements of an event, in the order of its text, and the values found in them.
#[derive(Debug, Default)]
pub(super) struct Elements {
    /// From the element with the number one.
    elements: Vec<Element>,
    lists: Vec<List>,
    values: Vec<Found>,
    /// What was chosen of which list, to be taken back.
    chosen: Vec<u32>,
    wanted: Vec<Wanted>,
    tries: usize,
}

#[derive(Clone, Copy, Debug)]
struct Element {
    list: u32,
    within: ElementId,
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    /// Behind its last element, and all that is in it.
    end: u32,
    /// Which element was chosen; zero: none.
    chosen: u32,
    /// The last condition that has a value in it.
    last: usize,
}

/// A value within a list.
#[derive(Clone, Copy, Debug)]
struct Found {
    condition: usize,
    element: ElementId,
    /// Whether it meets the condition, or only speaks against absence.
    met: bool,
}

/// A condition that has to be met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) condition: usize,
    /// Whether a value outside of lists meets it.
    pub(super) outside: bool,
    /// Whether it is met if no value goes with the others.
    pub(super) absent: bool,
}

impl Elements {
    pub(super) fn clear(&mut self) {
        self.elements.clear();
        self.lists.clear();
        self.values.clear();
    }

    pub(super) fn begin_list(&mut self) -> u32 {
        self.lists.push(List::default());
        u32::try_from(self.lists.len() - 1).expect("events are short")
    }

    pub(super) fn end_list(&mut self, list: u32) {
        self.lists[list as usize].end = self.next();
    }

    pub(super) fn begin(&mut self, list: u32, within: ElementId) -> ElementId {
        let id = ElementId(self.next());
        self.elements.push(Element { list, within });
        id
    }

    pub(super) fn add(&mut self, condition: usize, element: ElementId, met: bool) {
        self.values.push(Found {
            condition,
            element,
            met,
        });
    }

    /// Whether all conditions of a rule, in the order of their paths, can be met together.
    pub(super) fn agree(&mut self, wanted: impl Iterator<Item = Wanted>) -> bool {
        self.values
            .sort_unstable_by_key(|value| (value.condition, value.element));
        let mut all = std::mem::take(&mut self.wanted);
        all.clear();
        all.extend(wanted);
        for list in &mut self.lists {
            *list = List {
                end: list.end,
                ..List::default()
            };
        }
        for (place, wanted) in all.iter().enumerate() {
            for value in self.values_of(wanted.condition) {
                let mut element = self.values[value].element;
                while let Some(Element { list, within }) = self.get(element) {
                    self.lists[list as usize].last = place;
                    element = within;
                }
            }
        }
        self.chosen.clear();
        self.tries = TRIES * (self.values.len() + TRIES);
        let agree = self.meet(&all, 0);
        self.wanted = all;
        agree
    }

    /// Whether the conditions from a place on can be met with what is chosen.
    fn meet(&mut self, all: &[Wanted], place: usize) -> bool {
        let Some(wanted) = all.get(place) else {
            return true;
        };
        if wanted.outside && self.meet(all, place + 1) {
            return true;
        }
        let values = self.values_of(wanted.condition);
        let (mut at, mut absent, mut tried) = (values.start, wanted.absent, None);
        while at < values.end {
            let Found { element, met, .. } = self.values[at];
            if let Some(behind) = self.conflict(element) {
                at += self.values[at..values.end].partition_point(|it| it.element.0 < behind);
                continue;
            }
            at += 1;
            absent = false;
            let bound = self.bound(element, place);
            if !met || tried == Some(bound) {
                continue;
            }
            if self.tries == 0 {
                return true;
            }
            self.tries -= 1;
            let n_chosen = self.chosen.len();
            self.choose(element);
            if self.meet(all, place + 1) {
                return true;
            }
            self.take_back(n_chosen);
            // Whatever else of the same elements is taken, those behind will fail in the same way.
            tried = Some(bound);
        }
        absent && self.meet(all, place + 1)
    }

    /// If an element does not go with what is chosen: where the next that may begins.
    fn conflict(&self, element: ElementId) -> Option<u32> {
        let mut of = element;
        while let Some(Element { list, within }) = self.get(of) {
            let List { chosen, end, .. } = self.lists[list as usize];
            if chosen != 0 && chosen != of.0 {
                return Some(if element.0 < chosen { chosen } else { end });
            }
            of = within;
        }
        None
    }

    /// The innermost element around a value that matters to conditions behind a place.
    fn bound(&self, element: ElementId, place: usize) -> ElementId {
        let mut of = element;
        while let Some(Element { list, within }) = self.get(of) {
            if place < self.lists[list as usize].last {
                break;
            }
            of = within;
        }
        of
    }

    fn choose(&mut self, element: ElementId) {
        let mut of = element;
        while let Some(Element { list, within }) = self.get(of) {
            let chosen = &mut self.lists[list as usize].chosen;
            if *chosen == 0 {
                *chosen = of.0;
                self.chosen.push(list);
            }
            of = within;
        }
    }

    fn take_back(&mut self, n_chosen: usize) {
        for list in self.chosen.drain(n_chosen..) {
            self.lists[list as usize].chosen = 0;
        }
    }

    /// The values of a condition, in the order of the text.
    fn values_of(&self, condition: usize) -> Range<usize> {
        let behind = |next: usize| self.values.partition_point(|it| it.condition < next);
        behind(condition)..behind(condition + 1)
    }

    fn get(&self, id: ElementId) -> Option<Element> {
        let index = (id.0 as usize).checked_sub(1)?;
        Some(self.elements[index])
    }

    /// The number of the next element.
    fn next(&self) -> u32 {
        u32::try_from(self.elements.len() + 1).expect("events are short")
    }
}
