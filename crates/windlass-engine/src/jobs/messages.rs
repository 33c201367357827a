//! The messages of a queue: executes what [`MessageRun`] decides.

use std::sync::Arc;
use std::time::Duration;

use windlass_core::arn::Arn;
use windlass_core::event::Event;
use windlass_core::ids::MessageId;
use windlass_core::mapping::{MappingId, MessageBackoff, QueueSettings, QueueSource};
use windlass_core::message::Message;
use windlass_core::redrive::{MessageCommand, MessageRecipient, MessageRun};
use windlass_core::time::Timestamp;

use super::call::{ACCOUNT, Call};
use super::documents::{Documents, Entry, Origin, repeat};
use super::held::{HeldMessages, NOT_DELETED, VISIBILITY};
use super::run::{RedriveReport, Run};
use super::{Ended, asks_for_failures};
use crate::memory::{Backpressure, ResponseGrant};
use crate::ports::{QueueReader, QueueSender, Target, chain};

/// Messages of one receive.
const MAX_RECEIVED: u8 = 10;

/// Long polling: without it a queue that has messages may return none.
const RECEIVE_WAIT: Duration = Duration::from_secs(3);

/// Memory of the largest response: ten messages of 1 MiB, and their copies.
const MAX_RESPONSE_BYTES: usize = 20 * 1024 * 1024;

/// Executes the commands of one run.
struct Receiver {
    queue: Arc<dyn QueueReader>,
    held: Arc<HeldMessages>,
    recipient: Recipient,
    /// Of the response whose messages are used.
    memory: Option<ResponseGrant>,
    /// What the function was invoked with last.
    call: Option<Call>,
    documents: Vec<Entry>,
}

/// What a run sends messages to.
enum Recipient {
    Function(Arn, Arc<dyn Target>),
    Queue(Arc<dyn QueueSender>),
    /// Documents name their functions.
    None,
}

/// Redrives the messages of a queue.
pub(super) async fn redrive(run: &mut Run<'_>, arn: &Arn) -> Result<(), Ended> {
    let source = QueueSource {
        arn: arn.clone(),
        retry_backoff: MessageBackoff::Off,
        maximum_concurrency: None,
        settings: QueueSettings {
            fifo: arn.resource().ends_with(".fifo"),
            batch_size: usize::from(MAX_RECEIVED),
            maximum_batching_window: Duration::ZERO,
            strict_order: false,
            pollers: None,
        },
    };
    let queue = match run.redriver.adapters.queue(&source, Arc::default()) {
        Ok(queue) => queue,
        Err(error) => return run.refuse(chain(&error)).await,
    };
    let reports_item_failures = match &run.request.function {
        Some(function) => {
            let rows = run.caller.unless_ended(run.redriver.store.mappings());
            match rows.await? {
                Ok(rows) => asks_for_failures(&rows, function),
                Err(error) => return run.refuse(chain(&error)).await,
            }
        }
        None => false,
    };
    let (kind, recipient) = match recipient(run, arn).await? {
        Ok(recipient) => recipient,
        Err(reason) => return run.refuse(reason).await,
    };
    let held = Arc::new(HeldMessages::new(Arc::clone(&queue)));
    let mut receiver = Receiver {
        queue,
        held: Arc::clone(&held),
        recipient,
        memory: None,
        call: None,
        documents: Vec::new(),
    };
    let messages = MessageRun::new(kind, run.request.dry_run, reports_item_failures);
    let result = tokio::select! {
        result = receiver.run(run, messages) => result,
        never = held.keep_invisible() => match never {},
    };
    held.give_back_all().await;
    result
}

