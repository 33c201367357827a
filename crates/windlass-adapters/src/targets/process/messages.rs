//! What invocations and processes tell the pool, and what it answers.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use windlass_core::event::Event;
use windlass_core::outcome::Outcome;
use windlass_core::process::{InvocationId, ProcessId};
use windlass_core::time::Timestamp;
use windlass_engine::ports::Invocation;

use crate::targets::response_walker::Reads;

/// One for each invocation in flight and each request of a process: their number is bounded by those.
pub(super) type Sender = mpsc::UnboundedSender<Message>;

#[derive(Debug)]
pub(super) enum Message {
    Invoke {
        id: InvocationId,
        invocation: Invocation,
        reply: oneshot::Sender<Outcome>,
    },
    /// An event is likely to follow.
    Expect,
    Cancel(InvocationId),
    /// A process asks for an event. Without a reply its request has been replaced by another one, or
    /// it is asked to end.
    Next {
        process: ProcessId,
        reply: oneshot::Sender<NextEvent>,
    },
    NotTaken {
        process: ProcessId,
        request_id: Arc<str>,
    },
    /// A process answers the event of a request; replied whether it has that event.
    Answer {
        process: ProcessId,
        request_id: String,
        outcome: Outcome,
        reply: oneshot::Sender<bool>,
    },
    InitFailed {
        process: ProcessId,
        kind: String,
    },
    Drain,
    Kill,
}

#[derive(Debug)]
pub(super) enum NextEvent {
    Event(Box<Given>),
    /// The process has an event already.
    Busy,
}

/// An event for a process.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) event: Event,
    pub(super) request_id: Arc<str>,
    /// Wall time at which the answer is too late.
    pub(super) deadline: Timestamp,
    pub(super) client_context: String,
    /// What its response is read for.
    pub(super) reads: Option<Reads>,
    pub(super) guard: TakenGuard,
}

/// Tells the pool on drop that the process did not take its event, unless it did.
#[derive(Debug)]
pub(super) struct TakenGuard {
    pub(super) pool: Sender,
    pub(super) process: ProcessId,
    pub(super) request_id: Arc<str>,
    pub(super) taken: bool,
}

impl Drop for TakenGuard {
    fn drop(&mut self) {
        if !self.taken {
            // Without a pool nobody waits for the event.
            drop(self.pool.send(Message::NotTaken {
                process: self.process,
                request_id: Arc::clone(&self.request_id),
            }));
        }
    }
}
