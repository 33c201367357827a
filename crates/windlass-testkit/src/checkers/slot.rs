//! The invariants S1 to S5 of a [`SlotArbiter`]; [`windlass_core::slots`] states them.
//!
//! `room` and `view` compare what the arbiter says of itself with the model.

use std::collections::BTreeMap;

use windlass_core::slots::{FunctionKey, MappingKey, SlotArbiter, SlotId, SlotLimit};

use super::{BrokenInvariant, ensure};

type Checked = Result<(), BrokenInvariant>;

/// Checks one arbiter: told every call before it, and every grant after it.
#[derive(Debug)]
pub struct SlotChecker {
    limit: usize,
    functions: BTreeMap<FunctionKey, Option<usize>>,
    mappings: BTreeMap<MappingKey, Mapping>,
    /// How many slots the second got while the first could have had one.
    passed_mappings: BTreeMap<(MappingKey, MappingKey), u32>,
    passed_functions: BTreeMap<(FunctionKey, FunctionKey), u32>,
}

#[derive(Debug)]
struct Mapping {
    function: FunctionKey,
    limit: Option<usize>,
    waiting: Vec<SlotId>,
    granted: Vec<SlotId>,
}

impl SlotChecker {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            functions: BTreeMap::new(),
            mappings: BTreeMap::new(),
            passed_mappings: BTreeMap::new(),
            passed_functions: BTreeMap::new(),
        }
    }

    pub fn set_function(&mut self, function: FunctionKey, limit: Option<usize>) {
        self.functions.insert(function, limit);
        self.forget_lost_turns();
    }

    pub fn set_mapping(&mut self, key: MappingKey, function: FunctionKey, limit: Option<usize>) {
        let mapping = self.mappings.entry(key).or_insert_with(|| Mapping {
            function,
            limit,
            waiting: Vec::new(),
            granted: Vec::new(),
        });
        mapping.limit = limit;
        self.forget_lost_turns();
    }

    pub fn remove_mapping(&mut self, key: MappingKey) {
        self.mappings.remove(&key);
    }

    pub fn requested(&mut self, key: MappingKey, id: SlotId) {
        let mapping = self.mappings.get_mut(&key).expect("the mapping was added");
        mapping.waiting.push(id);
    }

    /// A request ends before its grant is taken. It was granted at once if it could have a slot, and
    /// has used the turn of its mapping.
    ///
    /// # Errors
    /// The grant breaks an invariant.
    pub fn grant_is_not_taken(&mut self, key: MappingKey, id: SlotId) -> Checked {
        if self.is_eligible(key) {
            self.granted(id)?;
        }
        Ok(())
    }

    pub fn ended(&mut self, id: SlotId) {
        for mapping in self.mappings.values_mut() {
            mapping.waiting.retain(|it| *it != id);
            mapping.granted.retain(|it| *it != id);
        }
        self.forget_lost_turns();
    }

    /// # Errors
    /// The grant breaks an invariant.
    pub fn granted(&mut self, id: SlotId) -> Checked {
        let mut mappings = self.mappings.iter();
        let granted = mappings.find(|(_, mapping)| mapping.waiting.contains(&id));
        let Some((&key, mapping)) = granted else {
            let detail = format!("{id:?} is granted and does not wait");
            return Err(BrokenInvariant::new("S4", detail));
        };
        let function = mapping.function;
        ensure(mapping.waiting.first() == Some(&id), "S3", || {
            format!("{id:?} is granted before {:?}", mapping.waiting)
        })?;
        ensure(self.is_within_limits(key), "S1", || {
            format!("{id:?} of {key:?} exceeds a limit")
        })?;
        ensure(self.leaves_enough(mapping.granted.len(), 0), "S5", || {
            format!("{key:?} takes too much with {id:?}")
        })?;
        self.count_passed(key, function)?;
        let mapping = self.mappings.get_mut(&key).expect("it was just found");
        mapping.waiting.retain(|it| *it != id);
        mapping.granted.push(id);
        self.forget_lost_turns();
        Ok(())
    }

    /// All grants were taken.
    ///
    /// # Errors
    /// A slot is free that is waited for, or the arbiter shows another state than the model.
    pub fn settled(&self, arbiter: &SlotArbiter) -> Checked {
        let eligible = self.mappings.keys().find(|key| self.is_eligible(**key));
        ensure(eligible.is_none(), "S2", || {
            format!("{eligible:?} waits and could have a slot: {self:?}")
        })?;
        ensure(arbiter.used() == self.used(), "view", || {
            format!("{} slots in use instead of {}", arbiter.used(), self.used())
        })?;
        for (key, mapping) in &self.mappings {
            let (room, expected) = (arbiter.room(*key), self.room(*key));
            ensure(room == expected, "room", || {
                format!("{key:?} has room for {room} instead of {expected}")
            })?;
            let reached = arbiter.limit_reached(*key);
            let expected = self.limit_reached(*key);
            let waits = !mapping.waiting.is_empty();
            ensure(!waits || reached == expected, "view", || {
                format!("{key:?} waits for {reached:?} instead of {expected:?}")
            })?;
        }
        Ok(())
    }

    pub fn waiting(&self) -> Vec<SlotId> {
        let all = self.mappings.values();
        all.flat_map(|it| it.waiting.iter().copied()).collect()
    }

    /// The requests that were granted, with their mappings.
    pub fn in_use(&self) -> Vec<(MappingKey, SlotId)> {
        let all = self.mappings.iter();
        all.flat_map(|(key, it)| it.granted.iter().map(|id| (*key, *id)))
            .collect()
    }

    pub fn requests_of(&self, key: MappingKey) -> Vec<SlotId> {
        let mapping = &self.mappings[&key];
        [mapping.granted.clone(), mapping.waiting.clone()].concat()
    }

    /// Counts those whose turn it was as well.
    fn count_passed(&mut self, key: MappingKey, function: FunctionKey) -> Checked {
        let eligible = self.mappings.iter().filter(|it| self.is_eligible(*it.0));
        let eligible: Vec<_> = eligible.map(|(key, it)| (*key, it.function)).collect();
        for (other, of) in &eligible {
            if *other != key && *of == function {
                let passed = self.passed_mappings.entry((*other, key)).or_default();
                *passed += 1;
                ensure(*passed <= 1, "S3", || {
                    format!("{key:?} passes {other:?} twice")
                })?;
            }
        }
        let mut functions: Vec<_> = eligible.iter().map(|(_, function)| *function).collect();
        functions.sort();
        functions.dedup();
        for other in functions.into_iter().filter(|it| *it != function) {
            let passed = self.passed_functions.entry((other, function)).or_default();
            *passed += 1;
            ensure(*passed <= 1, "S3", || {
                format!("{function:?} passes {other:?} twice")
            })?;
        }
        self.passed_mappings.retain(|(it, _), _| *it != key);
        self.passed_functions.retain(|(it, _), _| *it != function);
        Ok(())
    }

    /// A mapping or function that could not have a slot of its own function or mapping loses its turn.
    fn forget_lost_turns(&mut self) {
        let takes_turns = |key: &MappingKey| {
            let mapping = self.mappings.get(key);
            mapping.is_some_and(|it| !it.waiting.is_empty() && below(it.limit, it.granted.len()))
        };
        let functions = self.functions.iter().filter(|(function, limit)| {
            let mut mappings = self.mappings.iter();
            let any = mappings.any(|(key, it)| it.function == **function && takes_turns(key));
            any && below(**limit, self.used_by(**function))
        });
        let functions: Vec<_> = functions.map(|(function, _)| *function).collect();
        self.passed_functions
            .retain(|(it, _), _| functions.contains(it));
        let mappings: Vec<_> = self.mappings.keys().copied().filter(takes_turns).collect();
        self.passed_mappings
            .retain(|(it, _), _| mappings.contains(it));
    }

    fn is_eligible(&self, key: MappingKey) -> bool {
        let mapping = &self.mappings[&key];
        let waits = !mapping.waiting.is_empty();
        waits && self.is_within_limits(key) && self.leaves_enough(mapping.granted.len(), 0)
    }

    fn is_within_limits(&self, key: MappingKey) -> bool {
        self.room_of_limits(key) != 0
    }

    /// How many slots the limits leave, without the rule that leaves some to others.
    fn room_of_limits(&self, key: MappingKey) -> usize {
        let mapping = &self.mappings[&key];
        let of = |limit: Option<usize>, used| limit.unwrap_or(usize::MAX).saturating_sub(used);
        let function = self.functions[&mapping.function];
        let rooms = [
            self.limit - self.used(),
            of(function, self.used_by(mapping.function)),
            of(mapping.limit, mapping.granted.len()),
        ];
        rooms.into_iter().min().unwrap_or_default()
    }

    fn room(&self, key: MappingKey) -> usize {
        let granted = self.mappings[&key].granted.len();
        let more = 0..self.room_of_limits(key);
        more.take_while(|more| self.leaves_enough(granted, *more))
            .count()
    }

    /// Whether a mapping that has `granted` slots and takes `more` may take another one.
    fn leaves_enough(&self, granted: usize, more: usize) -> bool {
        let granted = granted + more + 1;
        let used = self.used() + more + 1;
        let common = self.limit * 9 / 10;
        let left = common.checked_sub(used);
        granted == 1 || left.is_some_and(|left| granted <= (self.limit / 100).max(left * 8).max(1))
    }

    fn limit_reached(&self, key: MappingKey) -> SlotLimit {
        let mapping = &self.mappings[&key];
        if !below(mapping.limit, mapping.granted.len()) {
            return SlotLimit::Mapping;
        }
        let function = mapping.function;
        if below(self.functions[&function], self.used_by(function)) {
            SlotLimit::Daemon
        } else {
            SlotLimit::Function
        }
    }

    fn used(&self) -> usize {
        self.mappings.values().map(|it| it.granted.len()).sum()
    }

    fn used_by(&self, function: FunctionKey) -> usize {
        let mappings = self.mappings.values();
        let of_function = mappings.filter(|it| it.function == function);
        of_function.map(|it| it.granted.len()).sum()
    }
}

fn below(limit: Option<usize>, used: usize) -> bool {
    limit.is_none_or(|limit| used < limit)
}
