//! What walks over an event have found of what the filters look for.
//!
//! A value outside of lists speaks for itself. Values within lists are noted with the elements they
//! are part of, since those that match one rule must not come from different elements of one list
//! (see [`super::elements`]).

use super::criteria::Criteria;
use super::elements::{ElementId, Elements};
use super::tree::NodeId;
use super::value::Leaf;

/// The condition is met by a value outside of lists.
const MET: u8 = 1;
/// The condition is met by a value within a list.
const MET_WITHIN: u8 = 2;
/// The condition may ask for absence, and there is a value outside of lists.
const PRESENT: u8 = 4;
/// The same within a list.
const PRESENT_WITHIN: u8 = 8;

/// The state of every condition and rule.
#[derive(Debug, Default)]
pub(super) struct Findings {
    conditions: Vec<u8>,
    /// For each rule, how many of its conditions have not been met outside of lists.
    missing: Vec<usize>,
    /// The rules that cannot hold any more.
    dead: Vec<bool>,
    n_alive: usize,
    /// Whether a rule holds whatever else comes.
    sure: bool,
    elements: Elements,
    /// What was seen, for an explanation; without it answers come as early as possible.
    seen: Option<Vec<Seen>>,
}

/// A value at a place that conditions are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) node: NodeId,
    pub(super) what: SeenValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SeenValue {
    Object,
    List,
    /// As people write it.
    Scalar(String),
}

impl Findings {
    /// Forgets everything.
    pub(super) fn begin(&mut self, criteria: &Criteria) {
        self.conditions.clear();
        self.conditions.resize(criteria.conditions.len(), 0);
        self.missing.clear();
        let n_conditions = criteria.rules.iter().map(Vec::len);
        self.missing.extend(n_conditions);
        self.dead.clear();
        self.dead.resize(criteria.rules.len(), false);
        self.n_alive = criteria.rules.len();
        self.sure = false;
        self.elements.clear();
        if let Some(seen) = &mut self.seen {
            seen.clear();
        }
    }

    /// Notes everything that is seen from here on.
    pub(super) fn observe(&mut self) {
        self.seen = Some(Vec::new());
    }

    /// Whether everything is noted, also what can change nothing.
    pub(super) const fn observes(&self) -> bool {
        self.seen.is_some()
    }

    /// The values at places that conditions are about, in the order of the texts.
    pub(super) fn seen(&self) -> &[Seen] {
        self.seen.as_deref().unwrap_or_default()
    }

    /// A value at a place of the tree. `direct`: no other value can have its path.
    pub(super) fn leaf(
        &mut self,
        criteria: &Criteria,
        node: NodeId,
        element: ElementId,
        leaf: Leaf<'_>,
        direct: bool,
    ) {
        for &condition in criteria.tree.conditions(node) {
            self.judge(criteria, condition, element, leaf, direct);
        }
        self.note(node, || SeenValue::Scalar(leaf.to_string()));
    }

    /// An object or list at a place of the tree.
    pub(super) fn container(&mut self, node: NodeId, object: bool) {
        let what = if object {
            SeenValue::Object
        } else {
            SeenValue::List
        };
        self.note(node, || what);
    }

    /// Judges a value by one condition.
    pub(super) fn judge(
        &mut self,
        criteria: &Criteria,
        number: usize,
        element: ElementId,
        leaf: Leaf<'_>,
        direct: bool,
    ) {
        let condition = &criteria.conditions[number];
        let met = condition.tests.iter().any(|test| test.passes(leaf));
        if element != ElementId::NONE {
            if met || condition.absent {
                self.elements.add(number, element, met);
            }
            self.conditions[number] |= if met { MET_WITHIN } else { 0 };
            self.conditions[number] |= PRESENT_WITHIN;
            return;
        }
        let before = self.conditions[number];
        self.conditions[number] |= if met { MET } else { 0 } | PRESENT;
        if met && before & MET == 0 {
            for &rule in &condition.rules {
                self.missing[rule] -= 1;
                self.sure |= self.missing[rule] == 0;
            }
        } else if !met && direct && self.seen.is_none() {
            for &rule in &condition.rules {
                self.kill(rule);
            }
        }
    }

    /// A rule cannot hold any more.
    pub(super) fn kill(&mut self, rule: usize) {
        let was_dead = std::mem::replace(&mut self.dead[rule], true);
        self.n_alive -= usize::from(!was_dead);
    }

    /// Whether some rule can still hold.
    pub(super) const fn any_alive(&self) -> bool {
        self.n_alive != 0
    }

    /// Whether some rule holds whatever else comes, if only the text is JSON.
    pub(super) const fn is_sure(&self) -> bool {
        self.sure && self.seen.is_none()
    }

    /// Whether nothing that comes can change the answer.
    pub(super) const fn is_decided(&self, trusted: bool) -> bool {
        self.n_alive == 0 || (trusted && self.is_sure())
    }

    /// Whether a condition is met by itself, whatever other conditions take.
    pub(super) fn is_met(&self, criteria: &Criteria, condition: usize) -> bool {
        let state = self.conditions[condition];
        let absent = criteria.conditions[condition].absent && state == 0;
        absent || state & (MET | MET_WITHIN) != 0
    }

    /// Whether a condition could be met: `false` is final once everything was seen.
    fn can_be_met(&self, criteria: &Criteria, condition: usize) -> bool {
        let state = self.conditions[condition];
        let absent = criteria.conditions[condition].absent && state & PRESENT == 0;
        absent || state & (MET | MET_WITHIN) != 0
    }

    /// Whether all these conditions of a rule could be met.
    pub(super) fn may_hold(
        &self,
        criteria: &Criteria,
        mut conditions: impl Iterator<Item = usize>,
    ) -> bool {
        conditions.all(|condition| self.can_be_met(criteria, condition))
    }

    /// Whether a rule holds, now that everything was seen.
    pub(super) fn holds(&mut self, criteria: &Criteria, rule: usize) -> bool {
        let conditions = criteria.rules[rule].as_slice();
        if self.dead[rule] || !self.may_hold(criteria, conditions.iter().copied()) {
            return false;
        }
        // Absence within lists depends on what the others take; so does more than one value there.
        let free = |&condition: &usize| {
            let state = self.conditions[condition];
            let absent = criteria.conditions[condition].absent;
            state & MET != 0 || (absent && state == 0)
        };
        let mut bound = conditions.iter().filter(|condition| !free(condition));
        match (bound.next(), bound.next()) {
            (None, _) => true,
            (Some(only), None) if !criteria.conditions[*only].absent => true,
            (Some(_), _) => {
                let states = &self.conditions;
                let describe = |condition: usize| super::elements::Wanted {
                    condition,
                    outside: states[condition] & MET != 0,
                    absent: criteria.conditions[condition].absent
                        && states[condition] & PRESENT == 0,
                };
                self.elements
                    .agree(conditions.iter().copied().map(describe))
            }
        }
    }

    /// A list in which something is looked for.
    pub(super) fn list(&mut self) -> u32 {
        self.elements.begin_list()
    }

    /// The end of such a list.
    pub(super) fn end_list(&mut self, list: u32) {
        self.elements.end_list(list);
    }

    /// An object or list that is an element of a list, itself part of `within`.
    pub(super) fn element(&mut self, list: u32, within: ElementId) -> ElementId {
        self.elements.begin(list, within)
    }

    fn note(&mut self, node: NodeId, what: impl FnOnce() -> SeenValue) {
        if let Some(seen) = &mut self.seen {
            let what = what();
            seen.push(Seen { node, what });
        }
    }
}
