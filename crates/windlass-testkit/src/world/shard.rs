//! The world of one shard of a mapping.

mod skip;

use std::collections::BTreeSet;
use std::mem;

use windlass_core::batch::BatchId;
use windlass_core::failure::{DeliveryFault, FailureRecord};
use windlass_core::outcome::{Fault, Outcome, OutcomeKind};
use windlass_core::position::{Checkpoint, Cursor, Position};
use windlass_core::shard::{Batch, Finish, Gap, Report, ShardCommand, ShardConsumer, ShardInput};
use windlass_core::stretch::{StretchEnd, StretchSettings};
use windlass_core::time::Timestamp;
use windlass_engine::dead_letters::Keep;

use self::skip::Skips;
use super::plan::{Plan, START};
use super::shard_io::{DeadLetters, Destination, Function, Source, Store, mark};
use super::shard_replay::{self, Turns, Wait};
use super::{Contents, Totals, Trace};
use crate::checkers::shard::ShardChecker;
use crate::checkers::{BrokenInvariant, ensure};
use crate::rng::Rng;
use crate::sample_filter;

/// More steps than any world needs.
const MAX_STEPS: u64 = 100_000;

/// Runs the world of one seed to its end.
///
/// # Errors
/// An invariant was broken, or the world did not end.
pub fn run(seed: u64, trace: &mut Trace) -> Result<Totals, BrokenInvariant> {
    let mut world = World::new(seed);
    trace.record(|| {
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
    destination: Destination,
    dead_letters: DeadLetters,
    /// Records that were dropped, as the consumer has reported.
    dropped: Vec<bool>,
    /// Pending events, in the order in which they were scheduled.
    events: Vec<(Timestamp, Event)>,
    instance: Option<Instance>,
    /// Records that a checkpoint reports as resolved: they must not be invoked again.
    settled: BTreeSet<usize>,
    /// Records that were dropped since they could not be rendered: if a later read repairs one before a
    /// checkpoint passes it, it is invoked.
    repairable: BTreeSet<usize>,
    /// The state of a window was dropped, so its records are in no final invocation.
    window_was_dropped: bool,
    turns: Turns,
    skips: Skips,
    /// By how many milliseconds the consumer believes that the clock of the source is ahead.
    told: Option<i64>,
    now: Timestamp,
    totals: Totals,
}

/// One consumer and its checker, from start to end.
struct Instance {
    consumer: ShardConsumer,
    checker: ShardChecker,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The function receives it, unless it is given up before.
    Invoked,
    /// It is too large for any invocation.
    GivenUp,
    /// Also if it is older than the starting position.
    FilteredOut,
}

#[derive(Debug)]
enum Event {
    /// A read ends; its result is drawn then.
    Read {
        from: Cursor,
        limit: u32,
    },
    /// The batches that were sent before may be paid for.
    Turn,
    /// The slot that was requested is granted.
    Slot,
    Invoke(Batch),
    /// A checkpoint, and the records that were resolved when it was sent.
    Save(Checkpoint, Vec<usize>),
    Deliver(BatchId, FailureRecord),
    /// The lease keeper notices that the lease is lost, and drops the consumer.
    LeaseNoticed,
    /// A consumer starts at the saved checkpoint.
    Start,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::draw(&mut rng);
        let checkpoint = plan.from.clone();
        let skips = Skips::new(seed);
        let source = mem::take(&mut plan.source);
        let function = mem::take(&mut plan.function);
        let store = mem::take(&mut plan.store);
        let destination = mem::take(&mut plan.destination);
        let totals = Totals {
            records: plan.contents.len() as u64,
            ..Totals::default()
        };
        Self {
            source: Source::new(source, &plan.contents),
            function: Function::new(function, &plan.contents),
            store: Store::new(store, checkpoint),
            destination: Destination::new(destination, &plan.contents),
            dead_letters: DeadLetters::new(plan.dead_letters, &plan.contents),
            dropped: vec![false; plan.contents.len()],
            events: vec![(plan.start, Event::Start)],
            instance: None,
            settled: BTreeSet::new(),
            repairable: BTreeSet::new(),
            window_was_dropped: false,
            turns: Turns::new(&mut rng),
            skips,
            told: None,
            now: START,
            rng,
            plan,
            totals,
        }
    }

    /// Faults happen until `faults_end` (safety); after that everything works (liveness).
    fn is_faulty(&self) -> bool {
        self.now < self.plan.faults_end
    }

    fn is_done(&self) -> bool {
        if self.is_faulty() {
            return false;
        }
        let Some(instance) = &self.instance else {
            return false;
        };
        let finished = instance.checker.finished();
        let at_end = matches!(finished, Some(Finish::ShardEnd | Finish::StretchEnd));
        let stretch = self.plan.settings.stretch.as_ref();
        let ends_by_time = stretch.is_some_and(|it| matches!(it.stretch.to, StretchEnd::Time(_)));
        let at_rest = match self.plan.contents.closes {
            _ if ends_by_time => at_end && self.store.checkpoint.position == Position::ShardEnd,
            Some(_) => at_end && self.store.checkpoint.position == Position::ShardEnd,
            None => instance.checker.is_at_rest(),
        };
        at_rest && (at_end || self.nothing_is_lost().is_ok())
    }

    fn step(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        self.totals.steps += 1;
        let stuck = MAX_STEPS < self.totals.steps;
        ensure(!stuck, "I9", || "the world does not end".to_owned())?;
        self.follow_clock(trace)?;
        self.disturb(trace)?;
        let timeout = self
            .instance
            .as_ref()
            .and_then(|instance| instance.consumer.poll_timeout());
        let next = (0..self.events.len()).min_by_key(|index| self.events[*index].0);
        match (next.map(|index| (self.events[index].0, index)), timeout) {
            (Some((at, index)), timeout) if timeout.is_none_or(|timeout| at <= timeout) => {
                self.now = self.now.max(at);
                let (_, event) = self.events.remove(index);
                self.happen(event, trace)
            }
            (_, Some(timeout)) => {
                let late = if self.rng.per_mille(50) { 500 } else { 0 };
                self.now = self.now.max(timeout + self.rng.millis(0, late));
                self.fire(trace)
            }
            (_, None) => Err(BrokenInvariant::new(
                "I9",
                "stuck: nothing is in flight, and no timer",
            )),
        }
    }

    /// What happens at any time, and without being asked for.
    fn disturb(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        if !self.is_faulty() || self.instance.is_none() {
            return Ok(());
        }
        if self.rng.per_mille(self.plan.source_time) {
            self.tell_source_time(trace)?;
        }
        if self.rng.per_mille(self.plan.rate_change) {
            self.turns.change(&mut self.rng);
        }
        if self.rng.per_mille(self.plan.trim) {
            let readable = self.plan.contents.n_readable(self.now);
            let trimmed = self.rng.size(self.source.trimmed, readable);
            self.source.trimmed = self.plan.contents.aggregate_start(trimmed);
            trace.record(|| format!("{} records are trimmed", self.source.trimmed));
        }
        if self.rng.per_mille(self.plan.lease_loss) && !self.store.taken {
            trace.record(|| "another owner takes the lease".to_owned());
            self.totals.leases_lost += 1;
            self.store.taken = true;
            let noticed = self.now + self.rng.millis(0, 20_000);
            self.events.push((noticed, Event::LeaseNoticed));
        }
        if self.rng.per_mille(self.plan.drain) {
            self.feed(ShardInput::Drain, trace)?;
        }
        if self.rng.per_mille(self.plan.idle_timer) && self.instance.is_some() {
            self.fire(trace)?;
        }
        self.draw_skip(trace)?;
        if self.rng.per_mille(self.plan.crash) && self.instance.is_some() {
            trace.record(|| "crash".to_owned());
            self.totals.crashes += 1;
            // Of the daemon, or of this unit alone.
            if self.rng.per_mille(500) {
                self.turns = Turns::new(&mut self.rng);
            }
            self.write_saves_in_flight();
            self.end_instance();
        }
        Ok(())
    }

    fn happen(&mut self, event: Event, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let (faulty, now) = (self.is_faulty(), self.now);
        let strict_order = self.plan.settings.mapping.retries.strict_order;
        let (contents, rng) = (&self.plan.contents, &mut self.rng);
        match event {
            Event::Read { from, limit } => {
                let result = self.source.read(contents, &from, limit, faulty, now, rng)?;
                self.totals.trims += u64::from(matches!(result, Err(Fault::Trimmed)));
                self.feed(ShardInput::Read(result), trace)
            }
            Event::Turn => {
                self.wait_for_slot();
                Ok(())
            }
            Event::Slot => {
                let max_records = self.turns.max_records();
                self.feed(ShardInput::SlotGranted { max_records }, trace)
            }
            Event::Invoke(batch) => {
                let outcome =
                    self.function
                        .invoke(contents, &batch, strict_order, faulty, now, rng);
                let without_state = outcome == Outcome::Success && batch.window.is_some();
                if outcome.kind() == OutcomeKind::Success && !without_state {
                    self.keys_keep_their_order(&batch)?;
                }
                let batch = batch.id;
                self.feed(ShardInput::Invoked { batch, outcome }, trace)
            }
            Event::Save(checkpoint, resolved) => {
                let result = self.store.save(&checkpoint, faulty, rng);
                if self.store.checkpoint == checkpoint {
                    self.settled.extend(resolved);
                    self.settled
                        .retain(|index| !self.repairable.contains(index));
                }
                self.feed(ShardInput::Saved(result), trace)
            }
            Event::Deliver(delivery, failure) => {
                let result = self.deliver(&failure);
                self.feed(ShardInput::Delivered { delivery, result }, trace)
            }
            Event::LeaseNoticed => {
                trace.record(|| "the lost lease is noticed".to_owned());
                self.end_instance();
                Ok(())
            }
            Event::Start => self.start(trace),
        }
    }

    /// Keeps what is given up, tells its destination, or both.
    fn deliver(&mut self, failure: &FailureRecord) -> Result<(), DeliveryFault> {
        let faulty = self.is_faulty();
        let (contents, rng) = (&self.plan.contents, &mut self.rng);
        let mapping = &self.plan.settings.mapping;
        if self.plan.dead_letters.keeps(mapping) {
            self.dead_letters.keep(contents, failure, faulty, rng)?;
        }
        if mapping.on_failure.is_some() {
            let delivered = self.destination.deliver(contents, failure, faulty, rng);
            delivered.map_err(DeliveryFault::Destination)?;
        }
        Ok(())
    }

    fn start(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        self.run_skip(trace)?;
        let from = self.store.checkpoint.clone();
        trace.record(|| format!("start at {from:?}"));
        self.store.taken = false;
        if self.rng.per_mille(200) {
            self.plan.redraw_settings(&mut self.rng);
        }
        let settings = self.plan.settings.clone();
        let seed = self.rng.any();
        self.instance = Some(Instance {
            checker: ShardChecker::new(settings.clone(), from.clone(), self.now),
            consumer: ShardConsumer::new(settings, from, seed, self.now),
        });
        self.settle(trace)?;
        self.tell_source_time(trace)
    }

    /// The consumer of a replay is told of every change of the clock of its source by a second.
    fn follow_clock(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let ahead = self.plan.clock.at(self.now).millis_since(self.now);
        let is_told = self.told.is_none_or(|told| told.abs_diff(ahead) < 1_000);
        if is_told || self.plan.settings.stretch.is_none() {
            return Ok(());
        }
        self.tell_source_time(trace)
    }

    fn tell_source_time(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let retries = &self.plan.settings.mapping.retries;
        let runs = self
            .instance
            .as_ref()
            .is_some_and(|it| it.checker.finished().is_none());
        let windows = self.plan.settings.mapping.tumbling_window;
        let is_needed = retries.maximum_record_age.is_some()
            || windows.is_some()
            || self.plan.settings.stretch.is_some();
        if !is_needed || !runs {
            return Ok(());
        }
        let time = self.plan.clock.at(self.now);
        self.told = Some(time.millis_since(self.now));
        self.feed(ShardInput::SourceTime(time), trace)
    }

    fn feed(&mut self, input: ShardInput, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        trace.record(|| format!("{} {input:?}", since_start(self.now)));
        let instance = self
            .instance
            .as_mut()
            .expect("events are dropped with their consumer");
        instance
            .checker
            .input(&input, &self.plan.contents, self.now)?;
        instance.consumer.handle(input, self.now);
        self.settle(trace)
    }

    fn fire(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        trace.record(|| format!("{} timer", since_start(self.now)));
        let instance = self.instance.as_mut().expect("a timer needs a consumer");
        let named = instance.consumer.poll_timeout();
        instance
            .checker
            .timer(named.is_some_and(|at| at <= self.now), self.now);
        instance.consumer.handle_timeout(self.now);
        self.settle(trace)
    }

    /// Takes all commands and schedules their results.
    fn settle(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let instance = self.instance.as_mut().expect("a consumer was fed");
        if instance.checker.are_marks_dropped() {
            self.settled.clear();
        }
        for index in instance.checker.unrecognized() {
            self.settled.remove(&index);
        }
        let mut reports = Vec::new();
        while let Some(command) = instance.consumer.poll_command() {
            trace.record(|| format!("{}     → {command:?}", since_start(self.now)));
            instance
                .checker
                .command(&command, &self.plan.contents, self.now)?;
            let (latency, event) = match command {
                ShardCommand::Read { from, limit, .. } => {
                    let latency = self.source.latency(&mut self.rng);
                    (latency, Event::Read { from, limit })
                }
                ShardCommand::RequestSlot => {
                    self.turns.request();
                    let wait = self.turns.poll(self.now);
                    let latency = self.plan.slot_latency;
                    self.events
                        .extend(wait_event(wait, latency, self.now, &mut self.rng));
                    continue;
                }
                ShardCommand::CancelSlot => {
                    self.totals.cancellations += 1;
                    self.turns.cancel();
                    self.events
                        .retain(|(_, event)| !matches!(event, Event::Slot | Event::Turn));
                    continue;
                }
                ShardCommand::Invoke(batch) => {
                    self.totals.invocations += 1;
                    self.turns.sent(batch.records.len(), self.now)?;
                    nothing_settled_is_repeated(&batch, &self.settled, &self.plan.contents)?;
                    (self.function.latency(&mut self.rng), Event::Invoke(batch))
                }
                ShardCommand::Save(checkpoint) => {
                    let resolved = instance.checker.resolved().collect();
                    let latency = self.store.latency(&mut self.rng);
                    (latency, Event::Save(checkpoint, resolved))
                }
                ShardCommand::Deliver { delivery, failure } => {
                    self.totals.deliveries += 1;
                    let latency = self.destination.latency(&mut self.rng);
                    (latency, Event::Deliver(delivery, failure))
                }
                ShardCommand::Report(report) => {
                    reports.push(report);
                    continue;
                }
                ShardCommand::Finish(_) => continue,
            };
            self.events.push((self.now + latency, event));
        }
        let timeout = instance.consumer.poll_timeout();
        instance
            .checker
            .settled(&instance.consumer.view(), timeout, self.now)?;
        let finished = instance.checker.finished();
        for report in &reports {
            self.handle_report(report)?;
        }
        self.handle_finish(finished);
        Ok(())
    }

    fn handle_finish(&mut self, finished: Option<Finish>) {
        match finished {
            Some(Finish::Drained) => {
                self.totals.drains += 1;
                self.end_instance();
            }
            Some(Finish::LeaseLost) => self.end_instance(),
            // A consumer that starts at the end of the shard must finish at once.
            Some(Finish::ShardEnd | Finish::StretchEnd) => {
                self.events.push((self.plan.faults_end, Event::Start))
            }
            None => {}
        }
    }

    /// It may be the turn of the consumer.
    fn wait_for_slot(&mut self) {
        let wait = self.turns.poll(self.now);
        let event = wait_event(wait, self.plan.slot_latency, self.now, &mut self.rng);
        self.events.extend(event);
    }

    fn handle_report(&mut self, report: &Report) -> Result<(), BrokenInvariant> {
        match report {
            Report::Dropped(failure) => {
                ensure(!self.keeps_all(), "dead letters", || {
                    format!("{failure:?} is dropped")
                })?;
                self.totals.dropped += failure.records.len() as u64;
                mark(&mut self.dropped, &self.plan.contents, failure);
            }
            Report::WindowStateDropped(_)
            | Report::Gap(Gap {
                cause: Fault::UnknownPosition,
                ..
            }) => {
                self.function.unfinished.clear();
                self.window_was_dropped = true;
            }
            Report::FilteredOut { .. }
            | Report::BeforeStart { .. }
            | Report::OutsideHashKeyRange { .. }
            | Report::RecordTooLarge { .. }
            | Report::Unreadable(_)
            | Report::Gap(_) => {}
            Report::UnreadableDropped {
                sequence_number, ..
            } => {
                ensure(!self.keeps_all(), "dead letters", || {
                    format!("{sequence_number} is dropped")
                })?;
                let index = self.plan.contents.first_of(sequence_number.as_str());
                let index = index.expect("the checker has checked it");
                self.dropped[index] = true;
                self.repairable.insert(index);
            }
        }
        Ok(())
    }

    /// Whether everything that is given up is kept, or its destination told.
    fn keeps_all(&self) -> bool {
        self.plan.dead_letters.keep != Keep::Never
    }

    /// A save that was in flight when its sender crashed may still be carried out.
    fn write_saves_in_flight(&mut self) {
        for (_, event) in &self.events {
            if let Event::Save(checkpoint, resolved) = event
                && !self.store.taken
                && self.rng.per_mille(500)
            {
                self.store.checkpoint = checkpoint.clone();
                self.settled.extend(resolved);
            }
        }
        self.settled
            .retain(|index| !self.repairable.contains(index));
    }

    fn end_instance(&mut self) {
        self.instance = None;
        self.told = None;
        self.turns.cancel();
        self.events.clear();
        let pause = self.rng.pick(&[0, 10, 5_000]);
        self.events
            .push((self.now + self.rng.millis(0, pause), Event::Start));
    }

    /// A record is processed after every earlier record of its key, also across restarts.
    fn keys_keep_their_order(&self, batch: &Batch) -> Result<(), BrokenInvariant> {
        let contents = &self.plan.contents;
        for record in batch.records.iter() {
            let index = contents.index_of(record);
            let index = index.expect("the checker has checked it");
            let overtaken = self.expected().find(|&(earlier, fate)| {
                let is_same_key = contents.records()[earlier].key() == record.key();
                earlier < index
                    && fate == Fate::Invoked
                    && is_same_key
                    && !self.is_settled(earlier)
                    && self.is_needed(earlier)
            });
            ensure(overtaken.is_none(), "order", || {
                format!("record {index} overtakes {overtaken:?} of its key")
            })?;
        }
        Ok(())
    }

    fn nothing_is_lost(&self) -> Result<(), BrokenInvariant> {
        let mut unfinished = self.function.unfinished.iter();
        let unfinished = unfinished.find(|index| !self.is_given_up(**index));
        ensure(
            unfinished.is_none() || self.window_was_dropped,
            "windows",
            || format!("record {unfinished:?} is in the state of no final invocation"),
        )?;
        for (index, fate) in self.expected() {
            let processed = self.function.processed[index];
            let is_owed = match fate {
                Fate::Invoked => true,
                Fate::GivenUp => self.keeps_all(),
                Fate::FilteredOut => false,
            };
            let resolved = !is_owed || self.is_settled(index) || !self.is_needed(index);
            ensure(resolved, "I9", || format!("record {index} is lost"))?;
            ensure(!processed || fate == Fate::Invoked, "I9", || {
                format!(
                    "record {index} was filtered out, too large or not of the stretch, and invoked"
                )
            })?;
        }
        Ok(())
    }

    /// Whether a record that the function must receive was processed, given up or lost by the source.
    fn is_settled(&self, index: usize) -> bool {
        self.function.processed[index] || self.is_given_up(index)
    }

    fn is_given_up(&self, index: usize) -> bool {
        self.destination.delivered[index]
            || self.dead_letters.kept[index]
            || self.dropped[index]
            || self.source.excused[index]
    }

    /// Of a replay, whether the stretch must have a record that it may have.
    fn is_needed(&self, index: usize) -> bool {
        let Some(StretchSettings { stretch, .. }) = &self.plan.settings.stretch else {
            return true;
        };
        let contents = &self.plan.contents;
        let range = self.plan.stretch_range().expect("there is a stretch");
        // It begins later if its first records are trimmed.
        let begins_later = range.start < self.source.trimmed
            && shard_replay::is_early(stretch, &contents.records()[index]);
        let readable = contents.readable_from(index);
        range.contains(&index)
            && !begins_later
            && shard_replay::is_before_its_end(stretch, &self.plan.clock, readable)
    }

    /// The records from the starting position on, and what must become of them.
    fn expected(&self) -> impl Iterator<Item = (usize, Fate)> {
        let contents = &self.plan.contents;
        let settings = &self.plan.settings;
        let begin = contents.offset_of(&self.plan.from.position, 0).unwrap_or(0);
        let range = self.plan.stretch_range();
        // What ends it may be trimmed.
        let is_within = move |index: usize| {
            range.as_ref().is_none_or(|range| {
                let has_end = self.source.trimmed <= range.end;
                range.start <= index && (index < range.end || !has_end)
            })
        };
        let begin = if settings.stretch.is_some() { 0 } else { begin };
        let records = contents.records().iter().enumerate();
        records.filter_map(move |(index, record)| {
            let creation = self.plan.creation.as_ref();
            let arrived = contents.readable_from(index);
            let is_after_creation = creation.is_some_and(|creation| creation.at < arrived);
            if index < begin && !is_after_creation {
                return None;
            }
            let has_time = !contents.is_undated(index);
            let early = |earliest| {
                has_time && !is_after_creation && record.approximate_arrival() < earliest
            };
            let filtered_out = settings.filter.is_some() && !sample_filter::matches(record.event());
            let unwanted = filtered_out || settings.mapping.skip_before.is_some_and(early);
            let too_large =
                settings.limits.payload_limit < record.event_len() + settings.window_len + 14;
            let fate = match (unwanted || !is_within(index), too_large) {
                (true, _) => Fate::FilteredOut,
                (false, true) => Fate::GivenUp,
                (false, false) => Fate::Invoked,
            };
            Some((index, fate))
        })
    }
}

/// After a crash only those records are repeated that were in flight, unresolved, or resolved since
/// the last checkpoint.
fn nothing_settled_is_repeated(
    batch: &Batch,
    settled: &BTreeSet<usize>,
    contents: &Contents,
) -> Result<(), BrokenInvariant> {
    let mut records = batch.records.iter();
    let repeated = records.find(|record| {
        let index = contents.index_of(record);
        index.is_some_and(|index| settled.contains(&index))
    });
    ensure(repeated.is_none(), "marks", || {
        format!("{repeated:?} is invoked again although its checkpoint was saved")
    })
}

/// When the slot is granted, or the turn asked for again.
fn wait_event(
    wait: Option<Wait>,
    (low, high): (u64, u64),
    now: Timestamp,
    rng: &mut Rng,
) -> Option<(Timestamp, Event)> {
    Some(match wait? {
        Wait::Slot => (now + rng.millis(low, high), Event::Slot),
        Wait::Turn(at) => (at, Event::Turn),
    })
}

fn since_start(now: Timestamp) -> String {
    format!("{:>7}", now.since(START).as_millis())
}
