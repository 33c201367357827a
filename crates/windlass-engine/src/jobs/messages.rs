//! The messages of a queue: documents that are redriven, messages that a function gets, or messages
//! that are sent to another queue.
//!
//! Every message is looked at once in a run. What is given back may be received again, and then stays
//! invisible until the run has ended: so the run ends, and a message group waits behind its first
//! message that has failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::arn::Arn;
use windlass_core::event::{Event, PAYLOAD_LIMIT, event_len};
use windlass_core::ids::{KeyHash, MessageId};
use windlass_core::mapping::{MappingId, MessageBackoff, QueueSettings, QueueSource};
use windlass_core::message::Message;
use windlass_core::redrive::{
    FailureDocument, Mode, OutgoingMessage, Verdict, body, duplicate_wait, failed_messages, mode,
};

use super::Ended;
use super::call::{ACCOUNT, Call};
use super::documents::{Documents, Entry, Origin, repeat};
use super::held::{HeldMessages, NOT_DELETED, VISIBILITY};
use super::run::{RedriveReport, Run};
use crate::memory::{Backpressure, ResponseGrant};
use crate::ports::{QueueReader, QueueSender, Target, chain};

/// Messages of one receive.
const MAX_RECEIVED: u8 = 10;

/// Long polling: without it a queue that has messages may return none.
const RECEIVE_WAIT: Duration = Duration::from_secs(3);

/// Memory of the largest response: ten messages of 1 MiB, and their copies.
const MAX_RESPONSE_BYTES: usize = 20 * 1024 * 1024;

/// Documents that are put into order together.
const MAX_DOCUMENTS: usize = 10_000;

/// Messages of one run, since each is remembered.
const MAX_MESSAGES: usize = 1_000_000;

/// What a run has seen of its queue.
struct Receiver {
    queue: Arc<dyn QueueReader>,
    held: Arc<HeldMessages>,
    seen: BTreeSet<MessageId>,
    mode: Option<Mode>,
}

/// One receive.
struct Received {
    /// Those that were not seen before.
    messages: Vec<Message>,
    is_last: bool,
    /// Of the response, while its messages are used.
    _memory: ResponseGrant,
}

/// What a run sends messages to.
enum Recipient {
    Function(Arn, Arc<dyn Target>),
    Queue(Forwarder),
    None,
}

/// Sends messages to another queue.
struct Forwarder {
    sender: Arc<dyn QueueSender>,
    /// Whether the queue would swallow messages as duplicates of what it has moved away.
    swallows: bool,
    is_fifo: bool,
    /// Groups with a message that was not sent.
    blocked: BTreeSet<KeyHash>,
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
    let held = Arc::new(HeldMessages::new(Arc::clone(&queue)));
    let receiver = Receiver {
        queue,
        held: Arc::clone(&held),
        seen: BTreeSet::new(),
        mode: None,
    };
    let result = tokio::select! {
        result = receiver.run(run, arn) => result,
        never = held.keep_invisible() => match never {},
    };
    held.give_back_all().await;
    result
}

impl Receiver {
    async fn run(mut self, run: &mut Run<'_>, arn: &Arn) -> Result<(), Ended> {
        let mut recipient = match self.recipient(run, arn).await? {
            Ok(recipient) => recipient,
            Err(reason) => return run.refuse(reason).await,
        };
        loop {
            let mut documents = Vec::new();
            let mut is_last = false;
            while !is_last && documents.len() < MAX_DOCUMENTS {
                let received = match self.receive(run).await? {
                    Ok(received) => received,
                    Err(reason) => return run.refuse(reason).await,
                };
                is_last = received.is_last;
                match self.mode(run, &received.messages) {
                    Mode::Documents => self.sort_out(run, received, &mut documents).await?,
                    Mode::Messages | Mode::Move => {
                        let messages = received.messages;
                        if !self.pass_on(run, messages, &mut recipient).await? {
                            return Ok(());
                        }
                    }
                }
            }
            Documents::new(run).await?.redrive(documents).await?;
            if is_last {
                return Ok(());
            }
            if MAX_MESSAGES <= self.seen.len() {
                let reason = format!("a run ends after {MAX_MESSAGES} messages; run it again");
                return run.refuse(reason).await;
            }
        }
    }

