//! The world of one slot of a queue's mapping.
//!
//! It checks what only the queue and the function know: that only processed messages are deleted
//! (Q1), that no held message is delivered to another reader (Q3), that groups keep their order (Q4),
//! that no message is processed twice without a cause, and that in the end every message is.

mod function;
mod io;
mod plan;
mod sqs;
mod text;

use std::mem;

use windlass_core::outcome::Outcome;
use windlass_core::queue::{Batch, QueueCommand, QueueConsumer, QueueInput};
use windlass_core::time::Timestamp;

use self::function::{Function, InvocationPlan};
use self::io::Reply;
use self::plan::{Plan, Planned};
use self::sqs::Sqs;
use self::text::{command_text, input_text};
use super::plan::START;
use super::{Totals, Trace};
use crate::checkers::queue::QueueChecker;
use crate::checkers::{BrokenInvariant, ensure};
use crate::rng::Rng;
use crate::sample_filter;

/// More steps than any world needs.
const MAX_STEPS: u64 = 100_000;

/// Up to this latency of the queue, in milliseconds, visibility must be extended in time.
const MAX_LATENCY_FOR_EXTENSION: u64 = 200;

/// How long the world runs on at most when everything is done, in milliseconds.
const MAX_QUIET_MILLIS: u64 = 10_000;

/// Runs the world of one seed to its end.
///
/// # Errors
/// An invariant was broken, or the world did not end.
pub fn run(seed: u64, trace: &mut Trace) -> Result<Totals, BrokenInvariant> {
    let mut world = World::new(seed);
    trace.record(|| format!("seed {seed}: {:?}", world.plan.settings));
    while !world.is_over {
        world.step(trace)?;
    }
    world.nothing_is_lost()?;
    world.totals.worlds = 1;
    Ok(world.totals)
}

struct World {
    rng: Rng,
    plan: Plan,
    sqs: Sqs,
    function: Function,
    /// Messages that the function received.
    seen: Vec<bool>,
    /// Messages that went back unseen for another reason than the failure of a batch.
    given_back: Vec<bool>,
    /// The queue has got or lost a redrive policy.
    policy_changed: bool,
    /// Messages of the batch whose failure is fed.
    failing: Vec<usize>,
    /// Before this time a failed message may not be delivered again.
    retry_from: Vec<Option<Timestamp>>,
    /// Messages that may be delivered or processed again, because a fault affected them.
    excused: Vec<bool>,
    /// Messages of batches that the function did not accept.
    halved: Vec<bool>,
    /// Pending events, in the order in which they were scheduled.
    events: Vec<Pending>,
    instance: Option<Instance>,
    /// Whether a slot is requested that is not free.
    slot_waits: bool,
    /// Number of the current or last instance.
    n_instances: u64,
    /// When everything was done.
    quiet_since: Option<Timestamp>,
    is_over: bool,
    now: Timestamp,
    totals: Totals,
}

/// One consumer and its checker, from start to end.
struct Instance {
    consumer: QueueConsumer,
    checker: QueueChecker,
}

struct Pending {
    at: Timestamp,
    /// The instance that caused it; no other receives the result.
    instance: u64,
    event: Event,
}

