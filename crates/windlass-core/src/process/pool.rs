//! [`ProcessPool`]: starts processes, gives them events, replaces and stops them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::interface::{End, InvocationId, ProcessCommand, ProcessId, ProcessInput};
use super::settings::ProcessPoolSettings;
use crate::outcome::Fault;
use crate::retry::{Backoff, Jitter};
use crate::time::Timestamp;

/// From SIGTERM to SIGKILL.
const TERMINATION_GRACE: Duration = Duration::from_secs(2);

/// The processes of one function.
#[derive(Debug)]
pub struct ProcessPool {
    settings: ProcessPoolSettings,
    processes: BTreeMap<ProcessId, Process>,
    last_id: u64,
    /// Events that no process has, in the order in which they are given.
    waiting: VecDeque<InvocationId>,
    backoff: Backoff,
    jitter: Jitter,
    /// No process is started before.
    start_after: Option<Timestamp>,
    is_draining: bool,
    commands: VecDeque<ProcessCommand>,
}

#[derive(Debug)]
struct Process {
    state: State,
    /// It has answered an event since its start.
    has_answered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting {
        deadline: Timestamp,
    },
    /// It waits for an event.
    Idle {
        since: Timestamp,
    },
    Busy {
        invocation: InvocationId,
        deadline: Timestamp,
    },
    /// It has answered, and has not asked for the next event yet.
    Returning {
        deadline: Timestamp,
    },
    Terminating {
        deadline: Timestamp,
    },
    Killed,
}

impl ProcessPool {
    /// # Panics
    /// The settings allow no process.
    pub fn new(settings: ProcessPoolSettings, seed: u64, now: Timestamp) -> Self {
        assert!(
            0 < settings.maximum && settings.minimum <= settings.maximum,
            "a pool has room for a process"
        );
        let mut pool = Self {
            jitter: Jitter::new(seed, settings.jitter_percent),
            settings,
            processes: BTreeMap::new(),
            last_id: 0,
            waiting: VecDeque::new(),
            backoff: Backoff::default(),
            start_after: None,
            is_draining: false,
            commands: VecDeque::new(),
        };
        pool.start_processes(now);
        pool
    }

