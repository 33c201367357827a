//! The world of one shard of one mapping.

use std::mem;

use windlass_core::position::{Cursor, Position};
use windlass_core::shard::{Batch, Finish, ShardCommand, ShardConsumer, ShardInput};
use windlass_core::time::Timestamp;

use super::plan::{Plan, START};
use super::shard_io::{Function, Source, Store};
use super::{Totals, Trace};
use crate::checkers::shard::ShardChecker;
use crate::checkers::{Violation, ensure};
use crate::rng::Rng;
use crate::sample_filter;

/// No world needs so many steps.
const MOST_STEPS: u64 = 100_000;

/// Runs the world of one seed to its end.
///
/// # Errors
/// An invariant was broken, or the world did not come to its end.
pub fn run(seed: u64, trace: &mut Trace) -> Result<Totals, Violation> {
    let mut world = World::new(seed);
    trace.note(|| {
        format!(
            "seed {seed}: {:?}, from {:?}",
            world.plan.settings, world.plan.from
        )
    });
    while !world.is_done() {
        world.step(trace)?;
    }
    world.nothing_is_lost()?;
    world.totals.worlds = 1;
    Ok(world.totals)
}

struct World {
    rng: Rng,
    plan: Plan,
    source: Source,
    function: Function,
    store: Store,
    /// What is under way, in the order in which it was begun.
    coming: Vec<(Timestamp, Event)>,
    life: Option<Life>,
    now: Timestamp,
    totals: Totals,
}

/// One consumer from its start to its end.
struct Life {
    consumer: ShardConsumer,
    checker: ShardChecker,
}