    fn mode(&mut self, run: &Run<'_>, messages: &[Message]) -> Mode {
        if messages.is_empty() {
            return self.mode.unwrap_or(Mode::Documents);
        }
        *self.mode.get_or_insert_with(|| {
            let (moves, has_function) = (run.request.to.is_some(), run.request.function.is_some());
            let is_document = |message: &&Message| document(message).is_ok();
            mode(
                moves,
                has_function,
                messages.iter().filter(is_document).count(),
            )
        })
    }

    /// What messages are sent to; why that is not possible otherwise.
    async fn recipient(
        &self,
        run: &Run<'_>,
        from: &Arn,
    ) -> Result<Result<Recipient, String>, Ended> {
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
            return Ok(Ok(Recipient::Queue(Forwarder {
                sender,
                swallows: is_fifo && !run.request.new_ids && source.as_ref() == Some(from),
                is_fifo,
                blocked: BTreeSet::new(),
            })));
        }
        let Some(function) = &run.request.function else {
            return Ok(Ok(Recipient::None));
        };
        Ok(match adapters.target(function) {
            Ok(target) => Ok(Recipient::Function(function.clone(), target)),
            Err(error) => Err(chain(&error)),
        })
    }

    async fn receive(&mut self, run: &Run<'_>) -> Result<Result<Received, String>, Ended> {
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
        let is_last = messages.is_empty();
        let mut new = Vec::with_capacity(messages.len());
        for message in messages {
            self.held.add(&message);
            if self.seen.insert(message.message_id.detached()) {
                new.push(message);
            }
        }
        Ok(Ok(Received {
            messages: new,
            is_last,
            _memory: memory,
        }))
    }

    /// Takes the documents out of the messages; the others are reported and given back.
    async fn sort_out(
        &self,
        run: &mut Run<'_>,
        received: Received,
        documents: &mut Vec<Entry>,
    ) -> Result<(), Ended> {
        for message in &received.messages {
            let id = message.message_id.detached();
            match document(message) {
                Ok(document) => documents.push(Entry {
                    document,
                    origin: Origin::Message {
                        id,
                        held: Arc::clone(&self.held),
                    },
                }),
                Err(reason) => {
                    self.held.give_back(&id).await;
                    run.report(of_message(&id, Some(reason)), id.as_str())
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Sends messages on; `false` when the run has ended.
    async fn pass_on(
        &self,
        run: &mut Run<'_>,
        messages: Vec<Message>,
        recipient: &mut Recipient,
    ) -> Result<bool, Ended> {
        let mut readable = Vec::with_capacity(messages.len());
        for message in messages {
            match message.unreadable {
                Some(reason) => self.keep(run, &message, reason.to_owned()).await?,
                None => readable.push(message),
            }
        }
        if run.request.dry_run {
            for message in &readable {
                let id = &message.message_id;
                run.report(of_message(id, None), id.as_str()).await?;
            }
            return Ok(true);
        }
        match recipient {
            Recipient::Queue(forwarder) => {
                for message in &readable {
                    self.forward(run, message, forwarder).await?;
                }
            }
            Recipient::Function(function, target) => {
                let mut rest = &readable[..];
                while !rest.is_empty() {
                    let (batch, after) = rest.split_at(fitting(rest));
                    if !self.invoke(run, batch, function, target).await? {
                        return Ok(false);
                    }
                    rest = after;
                }
            }
            Recipient::None => {}
        }
        Ok(true)
    }

    /// Invokes the function with a batch, and deletes what it has processed; `false` if it was not
    /// reached.
    async fn invoke(
        &self,
        run: &mut Run<'_>,
        batch: &[Message],
        function: &Arn,
        target: &Arc<dyn Target>,
    ) -> Result<bool, Ended> {
        let ids: Vec<_> = batch.iter().map(|it| it.message_id.as_str()).collect();
        let call = Call {
            id: ids[0].into(),
            event: Event::of_messages(batch.iter().map(|message| &message.event)),
            n_records: batch.len(),
            reports_item_failures: false,
            returns_state: false,
        };
        let invoked = run.invoker.invoke(function, target, call, run.caller);
        let (verdict, outcome) = invoked.await?;
        let (failed, reason) = match &verdict {
            Verdict::Success => (Vec::new(), ""),
            Verdict::Failed(reason) => (failed_messages(&outcome, &ids), reason.as_str()),
            Verdict::NotReached(reason) => ((0..batch.len()).collect(), reason.as_str()),
            Verdict::Throttled { .. } => ((0..batch.len()).collect(), "the function is throttled"),
        };
        for (index, message) in batch.iter().enumerate() {
            if failed.contains(&index) {
                self.keep(run, message, reason.to_owned()).await?;
            } else {
                self.finish(run, message).await?;
            }
        }
        Ok(!matches!(verdict, Verdict::NotReached(_)))
    }

    /// Sends a message to another queue, and deletes it then.
    async fn forward(
        &self,
        run: &mut Run<'_>,
        message: &Message,
        forwarder: &mut Forwarder,
    ) -> Result<(), Ended> {
        let blocked = |group: &KeyHash| forwarder.blocked.contains(group);
        if message.group.as_ref().is_some_and(blocked) {
            let reason = "an earlier message of its group was not sent";
            return self.keep(run, message, reason.to_owned()).await;
        }
        let Some(outgoing) = OutgoingMessage::of(message) else {
            let reason = "the message cannot be read";
            return self.keep(run, message, reason.to_owned()).await;
        };
        if forwarder.is_fifo && outgoing.group.is_none() {
            let reason = "it has no message group, which a FIFO queue needs";
            return self.keep(run, message, reason.to_owned()).await;
        }
        if forwarder.swallows {
            let wait = duplicate_wait(message.sent, run.redriver.context.clock.wall());
            run.wait(wait).await?;
        }
        run.invoker.pace(run.caller).await?;
        let new_id = run.request.new_ids;
        let sender = Arc::clone(&forwarder.sender);
        match repeat(run.caller, || sender.send(&outgoing, new_id)).await? {
            Ok(()) => self.finish(run, message).await,
            Err(error) => {
                forwarder.blocked.extend(message.group);
                self.keep(run, message, chain(&error)).await
            }
        }
    }

    async fn keep(
        &self,
        run: &mut Run<'_>,
        message: &Message,
        reason: String,
    ) -> Result<(), Ended> {
        let id = &message.message_id;
        self.held.give_back(id).await;
        run.report(of_message(id, Some(reason)), id.as_str()).await
    }

    async fn finish(&self, run: &mut Run<'_>, message: &Message) -> Result<(), Ended> {
        let id = &message.message_id;
        let is_deleted = self.held.delete(id).await;
        let report = RedriveReport {
            redriven: true,
            reason: (!is_deleted).then(|| NOT_DELETED.to_owned()),
            ..of_message(id, None)
        };
        run.report(report, id.as_str()).await
    }
}

/// How many of the first messages fit into one event, at least one.
fn fitting(messages: &[Message]) -> usize {
    let mut bytes = 0;
    let fits = |(index, message): (usize, &Message)| {
        bytes += message.event.len();
        event_len(index + 1, bytes) <= PAYLOAD_LIMIT
    };
    let n_fitting = messages
        .iter()
        .enumerate()
        .map(fits)
        .take_while(|fits| *fits);
    n_fitting.count().max(1)
}

/// The document that a message is; what is wrong with it otherwise.
fn document(message: &Message) -> Result<FailureDocument, String> {
    let body = body(message).ok_or_else(|| "the message cannot be read".to_owned())?;
    FailureDocument::parse(body.as_bytes()).map_err(|error| error.to_string())
}

fn of_message(id: &MessageId, reason: Option<String>) -> RedriveReport {
    RedriveReport {
        records: 1,
        reason: reason.map(|reason| format!("message {id}: {reason}")),
        ..RedriveReport::default()
    }
}
