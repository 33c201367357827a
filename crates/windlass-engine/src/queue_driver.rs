//! Drives one [`QueueConsumer`]: takes its commands, starts the I/O, feeds the results back.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use windlass_core::event::PAYLOAD_LIMIT;
use windlass_core::filter::Criteria;
use windlass_core::mapping::QueueSettings;
use windlass_core::queue::{
    QueueCommand, QueueConsumer, QueueConsumerSettings, QueueInput, Report,
};

use crate::budget::{ByteBudget, Reservation};
use crate::clock::Clock;
use crate::invoking::Invoker;
use crate::ports::{QueueAttributes, QueueReader};
use crate::settings::{EngineSettings, HOLD_LIMIT, MOST_BUFFERED_MESSAGES, MOST_QUEUE_CONCURRENCY};
use crate::shard_driver::{Stop, note, wait_for_stop};
use crate::status::{UnitHandle, UnitView};

/// Between attempts to learn what the queue says of itself.
const DESCRIBE_PAUSE: Duration = Duration::from_secs(2);

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
    pub(crate) budget: ByteBudget,
    pub(crate) clock: Clock,
}

/// What an I/O gave, with the part of the daemon's budget that it took.
type Done = (QueueInput, Reservation);

impl QueueDriver {
    /// Runs until the consumer has drained, or was told to drop everything.
    pub(crate) async fn run(mut self) {
        let Some(attributes) = self.describe().await else {
            return;
        };
        let settings = self.consumer_settings(attributes);
        let mut consumer = QueueConsumer::new(settings, self.seed, self.io.clock.now());
        let mut in_flight: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        let mut held = Reservation::default();
        loop {
            while let Some(command) = consumer.poll_command() {
                match command {
                    QueueCommand::Finish => return,
                    QueueCommand::Report(report) => self.report(&report),
                    QueueCommand::Receive { .. }
                    | QueueCommand::Invoke(_)
                    | QueueCommand::Delete { .. }
                    | QueueCommand::ChangeVisibility { .. } => {
                        in_flight.push(Box::pin(self.io.clone().start(command)));
                    }
                }
            }
            let view = consumer.view();
            held.shrink_to(view.held_bytes);
            self.status.publish(UnitView::Queue(view));
            tokio::select! {
                biased;
                stop = wait_for_stop(&mut self.stop) => match stop {
                    Stop::Now => return, // Dropping `in_flight` cancels the I/O.
                    Stop::Drain => consumer.handle(QueueInput::Drain, self.io.clock.now()),
                    Stop::No => {}
                },
                Some((input, reservation)) = in_flight.next() => {
                    held.merge(reservation);
                    consumer.handle(input, self.io.clock.now());
                }
                () = self.io.clock.sleep_until(consumer.poll_timeout()) => {
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
                        let fault = Some(note(&error));
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
            .clamp(1, MOST_QUEUE_CONCURRENCY);
        // Room for every concurrent batch and for the next one to gather.
        let batches = self
            .mapping
            .batch_size
            .saturating_mul(maximum_concurrency + 1);
        QueueConsumerSettings {
            filter: self.filter.clone(),
            fifo: self.mapping.fifo,
            batch_size: self.mapping.batch_size,
            maximum_batching_window: self.mapping.maximum_batching_window,
            visibility_timeout: attributes.visibility_timeout,
            visibility_heartbeat: self.settings.sqs_visibility_heartbeat,
            function_timeout: self.io.invoker.target.timeout(),
            wait_time: self.settings.sqs_wait_time,
            maximum_concurrency,
            buffer_messages: batches.min(MOST_BUFFERED_MESSAGES),
            payload_limit: PAYLOAD_LIMIT,
            hold_limit: HOLD_LIMIT,
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
            Report::Returned { n_messages } => tracing::warn!(
                n_messages,
                "messages go back to the queue: their function could not be reached"
            ),
        }
    }
}

impl QueueIo {
    async fn start(self, command: QueueCommand) -> Done {
        let nothing = Reservation::default();
        match command {
            QueueCommand::Receive {
                request,
                limit,
                wait,
                visibility,
            } => {
                let received = self.reader.receive(limit, wait, visibility).await;
                let mut reservation = nothing;
                if let Ok(messages) = &received {
                    self.invoker.counts.polled.add(messages.len());
                    let bytes = messages.iter().map(|message| message.event.len()).sum();
                    // A long poll would hold a part of the budget for nothing, so what it brings
                    // is paid for afterwards; at the limit it waits here, and nobody reads on.
                    reservation = self.budget.reserve(bytes).await;
                }
                let result = received.map_err(|error| note(&error));
                (QueueInput::Received { request, result }, reservation)
            }
            QueueCommand::Invoke(batch) => {
                let newest = batch.messages.last().expect("a batch is never empty").sent;
                let events = batch.messages.iter().map(|message| &message.event);
                let outcome = self.invoker.invoke(batch.attempt, events, newest).await;
                (
                    QueueInput::Invoked {
                        batch: batch.id,
                        outcome,
                    },
                    nothing,
                )
            }
            QueueCommand::Delete { request, receipts } => {
                let deleted = self.reader.delete(&receipts).await;
                let result = deleted.map_err(|error| note(&error));
                (QueueInput::Deleted { request, result }, nothing)
            }
            QueueCommand::ChangeVisibility {
                request,
                receipts,
                timeout,
            } => {
                let changed = self.reader.change_visibility(&receipts, timeout).await;
                let result = changed.map_err(|error| note(&error));
                (QueueInput::VisibilityChanged { request, result }, nothing)
            }
            QueueCommand::Report(_) | QueueCommand::Finish => {
                unreachable!("the driver answers these itself")
            }
        }
    }
}
