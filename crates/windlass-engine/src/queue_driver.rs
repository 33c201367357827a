//! Drives one [`QueueConsumer`]: takes its commands, starts the I/O, feeds the results back.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use windlass_core::event::{Event, PAYLOAD_LIMIT};
use windlass_core::ids::ReceiptHandle;
use windlass_core::mapping::QueueSettings;
use windlass_core::message::Message;
use windlass_core::queue::{
    Batch, QueueCommand, QueueConsumer, QueueConsumerSettings, QueueInput, QueueLimits, Report,
    RequestId,
};
use windlass_filter::Criteria;

use crate::clock::{Clock, Timer};
use crate::invoker::Invoker;
use crate::memory::Limit;
use crate::memory::{Account, Reservation};
use crate::memory::{MessageMemory, detach};
use crate::ports::{QueueAttributes, QueueReader, log_fault};
use crate::settings::{
    BACKOFF_JITTER_PERCENT, EngineSettings, HOLD_LIMIT, MAX_BUFFERED_MESSAGES,
    MAX_QUEUE_CONCURRENCY,
};
use crate::status::{UnitHandle, UnitView};
use crate::stop::{Stop, wait_for_stop};

/// Between attempts to learn what the queue says of itself.
const DESCRIBE_PAUSE: Duration = Duration::from_secs(2);

/// How long a receive may wait for room in memory and still be sent as it was asked for: the
/// machine counts the visibility of what it brings from when it asked.
const MAX_RESERVATION_WAIT: Duration = Duration::from_secs(1);

/// The loop around the consumer of one slot of a queue.
pub(crate) struct QueueDriver {
    pub(crate) io: QueueIo,
    pub(crate) mapping: QueueSettings,
    pub(crate) filter: Option<Arc<Criteria>>,
    pub(crate) settings: EngineSettings,
    pub(crate) seed: u64,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) status: UnitHandle,
}

/// What the commands of a queue need.
#[derive(Clone)]
pub(crate) struct QueueIo {
    pub(crate) reader: Arc<dyn QueueReader>,
    pub(crate) invoker: Invoker,
    pub(crate) account: Account,
    pub(crate) clock: Clock,
    /// Who is told to stop does not wait for room.
    pub(crate) stop: watch::Receiver<Stop>,
}

/// What an I/O gave, with what was reserved for it.
type Done = (QueueInput, Option<Reservation>);

/// A receive that the machine has asked for.
struct Receive {
    request: RequestId,
    limit: u8,
    wait: Duration,
    visibility: Duration,
}

impl QueueDriver {
    /// Runs until the consumer has drained, or was told to drop everything.
    pub(crate) async fn run(mut self) {
        let Some(attributes) = self.describe().await else {
            return;
        };
        let settings = self.consumer_settings(attributes);
        let mut consumer = QueueConsumer::new(settings, self.seed, self.io.clock.now());
        let mut in_flight: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        let mut memory = MessageMemory::new(&self.io.account);
        let mut timer = Timer::new(self.io.clock);
        loop {
            while let Some(command) = consumer.poll_command() {
                let io = self.io.clone();
                match command {
                    QueueCommand::Finish => return,
                    QueueCommand::Report(report) => self.report(&report),
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
                        in_flight.push(Box::pin(io.receive(receive, memory.expected(limit))));
                    }
                    QueueCommand::Invoke(batch) => in_flight.push(Box::pin(io.invoke(batch))),
                    QueueCommand::Delete { request, receipts } => {
                        in_flight.push(Box::pin(io.delete(request, receipts)));
                    }
                    QueueCommand::ChangeVisibility {
                        request,
                        receipts,
                        timeout,
                    } => {
                        let change = io.change_visibility(request, receipts, timeout);
                        in_flight.push(Box::pin(change));
                    }
                }
            }
            let view = consumer.view();
            memory.settle(&view);
            self.status.publish(UnitView::Queue(view));
            tokio::select! {
                biased;
                stop = wait_for_stop(&mut self.stop) => match stop {
                    Stop::Now => return, // Dropping `in_flight` cancels the I/O.
                    Stop::Drain => consumer.handle(QueueInput::Drain, self.io.clock.now()),
                    Stop::No => {}
                },
                Some((input, reservation)) = in_flight.next() => {
                    if let Some(reservation) = reservation {
                        memory.arrive(messages_of(&input), reservation);
                    }
                    consumer.handle(input, self.io.clock.now());
                }
                () = timer.sleep_until(consumer.poll_timeout()) => {
                    consumer.handle_timeout(self.io.clock.now());
                }
            }
        }
    }

    /// Asks the queue for its attributes until it answers; `None` if told to stop before.
    async fn describe(&mut self) -> Option<QueueAttributes> {
        loop {
            tokio::select! {
                biased;
                stop = wait_for_stop(&mut self.stop) => {
                    if stop != Stop::No {
                        return None;
                    }
                }
                answer = self.io.reader.attributes() => match answer {
                    Ok(attributes) => return Some(attributes),
                    Err(error) => {
                        let fault = Some(log_fault(&error));
                        self.status.publish(UnitView::Starting { fault });
                        tokio::select! {
                            _ = wait_for_stop(&mut self.stop) => return None,
                            () = tokio::time::sleep(DESCRIBE_PAUSE) => {}
                        }
                    }
                },
            }
        }
    }

    fn consumer_settings(&self, attributes: QueueAttributes) -> QueueConsumerSettings {
        let maximum_concurrency = self
            .settings
            .queue_concurrency
            .clamp(1, MAX_QUEUE_CONCURRENCY);
        // Availability for every concurrent batch and for the next one to gather.
        let batches = self
            .mapping
            .batch_size
            .saturating_mul(maximum_concurrency + 1);
        QueueConsumerSettings {
            mapping: self.mapping.clone(),
            filter: self.filter.clone(),
            visibility_timeout: attributes.visibility_timeout,
            function_timeout: self.io.invoker.target.timeout(),
            limits: QueueLimits {
                visibility_heartbeat: self.settings.sqs_visibility_heartbeat,
                wait_time: self.settings.sqs_wait_time,
                maximum_concurrency,
                buffer_messages: batches.min(MAX_BUFFERED_MESSAGES),
                payload_limit: PAYLOAD_LIMIT,
                hold_limit: HOLD_LIMIT,
                backoff_jitter_percent: BACKOFF_JITTER_PERCENT,
            },
        }
    }

    fn report(&self, report: &Report) {
        let counts = &self.io.invoker.counts;
        match report {
            Report::MessageTooLarge { message_id, bytes } => tracing::warn!(
                %message_id, bytes,
                "a message exceeds the payload limit alone; it is left to the redrive policy"
            ),
            Report::FilteredOut { n_messages } => counts.filtered_out.add(*n_messages),
            Report::Deleted { n_messages } => counts.deleted.add(*n_messages),
            Report::NotDeleted { n_messages } => tracing::warn!(
                n_messages,
                "messages could not be deleted; unless somebody else has, they come again"
            ),
            Report::Expired { n_messages } => tracing::warn!(
                n_messages,
                "messages became visible again before their function could have them"
            ),
            Report::Released { n_messages } => tracing::warn!(
                n_messages,
                "messages go back to the queue: their function could not be reached"
            ),
        }
    }
}

