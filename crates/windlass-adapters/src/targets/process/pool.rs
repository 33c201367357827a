//! The task that runs the processes of one function: it executes what the core decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use windlass_core::outcome::{Fault, Outcome, Response};
use windlass_core::process::{
    End, InvocationId, ProcessCommand, ProcessId, ProcessInput, ProcessPool, ProcessPoolSettings,
};
use windlass_engine::clock::Clock;
use windlass_engine::ports::Invocation;
use windlass_engine::status::FunctionProcesses;

use super::child::{self, ChildParts};
use super::context::Context;
use super::exit::Exit;
use super::messages::{Given, Message, NextEvent, Sender, TakenGuard};
use super::protocol::{KILL, TERMINATE};
use crate::targets::invocation_facts::client_context;
use crate::targets::response::not_invoked;
use crate::targets::response_walker::Reads;

/// Variation of the backoff, in percent.
const JITTER: u32 = 20;

/// What AWS says of an invocation that reached its function.
const STATUS: u16 = 200;

/// A process has no other version.
const VERSION: &str = "$LATEST";

pub(super) struct Pool {
    context: Arc<Context>,
    clock: Clock,
    status: Arc<FunctionProcesses>,
    machine: ProcessPool,
    /// For the processes.
    sender: mpsc::WeakUnboundedSender<Message>,
    messages: mpsc::UnboundedReceiver<Message>,
    tasks: JoinSet<(ProcessId, Exit)>,
    processes: BTreeMap<ProcessId, Process>,
    invocations: BTreeMap<InvocationId, PendingInvocation>,
    is_stopping: bool,
}

/// A process until its end.
struct Process {
    /// Bytes of the protocol.
    signals: mpsc::UnboundedSender<u8>,
    /// Its request for an event.
    next: Option<oneshot::Sender<NextEvent>>,
    /// Of the event it has.
    request_id: Option<Arc<str>>,
    has_asked: bool,
    /// The error that it reported in place of asking.
    init_error: Option<String>,
}

/// An invocation until its result.
struct PendingInvocation {
    invocation: Invocation,
    reply: oneshot::Sender<Outcome>,
    request_id: Arc<str>,
    /// Of the answer.
    outcome: Option<Outcome>,
}

impl Pool {
    pub(super) fn new(
        context: Arc<Context>,
        clock: Clock,
        status: Arc<FunctionProcesses>,
    ) -> (Self, Sender) {
        let (sender, messages) = mpsc::unbounded_channel();
        let settings = ProcessPoolSettings {
            minimum: context.function.minimum_processes,
            maximum: context.function.maximum_processes,
            init_timeout: context.function.init_timeout,
            timeout: context.timeout,
            idle_timeout: context.function.idle_timeout,
            jitter_percent: JITTER,
        };
        let pool = Self {
            context,
            clock,
            status,
            machine: ProcessPool::new(settings, fastrand::u64(..), clock.now()),
            sender: sender.downgrade(),
            messages,
            tasks: JoinSet::new(),
            processes: BTreeMap::new(),
            invocations: BTreeMap::new(),
            is_stopping: false,
        };
        (pool, sender)
    }

