//! Which consumer may begin the next invocation: [`SlotArbiter`].
//!
//! An invocation takes one *slot*: of the daemon, of its function and of its mapping. Each of them may
//! have a limit. A consumer requests a slot when it has a batch, begins the invocation when the
//! request is granted, and ends the request when the invocation has ended or the batch is gone.
//!
//! ```text
//!            request                granted
//!  consumer ─────────▶ waits ───────────────────▶ has a slot ──▶ ended
//!                        │    turn of function,                    ▲
//!                        │    mapping and request                  │
//!                        └─────────────────ended───────────────────┘
//! ```
//!
//! # Invariants
//!
//! Checked from outside in every simulation.
//!
//! | | |
//! |---|---|
//! | S1 | No limit is ever exceeded. Of a limit that is lowered below what is in use nothing is granted until enough has ended. |
//! | S2 | No slot is free while there is a request that may have it. |
//! | S3 | Functions get slots in turn, and so do the mappings of a function: while one could have a slot, every other gets at most one before it. The requests of a mapping are granted in their order. |
//! | S4 | A request that has ended is gone at once: it is never granted, and its slot is free. |
//! | S5 | No mapping takes all slots of the daemon, since a function that hangs may never give its own back. The rule is at `SlotArbiter::daemon_room`. |

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The part of the daemon's slots that mappings share freely; the rest is for mappings that have
/// none. Invocations end soon, so little is kept for others.
const COMMON: (usize, usize) = (9, 10);

/// A mapping may have this part of the daemon's slots, whatever others have.
const SHARE_OF: usize = 100;

/// Above its share, a mapping may have this many times as much as remains free.
const WEIGHT: usize = 8;

/// Identifies a function of one arbiter. The caller assigns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FunctionKey(pub u64);

/// Identifies a mapping of one arbiter. The caller assigns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MappingKey(pub u64);

/// Identifies a request, and the slot that it is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotId(pub u64);

/// A limit of concurrent invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotLimit {
    Daemon,
    Function,
    Mapping,
}

/// Grants the slots of one daemon.
///
/// After each call, take grants until [`SlotArbiter::poll_grant`] returns `None`.
#[derive(Debug)]
pub struct SlotArbiter {
    limit: usize,
    used: usize,
    functions: BTreeMap<FunctionKey, FunctionSlots>,
    mappings: BTreeMap<MappingKey, MappingSlots>,
    requests: BTreeMap<SlotId, Request>,
    /// The functions that could have a slot of the daemon; the next one is first.
    turns: VecDeque<FunctionKey>,
    grants: VecDeque<SlotId>,
    last_id: u64,
}

#[derive(Debug, Default)]
struct FunctionSlots {
    /// `None`: no limit.
    limit: Option<usize>,
    used: usize,
    /// The mappings that could have a slot of the function; the next one is first.
    turns: VecDeque<MappingKey>,
}

#[derive(Debug)]
struct MappingSlots {
    function: FunctionKey,
    /// `None`: no limit.
    limit: Option<usize>,
    used: usize,
    /// In the order of the requests.
    waiting: BTreeSet<SlotId>,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    mapping: MappingKey,
    is_granted: bool,
}