/// What messages are sent to; why that is not possible otherwise.
async fn recipient(
    run: &Run<'_>,
    from: &Arn,
) -> Result<Result<(MessageRecipient, Recipient), String>, Ended> {
    let adapters = &run.redriver.adapters;
    if let Some(to) = &run.request.to {
        let sender = match adapters.sender(to) {
            Ok(sender) => sender,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let source = repeat(run.caller, || sender.dead_letter_queue()).await?;
        let source = match source {
            Ok(source) => source,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let is_fifo = to.resource().ends_with(".fifo");
        let swallows = is_fifo && !run.request.new_ids && source.as_ref() == Some(from);
        let kind = MessageRecipient::Queue { is_fifo, swallows };
        return Ok(Ok((kind, Recipient::Queue(sender))));
    }
    let Some(function) = &run.request.function else {
        return Ok(Ok((MessageRecipient::OfDocuments, Recipient::None)));
    };
    Ok(match adapters.target(function) {
        Ok(target) => {
            let recipient = Recipient::Function(function.clone(), target);
            Ok((MessageRecipient::Function, recipient))
        }
        Err(error) => Err(chain(&error)),
    })
}

impl Receiver {
    async fn run(&mut self, run: &mut Run<'_>, mut messages: MessageRun) -> Result<(), Ended> {
        while let Some(command) = messages.poll_command(self.now(run)) {
            match command {
                MessageCommand::Receive => match self.receive(run).await? {
                    Ok(received) => messages.handle_received(received),
                    Err(reason) => return run.refuse(reason).await,
                },
                MessageCommand::Invoke(batch) => {
                    self.call = Some(call(&batch));
                    self.invoke(run, &mut messages).await?;
                }
                MessageCommand::Repeat(wait) => {
                    let wait = tokio::time::sleep(wait);
                    run.caller.unless_ended(wait).await?;
                    self.invoke(run, &mut messages).await?;
                }
                MessageCommand::Wait(wait) => run.wait(wait).await?,
                MessageCommand::Send(message) => {
                    let Recipient::Queue(sender) = &self.recipient else {
                        return Ok(());
                    };
                    run.invoker.pace(run.caller).await?;
                    let new_id = run.request.new_ids;
                    let sent = repeat(run.caller, || sender.send(&message, new_id)).await?;
                    messages.handle_sent(sent.map_err(|error| chain(&error)));
                }
                MessageCommand::Take(id, document) => self.documents.push(Entry {
                    document: *document,
                    origin: Origin::Message {
                        id,
                        held: Arc::clone(&self.held),
                    },
                }),
                MessageCommand::Redrive => {
                    let documents = std::mem::take(&mut self.documents);
                    Documents::new(run).await?.redrive(documents).await?;
                }
                MessageCommand::Delete(id) => self.delete(run, &id).await?,
                MessageCommand::Keep(id, reason) => {
                    self.held.give_back(&id).await;
                    run.report(of_message(&id, Some(reason))).await?;
                }
                MessageCommand::Show(id) => {
                    run.report(of_message(&id, None)).await?;
                }
                MessageCommand::Stop(reason) => run.refuse(reason).await?,
            }
        }
        Ok(())
    }

    /// The time by the clock of the queue that messages are sent to, as far as it is known.
    fn now(&self, run: &Run<'_>) -> Timestamp {
        let now = run.redriver.context.clock.wall();
        match &self.recipient {
            Recipient::Queue(sender) => now.shifted(sender.clock_difference().unwrap_or(0)),
            Recipient::Function(..) | Recipient::None => now,
        }
    }

    async fn receive(&mut self, run: &Run<'_>) -> Result<Result<Vec<Message>, String>, Ended> {
        self.memory = None;
        let context = &run.redriver.context;
        let account = context.budget.account(&MappingId::new(ACCOUNT));
        let new_memory = || {
            let account = account.clone();
            ResponseGrant::new(
                account,
                Backpressure::default(),
                context.clock,
                MAX_RESPONSE_BYTES,
            )
        };
        let queue = &self.queue;
        let received = repeat(run.caller, || async {
            let memory = new_memory();
            let messages = queue.receive(MAX_RECEIVED, RECEIVE_WAIT, VISIBILITY, &memory);
            Ok((messages.await?, memory))
        });
        let (messages, memory) = match received.await? {
            Ok(received) => received,
            Err(error) => return Ok(Err(chain(&error))),
        };
        for message in &messages {
            self.held.add(message);
        }
        self.memory = Some(memory);
        Ok(Ok(messages))
    }

    async fn invoke(&self, run: &Run<'_>, messages: &mut MessageRun) -> Result<(), Ended> {
        if let (Some(call), Recipient::Function(function, target)) = (&self.call, &self.recipient) {
            let attempt = run.invoker.attempt(function, target, call, run.caller);
            messages.handle_outcome(&attempt.await?);
        }
        Ok(())
    }

    async fn delete(&self, run: &mut Run<'_>, id: &MessageId) -> Result<(), Ended> {
        run.record(id.as_str()).await;
        let is_deleted = self.held.delete(id).await;
        let report = RedriveReport {
            redriven: true,
            reason: (!is_deleted).then(|| NOT_DELETED.to_owned()),
            ..of_message(id, None)
        };
        run.report(report).await
    }
}

fn call(batch: &[Message]) -> Call {
    let mut ids = batch.iter().map(|message| message.message_id.as_str());
    Call {
        id: ids.next().unwrap_or_default().into(),
        event: Event::of_messages(batch.iter().map(|message| &message.event)),
        n_records: batch.len(),
        returns_state: false,
    }
}

fn of_message(id: &MessageId, reason: Option<String>) -> RedriveReport {
    RedriveReport {
        records: 1,
        reason: reason.map(|reason| format!("message {id}: {reason}")),
        ..RedriveReport::default()
    }
}