    /// Runs until it was asked to stop and every process has ended.
    pub(super) async fn run(mut self) {
        loop {
            self.execute();
            if self.is_stopping && self.processes.is_empty() {
                return;
            }
            let timer = self.machine.poll_timeout();
            let now = self.clock.now();
            let timer = async {
                match timer {
                    Some(at) => tokio::time::sleep(at.since(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = self.messages.recv() => {
                    // Without a message nobody is left who could stop it.
                    self.handle(message.unwrap_or(Message::Kill));
                }
                Some(ended) = self.tasks.join_next() => {
                    if let Ok((process, exit)) = ended {
                        self.ended(process, &exit);
                    }
                }
                () = timer => self.machine.handle_timeout(self.clock.now()),
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Invoke {
                id,
                invocation,
                reply,
            } => {
                let pending = PendingInvocation {
                    invocation,
                    reply,
                    request_id: new_request_id(),
                    outcome: None,
                };
                self.invocations.insert(id, pending);
                self.input(ProcessInput::Invoke(id));
            }
            Message::Expect => self.input(ProcessInput::Expect),
            Message::Cancel(id) => {
                self.input(ProcessInput::Cancel(id));
                let is_in_hand = self.is_in_hand(id);
                self.invocations.retain(|it, _| *it != id || is_in_hand);
            }
            Message::Next { process, reply } => self.next(process, reply),
            Message::NotTaken {
                process,
                request_id,
            } => {
                if self.has_request(process, &request_id) {
                    self.not_taken(process);
                }
            }
            Message::Answer {
                process,
                request_id,
                outcome,
                reply,
            } => {
                let accepted = self.answer(process, &request_id, outcome);
                // A process that is gone does not need to know.
                reply.send(accepted).ok();
            }
            Message::InitFailed { process, kind } => self.init_failed(process, kind),
            Message::Drain => {
                self.is_stopping = true;
                self.input(ProcessInput::Drain);
            }
            Message::Kill => {
                self.is_stopping = true;
                self.input(ProcessInput::Kill);
            }
        }
    }

    fn input(&mut self, input: ProcessInput) {
        self.machine.handle(input, self.clock.now());
    }

    fn next(&mut self, id: ProcessId, reply: oneshot::Sender<NextEvent>) {
        if self.machine.in_hand(id).is_some() {
            // A process that is gone does not need to know.
            drop(reply.send(NextEvent::Busy));
            return;
        }
        if let Some(process) = self.processes.get_mut(&id) {
            process.next = Some(reply);
            process.has_asked = true;
            self.status.set_problem(None);
            self.input(ProcessInput::Next(id));
        }
    }

    fn answer(&mut self, id: ProcessId, request_id: &str, outcome: Outcome) -> bool {
        if !self.has_request(id, request_id) {
            return false;
        }
        let invocation = self.machine.in_hand(id);
        let Some(pending) = invocation.and_then(|it| self.invocations.get_mut(&it)) else {
            return false;
        };
        pending.outcome = Some(outcome);
        self.forget_request(id);
        self.input(ProcessInput::Answered(id));
        true
    }

    fn not_taken(&mut self, id: ProcessId) {
        self.forget_request(id);
        self.input(ProcessInput::NotTaken(id));
    }

    fn init_failed(&mut self, id: ProcessId, kind: String) {
        let is_starting = self.machine.is_starting(id);
        if let Some(process) = self.processes.get_mut(&id).filter(|_| is_starting) {
            process.init_error = Some(kind.clone());
            self.start_failed(&format!("it reported {kind}"));
            self.input(ProcessInput::InitFailed(id));
        }
    }

    /// A process has ended, with all its descendants.
    fn ended(&mut self, id: ProcessId, exit: &Exit) {
        let is_starting = self.machine.is_starting(id);
        self.status.exited();
        if let Some(invocation) = self.machine.in_hand(id)
            && let Some(pending) = self.invocations.get_mut(&invocation)
        {
            let (message, cause) = (exit.message(), exit.cause());
            tracing::warn!(
                function = &*self.context.name,
                request_id = &*pending.request_id,
                "{message}{cause}"
            );
            pending.outcome = Some(failed(
                &format!("Runtime.ExitError: {message}"),
                &pending.request_id,
            ));
        } else if is_starting {
            let cause = exit.cause();
            self.start_failed(&format!("{exit} before it asked for an event{cause}"));
        } else {
            let function = &*self.context.name;
            tracing::debug!(function, process = %id, %exit, "process ended{}", exit.cause());
        }
        self.processes.remove(&id);
        self.input(ProcessInput::Exited(id));
    }

    fn start_failed(&self, reason: &str) {
        let problem = format!("a process failed to start: {reason}");
        tracing::warn!(function = &*self.context.name, "{problem}");
        self.status.set_problem(Some(problem));
    }

    fn execute(&mut self) {
        while let Some(command) = self.machine.poll_command() {
            match command {
                ProcessCommand::Start(process) => self.start(process),
                ProcessCommand::Give {
                    process,
                    invocation,
                } => self.give(process, invocation),
                ProcessCommand::Terminate(process) => self.signal(process, TERMINATE),
                ProcessCommand::Kill(process) => {
                    self.explain_kill(process);
                    self.signal(process, KILL);
                }
                ProcessCommand::Complete { invocation, end } => self.complete(invocation, end),
            }
        }
        self.status
            .set_processes(self.machine.n_processes(), self.machine.n_busy());
    }

    fn start(&mut self, id: ProcessId) {
        let Some(pool) = self.sender.upgrade() else {
            return;
        };
        let (signals, received) = mpsc::unbounded_channel();
        let parts = ChildParts {
            id,
            context: Arc::clone(&self.context),
            pool,
            signals: received,
        };
        self.tasks
            .spawn(async move { (id, child::run(parts).await) });
        let process = Process {
            signals,
            next: None,
            request_id: None,
            has_asked: false,
            init_error: None,
        };
        self.processes.insert(id, process);
        self.status.started(self.clock.wall());
    }

    fn give(&mut self, id: ProcessId, invocation: InvocationId) {
        let taken = self.try_give(id, invocation);
        if taken.is_none() {
            self.not_taken(id);
        }
    }

    fn try_give(&mut self, id: ProcessId, invocation: InvocationId) -> Option<()> {
        let pending = self.invocations.get(&invocation)?;
        let process = self.processes.get_mut(&id)?;
        process.request_id = Some(Arc::clone(&pending.request_id));
        let given = Given {
            event: pending.invocation.event.clone(),
            request_id: Arc::clone(&pending.request_id),
            deadline: self.clock.wall() + self.context.timeout,
            client_context: client_context(&pending.invocation),
            reads: Reads::of(&pending.invocation),
            guard: TakenGuard {
                pool: self.sender.upgrade()?,
                process: id,
                request_id: Arc::clone(&pending.request_id),
                taken: false,
            },
        };
        let given = NextEvent::Event(Box::new(given));
        let Err(NextEvent::Event(mut given)) = process.next.take()?.send(given) else {
            return Some(());
        };
        // The caller knows it already.
        given.guard.taken = true;
        None
    }

    fn signal(&self, id: ProcessId, signal: u8) {
        if let Some(process) = self.processes.get(&id) {
            // One that has ended needs no signal.
            process.signals.send(signal).ok();
        }
    }

    /// The log says why a process is killed, except where a timeout of its event says it.
    fn explain_kill(&self, id: ProcessId) {
        let Some(process) = self.processes.get(&id) else {
            return;
        };
        if self.is_stopping || process.request_id.is_some() || process.init_error.is_some() {
            return;
        }
        let limit = self.context.function.init_timeout;
        if process.has_asked {
            tracing::debug!(function = &*self.context.name, process = %id, "process killed");
        } else {
            self.start_failed(&format!("it did not ask for an event within {limit:?}"));
        }
    }

    fn complete(&mut self, id: InvocationId, end: End) {
        let Some(pending) = self.invocations.remove(&id) else {
            return;
        };
        let outcome = match end {
            End::Answered | End::Exited => pending.outcome,
            End::TimedOut => {
                let seconds = self.context.timeout.as_secs_f64();
                let message = format!("Task timed out after {seconds:.2} seconds");
                tracing::warn!(
                    function = &*self.context.name,
                    request_id = &*pending.request_id,
                    "{message}"
                );
                Some(failed(
                    &format!("Sandbox.Timedout: {message}"),
                    &pending.request_id,
                ))
            }
            End::NotReached => None,
        };
        // Nobody may wait for it any more.
        drop(
            pending
                .reply
                .send(outcome.unwrap_or(not_invoked(Fault::Transient))),
        );
    }

    fn is_in_hand(&self, id: InvocationId) -> bool {
        let mut processes = self.processes.keys();
        processes.any(|process| self.machine.in_hand(*process) == Some(id))
    }

    fn has_request(&self, id: ProcessId, request_id: &str) -> bool {
        let process = self.processes.get(&id);
        let current = process.and_then(|process| process.request_id.as_deref());
        current == Some(request_id) && self.machine.in_hand(id).is_some()
    }

    fn forget_request(&mut self, id: ProcessId) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.request_id = None;
        }
    }
}

/// A function error as AWS describes it.
pub(super) fn failed(error: &str, request_id: &str) -> Outcome {
    Outcome::FunctionError {
        error: error.to_owned(),
        response: Box::new(response_of(request_id).failed()),
    }
}

/// What is known of every response of a process.
pub(super) fn response_of(request_id: &str) -> Response {
    Response {
        status: STATUS,
        request_id: Some(request_id.into()),
        executed_version: Some(VERSION.into()),
        function_error: None,
    }
}

/// A random UUID, as request ids on AWS are.
fn new_request_id() -> Arc<str> {
    let random = fastrand::u128(..);
    let version_and_variant = 0x0000_0000_0000_4000_8000_0000_0000_0000;
    let mask = 0xffff_ffff_ffff_0fff_3fff_ffff_ffff_ffff;
    let hex = format!("{:032x}", random & mask | version_and_variant);
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-").into()
}
