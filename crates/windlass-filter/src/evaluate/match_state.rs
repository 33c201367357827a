//! What the scans of an event have found so far about each condition and rule.
//!
//! A value outside arrays decides its conditions by itself. Values inside arrays are recorded with
//! the elements that contain them, because the values that satisfy one rule must not come from
//! different elements of one array (see [`super::array_consistency`]).

use super::array_consistency::{ArrayConsistency, ElementId, Requirement};
use crate::compiled::filters::CompiledFilters;
use crate::compiled::path_tree::NodeId;
use crate::json::leaf::Leaf;

// Flags of a condition.
/// Met by a value outside arrays.
const MET: u8 = 1;
/// Met by a value inside an array.
const MET_IN_ARRAY: u8 = 2;
/// There is a value outside arrays, so the field is not absent.
const PRESENT: u8 = 4;
/// There is a value inside an array.
const PRESENT_IN_ARRAY: u8 = 8;

/// The state of every condition and rule.
#[derive(Debug, Default)]
pub(super) struct MatchState {
    /// Flags of each condition.
    conditions: Vec<u8>,
    /// For each rule, the number of conditions that no value outside arrays has met.
    n_unmet: Vec<usize>,
    /// For each rule, whether it cannot hold any more.
    ruled_out: Vec<bool>,
    n_candidates: usize,
    /// Whether a rule holds, whatever the rest of the event contains.
    certain: bool,
    arrays: ArrayConsistency,
    /// Every value of a field with conditions, for an explanation. While values are recorded no
    /// decision is taken early.
    observations: Option<Vec<Observation>>,
}

/// A value of a field that conditions are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) node: NodeId,
    pub(super) value: ObservedValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ObservedValue {
    Object,
    Array,
    /// As JSON.
    Leaf(String),
}

impl MatchState {
    /// Prepares for the next event.
    pub(super) fn reset(&mut self, filters: &CompiledFilters) {
        self.conditions.clear();
        self.conditions.resize(filters.conditions.len(), 0);
        self.n_unmet.clear();
        let n_conditions = filters.rules.iter().map(Vec::len);
        self.n_unmet.extend(n_conditions);
        self.ruled_out.clear();
        self.ruled_out.resize(filters.rules.len(), false);
        self.n_candidates = filters.rules.len();
        self.certain = false;
        self.arrays.clear();
        if let Some(observations) = &mut self.observations {
            observations.clear();
        }
    }

    /// Records the values of all events from here on.
    pub(super) fn record_values(&mut self) {
        self.observations = Some(Vec::new());
    }

    pub(super) const fn is_recording(&self) -> bool {
        self.observations.is_some()
    }

    /// The recorded values, in the order of the event.
    pub(super) fn observations(&self) -> &[Observation] {
        self.observations.as_deref().unwrap_or_default()
    }

    /// A leaf of the event. `is_only`: no other value of the event can have the same path.
    pub(super) fn add_leaf(
        &mut self,
        filters: &CompiledFilters,
        node: NodeId,
        element: ElementId,
        leaf: Leaf<'_>,
        is_only: bool,
    ) {
        for &condition in filters.tree.conditions(node) {
            self.test_condition(filters, condition, element, leaf, is_only);
        }
        self.observe(node, || ObservedValue::Leaf(leaf.to_string()));
    }

    /// An object or array of the event.
    pub(super) fn add_container(&mut self, node: NodeId, is_object: bool) {
        let value = if is_object {
            ObservedValue::Object
        } else {
            ObservedValue::Array
        };
        self.observe(node, || value);
    }

    /// Tests a leaf with one condition; see [`MatchState::add_leaf`].
    pub(super) fn test_condition(
        &mut self,
        filters: &CompiledFilters,
        index: usize,
        element: ElementId,
        leaf: Leaf<'_>,
        is_only: bool,
    ) {
        let condition = &filters.conditions[index];
        let met = condition.tests.iter().any(|test| test.passes(leaf));
        if element != ElementId::NONE {
            if met || condition.allows_absent {
                self.arrays.add_value(index, element, met);
            }
            self.conditions[index] |= if met { MET_IN_ARRAY } else { 0 };
            self.conditions[index] |= PRESENT_IN_ARRAY;
            return;
        }
        let before = self.conditions[index];
        self.conditions[index] |= if met { MET } else { 0 } | PRESENT;
        if met && before & MET == 0 {
            for &rule in &condition.rules {
                self.n_unmet[rule] -= 1;
                self.certain |= self.n_unmet[rule] == 0;
            }
        } else if !met && is_only && !self.is_recording() {
            for &rule in &condition.rules {
                self.rule_out(rule);
            }
        }
    }