#[derive(Debug)]
enum Event {
    /// An answer arrives; what it is, is settled then.
    Read {
        from: Cursor,
        limit: u32,
    },
    Invoke(Batch),
    Save(Position),
    /// Somebody has noticed that the lease is gone, and ends the consumer.
    LeaseNoticed,
    /// A consumer starts at the stored checkpoint.
    Start,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::draw(&mut rng);
        let checkpoint = plan.from.clone();
        let source = mem::take(&mut plan.source);
        let function = mem::take(&mut plan.function);
        let store = mem::take(&mut plan.store);
        let totals = Totals {
            records: plan.contents.len() as u64,
            ..Totals::default()
        };
        Self {
            source: Source::new(source, &plan.contents),
            function: Function::new(function, &plan.contents),
            store: Store::new(store, checkpoint),
            coming: vec![(START, Event::Start)],
            life: None,
            now: START,
            rng,
            plan,
            totals,
        }
    }

    /// Safety first: faults come until they end. Then liveness: everything must finish.
    fn is_faulty(&self) -> bool {
        self.now < self.plan.faults_end
    }

    fn is_done(&self) -> bool {
        if self.is_faulty() {
            return false;
        }
        let Some(life) = &self.life else {
            return false;
        };
        let at_end = life.checker.finished() == Some(Finish::ShardEnd);
        let at_rest = match self.plan.contents.closes {
            Some(_) => at_end && self.store.checkpoint == Position::ShardEnd,
            None => life.checker.is_at_rest(),
        };
        at_rest && (at_end || self.nothing_is_lost().is_ok())
    }

    fn step(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        self.totals.steps += 1;
        let stuck = MOST_STEPS < self.totals.steps;
        ensure(!stuck, "I9", || {
            "the world does not come to its end".to_owned()
        })?;
        self.disturb(trace)?;
        let timeout = self
            .life
            .as_ref()
            .and_then(|life| life.consumer.poll_timeout());
        let next = (0..self.coming.len()).min_by_key(|index| self.coming[*index].0);
        match (next.map(|index| (self.coming[index].0, index)), timeout) {
            (Some((at, index)), timeout) if timeout.is_none_or(|timeout| at <= timeout) => {
                self.now = self.now.max(at);
                let (_, event) = self.coming.remove(index);
                self.happen(event, trace)
            }
            (_, Some(timeout)) => {
                let late = if self.rng.per_mille(50) { 500 } else { 0 };
                self.now = self.now.max(timeout + self.rng.millis(0, late));
                self.fire(trace)
            }
            (_, None) => Err(Violation::new(
                "I9",
                "stuck: nothing is under way, no timer",
            )),
        }
    }

    /// What happens at any time, and without being asked for.
    fn disturb(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        if !self.is_faulty() || self.life.is_none() {
            return Ok(());
        }
        if self.rng.per_mille(self.plan.trim) {
            let readable = self.plan.contents.n_readable(self.now);
            self.source.trimmed = self.rng.size(self.source.trimmed, readable);
            trace.note(|| format!("{} records are gone", self.source.trimmed));
        }
        if self.rng.per_mille(self.plan.lease_loss) && !self.store.taken {
            trace.note(|| "somebody takes the lease".to_owned());
            self.totals.leases_lost += 1;
            self.store.taken = true;
            let noticed = self.now + self.rng.millis(0, 20_000);
            self.coming.push((noticed, Event::LeaseNoticed));
        }
        if self.rng.per_mille(self.plan.drain) {
            self.feed(ShardInput::Drain, trace)?;
        }
        if self.rng.per_mille(self.plan.idle_timer) && self.life.is_some() {
            self.fire(trace)?;
        }
        if self.rng.per_mille(self.plan.crash) && self.life.is_some() {
            trace.note(|| "crash".to_owned());
            self.totals.crashes += 1;
            self.write_what_was_sent();
            self.end_life();
        }
        Ok(())
    }

    fn happen(&mut self, event: Event, trace: &mut Trace) -> Result<(), Violation> {
        let (faulty, now) = (self.is_faulty(), self.now);
        let (contents, rng) = (&self.plan.contents, &mut self.rng);
        match event {
            Event::Read { from, limit } => {
                let result = self.source.read(contents, &from, limit, faulty, now, rng)?;
                self.totals.trims += u64::from(matches!(
                    result,
                    Err(windlass_core::outcome::Fault::Trimmed)
                ));
                self.feed(ShardInput::Read(result), trace)
            }
            Event::Invoke(batch) => {
                let outcome = self.function.invoke(contents, &batch, faulty, now, rng);
                let batch = batch.id;
                self.feed(ShardInput::Invoked { batch, outcome }, trace)
            }
            Event::Save(position) => {
                let result = self.store.save(&position, faulty, rng);
                self.feed(ShardInput::Saved(result), trace)
            }
            Event::LeaseNoticed => {
                trace.note(|| "the loss of the lease is noticed".to_owned());
                self.end_life();
                Ok(())
            }
            Event::Start => self.start(trace),
        }
    }

    fn start(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        let from = self.store.checkpoint.clone();
        trace.note(|| format!("start at {from:?}"));
        self.store.taken = false;
        if self.rng.per_mille(200) {
            self.plan.redraw_batches(&mut self.rng);
        }
        let settings = self.plan.settings.clone();
        let seed = self.rng.any();
        self.life = Some(Life {
            checker: ShardChecker::new(settings.clone(), from.clone(), self.now),
            consumer: ShardConsumer::new(settings, from, seed, self.now),
        });
        self.settle(trace)
    }

    fn feed(&mut self, input: ShardInput, trace: &mut Trace) -> Result<(), Violation> {
        trace.note(|| format!("{} {input:?}", since_start(self.now)));
        let life = self.life.as_mut().expect("answers die with their life");
        life.checker.input(&input, &self.plan.contents, self.now)?;
        life.consumer.handle(input, self.now);
        self.settle(trace)
    }

    fn fire(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        trace.note(|| format!("{} timer", since_start(self.now)));
        let life = self.life.as_mut().expect("a timer belongs to a life");
        let named = life.consumer.poll_timeout();
        life.checker.timer(named.is_some_and(|at| at <= self.now));
        life.consumer.handle_timeout(self.now);
        self.settle(trace)
    }

    /// Takes every command and begins what it asks for.
    fn settle(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        let life = self.life.as_mut().expect("somebody was fed");
        while let Some(command) = life.consumer.poll_command() {
            trace.note(|| format!("{}     → {command:?}", since_start(self.now)));
            life.checker
                .command(&command, &self.plan.contents, self.now)?;
            let (latency, event) = match command {
                ShardCommand::Read { from, limit } => {
                    let latency = self.source.latency(&mut self.rng);
                    (latency, Event::Read { from, limit })
                }
                ShardCommand::Invoke(batch) => {
                    self.totals.invocations += 1;
                    (self.function.latency(&mut self.rng), Event::Invoke(batch))
                }
                ShardCommand::Save(position) => {
                    (self.store.latency(&mut self.rng), Event::Save(position))
                }
                ShardCommand::Report(_) | ShardCommand::Finish(_) => continue,
            };
            self.coming.push((self.now + latency, event));
        }
        let timeout = life.consumer.poll_timeout();
        life.checker
            .settled(&life.consumer.view(), timeout, self.now)?;
        match life.checker.finished() {
            Some(Finish::Drained) => {
                self.totals.drains += 1;
                self.end_life();
            }
            Some(Finish::LeaseLost) => self.end_life(),
            // At the end of the shard the world waits for the end of its faults.
            Some(Finish::ShardEnd) => self.coming.push((self.plan.faults_end, Event::Start)),
            None => {}
        }
        Ok(())
    }

    /// A request that was on its way when its sender died may still be carried out.
    fn write_what_was_sent(&mut self) {
        for (_, event) in &self.coming {
            if let Event::Save(position) = event
                && !self.store.taken
                && self.rng.per_mille(500)
            {
                self.store.checkpoint = position.clone();
            }
        }
    }

    fn end_life(&mut self) {
        self.life = None;
        self.coming.clear();
        let pause = self.rng.pick(&[0, 10, 5_000]);
        self.coming
            .push((self.now + self.rng.millis(0, pause), Event::Start));
    }

    fn nothing_is_lost(&self) -> Result<(), Violation> {
        let contents = &self.plan.contents;
        let begin = contents.place_of(&self.plan.from, 0).unwrap_or(0);
        for (index, record) in contents.records().iter().enumerate().skip(begin) {
            let settings = &self.plan.settings;
            let early = |earliest| record.approximate_arrival() < earliest;
            let filtered_out = settings.filter.is_some() && !sample_filter::matches(record.event());
            let unwanted = filtered_out || settings.skip_before.is_some_and(early);
            let too_large = settings.payload_limit < record.event_len() + 14;
            let processed = self.function.processed[index];
            let resolved = processed || unwanted || too_large || self.source.excused[index];
            ensure(resolved, "I9", || format!("record {index} is lost"))?;
            ensure(!(processed && (unwanted || too_large)), "I9", || {
                format!("record {index} was given to the function")
            })?;
        }
        Ok(())
    }
}

fn since_start(now: Timestamp) -> String {
    format!("{:>7}", now.since(START).as_millis())
}
