//! The world of one slot of one mapping on a queue.
//!
//! What nobody inside can know is checked here, against the queue and the function themselves: that
//! only what succeeded is deleted (Q1), that nobody else gets what is held (Q3), that groups keep
//! their order (Q4), that nothing is done twice without a cause, and that in the end everything was.

mod function;
mod io;
mod plan;
mod sqs;
mod text;

use std::mem;

use windlass_core::event::ENVELOPE_LEN;
use windlass_core::outcome::Outcome;
use windlass_core::queue::{Batch, QueueCommand, QueueConsumer, QueueInput};
use windlass_core::time::Timestamp;

use self::function::{Fate, Function};
use self::io::Reply;
use self::plan::{Plan, Planned};
use self::sqs::Sqs;
use self::text::{command_text, input_text};
use super::plan::START;
use super::{Totals, Trace};
use crate::checkers::queue::QueueChecker;
use crate::checkers::{Violation, ensure};
use crate::rng::Rng;
use crate::sample_filter;

/// No world needs so many steps.
const MOST_STEPS: u64 = 100_000;

/// An answer may take so long and visibility must still be extended in time.
const QUICK: u64 = 200;

/// When everything is done, the world stays quiet for so long.
const QUIET_MILLIS: u64 = 10_000;

/// Runs the world of one seed to its end.
///
/// # Errors
/// An invariant was broken, or the world did not come to its end.
pub fn run(seed: u64, trace: &mut Trace) -> Result<Totals, Violation> {
    let mut world = World::new(seed);
    trace.note(|| format!("seed {seed}: {:?}", world.plan.settings));
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
    /// Messages that may be given or worked on again: something has gone wrong about them.
    excused: Vec<bool>,
    /// What is under way, in the order in which it was begun.
    coming: Vec<Coming>,
    life: Option<Life>,
    /// The number of the present life, or of the last one.
    n_lives: u64,
    /// Since when everything is done.
    quiet_since: Option<Timestamp>,
    is_over: bool,
    now: Timestamp,
    totals: Totals,
}

/// One consumer from its start to its end.
struct Life {
    consumer: QueueConsumer,
    checker: QueueChecker,
}

struct Coming {
    at: Timestamp,
    /// In which life it was begun; only that hears the answer.
    life: u64,
    event: Event,
}