enum Event {
    /// A request arrives at the queue, or waits there as a long poll.
    Request {
        command: QueueCommand,
        arrived: Option<Timestamp>,
    },
    /// The slot that was requested is granted.
    Slot,
    /// An invocation ends.
    Invoke(Batch, InvocationPlan),
    /// A response of the queue arrives.
    Answer(QueueInput),
    /// A consumer starts.
    Start,
    /// Everything has been done for a while: drain the consumer.
    Close,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::draw(&mut rng);
        let n_messages = plan.messages.len();
        let function = mem::take(&mut plan.function);
        let slow_queue = MAX_LATENCY_FOR_EXTENSION < plan.sqs.latency.1;
        let excused = slow_queue || !plan.settings.limits.visibility_heartbeat;
        let start = Pending {
            at: START,
            instance: 0,
            event: Event::Start,
        };
        Self {
            sqs: Sqs::new(
                plan.sqs.clone(),
                &plan.settings,
                &plan.messages,
                plan.clock_ahead.unwrap_or(0),
            ),
            failing: Vec::new(),
            retry_from: vec![None; n_messages],
            seen: vec![false; n_messages],
            given_back: vec![false; n_messages],
            policy_changed: false,
            function: Function::new(function, plan.settings.function_timeout, n_messages),
            excused: vec![excused; n_messages],
            halved: vec![false; n_messages],
            events: vec![start],
            instance: None,
            slot_waits: false,
            n_instances: 0,
            quiet_since: None,
            is_over: false,
            now: START,
            totals: Totals {
                records: n_messages as u64,
                ..Totals::default()
            },
            rng,
            plan,
        }
    }

    /// Faults happen until `faults_end` (safety); after that everything works (liveness).
    fn is_faulty(&self) -> bool {
        self.now < self.plan.faults_end
    }

    fn step(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        self.totals.steps += 1;
        let stuck = MAX_STEPS < self.totals.steps;
        ensure(!stuck, "Q9", || "the world does not end".to_owned())?;
        self.disturb(trace)?;
        let consumer = self.instance.as_ref().map(|instance| &instance.consumer);
        let timeout = consumer.and_then(QueueConsumer::poll_timeout);
        let next = (0..self.events.len()).min_by_key(|index| self.events[*index].at);
        match (next.map(|index| (self.events[index].at, index)), timeout) {
            (Some((at, index)), timeout) if timeout.is_none_or(|timeout| at <= timeout) => {
                self.now = self.now.max(at);
                let pending = self.events.remove(index);
                self.happen(pending, trace)?;
            }
            (_, Some(timeout)) => {
                let late = if self.rng.per_mille(50) { 500 } else { 0 };
                self.now = self.now.max(timeout + self.rng.millis(0, late));
                self.fire(trace)?;
            }
            (_, None) => {
                return Err(BrokenInvariant::new(
                    "Q9",
                    "nothing is in flight, and no timer",
                ));
            }
        }
        self.close_when_quiet();
        Ok(())
    }

    fn close_when_quiet(&mut self) {
        let done =
            !self.is_faulty() && self.quiet_since.is_none() && self.nothing_is_lost().is_ok();
        if done && self.instance.is_some() {
            self.quiet_since = Some(self.now);
            let pause = self.rng.millis(0, MAX_QUIET_MILLIS);
            self.schedule(self.now + pause, Event::Close);
        }
    }

    /// Draws a drain, a timer that is not due, or a crash.
    fn disturb(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        if !self.is_faulty() || self.instance.is_none() {
            return Ok(());
        }
        if self.rng.per_mille(self.plan.drain) {
            self.feed(QueueInput::Drain, trace)?;
        }
        if self.rng.per_mille(self.plan.new_attributes) && self.instance.is_some() {
            let attributes = self.plan.redraw_attributes(&mut self.rng);
            self.policy_changed |= self.sqs.has_redrive_policy != attributes.has_redrive_policy;
            self.sqs.has_redrive_policy = attributes.has_redrive_policy;
            self.feed(QueueInput::Attributes(attributes), trace)?;
        }
        if self.rng.per_mille(self.plan.idle_timer) && self.instance.is_some() {
            self.fire(trace)?;
        }
        if self.rng.per_mille(self.plan.crash) && self.instance.is_some() {
            trace.record(|| format!("{} crash", since_start(self.now)));
            self.totals.crashes += 1;
            self.crash();
        }
        Ok(())
    }

    fn happen(&mut self, pending: Pending, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let Pending {
            instance, event, ..
        } = pending;
        let alive = instance == self.n_instances && self.instance.is_some();
        match event {
            Event::Start => self.start(trace),
            Event::Close if self.instance.is_some() => self.feed(QueueInput::Drain, trace),
            Event::Close => Ok(()),
            Event::Answer(input) if alive => self.feed(input, trace),
            Event::Answer(_) => Ok(()),
            Event::Slot => self.feed(QueueInput::SlotGranted, trace),
            Event::Invoke(batch, plan) => {
                let outcome = self.invoked(&batch, plan);
                if !alive {
                    return Ok(());
                }
                let messages: Vec<_> = indices(&batch).collect();
                for index in &messages {
                    self.function.succeeded[*index] |= self.is_done(&outcome, *index, &messages);
                }
                self.expect_delays(&outcome, &batch);
                self.failing = messages;
                let batch = batch.id;
                self.feed(QueueInput::Invoked { batch, outcome }, trace)?;
                self.failing.clear();
                self.offer_slot();
                Ok(())
            }
            Event::Request { command, arrived } => {
                let arrived = arrived.unwrap_or(self.now);
                let (at, event) = match self.answer(&command, arrived, alive, trace)? {
                    Reply::Answer(answer) => {
                        let latency = self.sqs.latency(self.is_faulty(), &mut self.rng);
                        (self.now + latency, Event::Answer(answer))
                    }
                    Reply::WaitUntil(at) => {
                        let arrived = Some(arrived);
                        (at, Event::Request { command, arrived })
                    }
                };
                self.events.push(Pending {
                    at,
                    instance,
                    event,
                });
                Ok(())
            }
        }
    }

    fn start(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        self.n_instances += 1;
        trace.record(|| format!("{} start", since_start(self.now)));
        if self.rng.per_mille(200) {
            self.plan.redraw_batch_size(&mut self.rng);
        }
        let settings = self.plan.settings.clone();
        let (free_slots, seed) = (self.plan.concurrency, self.rng.any());
        self.instance = Some(Instance {
            checker: QueueChecker::new(settings.clone(), free_slots, self.now),
            consumer: QueueConsumer::new(settings, free_slots, seed, self.now),
        });
        self.settle(false, trace)
    }

    fn feed(&mut self, input: QueueInput, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        trace.record(|| format!("{} {}", since_start(self.now), input_text(&input)));
        let is_grant = matches!(input, QueueInput::SlotGranted);
        self.show_free_slots(usize::from(is_grant));
        let failed = matches!(
            &input,
            QueueInput::Invoked {
                outcome: Outcome::ItemFailures { .. } | Outcome::FunctionError { .. },
                ..
            }
        );
        let source_time = self.plan.clock_ahead.map(|ahead| self.now.shifted(ahead));
        let instance = self
            .instance
            .as_mut()
            .expect("events are dropped with their consumer");
        if let Some(source_time) = source_time {
            instance.consumer.set_source_time(source_time);
            instance.checker.set_source_time(source_time);
        }
        instance.checker.input(&input, self.now);
        instance.consumer.handle(input, self.now);
        self.settle(failed, trace)
    }

    fn fire(&mut self, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        trace.record(|| format!("{} timer", since_start(self.now)));
        self.show_free_slots(0);
        let instance = self.instance.as_mut().expect("a timer needs a consumer");
        let named = instance.consumer.poll_timeout();
        let due = named.is_some_and(|at| at <= self.now);
        instance.checker.timer(due, self.now);
        instance.consumer.handle_timeout(self.now);
        self.settle(false, trace)
    }

    /// Tells the consumer how many slots are free, without the `n_granted` that it is granted now.
    /// Others may have taken them by the time it has messages.
    fn show_free_slots(&mut self, n_granted: usize) {
        let taken = self.is_faulty() && self.rng.per_mille(self.plan.slots_taken);
        let free_slots = if taken || self.slot_waits {
            0
        } else {
            self.plan.concurrency - self.n_slots_in_use() - n_granted
        };
        let instance = self.instance.as_mut().expect("a consumer is fed");
        instance.consumer.set_free_slots(free_slots);
        instance.checker.set_free_slots(free_slots);
    }

    /// Grants the slot that is waited for, if one is free.
    fn offer_slot(&mut self) {
        if self.slot_waits && self.n_slots_in_use() < self.plan.concurrency {
            self.slot_waits = false;
            let (low, high) = self.plan.slot_latency;
            let latency = self.rng.millis(low, high);
            self.schedule(self.now + latency, Event::Slot);
        }
    }

    /// The slots of invocations in flight, and of a grant that is on its way.
    fn n_slots_in_use(&self) -> usize {
        let current = self
            .events
            .iter()
            .filter(|it| it.instance == self.n_instances);
        current
            .filter(|it| matches!(it.event, Event::Invoke(..) | Event::Slot))
            .count()
    }

    /// Takes all commands and schedules their results. `failed` if an invocation has failed.
    fn settle(&mut self, failed: bool, trace: &mut Trace) -> Result<(), BrokenInvariant> {
        let mut commands = Vec::new();
        let instance = self.instance.as_mut().expect("a consumer was fed");
        while let Some(command) = instance.consumer.poll_command() {
            trace.record(|| format!("{}     → {}", since_start(self.now), command_text(&command)));
            instance.checker.command(&command, self.now)?;
            commands.push(command);
        }
        let timeout = instance.consumer.poll_timeout();
        instance
            .checker
            .settled(&instance.consumer.view(), timeout, self.now)?;
        let is_finished = instance.checker.is_finished();
        self.check_releases(&commands, failed)?;
        for command in commands {
            let (latency, event) = match command {
                QueueCommand::Report(_) | QueueCommand::Finish => continue,
                QueueCommand::RequestSlot => {
                    self.slot_waits = true;
                    self.offer_slot();
                    continue;
                }
                QueueCommand::CancelSlot => {
                    self.totals.cancellations += 1;
                    self.slot_waits = false;
                    self.events.retain(|it| !matches!(it.event, Event::Slot));
                    continue;
                }
                QueueCommand::Invoke(batch) => {
                    self.totals.invocations += 1;
                    self.check_invocation(&batch)?;
                    indices(&batch).for_each(|index| self.seen[index] = true);
                    let plan = self.function.begin(self.is_faulty(), &mut self.rng);
                    (plan.duration, Event::Invoke(batch, plan))
                }
                QueueCommand::Receive { .. }
                | QueueCommand::Delete { .. }
                | QueueCommand::ChangeVisibility { .. } => {
                    let latency = self.sqs.latency(self.is_faulty(), &mut self.rng);
                    let arrived = None;
                    (latency, Event::Request { command, arrived })
                }
            };
            self.schedule(self.now + latency, event);
        }
        if is_finished {
            self.totals.drains += 1;
            self.end_instance();
        }
        Ok(())
    }

    /// The process is gone; requests and invocations that were in flight may still be carried out.
    fn crash(&mut self) {
        for index in 0..self.excused.len() {
            self.excused[index] |= self.sqs.is_in_flight(index, self.now);
        }
        let (rng, current) = (&mut self.rng, self.n_instances);
        self.events.retain(|pending| match pending.event {
            Event::Request { .. } | Event::Invoke(..) => {
                pending.instance != current || rng.per_mille(500)
            }
            Event::Answer(_) | Event::Slot => false,
            Event::Start | Event::Close => true,
        });
        self.end_instance();
    }

    fn end_instance(&mut self) {
        self.instance = None;
        self.slot_waits = false;
        if self.quiet_since.is_some() {
            self.is_over = true;
            return;
        }
        let pause = self.rng.pick(&[0, 10, 5_000]);
        let pause = self.rng.millis(0, pause);
        self.schedule(self.now + pause, Event::Start);
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        let instance = self.n_instances;
        self.events.push(Pending {
            at,
            instance,
            event,
        });
    }

    fn is_filtered_out(&self, index: usize) -> bool {
        let Planned {
            len,
            matches,
            unreadable,
            ..
        } = self.plan.messages[index];
        !unreadable
            && self.plan.settings.filter.is_some()
            && !sample_filter::matches(&sample_filter::event(len, matches))
    }

    fn nothing_is_lost(&self) -> Result<(), BrokenInvariant> {
        for index in 0..self.plan.messages.len() {
            let processed = 0 < self.function.processed[index];
            let redriven = self.sqs.is_redriven(index);
            let filtered_out = self.is_filtered_out(index);
            let done = (processed || filtered_out) && self.sqs.is_deleted(index);
            ensure(!(filtered_out && processed), "lost", || {
                format!("message {index} was filtered out and invoked")
            })?;
            ensure(done || redriven, "lost", || {
                format!("message {index} is not processed and deleted")
            })?;
            let undeliverable = self.sqs.is_undeliverable(index);
            ensure(!(undeliverable && processed), "lost", || {
                format!("message {index} was too large and invoked")
            })?;
            let unseen = redriven && !undeliverable && !self.seen[index];
            let excused = self.excused[index] || self.given_back[index];
            let must_be_seen = self.receives_are_whole() && !excused;
            ensure(!(unseen && must_be_seen), "Q11", || {
                format!("message {index} is moved to the dead-letter queue, but was never invoked")
            })?;
        }
        Ok(())
    }
}

fn indices(batch: &Batch) -> impl Iterator<Item = usize> {
    let index = |id: &str| id.parse().expect("the id is the index");
    batch
        .messages
        .iter()
        .map(move |message| index(message.message_id.as_str()))
}

fn since_start(now: Timestamp) -> String {
    format!("{:>7}", now.since(START).as_millis())
}