    pub fn handle(&mut self, input: ProcessInput, now: Timestamp) {
        match input {
            ProcessInput::Invoke(invocation) => self.waiting.push_back(invocation),
            ProcessInput::Expect => self.expect(now),
            ProcessInput::Cancel(invocation) => self.waiting.retain(|it| *it != invocation),
            ProcessInput::Next(id) => self.next(id, now),
            ProcessInput::NotTaken(id) => self.not_taken(id, now),
            ProcessInput::Answered(id) => self.answered(id, now),
            ProcessInput::InitFailed(id) => {
                if matches!(self.state(id), Some(State::Starting { .. })) {
                    self.start_failed(now);
                    self.kill(id);
                }
            }
            ProcessInput::Exited(id) => self.exited(id, now),
            ProcessInput::Drain => self.drain(now),
            ProcessInput::Kill => {
                self.drain(now);
                for id in self.ids() {
                    if let Some(invocation) = self.in_hand(id) {
                        self.complete(invocation, End::NotReached);
                    }
                    self.kill(id);
                }
            }
        }
        self.handle_timeout(now);
    }

    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        for id in self.ids() {
            self.check_deadline(id, now);
        }
        self.stop_idle(now);
        if self.start_after.is_some_and(|at| at <= now) {
            self.start_after = None;
        }
        if self.is_draining {
            while let Some(invocation) = self.waiting.pop_front() {
                self.complete(invocation, End::NotReached);
            }
            return;
        }
        self.give_events(now);
        self.start_processes(now);
    }

    pub fn poll_command(&mut self) -> Option<ProcessCommand> {
        self.commands.pop_front()
    }

    /// When `handle_timeout` has something to do next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let deadlines = self.processes.values().filter_map(|it| it.state.deadline());
        let idle = self
            .oldest_surplus()
            .map(|(since, _)| since + self.settings.idle_timeout);
        let start = self
            .start_after
            .filter(|_| !self.is_draining && 0 < self.wanted());
        deadlines.chain(idle).chain(start).min()
    }

    /// The event that a process has.
    pub fn in_hand(&self, id: ProcessId) -> Option<InvocationId> {
        match self.state(id)? {
            State::Busy { invocation, .. } => Some(invocation),
            State::Starting { .. }
            | State::Idle { .. }
            | State::Returning { .. }
            | State::Terminating { .. }
            | State::Killed => None,
        }
    }

    /// Whether a process has not asked for an event yet.
    pub fn is_starting(&self, id: ProcessId) -> bool {
        matches!(self.state(id), Some(State::Starting { .. }))
    }

    /// Processes that have not exited.
    pub fn n_processes(&self) -> usize {
        self.processes.len()
    }

    /// Processes that have an event.
    pub fn n_busy(&self) -> usize {
        self.count(|state| matches!(state, State::Busy { .. }))
    }

    /// Starts a process if none is there for the event. It stops as any other if none follows.
    fn expect(&mut self, now: Timestamp) {
        let may_start = !self.is_draining && self.start_after.is_none_or(|at| at <= now);
        if may_start && self.count(State::is_alive) == 0 && 0 < self.room() {
            self.start(now);
        }
    }

    fn next(&mut self, id: ProcessId, now: Timestamp) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        match process.state {
            State::Starting { .. } | State::Returning { .. } => {
                process.state = State::Idle { since: now };
                if self.is_draining {
                    self.terminate(id, now);
                }
            }
            // It replaces its request; or it is asked to end, and waits in vain.
            State::Idle { .. } | State::Busy { .. } | State::Terminating { .. } | State::Killed => {
            }
        }
    }

    fn not_taken(&mut self, id: ProcessId, now: Timestamp) {
        if let Some(invocation) = self.in_hand(id) {
            self.waiting.push_front(invocation);
            self.set_returning(id, now);
        }
    }

    fn answered(&mut self, id: ProcessId, now: Timestamp) {
        let Some(invocation) = self.in_hand(id) else {
            return;
        };
        self.complete(invocation, End::Answered);
        self.backoff.reset();
        self.set_returning(id, now);
        if let Some(process) = self.processes.get_mut(&id) {
            process.has_answered = true;
        }
    }

    fn exited(&mut self, id: ProcessId, now: Timestamp) {
        let Some(process) = self.processes.remove(&id) else {
            return;
        };
        match process.state {
            State::Starting { .. } => self.start_failed(now),
            State::Busy { invocation, .. } => {
                let end = if self.is_draining {
                    End::NotReached
                } else {
                    End::Exited
                };
                self.complete(invocation, end);
            }
            // A program that never answers anything must not be started in a busy loop.
            State::Idle { .. } | State::Returning { .. } => {
                if !process.has_answered {
                    self.back_off(now);
                }
            }
            State::Terminating { .. } | State::Killed => {}
        }
    }

    fn drain(&mut self, now: Timestamp) {
        self.is_draining = true;
        for id in self.ids() {
            match self.state(id) {
                Some(State::Starting { .. } | State::Idle { .. }) => self.terminate(id, now),
                // It has a moment to ask for the next event, with its connection in order.
                Some(State::Returning { .. }) => self.set_returning(id, now),
                Some(State::Busy { .. } | State::Terminating { .. } | State::Killed) | None => {}
            }
        }
    }

    fn check_deadline(&mut self, id: ProcessId, now: Timestamp) {
        let Some(state) = self.state(id) else { return };
        if state.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match state {
            State::Starting { .. } => self.start_failed(now),
            State::Busy { invocation, .. } => self.complete(invocation, End::TimedOut),
            State::Idle { .. }
            | State::Returning { .. }
            | State::Terminating { .. }
            | State::Killed => {}
        }
        self.kill(id);
    }

    /// Stops the processes beyond the minimum that have had nothing to do for long.
    fn stop_idle(&mut self, now: Timestamp) {
        while let Some((since, id)) = self.oldest_surplus()
            && since + self.settings.idle_timeout <= now
        {
            self.terminate(id, now);
        }
    }

    /// The process that has been idle for longest, if there are more than the minimum.
    fn oldest_surplus(&self) -> Option<(Timestamp, ProcessId)> {
        if self.count(State::is_alive) <= self.settings.minimum {
            return None;
        }
        self.idle().min()
    }

    /// The process that was idle for the shortest time is taken, so that the others can be stopped.
    fn give_events(&mut self, now: Timestamp) {
        while !self.waiting.is_empty()
            && let Some((_, process)) = self.idle().max()
            && let Some(invocation) = self.waiting.pop_front()
        {
            let deadline = now + self.settings.timeout;
            let state = State::Busy {
                invocation,
                deadline,
            };
            self.set_state(process, state);
            self.commands.push_back(ProcessCommand::Give {
                process,
                invocation,
            });
        }
    }

    fn start_processes(&mut self, now: Timestamp) {
        if self.start_after.is_some() {
            return;
        }
        for _ in 0..self.wanted() {
            self.start(now);
        }
    }

    fn start(&mut self, now: Timestamp) {
        self.last_id += 1;
        let id = ProcessId(self.last_id);
        let deadline = now + self.settings.init_timeout;
        let process = Process {
            state: State::Starting { deadline },
            has_answered: false,
        };
        self.processes.insert(id, process);
        self.commands.push_back(ProcessCommand::Start(id));
    }

    /// How many processes are missing: each event that waits has one that will ask for it soon.
    fn wanted(&self) -> usize {
        let coming =
            self.count(|state| matches!(state, State::Starting { .. } | State::Returning { .. }));
        let for_events = self.waiting.len().saturating_sub(coming);
        let for_minimum = self
            .settings
            .minimum
            .saturating_sub(self.count(State::is_alive));
        for_events.max(for_minimum).min(self.room())
    }

    /// How many more processes there may be.
    fn room(&self) -> usize {
        self.settings.maximum - self.processes.len()
    }

    /// A process ended, failed or hung before it asked for an event.
    fn start_failed(&mut self, now: Timestamp) {
        self.back_off(now);
        while let Some(invocation) = self.waiting.pop_front() {
            self.complete(invocation, End::NotReached);
        }
    }

    /// Of failures during the pause only the first counts.
    fn back_off(&mut self, now: Timestamp) {
        if self.start_after.is_none_or(|at| at <= now) {
            let delay = self.backoff.next(Fault::Transient, &mut self.jitter);
            self.start_after = Some(now + delay);
        }
    }

    fn set_returning(&mut self, id: ProcessId, now: Timestamp) {
        let limit = if self.is_draining {
            TERMINATION_GRACE
        } else {
            self.settings.init_timeout
        };
        let deadline = now + limit;
        self.set_state(id, State::Returning { deadline });
    }

    fn terminate(&mut self, id: ProcessId, now: Timestamp) {
        let deadline = now + TERMINATION_GRACE;
        self.set_state(id, State::Terminating { deadline });
        self.commands.push_back(ProcessCommand::Terminate(id));
    }

    fn kill(&mut self, id: ProcessId) {
        if self.state(id) != Some(State::Killed) {
            self.set_state(id, State::Killed);
            self.commands.push_back(ProcessCommand::Kill(id));
        }
    }

    fn complete(&mut self, invocation: InvocationId, end: End) {
        self.commands
            .push_back(ProcessCommand::Complete { invocation, end });
    }

    fn set_state(&mut self, id: ProcessId, state: State) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.state = state;
        }
    }

    fn state(&self, id: ProcessId) -> Option<State> {
        self.processes.get(&id).map(|process| process.state)
    }

    fn ids(&self) -> Vec<ProcessId> {
        self.processes.keys().copied().collect()
    }

    /// Processes that wait for an event, and since when.
    fn idle(&self) -> impl Iterator<Item = (Timestamp, ProcessId)> {
        self.processes.iter().filter_map(|(id, process)| {
            let State::Idle { since } = process.state else {
                return None;
            };
            Some((since, *id))
        })
    }

    fn count(&self, condition: impl Fn(State) -> bool) -> usize {
        let states = self.processes.values().map(|process| process.state);
        states.filter(|state| condition(*state)).count()
    }
}

impl State {
    const fn deadline(self) -> Option<Timestamp> {
        match self {
            Self::Starting { deadline }
            | Self::Busy { deadline, .. }
            | Self::Returning { deadline }
            | Self::Terminating { deadline } => Some(deadline),
            Self::Idle { .. } | Self::Killed => None,
        }
    }

    /// Whether it was not told to end.
    const fn is_alive(self) -> bool {
        match self {
            Self::Starting { .. }
            | Self::Idle { .. }
            | Self::Busy { .. }
            | Self::Returning { .. } => true,
            Self::Terminating { .. } | Self::Killed => false,
        }
    }
}