impl SlotArbiter {
    /// `limit`: concurrent invocations of the daemon, at least 1.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            used: 0,
            functions: BTreeMap::new(),
            mappings: BTreeMap::new(),
            requests: BTreeMap::new(),
            turns: VecDeque::new(),
            grants: VecDeque::new(),
            last_id: 0,
        }
    }

    /// Adds a function, or changes its limit.
    pub fn set_function(&mut self, function: FunctionKey, limit: Option<usize>) {
        self.functions.entry(function).or_default().limit = limit;
        self.update_function_turn(function);
        self.grant_all();
    }

    /// Adds a mapping of a function that was added, or changes its limit.
    pub fn set_mapping(
        &mut self,
        mapping: MappingKey,
        function: FunctionKey,
        limit: Option<usize>,
    ) {
        let slots = self.mappings.entry(mapping).or_insert(MappingSlots {
            function,
            limit,
            used: 0,
            waiting: BTreeSet::new(),
        });
        assert_eq!(slots.function, function, "a mapping keeps its function");
        slots.limit = limit;
        self.update_turns(mapping);
        self.grant_all();
    }

    /// Removes a mapping that has no requests.
    pub fn remove_mapping(&mut self, mapping: MappingKey) {
        let removed = self.mappings.remove(&mapping);
        let is_idle = removed.is_some_and(|it| it.used == 0 && it.waiting.is_empty());
        assert!(is_idle, "a mapping is removed after its requests");
    }

    /// Removes a function that has no mappings.
    pub fn remove_function(&mut self, function: FunctionKey) {
        let mut mappings = self.mappings.values();
        assert!(
            mappings.all(|mapping| mapping.function != function),
            "a function is removed after its mappings"
        );
        self.functions.remove(&function);
    }

    /// Requests a slot for a mapping.
    pub fn request(&mut self, mapping: MappingKey) -> SlotId {
        self.last_id += 1;
        let id = SlotId(self.last_id);
        let request = Request {
            mapping,
            is_granted: false,
        };
        self.requests.insert(id, request);
        self.mapping_mut(mapping).waiting.insert(id);
        self.update_turns(mapping);
        self.grant_all();
        id
    }

    /// Ends a request: cancels it, or releases its slot.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn end(&mut self, id: SlotId) {
        let request = self.requests.remove(&id);
        let Request {
            mapping,
            is_granted,
        } = request.unwrap_or_else(|| panic!("{id:?} has ended before"));
        if is_granted {
            // The caller may not have taken the grant yet.
            self.grants.retain(|granted| *granted != id);
            self.used -= 1;
            let slots = self.mapping_mut(mapping);
            slots.used -= 1;
            let function = slots.function;
            self.function_mut(function).used -= 1;
        } else {
            self.mapping_mut(mapping).waiting.remove(&id);
        }
        self.update_turns(mapping);
        self.grant_all();
    }

    /// The next request that has been granted.
    pub fn poll_grant(&mut self) -> Option<SlotId> {
        self.grants.pop_front()
    }

    /// Slots that are in use.
    pub const fn used(&self) -> usize {
        self.used
    }

    /// Slots of the daemon.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// How many requests of a mapping would be granted at once.
    pub fn room(&self, mapping: MappingKey) -> usize {
        let mapping = &self.mappings[&mapping];
        let function = &self.functions[&mapping.function];
        self.daemon_room(mapping.used)
            .min(room_below(function.limit, function.used))
            .min(room_below(mapping.limit, mapping.used))
    }

    /// The limit that the requests of a mapping wait for.
    pub fn limit_reached(&self, mapping: MappingKey) -> SlotLimit {
        let mapping = &self.mappings[&mapping];
        let function = &self.functions[&mapping.function];
        if room_below(mapping.limit, mapping.used) == 0 {
            SlotLimit::Mapping
        } else if room_below(function.limit, function.used) == 0 {
            SlotLimit::Function
        } else {
            SlotLimit::Daemon
        }
    }

    /// How many more slots of the daemon a mapping with `used` slots may have.
    ///
    /// - Up to its *share*, a hundredth of all, it may have what is free of the *common* part, nine
    ///   tenths of all.
    /// - Above its share, it may have at most eight times as many as remain free of the common part:
    ///   one function that hangs takes eight tenths of all, the next nine tenths of what that one
    ///   leaves, and so on.
    /// - Outside of the common part, it may have one.
    fn daemon_room(&self, used: usize) -> usize {
        let (parts, of) = COMMON;
        let common = self.limit / of * parts + self.limit % of * parts / of;
        let common_room = common.saturating_sub(self.used);
        let share = (self.limit / SHARE_OF).max(1);
        let within_share = share.saturating_sub(used).min(common_room);
        let above_share = (common_room * WEIGHT).saturating_sub(used) / (WEIGHT + 1);
        let first = usize::from(used == 0);
        let room = within_share.max(above_share).max(first);
        room.min(self.limit - self.used)
    }

    fn grant_all(&mut self) {
        while let Some((function, mapping)) = self.next_turn() {
            self.grant(function, mapping);
        }
    }

    /// The next function and mapping to get a slot. Those that must leave the daemon's slots to
    /// others keep their turn.
    fn next_turn(&self) -> Option<(FunctionKey, MappingKey)> {
        if self.limit <= self.used {
            return None;
        }
        self.turns.iter().find_map(|function| {
            let mut mappings = self.functions[function].turns.iter();
            let mapping = mappings.find(|it| 0 < self.daemon_room(self.mappings[it].used))?;
            Some((*function, *mapping))
        })
    }

    fn grant(&mut self, function: FunctionKey, mapping: MappingKey) {
        let slots = self.mapping_mut(mapping);
        let id = slots.waiting.pop_first();
        let id = id.expect("a mapping takes its turn with a request");
        slots.used += 1;
        let slots = self.function_mut(function);
        slots.used += 1;
        // Its next turn comes after all others.
        slots.turns.retain(|it| *it != mapping);
        self.turns.retain(|it| *it != function);
        self.used += 1;
        let request = self.requests.get_mut(&id);
        request.expect("requests wait until they end").is_granted = true;
        self.grants.push_back(id);
        self.update_turns(mapping);
    }

    /// Adds a mapping and its function to those that take turns, or removes them.
    fn update_turns(&mut self, key: MappingKey) {
        let mapping = &self.mappings[&key];
        let takes_turns =
            !mapping.waiting.is_empty() && 0 < room_below(mapping.limit, mapping.used);
        let function = mapping.function;
        set_turn(&mut self.function_mut(function).turns, key, takes_turns);
        self.update_function_turn(function);
    }

    fn update_function_turn(&mut self, key: FunctionKey) {
        let function = &self.functions[&key];
        let takes_turns =
            !function.turns.is_empty() && 0 < room_below(function.limit, function.used);
        set_turn(&mut self.turns, key, takes_turns);
    }

    fn mapping_mut(&mut self, key: MappingKey) -> &mut MappingSlots {
        self.mappings
            .get_mut(&key)
            .expect("a mapping is added before it is used")
    }

    fn function_mut(&mut self, key: FunctionKey) -> &mut FunctionSlots {
        self.functions
            .get_mut(&key)
            .expect("a function is added before it is used")
    }
}

fn room_below(limit: Option<usize>, used: usize) -> usize {
    limit.map_or(usize::MAX, |limit| limit.saturating_sub(used))
}

/// Adds `key` at the end or removes it; one that has a turn keeps it.
fn set_turn<T: Copy + Eq>(turns: &mut VecDeque<T>, key: T, takes_turns: bool) {
    let position = turns.iter().position(|it| *it == key);
    match (position, takes_turns) {
        (None, true) => turns.push_back(key),
        (Some(position), false) => {
            turns.remove(position);
        }
        (None, false) | (Some(_), true) => {}
    }
}
