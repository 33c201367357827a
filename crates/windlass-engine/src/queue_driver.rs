//! Drives one [`QueueConsumer`]: executes its commands and feeds the results back.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use windlass_core::event::Event;
use windlass_core::ids::ReceiptHandle;
use windlass_core::message::Message;
use windlass_core::outcome::{Fault, Outcome};
use windlass_core::queue::{
    Batch, QueueAttributes, QueueCommand, QueueConsumer, QueueInput, Report, RequestId,
    VisibilityChange,
};
use windlass_core::time::Timestamp;

use crate::clock::{Clock, Timer};
use crate::invoker::{Call, Invoker, Preparation};
use crate::memory::{MessageMemory, ReceiveGrant, detach};
use crate::ports::QueueReader;
use crate::slots::{NextSlot, Slot};
use crate::status::{SourceCall, SourceCalls, UnitHandle, UnitView};
use crate::stop::{Stop, wait_for_stop};

/// How long a receive may wait for memory. The consumer counts the visibility timeout of messages
/// from its command, so a later receive is not sent.
const MAX_GRANT_WAIT: Duration = Duration::from_secs(1);

/// How long a receive may go on after the driver is asked to stop: long enough for messages that are
/// on their way, so that they can be released; a long poll would wait up to 20 s for new ones.
const MAX_LAST_RECEIVE: Duration = Duration::from_millis(500);

/// How often the attributes of a queue are read.
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(3600);

/// How often they are read while the function fails.
const MIN_DESCRIBE_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct QueueDriver {
    pub(crate) consumer: QueueConsumer,
    pub(crate) io: Arc<QueueIo>,
    pub(crate) memory: MessageMemory,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) status: UnitHandle,
    pub(crate) next_slot: NextSlot,
    pub(crate) preparation: Preparation,
    /// When the attributes of the queue were last requested; `None` while a request is in flight.
    pub(crate) described: Option<Timestamp>,
}

/// What the I/O of a queue needs.
pub(crate) struct QueueIo {
    pub(crate) reader: Arc<dyn QueueReader>,
    pub(crate) invoker: Invoker,
    pub(crate) calls: SourceCalls,
    pub(crate) clock: Clock,
    /// Ends a receive.
    pub(crate) stop: watch::Receiver<Stop>,
}

type InFlight = FuturesUnordered<BoxFuture<'static, Completion>>;

/// Result of a command.
enum Completion {
    Received {
        request: RequestId,
        result: Result<Vec<Message>, Fault>,
        grant: ReceiveGrant,
        visibility: Duration,
    },
    /// The attributes of the queue, if they could be read.
    Described(Option<QueueAttributes>),
    Other(QueueInput),
}

/// The parameters of [`QueueCommand::Receive`].
struct Receive {
    request: RequestId,
    limit: u8,
    wait: Duration,
    visibility: Duration,
}

impl QueueDriver {
    /// Runs until the consumer has finished, or [`Stop::Now`].
    pub(crate) async fn run(&mut self) {
        let mut in_flight = InFlight::new();
        let mut timer = Timer::new(self.io.clock);
        loop {
            while let Some(command) = self.consumer.poll_command() {
                if let ControlFlow::Break(()) = self.execute(command, &in_flight) {
                    return;
                }
            }
            if self.next_slot.take_news() {
                self.handle(QueueInput::SlotGranted);
                continue;
            }
            let view = self.consumer.view();
            self.memory.settle(&view);
            let target = &*self.io.invoker.target;
            self.preparation.update(target, 0 < view.waiting_messages);
            self.status.publish(UnitView::Queue(view));
            tokio::select! {
                biased;
                stop = wait_for_stop(&mut self.stop) => match stop {
                    Stop::Now => return, // Dropping `in_flight` cancels the I/O.
                    Stop::Drain => self.handle(QueueInput::Drain),
                    Stop::No => {}
                },
                Some(completion) = in_flight.next() => {
                    if self.is_description_due(&completion) {
                        self.described = None;
                        in_flight.push(Box::pin(Arc::clone(&self.io).describe()));
                    }
                    self.handle_completion(completion);
                }
                () = self.next_slot.granted() => self.handle(QueueInput::SlotGranted),
                () = timer.sleep_until(self.consumer.poll_timeout()) => {
                    self.consumer.set_free_slots(self.io.invoker.slots.room());
                    self.consumer.handle_timeout(self.io.clock.now());
                }
            }
        }
    }

