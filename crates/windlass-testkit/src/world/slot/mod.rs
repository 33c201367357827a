//! The world of the slots of one daemon: mappings that request, cancel and release them.
//!
//! Nothing takes time: a step is one call of the arbiter, of a mapping that is drawn. Some mappings
//! hang, so that they end nothing before the last part of the world, in which every request ends.

mod plan;

use windlass_core::slots::{FunctionKey, MappingKey, SlotArbiter, SlotId};

use self::plan::{Plan, PlannedMapping};
use super::{Totals, Trace};
use crate::checkers::slot::SlotChecker;
use crate::checkers::{BrokenInvariant, ensure};
use crate::rng::Rng;

/// Runs the world of one seed to its end.
///
/// # Errors
/// An invariant was broken.
pub fn run(seed: u64, trace: &mut Trace) -> Result<Totals, BrokenInvariant> {
    let mut rng = Rng::new(seed);
    let plan = Plan::draw(&mut rng);
    trace.record(|| format!("seed {seed}: {plan:?}"));
    let mut world = World {
        arbiter: SlotArbiter::new(plan.limit),
        checker: SlotChecker::new(plan.limit),
        mappings: Vec::new(),
        n_mappings: 0,
        totals: Totals {
            worlds: 1,
            ..Totals::default()
        },
        rng,
        plan,
    };
    world.start(trace)?;
    for _ in 0..world.plan.n_steps {
        world.step(trace)?;
    }
    world.end_everything(trace)?;
    Ok(world.totals)
}

struct World {
    plan: Plan,
    rng: Rng,
    arbiter: SlotArbiter,
    checker: SlotChecker,
    /// The key of each planned mapping.
    mappings: Vec<MappingKey>,
    n_mappings: u64,
    totals: Totals,
}

impl World {
    fn start(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        for (number, limit) in self.plan.functions.clone().into_iter().enumerate() {
            self.set_function(FunctionKey(number as u64), limit, trace)?;
        }
        for index in 0..self.plan.mappings.len() {
            let key = self.next_key();
            self.mappings.push(key);
            self.set_mapping(index, trace)?;
        }
        Ok(())
    }

    fn step(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let index = self.rng.size(0, self.mappings.len() - 1);
        let planned = self.plan.mappings[index];
        match self.rng.between(0, 99) {
            0..50 => {
                for _ in 0..self.rng.between(1, planned.burst) {
                    self.request(index, trace)?;
                }
            }
            50..90 => self.end_one(trace)?,
            90..94 => self.cancel_one(trace)?,
            94..96 => {
                self.plan.mappings[index].limit = plan::limit(&mut self.rng);
                self.set_mapping(index, trace)?;
            }
            96..98 => {
                let limit = plan::limit(&mut self.rng);
                self.set_function(planned.function, limit, trace)?;
            }
            _ => self.replace(index, trace)?,
        }
        Ok(())
    }

    /// Every mapping gets what it has requested.
    fn end_everything(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        loop {
            let in_use = self.checker.in_use();
            if in_use.is_empty() {
                break;
            }
            let (_, id) = in_use[self.rng.size(0, in_use.len() - 1)];
            self.end(id, trace)?;
        }
        let waiting = self.checker.waiting();
        ensure(waiting.is_empty(), "S2", || {
            format!("{waiting:?} wait although no slot is in use")
        })
    }

    fn set_function(
        &mut self,
        function: FunctionKey,
        limit: Option<usize>,
        trace: &mut Trace,
    ) -> Result<(), BrokenInvariant> {
        trace.record(|| format!("{function:?} has the limit {limit:?}"));
        self.checker.set_function(function, limit);
        self.arbiter.set_function(function, limit);
        self.settle(trace)
    }

    fn set_mapping(&mut self, index: usize, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let key = self.mappings[index];
        let PlannedMapping {
            function, limit, ..
        } = self.plan.mappings[index];
        trace.record(|| format!("{key:?} of {function:?} has the limit {limit:?}"));
        self.checker.set_mapping(key, function, limit);
        self.arbiter.set_mapping(key, function, limit);
        self.settle(trace)
    }

    /// A mapping is deleted, and another one of any function is created.
    fn replace(&mut self, index: usize, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let key = self.mappings[index];
        for id in self.checker.requests_of(key) {
            self.end(id, trace)?;
        }
        trace.record(|| format!("{key:?} is removed"));
        self.checker.remove_mapping(key);
        self.arbiter.remove_mapping(key);
        self.mappings[index] = self.next_key();
        self.plan.mappings[index].function = self.plan.any_function(&mut self.rng);
        self.set_mapping(index, trace)
    }

    fn request(&mut self, index: usize, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let key = self.mappings[index];
        let id = self.arbiter.request(key);
        trace.record(|| format!("{key:?} requests {id:?}"));
        self.totals.records += 1;
        self.checker.requested(key, id);
        if self.rng.per_mille(self.plan.ends_untaken) {
            self.checker.grant_is_not_taken(key, id)?;
            return self.end(id, trace);
        }
        self.settle(trace)
    }

    fn end_one(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let mut in_use = self.checker.in_use();
        in_use.retain(|(key, _)| !self.hangs(*key));
        if in_use.is_empty() {
            return Ok(());
        }
        let (_, id) = in_use[self.rng.size(0, in_use.len() - 1)];
        self.end(id, trace)
    }

    fn cancel_one(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let waiting = self.checker.waiting();
        if waiting.is_empty() {
            return Ok(());
        }
        self.totals.cancellations += 1;
        let id = waiting[self.rng.size(0, waiting.len() - 1)];
        self.end(id, trace)
    }

    fn end(&mut self, id: SlotId, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        trace.record(|| format!("{id:?} ends"));
        self.checker.ended(id);
        self.arbiter.end(id);
        self.settle(trace)
    }

    fn settle(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        self.totals.steps += 1;
        while let Some(id) = self.arbiter.poll_grant() {
            trace.record(|| format!("    → {id:?} is granted"));
            self.totals.invocations += 1;
            self.checker.granted(id)?;
        }
        self.checker.settled(&self.arbiter)
    }

    fn hangs(&self, key: MappingKey) -> bool {
        let index = self.mappings.iter().position(|it| *it == key);
        index.is_some_and(|index| self.plan.mappings[index].hangs)
    }

    fn next_key(&mut self) -> MappingKey {
        self.n_mappings += 1;
        MappingKey(self.n_mappings)
    }
}
