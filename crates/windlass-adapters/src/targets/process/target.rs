//! [`ProcessTarget`]: the port of the engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use windlass_core::arn::Arn;
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::process::InvocationId;
use windlass_engine::clock::Clock;
use windlass_engine::ports::{Invocation, Target};
use windlass_engine::status::FunctionProcesses;

use super::context::Context;
use super::memory_groups::MemoryGroups;
use super::messages::{Message, Sender};
use super::pool::Pool;
use super::settings::ProcessFunction;
use crate::targets::response::not_invoked;

/// Invokes one function in processes of its own.
#[derive(Debug)]
pub struct ProcessTarget {
    context: Arc<Context>,
    pool: Sender,
    /// The task of the pool.
    task: Mutex<JoinSet<()>>,
    last_id: AtomicU64,
}

pub struct ProcessTargetParts {
    pub name: String,
    pub arn: Arn,
    pub region: String,
    pub function: ProcessFunction,
    pub timeout: Duration,
    /// `None`: memory is limited by `RLIMIT_DATA`.
    pub memory_groups: Option<Arc<MemoryGroups>>,
    pub clock: Clock,
    pub status: Arc<FunctionProcesses>,
}

/// Tells the pool on drop that nobody waits for an invocation.
struct CancelGuard<'a> {
    pool: &'a Sender,
    id: InvocationId,
    is_done: bool,
}

impl ProcessTarget {
    /// Starts the function's processes, as many as it needs from the start. Must be called in a
    /// runtime of tokio.
    pub fn start(parts: ProcessTargetParts) -> Self {
        let variables = parts.function.variables(std::env::vars_os());
        let context = Arc::new(Context {
            name: parts.name.into(),
            arn: parts.arn,
            region: parts.region,
            timeout: parts.timeout,
            variables,
            memory_groups: parts.memory_groups,
            function: parts.function,
        });
        let (pool, sender) = Pool::new(Arc::clone(&context), parts.clock, parts.status);
        let mut task = JoinSet::new();
        task.spawn(pool.run());
        Self {
            context,
            pool: sender,
            task: Mutex::new(task),
            last_id: AtomicU64::new(0),
        }
    }

    /// Stops the processes that have no event, and finishes the events in hand: nothing else begins.
    pub fn drain(&self) {
        // Without a task the pool has stopped.
        drop(self.pool.send(Message::Drain));
    }

    /// Kills all processes and waits for their end.
    pub async fn kill(&self) {
        drop(self.pool.send(Message::Kill));
        self.stopped().await;
    }

    /// Waits until the pool has stopped.
    pub async fn stopped(&self) {
        let mut task =
            std::mem::take(&mut *self.task.lock().unwrap_or_else(PoisonError::into_inner));
        while task.join_next().await.is_some() {}
    }
}

#[async_trait]
impl Target for ProcessTarget {
    async fn invoke(&self, invocation: Invocation) -> Outcome {
        let id = InvocationId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let (reply, outcome) = oneshot::channel();
        let message = Message::Invoke {
            id,
            invocation,
            reply,
        };
        if self.pool.send(message).is_err() {
            return not_invoked(Fault::Transient);
        }
        let mut guard = CancelGuard {
            pool: &self.pool,
            id,
            is_done: false,
        };
        let outcome = outcome.await;
        guard.is_done = true;
        // Without an answer the pool has stopped.
        outcome.unwrap_or(not_invoked(Fault::Transient))
    }

    fn prepare(&self) {
        // Without a task the pool has stopped.
        drop(self.pool.send(Message::Expect));
    }

    fn concurrency(&self) -> Option<usize> {
        Some(self.context.function.maximum_processes)
    }

    /// With the start of a process, which an event may have to wait for.
    async fn timeout(&self) -> Duration {
        self.context.timeout + self.context.function.init_timeout
    }
}

impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            drop(self.pool.send(Message::Cancel(self.id)));
        }
    }
}