    fn handle(&mut self, input: QueueInput) {
        self.consumer.set_free_slots(self.io.invoker.slots.room());
        self.consumer.handle(input, self.io.clock.now());
    }

    fn execute(&mut self, command: QueueCommand, in_flight: &InFlight) -> ControlFlow<()> {
        let io = Arc::clone(&self.io);
        let future: BoxFuture<'static, Completion> = match command {
            QueueCommand::Receive {
                request,
                limit,
                wait,
                visibility,
            } => {
                let receive = Receive {
                    request,
                    limit,
                    wait,
                    visibility,
                };
                let grant = self.memory.grant_receive(limit);
                Box::pin(io.receive(receive, grant))
            }
            QueueCommand::Invoke(batch) => Box::pin(io.invoke(batch, self.next_slot.take())),
            QueueCommand::RequestSlot => {
                self.next_slot = io.invoker.request_slot();
                return ControlFlow::Continue(());
            }
            QueueCommand::CancelSlot => {
                self.next_slot.cancel();
                return ControlFlow::Continue(());
            }
            QueueCommand::Delete { request, receipts } => Box::pin(io.delete(request, receipts)),
            QueueCommand::ChangeVisibility { request, changes } => {
                Box::pin(io.change_visibility(request, changes))
            }
            QueueCommand::Report(report) => {
                self.report(&report);
                return ControlFlow::Continue(());
            }
            QueueCommand::Finish => return ControlFlow::Break(()),
        };
        in_flight.push(future);
        ControlFlow::Continue(())
    }

    /// The attributes of a queue may change while it is read. Its visibility timeout matters when a
    /// function fails.
    fn is_description_due(&self, completion: &Completion) -> bool {
        let interval = if completion.is_failure() {
            MIN_DESCRIBE_INTERVAL
        } else {
            DESCRIBE_INTERVAL
        };
        let now = self.io.clock.now();
        self.described.is_some_and(|at| interval <= now.since(at))
    }

    fn handle_completion(&mut self, completion: Completion) {
        let now = self.io.clock.now();
        if completion.is_failure() {
            // How long the messages may stay invisible depends on their age.
            let Invoker { board, mapping, .. } = &self.io.invoker;
            let source_time = board.source_time(mapping, self.io.clock, now);
            self.consumer.set_source_time(source_time);
        }
        let input = match completion {
            Completion::Received {
                request,
                result,
                grant,
                visibility,
            } => {
                let waited = self.memory.handle_receive(grant, &result);
                self.count_late_receive(waited, visibility);
                QueueInput::Received { request, result }
            }
            Completion::Described(attributes) => {
                self.described = Some(now);
                let Some(attributes) = attributes else { return };
                QueueInput::Attributes(attributes)
            }
            Completion::Other(input) => input,
        };
        self.handle(input);
    }

    /// Messages that waited for memory were invisible meanwhile: their visibility timeout runs from
    /// the receive.
    fn count_late_receive(&self, waited: Duration, visibility: Duration) {
        if visibility / 2 < waited {
            self.io.invoker.counts.late_receives.add(1);
            tracing::warn!(
                ?waited,
                ?visibility,
                "messages waited for memory beyond half of their visibility timeout; raise \
                 buffer_limit, or run fewer mappings on this daemon"
            );
        }
    }

    fn report(&self, report: &Report) {
        let counts = &self.io.invoker.counts;
        match report {
            Report::FilteredOut { n_messages } => counts.filtered_out.add(*n_messages),
            Report::Deleted { n_messages } => counts.deleted.add(*n_messages),
            Report::MessageTooLarge { message_id, bytes } => tracing::warn!(
                %message_id, bytes,
                "message left to the queue's redrive policy: it alone exceeds the payload limit"
            ),
            Report::Excess { n_messages } => tracing::warn!(
                n_messages,
                "messages released: the queue returned more than were requested and there is room \
                 for"
            ),
            Report::Unreadable { message_id, reason } => tracing::warn!(
                %message_id, reason,
                "message left to the queue's redrive policy: it cannot be read"
            ),
            Report::UnknownItems { n_messages } => tracing::warn!(
                n_messages,
                "the whole batch counts as failed: the function reports items as failed that are \
                 not in it; it must return the messageId of each failed message"
            ),
            Report::NotDeleted { n_messages } => tracing::warn!(
                n_messages,
                "messages could not be deleted: they are received again unless they were \
                 deleted elsewhere"
            ),
            Report::Expired { n_messages } => tracing::warn!(
                n_messages,
                "messages became visible again before they were sent to the function"
            ),
            Report::Released { n_messages } => tracing::warn!(
                n_messages,
                "messages released: the function could not be reached"
            ),
        }
    }
}

