//! The world of the processes of one function: they answer, crash, hang, leave their connections and
//! ignore signals, while events come and go and the pool drains.
//!
//! Checked at every step, by the names of the [invariants](windlass_core::process#invariants); `spin`
//! is a timer that fires in vain, and `stuck` a world that does not settle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use windlass_core::process::{
    End, InvocationId, ProcessCommand, ProcessId, ProcessInput, ProcessPool, ProcessPoolSettings,
};
use windlass_core::time::Timestamp;

use super::{Totals, Trace};
use crate::checkers::{BrokenInvariant, ensure};
use crate::rng::Rng;

const START: Timestamp = Timestamp::from_millis(1_000);

/// While processes misbehave and events arrive.
const TROUBLE: Duration = Duration::from_secs(120);

/// In which everything settles once the processes behave.
const SETTLING_TIME: Duration = Duration::from_secs(4_000);

const MAX_STEPS: u64 = 20_000;

/// Runs the world of one seed to its end.
///
/// # Errors
/// An invariant was broken, or the world did not settle.
pub fn run(seed: u64, trace: &mut Trace) -> Result<Totals, BrokenInvariant> {
    let mut world = World::new(seed, std::mem::take(trace));
    let result = world.run();
    *trace = world.trace;
    result.map(|()| world.totals)
}

struct World {
    rng: Rng,
    settings: ProcessPoolSettings,
    pool: ProcessPool,
    now: Timestamp,
    /// Inputs that will happen, in order.
    due: BTreeMap<(Timestamp, u64), ProcessInput>,
    n_due: u64,
    processes: BTreeMap<ProcessId, Process>,
    n_invocations: u64,
    /// Not completed and not cancelled.
    pending: BTreeSet<InvocationId>,
    /// When the pool drains; `None`: it never does.
    drain_at: Option<Timestamp>,
    is_draining: bool,
    /// Model of the backoff: consecutive failures, and the end of the pause.
    failures: u32,
    pause_until: Timestamp,
    /// The one whose commands are being followed.
    last_input: Option<ProcessInput>,
    totals: Totals,
    trace: Trace,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    state: State,
    has_answered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Asking,
    Busy {
        invocation: InvocationId,
        since: Timestamp,
    },
    Returning,
    /// It was told to end.
    Ending,
}