    /// Marks a rule as unable to hold.
    pub(super) fn rule_out(&mut self, rule: usize) {
        let before = std::mem::replace(&mut self.ruled_out[rule], true);
        self.n_candidates -= usize::from(!before);
    }

    /// Whether a rule can still hold.
    pub(super) const fn has_candidates(&self) -> bool {
        self.n_candidates != 0
    }

    /// Whether a rule holds whatever follows, provided that the text is valid JSON.
    pub(super) const fn is_match_certain(&self) -> bool {
        self.certain && !self.is_recording()
    }

    /// Whether nothing that follows can change the result. `trusted`: the text is known to be valid
    /// JSON.
    pub(super) const fn is_decided(&self, trusted: bool) -> bool {
        self.n_candidates == 0 || (trusted && self.is_match_certain())
    }

    /// Whether a condition is met on its own, regardless of the other conditions of its rules.
    pub(super) fn is_met(&self, filters: &CompiledFilters, condition: usize) -> bool {
        let flags = self.conditions[condition];
        let absent = filters.conditions[condition].allows_absent && flags == 0;
        absent || flags & (MET | MET_IN_ARRAY) != 0
    }

    /// Whether a condition may be met, depending on the other conditions of a rule. After the last
    /// value `false` is final.
    fn may_be_met(&self, filters: &CompiledFilters, condition: usize) -> bool {
        let flags = self.conditions[condition];
        let absent = filters.conditions[condition].allows_absent && flags & PRESENT == 0;
        absent || flags & (MET | MET_IN_ARRAY) != 0
    }

    /// Whether all these conditions of a rule may be met.
    pub(super) fn may_hold(
        &self,
        filters: &CompiledFilters,
        mut conditions: impl Iterator<Item = usize>,
    ) -> bool {
        conditions.all(|condition| self.may_be_met(filters, condition))
    }

    /// Whether a rule holds, after the last value of the event.
    pub(super) fn holds(&mut self, filters: &CompiledFilters, rule: usize) -> bool {
        let conditions = filters.rules[rule].as_slice();
        if self.ruled_out[rule] || !self.may_hold(filters, conditions.iter().copied()) {
            return false;
        }
        // Only values inside arrays depend on each other, and absence of a field inside arrays depends
        // on the elements chosen for other fields.
        let is_independent = |&condition: &usize| {
            let flags = self.conditions[condition];
            let allows_absent = filters.conditions[condition].allows_absent;
            flags & MET != 0 || (allows_absent && flags == 0)
        };
        let mut dependent = conditions.iter().filter(|it| !is_independent(it));
        match (dependent.next(), dependent.next()) {
            (None, _) => true,
            (Some(only), None) if !filters.conditions[*only].allows_absent => true,
            (Some(_), _) => {
                let flags = &self.conditions;
                let requirement = |condition: usize| Requirement {
                    condition,
                    met_outside: flags[condition] & MET != 0,
                    may_be_absent: filters.conditions[condition].allows_absent
                        && flags[condition] & PRESENT == 0,
                };
                let requirements = conditions.iter().copied().map(requirement);
                self.arrays.consistent(requirements)
            }
        }
    }

    /// Enters an array. Returns its number.
    pub(super) fn begin_array(&mut self) -> u32 {
        self.arrays.begin_array()
    }

    pub(super) fn end_array(&mut self, array: u32) {
        self.arrays.end_array(array);
    }

    /// An element of an array that is an object or array itself; `parent` contains the array.
    pub(super) fn begin_element(&mut self, array: u32, parent: ElementId) -> ElementId {
        self.arrays.begin_element(array, parent)
    }

    fn observe(&mut self, node: NodeId, value: impl FnOnce() -> ObservedValue) {
        if let Some(observations) = &mut self.observations {
            let value = value();
            observations.push(Observation { node, value });
        }
    }
}