impl Completion {
    /// Whether the function failed messages.
    const fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Other(QueueInput::Invoked {
                outcome: Outcome::ItemFailures { .. } | Outcome::FunctionError { .. },
                ..
            })
        )
    }
}

/// Waits until the driver is asked to stop and messages that were on their way have had time to
/// arrive.
async fn receives_are_cut(mut stop: watch::Receiver<Stop>) {
    if stop.wait_for(|stop| *stop != Stop::No).await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(MAX_LAST_RECEIVE).await;
}

impl QueueIo {
    /// A receive that has waited too long for memory, or that a stop has overtaken, ends without
    /// messages: the consumer receives again if it needs to. A message that the queue sends after
    /// that becomes visible by its timeout.
    async fn receive(
        self: Arc<Self>,
        receive: Receive,
        grant: impl Future<Output = ReceiveGrant>,
    ) -> Completion {
        let Receive {
            request,
            limit,
            wait,
            visibility,
        } = receive;
        let nothing = || {
            Completion::Other(QueueInput::Received {
                request,
                result: Ok(Vec::new()),
            })
        };
        let requested = self.clock.now();
        let mut stop = self.stop.clone();
        let grant = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop != Stop::No) => return nothing(),
            grant = grant => grant,
        };
        if MAX_GRANT_WAIT < self.clock.now().since(requested) {
            return nothing();
        }
        let response = self.reader.receive(limit, wait, visibility, grant.memory());
        let received = self.calls.run(SourceCall::Read, wait, response);
        let mut result = tokio::select! {
            biased;
            result = received => result,
            () = receives_are_cut(stop) => return nothing(),
        };
        if let Ok(messages) = &mut result {
            self.invoker.counts.polled.add(messages.len());
            tracing::trace!(n_messages = messages.len(), "received");
            detach(messages);
        }
        Completion::Received {
            request,
            result,
            grant,
            visibility,
        }
    }

    async fn describe(self: Arc<Self>) -> Completion {
        let response = self.reader.attributes();
        let calls = &self.calls;
        let attributes = calls
            .run(SourceCall::Describe, Duration::ZERO, response)
            .await;
        Completion::Described(attributes.ok())
    }

    async fn invoke(self: Arc<Self>, batch: Batch, slot: Slot) -> Completion {
        let newest = batch.messages.last().expect("a batch is never empty").sent;
        let event = || Event::of_messages(batch.messages.iter().map(|it| &it.event));
        let call = Call {
            attempt: batch.attempt,
            n_records: batch.messages.len(),
            newest: Some(newest),
            origin: None,
            returns_state: false,
        };
        let outcome = self.invoker.invoke(slot, call, event).await;
        let ids = batch.messages.iter().map(|it| it.message_id.as_str());
        self.invoker.count_item_failures(&outcome, ids);
        Completion::Other(QueueInput::Invoked {
            batch: batch.id,
            outcome,
        })
    }

    async fn delete(
        self: Arc<Self>,
        request: RequestId,
        receipts: Vec<ReceiptHandle>,
    ) -> Completion {
        let response = self.reader.delete(&receipts);
        let calls = &self.calls;
        let result = calls
            .run(SourceCall::Delete, Duration::ZERO, response)
            .await;
        Completion::Other(QueueInput::Deleted { request, result })
    }

    async fn change_visibility(
        self: Arc<Self>,
        request: RequestId,
        changes: Vec<VisibilityChange>,
    ) -> Completion {
        let response = self.reader.change_visibility(&changes);
        let call = SourceCall::ChangeVisibility;
        let result = self.calls.run(call, Duration::ZERO, response).await;
        Completion::Other(QueueInput::VisibilityChanged { request, result })
    }
}