enum Event {
    /// A request reaches the queue, or waits there.
    Request {
        command: QueueCommand,
        arrived: Option<Timestamp>,
    },
    /// The function answers.
    Invoke(Batch, Fate),
    /// An answer of the queue arrives.
    Answer(QueueInput),
    /// A consumer starts.
    Start,
    /// Everything is done, and was for a while: the consumer is to end.
    Close,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::draw(&mut rng);
        let n_messages = plan.messages.len();
        let largest = plan.settings.payload_limit - ENVELOPE_LEN;
        let function = mem::take(&mut plan.function);
        let slow_queue = QUICK < plan.sqs.latency.1;
        let excused = slow_queue || !plan.settings.visibility_heartbeat;
        let start = Coming {
            at: START,
            life: 0,
            event: Event::Start,
        };
        Self {
            sqs: Sqs::new(
                plan.sqs.clone(),
                plan.settings.fifo,
                largest,
                &plan.messages,
            ),
            function: Function::new(function, plan.settings.function_timeout, n_messages),
            excused: vec![excused; n_messages],
            coming: vec![start],
            life: None,
            n_lives: 0,
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

    /// Safety first: faults come until they end. Then liveness: everything must finish.
    fn is_faulty(&self) -> bool {
        self.now < self.plan.faults_end
    }

    fn step(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        self.totals.steps += 1;
        let stuck = MOST_STEPS < self.totals.steps;
        ensure(!stuck, "Q9", || {
            "the world does not come to its end".to_owned()
        })?;
        self.disturb(trace)?;
        let consumer = self.life.as_ref().map(|life| &life.consumer);
        let timeout = consumer.and_then(QueueConsumer::poll_timeout);
        let next = (0..self.coming.len()).min_by_key(|index| self.coming[*index].at);
        match (next.map(|index| (self.coming[index].at, index)), timeout) {
            (Some((at, index)), timeout) if timeout.is_none_or(|timeout| at <= timeout) => {
                self.now = self.now.max(at);
                let coming = self.coming.remove(index);
                self.happen(coming, trace)?;
            }
            (_, Some(timeout)) => {
                let late = if self.rng.per_mille(50) { 500 } else { 0 };
                self.now = self.now.max(timeout + self.rng.millis(0, late));
                self.fire(trace)?;
            }
            (_, None) => return Err(Violation::new("Q9", "nothing is under way, no timer")),
        }
        self.close_when_quiet();
        Ok(())
    }

    fn close_when_quiet(&mut self) {
        let done =
            !self.is_faulty() && self.quiet_since.is_none() && self.nothing_is_lost().is_ok();
        if done && self.life.is_some() {
            self.quiet_since = Some(self.now);
            let pause = self.rng.millis(0, QUIET_MILLIS);
            self.begin(self.now + pause, Event::Close);
        }
    }

    /// What happens at any time, and without being asked for.
    fn disturb(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        if !self.is_faulty() || self.life.is_none() {
            return Ok(());
        }
        if self.rng.per_mille(self.plan.drain) {
            self.feed(QueueInput::Drain, trace)?;
        }
        if self.rng.per_mille(self.plan.idle_timer) && self.life.is_some() {
            self.fire(trace)?;
        }
        if self.rng.per_mille(self.plan.crash) && self.life.is_some() {
            trace.note(|| format!("{} crash", since_start(self.now)));
            self.totals.crashes += 1;
            self.crash();
        }
        Ok(())
    }

    fn happen(&mut self, coming: Coming, trace: &mut Trace) -> Result<(), Violation> {
        let Coming { life, event, .. } = coming;
        let lives = life == self.n_lives && self.life.is_some();
        match event {
            Event::Start => self.start(trace),
            Event::Close if self.life.is_some() => self.feed(QueueInput::Drain, trace),
            Event::Close => Ok(()),
            Event::Answer(input) if lives => self.feed(input, trace),
            Event::Answer(_) => Ok(()),
            Event::Invoke(batch, fate) => {
                let outcome = self.invoked(&batch, fate);
                if !lives {
                    return Ok(());
                }
                if outcome == Outcome::Success {
                    for index in indices(&batch) {
                        self.function.succeeded[index] = true;
                    }
                }
                let batch = batch.id;
                self.feed(QueueInput::Invoked { batch, outcome }, trace)
            }
            Event::Request { command, arrived } => {
                let arrived = arrived.unwrap_or(self.now);
                let (at, event) = match self.answer(&command, arrived, lives, trace)? {
                    Reply::Answer(answer) => {
                        let latency = self.sqs.latency(self.is_faulty(), &mut self.rng);
                        (self.now + latency, Event::Answer(answer))
                    }
                    Reply::WaitUntil(at) => {
                        let arrived = Some(arrived);
                        (at, Event::Request { command, arrived })
                    }
                };
                self.coming.push(Coming { at, life, event });
                Ok(())
            }
        }
    }

    // Lives.

    fn start(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        self.n_lives += 1;
        trace.note(|| format!("{} start", since_start(self.now)));
        if self.rng.per_mille(200) {
            self.plan.redraw_batches(&mut self.rng);
        }
        let settings = self.plan.settings.clone();
        let seed = self.rng.any();
        self.life = Some(Life {
            checker: QueueChecker::new(settings.clone(), self.now),
            consumer: QueueConsumer::new(settings, seed, self.now),
        });
        self.settle(trace)
    }

    fn feed(&mut self, input: QueueInput, trace: &mut Trace) -> Result<(), Violation> {
        trace.note(|| format!("{} {}", since_start(self.now), input_text(&input)));
        let life = self.life.as_mut().expect("answers die with their life");
        life.checker.input(&input, self.now);
        life.consumer.handle(input, self.now);
        self.settle(trace)
    }

    fn fire(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        trace.note(|| format!("{} timer", since_start(self.now)));
        let life = self.life.as_mut().expect("a timer belongs to a life");
        let named = life.consumer.poll_timeout();
        let due = named.is_some_and(|at| at <= self.now);
        life.checker.timer(due, self.now);
        life.consumer.handle_timeout(self.now);
        self.settle(trace)
    }

    /// Takes every command and begins what it asks for.
    fn settle(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        let mut commands = Vec::new();
        let life = self.life.as_mut().expect("somebody was fed");
        while let Some(command) = life.consumer.poll_command() {
            trace.note(|| format!("{}     → {}", since_start(self.now), command_text(&command)));
            life.checker.command(&command, self.now)?;
            commands.push(command);
        }
        let timeout = life.consumer.poll_timeout();
        life.checker
            .settled(&life.consumer.view(), timeout, self.now)?;
        let is_finished = life.checker.is_finished();
        for command in commands {
            let (latency, event) = match command {
                QueueCommand::Report(_) | QueueCommand::Finish => continue,
                QueueCommand::Invoke(batch) => {
                    self.totals.invocations += 1;
                    self.check_invocation(&batch)?;
                    let fate = self.function.begin(self.is_faulty(), &mut self.rng);
                    (fate.duration, Event::Invoke(batch, fate))
                }
                QueueCommand::Receive { .. }
                | QueueCommand::Delete { .. }
                | QueueCommand::ChangeVisibility { .. } => {
                    let latency = self.sqs.latency(self.is_faulty(), &mut self.rng);
                    let arrived = None;
                    (latency, Event::Request { command, arrived })
                }
            };
            self.begin(self.now + latency, event);
        }
        if is_finished {
            self.totals.drains += 1;
            self.end_life();
        }
        Ok(())
    }

    /// The process is gone with all that it knew; what it had sent may still be carried out.
    fn crash(&mut self) {
        for index in 0..self.excused.len() {
            self.excused[index] |= self.sqs.is_in_flight(index, self.now);
        }
        let (rng, life) = (&mut self.rng, self.n_lives);
        self.coming.retain(|coming| match coming.event {
            Event::Request { .. } | Event::Invoke(..) => coming.life != life || rng.per_mille(500),
            Event::Answer(_) => false,
            Event::Start | Event::Close => true,
        });
        self.end_life();
    }

    fn end_life(&mut self) {
        self.life = None;
        if self.quiet_since.is_some() {
            self.is_over = true;
            return;
        }
        let pause = self.rng.pick(&[0, 10, 5_000]);
        let pause = self.rng.millis(0, pause);
        self.begin(self.now + pause, Event::Start);
    }

    fn begin(&mut self, at: Timestamp, event: Event) {
        let life = self.n_lives;
        self.coming.push(Coming { at, life, event });
    }

    /// Whether the function is not to see a message.
    fn is_filtered_out(&self, index: usize) -> bool {
        let Planned { len, wanted, .. } = self.plan.messages[index];
        self.plan.settings.filter.is_some()
            && !sample_filter::matches(&sample_filter::event(len, wanted))
    }

    fn nothing_is_lost(&self) -> Result<(), Violation> {
        for index in 0..self.plan.messages.len() {
            let processed = 0 < self.function.processed[index];
            let redriven = self.sqs.is_redriven(index);
            let filtered_out = self.is_filtered_out(index);
            let done = (processed || filtered_out) && self.sqs.is_deleted(index);
            ensure(!(filtered_out && processed), "lost", || {
                format!("message {index} was filtered out and given to the function")
            })?;
            ensure(done || redriven, "lost", || {
                format!("message {index} is not delivered and deleted")
            })?;
            ensure(!(redriven && processed), "lost", || {
                format!("message {index} was too large and was given to the function")
            })?;
        }
        Ok(())
    }
}

fn indices(batch: &Batch) -> impl Iterator<Item = usize> {
    let index = |id: &str| id.parse().expect("the queue's own name for it");
    batch
        .messages
        .iter()
        .map(move |message| index(message.message_id.as_str()))
}

fn since_start(now: Timestamp) -> String {
    format!("{:>7}", now.since(START).as_millis())
}