impl World {
    fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let maximum = rng.size(1, 4);
        let settings = ProcessPoolSettings {
            minimum: rng.size(0, maximum),
            maximum,
            init_timeout: rng.millis(500, 10_000),
            timeout: rng.millis(500, 20_000),
            idle_timeout: rng.millis(1_000, 60_000),
            jitter_percent: 0,
        };
        let drain_at = rng.per_mille(500).then(|| START + rng.millis(0, 150_000));
        Self {
            pool: ProcessPool::new(settings.clone(), seed, START),
            rng,
            settings,
            now: START,
            due: BTreeMap::new(),
            n_due: 0,
            processes: BTreeMap::new(),
            n_invocations: 0,
            pending: BTreeSet::new(),
            drain_at,
            is_draining: false,
            failures: 0,
            pause_until: START,
            last_input: None,
            totals: Totals {
                worlds: 1,
                ..Totals::default()
            },
            trace,
        }
    }

    fn run(&mut self) -> Result<(), BrokenInvariant> {
        for _ in 0..self.rng.between(1, 200) {
            self.n_invocations += 1;
            let id = InvocationId(self.n_invocations);
            let at = self.rng.millis(0, 110_000);
            self.schedule(at, ProcessInput::Invoke(id));
            if self.rng.per_mille(300) {
                // Also where no event follows, or only much later.
                let earlier = self.rng.millis(0, 60_000);
                self.schedule(at.saturating_sub(earlier), ProcessInput::Expect);
            }
            if self.rng.per_mille(50) {
                let later = self.rng.millis(0, 5_000);
                self.schedule(at + later, ProcessInput::Cancel(id));
            }
        }
        if let Some(at) = self.drain_at {
            self.schedule(at.since(START), ProcessInput::Drain);
            let until_kill = self.rng.millis(0, 30_000);
            self.schedule(at.since(START) + until_kill, ProcessInput::Kill);
        }
        self.execute()?;
        let end = START + TROUBLE + SETTLING_TIME;
        while self.totals.steps < MAX_STEPS {
            self.totals.steps += 1;
            let timer = self.pool.poll_timeout();
            let due = self.due.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = timer.into_iter().chain(due).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if due == Some(next)
                && let Some((_, input)) = self.due.pop_first()
            {
                self.feed(input)?;
            } else {
                self.pool.handle_timeout(self.now);
                self.execute()?;
                let again = self.pool.poll_timeout();
                ensure(again.is_none_or(|at| self.now < at), "spin", || {
                    format!("the timer of {again:?} fires at {:?} in vain", self.now)
                })?;
            }
        }
        self.check_end()
    }

    fn feed(&mut self, input: ProcessInput) -> Result<(), BrokenInvariant> {
        if !self.can_happen(input) {
            return Ok(());
        }
        let now = self.now;
        self.trace
            .record(|| format!("{:?} {input:?}", now.since(START)));
        self.pool.handle(input, self.now);
        self.note(input);
        self.last_input = Some(input);
        self.execute()?;
        self.last_input = None;
        if let ProcessInput::Exited(id) = input {
            self.processes.remove(&id);
        }
        let must_start = input == ProcessInput::Expect
            && !self.is_draining
            && self.pause_until <= self.now
            && self.processes.is_empty();
        ensure(!must_start, "P8", || {
            "nothing starts for the event that is expected".to_owned()
        })
    }

    /// Whether the process still is where it was when the input was drawn.
    fn can_happen(&self, input: ProcessInput) -> bool {
        let state = |id| self.processes.get(&id).map(|process| process.state);
        match input {
            ProcessInput::Next(id) => matches!(
                state(id),
                Some(State::Starting | State::Returning | State::Asking)
            ),
            ProcessInput::NotTaken(id) | ProcessInput::Answered(id) => {
                matches!(state(id), Some(State::Busy { .. }))
            }
            ProcessInput::InitFailed(id) => state(id) == Some(State::Starting),
            ProcessInput::Exited(id) => state(id).is_some(),
            ProcessInput::Invoke(_)
            | ProcessInput::Expect
            | ProcessInput::Cancel(_)
            | ProcessInput::Drain
            | ProcessInput::Kill => true,
        }
    }

    /// Follows an input with the model, and draws what the process does next.
    fn note(&mut self, input: ProcessInput) {
        match input {
            ProcessInput::Invoke(id) => {
                self.pending.insert(id);
            }
            ProcessInput::Cancel(id) => {
                let in_hand = self.processes.values().any(|process| {
                    matches!(process.state, State::Busy { invocation, .. } if invocation == id)
                });
                if !in_hand {
                    self.pending.remove(&id);
                }
            }
            ProcessInput::Next(id) => {
                self.set(id, State::Asking);
                if self.rng.per_mille(self.trouble(30)) {
                    self.soon(ProcessInput::Exited(id), 20_000);
                }
            }
            ProcessInput::NotTaken(id) => {
                self.set(id, State::Returning);
                self.after_answer(id);
            }
            ProcessInput::Answered(id) => {
                self.failures = 0;
                self.set(id, State::Returning);
                if let Some(process) = self.processes.get_mut(&id) {
                    process.has_answered = true;
                }
                self.after_answer(id);
            }
            ProcessInput::InitFailed(_) => self.start_failed(),
            ProcessInput::Exited(id) => self.note_exit(id),
            ProcessInput::Expect => {}
            ProcessInput::Drain | ProcessInput::Kill => {
                self.is_draining = true;
                self.totals.drains += u64::from(input == ProcessInput::Drain);
            }
        }
    }

    fn note_exit(&mut self, id: ProcessId) {
        self.totals.crashes += 1;
        match self.processes.get(&id).copied() {
            Some(Process {
                state: State::Starting,
                ..
            }) => self.start_failed(),
            Some(Process {
                state: State::Asking | State::Returning,
                has_answered: false,
            }) => self.start_failed(),
            Some(_) | None => {}
        }
        // What it had is checked with the commands that follow.
    }

    fn start_failed(&mut self) {
        if self.pause_until <= self.now {
            let millis = 500_u64 << self.failures.min(7);
            self.failures += 1;
            self.pause_until = self.now + Duration::from_millis(millis.min(60_000));
        }
    }

    fn execute(&mut self) -> Result<(), BrokenInvariant> {
        while let Some(command) = self.pool.poll_command() {
            self.trace.record(|| format!("  {command:?}"));
            match command {
                ProcessCommand::Start(id) => self.start(id)?,
                ProcessCommand::Give {
                    process,
                    invocation,
                } => self.give(process, invocation)?,
                ProcessCommand::Terminate(id) => self.end(id, 4_000),
                ProcessCommand::Kill(id) => {
                    let process = self.processes.get(&id);
                    if process.is_some_and(|it| it.state == State::Starting) {
                        self.start_failed();
                    }
                    self.end(id, 50);
                }
                ProcessCommand::Complete { invocation, end } => self.complete(invocation, end)?,
            }
        }
        let n_processes = self.pool.n_processes();
        ensure(n_processes <= self.settings.maximum, "P3", || {
            format!("{n_processes} processes of {}", self.settings.maximum)
        })
    }

    fn start(&mut self, id: ProcessId) -> Result<(), BrokenInvariant> {
        ensure(!self.is_draining, "P6", || {
            format!("{id} starts in a drain")
        })?;
        ensure(self.pause_until <= self.now, "P5", || {
            format!("{id} starts before the end of the backoff")
        })?;
        self.check_reason(id)?;
        let process = Process {
            state: State::Starting,
            has_answered: false,
        };
        self.processes.insert(id, process);
        if self.rng.per_mille(self.trouble(250)) {
            let input = self.rng.pick(&[
                Some(ProcessInput::Exited(id)),
                Some(ProcessInput::InitFailed(id)),
                // It hangs.
                None,
            ]);
            if let Some(input) = input {
                self.soon(input, 3_000);
            }
        } else {
            self.soon(ProcessInput::Next(id), 400);
        }
        Ok(())
    }

    /// Nothing is started without need.
    fn check_reason(&self, id: ProcessId) -> Result<(), BrokenInvariant> {
        let has_exited = |id: &ProcessId| self.last_input == Some(ProcessInput::Exited(*id));
        let processes = self.processes.iter().filter(|(id, _)| !has_exited(id));
        let states: Vec<State> = processes.map(|(_, process)| process.state).collect();
        let count =
            |condition: fn(&State) -> bool| states.iter().copied().filter(condition).count();
        let n_alive = count(|state| *state != State::Ending);
        let n_waiting = self.pending.len() - count(|state| matches!(state, State::Busy { .. }));
        let is_expected = self.last_input == Some(ProcessInput::Expect) && n_alive == 0;
        let is_needed = n_alive < self.settings.minimum || 0 < n_waiting || is_expected;
        ensure(is_needed, "P8", || {
            format!("{id} starts without need: {states:?}")
        })
    }

    fn give(&mut self, id: ProcessId, invocation: InvocationId) -> Result<(), BrokenInvariant> {
        ensure(!self.is_draining, "P6", || {
            format!("{id} is given an event in a drain")
        })?;
        let state = self.processes.get(&id).map(|process| process.state);
        ensure(state == Some(State::Asking), "P1", || {
            format!("{id} is given an event while it is {state:?}")
        })?;
        ensure(self.pending.contains(&invocation), "P2", || {
            format!("{invocation} is given although nobody waits for it")
        })?;
        let others = self.processes.values().filter(|process| {
            matches!(process.state, State::Busy { invocation: other, .. } if other == invocation)
        });
        ensure(others.count() == 0, "P1", || {
            format!("{invocation} is given to two processes")
        })?;
        let since = self.now;
        self.set(id, State::Busy { invocation, since });
        self.totals.invocations += 1;
        let timeout = u64::try_from(self.settings.timeout.as_millis()).unwrap_or(u64::MAX);
        if self.rng.per_mille(self.trouble(200)) {
            let input = self.rng.pick(&[
                Some(ProcessInput::Exited(id)),
                Some(ProcessInput::NotTaken(id)),
                // It hangs.
                None,
            ]);
            if let Some(input) = input {
                self.soon(input, timeout);
            }
        } else {
            self.soon(ProcessInput::Answered(id), timeout * 3 / 4);
        }
        Ok(())
    }

    fn after_answer(&mut self, id: ProcessId) {
        match self.rng.between(1, 1000) {
            n if n <= self.trouble(50) => self.soon(ProcessInput::Exited(id), 1_000),
            // It hangs.
            n if n <= self.trouble(80) => {}
            _ => self.soon(ProcessInput::Next(id), 20),
        }
    }

    fn complete(&mut self, id: InvocationId, end: End) -> Result<(), BrokenInvariant> {
        ensure(self.pending.remove(&id), "P2", || {
            format!("{id} is completed although nobody waits for it")
        })?;
        let with = self
            .processes
            .iter()
            .find_map(|(process, it)| match it.state {
                State::Busy { invocation, since } if invocation == id => Some((*process, since)),
                State::Busy { .. }
                | State::Starting
                | State::Asking
                | State::Returning
                | State::Ending => None,
            });
        let holds = match (end, with) {
            // The answer was followed before the commands.
            (End::Answered, with) => with.is_none(),
            (End::TimedOut, Some((_, since))) => since + self.settings.timeout <= self.now,
            (End::Exited, Some((process, _))) => {
                !self.is_draining && self.pool.in_hand(process).is_none()
            }
            (End::NotReached, with) => self.is_draining || with.is_none(),
            (End::TimedOut | End::Exited, None) => false,
        };
        ensure(holds, "P4", || {
            format!("{id} ends as {end:?} with {with:?}")
        })?;
        if let Some((process, _)) = with {
            self.set(process, State::Ending);
        }
        Ok(())
    }

    /// A process that is told to end exits within `millis`.
    fn end(&mut self, id: ProcessId, millis: u64) {
        self.set(id, State::Ending);
        self.soon(ProcessInput::Exited(id), millis);
    }

    fn check_end(&self) -> Result<(), BrokenInvariant> {
        let pending = &self.pending;
        ensure(pending.is_empty(), "stuck", || {
            format!("{pending:?} wait for ever")
        })?;
        let n_processes = self.pool.n_processes();
        let expected = if self.is_draining {
            0
        } else {
            self.settings.minimum
        };
        ensure(n_processes == expected, "stuck", || {
            format!("{n_processes} processes at the end, not {expected}")
        })
    }

    /// A chance, per mille; zero once the processes behave.
    fn trouble(&self, per_mille: u64) -> u64 {
        if self.now < START + TROUBLE {
            per_mille
        } else {
            0
        }
    }

    fn set(&mut self, id: ProcessId, state: State) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.state = state;
        }
    }

    fn soon(&mut self, input: ProcessInput, millis: u64) {
        let delay = self.rng.millis(1, millis.max(1));
        self.schedule(self.now.since(START) + delay, input);
    }

    fn schedule(&mut self, after: Duration, input: ProcessInput) {
        self.n_due += 1;
        self.due.insert((START + after, self.n_due), input);
    }
}