impl QueueIo {
    /// Receives once there is room for it. A receive that has waited too long, or will wait in
    /// vain, is answered with nothing: the machine asks again if it still wants to.
    async fn receive(mut self, receive: Receive, bytes: usize) -> Done {
        let Receive {
            request,
            limit,
            wait,
            visibility,
        } = receive;
        let asked = self.clock.now();
        let nothing = || QueueInput::Received {
            request,
            result: Ok(Vec::new()),
        };
        let backpressure = &self.invoker.backpressure;
        let reservation = tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop != Stop::No) => return (nothing(), None),
            it = backpressure.reserve(Limit::Memory, &self.account, bytes) => it,
        };
        if MAX_RESERVATION_WAIT < self.clock.now().since(asked) {
            return (nothing(), None);
        }
        let mut received = self.reader.receive(limit, wait, visibility).await;
        if let Ok(messages) = &mut received {
            self.invoker.counts.polled.add(messages.len());
            detach(messages);
        }
        let result = received.map_err(|error| log_fault(&error));
        (QueueInput::Received { request, result }, Some(reservation))
    }

    async fn invoke(self, batch: Batch) -> Done {
        let newest = batch.messages.last().expect("a batch is never empty").sent;
        let n_messages = batch.messages.len();
        let event = || Event::of_messages(batch.messages.iter().map(|it| &it.event));
        let outcome = self
            .invoker
            .invoke(batch.attempt, n_messages, newest, event)
            .await;
        let batch = batch.id;
        (QueueInput::Invoked { batch, outcome }, None)
    }

    async fn delete(self, request: RequestId, receipts: Vec<ReceiptHandle>) -> Done {
        let deleted = self.reader.delete(&receipts).await;
        let result = deleted.map_err(|error| log_fault(&error));
        (QueueInput::Deleted { request, result }, None)
    }

    async fn change_visibility(
        self,
        request: RequestId,
        receipts: Vec<ReceiptHandle>,
        timeout: Duration,
    ) -> Done {
        let changed = self.reader.change_visibility(&receipts, timeout).await;
        let result = changed.map_err(|error| log_fault(&error));
        (QueueInput::VisibilityChanged { request, result }, None)
    }
}

/// What a receive has brought.
fn messages_of(input: &QueueInput) -> &[Message] {
    match input {
        QueueInput::Received {
            result: Ok(messages),
            ..
        } => messages,
        QueueInput::Received { .. }
        | QueueInput::Invoked { .. }
        | QueueInput::Deleted { .. }
        | QueueInput::VisibilityChanged { .. }
        | QueueInput::Drain => &[],
    }
}
