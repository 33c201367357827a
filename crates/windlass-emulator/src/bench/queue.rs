//! The queues of a benchmark: all messages are equal except for their numbers, so none is stored.
//!
//! Messages stay invisible until they are deleted or made visible, however long that takes. A group
//! of a FIFO queue gives one message at a time.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::message::{ID_MARKER, MessageTemplate, Received, number_of_id};
use super::{BenchCounts, invalid};
use crate::protocol::{AwsError, parse_request};

/// Messages of one receive.
const MAX_MESSAGES: usize = 10;

/// Seconds of a long poll.
const MAX_WAIT: u64 = 20;

/// Of the queue, in seconds.
const VISIBILITY_TIMEOUT: u32 = 30;

/// Number of the latest messages whose time of receipt is known: more than any client holds.
const REMEMBERED: u64 = 1 << 17;

/// The start of the name of a queue; its number follows.
const NAME: &str = "bench";

/// The shape of a benchmark's queues.
#[derive(Clone, Copy, Debug)]
pub struct QueueLoad {
    /// Queues, at least 1. Their names are `bench0` and so on.
    pub queues: u32,
    /// Bytes of the body of each message.
    pub message_bytes: u32,
    /// Bytes of each receipt handle, at least 24.
    pub handle_bytes: u32,
    /// Message groups of each; 0 makes standard queues.
    pub groups: u32,
}

/// From the response with a message to its event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WaitTimes {
    /// Number of messages.
    pub(super) messages: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

#[derive(Debug)]
pub(super) struct Queues {
    load: QueueLoad,
    template: MessageTemplate,
    state: Mutex<State>,
    /// Messages can be received that could not before.
    arrivals: Notify,
}

#[derive(Debug)]
struct State {
    counts: BenchCounts,
    /// By number.
    queues: Vec<Queue>,
    start: Instant,
    /// By [`slot`], since the start.
    received_at: Vec<Duration>,
    waited: Vec<Duration>,
}

#[derive(Debug)]
struct Queue {
    is_polled: bool,
    /// Messages that are released and have not been received, or are visible again.
    available: u64,
    /// Groups without a message in flight; `None` for a standard queue.
    free_groups: Option<VecDeque<u64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetQueueUrl<'a> {
    queue_name: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetQueueAttributes<'a> {
    queue_url: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiveMessage<'a> {
    queue_url: &'a str,
    max_number_of_messages: Option<usize>,
    wait_time_seconds: Option<u64>,
}

/// DeleteMessageBatch or ChangeMessageVisibilityBatch.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchRequest<'a> {
    queue_url: &'a str,
    #[serde(borrow)]
    entries: Vec<BatchEntry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchEntry<'a> {
    id: &'a str,
    receipt_handle: &'a str,
    visibility_timeout: Option<u32>,
}

impl Queues {
    pub(super) fn new(load: QueueLoad) -> Self {
        let queue = |_| Queue {
            is_polled: false,
            available: 0,
            free_groups: (load.groups != 0).then(|| (0..load.groups.into()).collect()),
        };
        Self {
            template: MessageTemplate::new(load),
            state: Mutex::new(State {
                counts: BenchCounts::default(),
                queues: (0..load.queues).map(queue).collect(),
                start: Instant::now(),
                received_at: vec![Duration::ZERO; slot(REMEMBERED - 1) + 1],
                waited: Vec::new(),
            }),
            arrivals: Notify::new(),
            load,
        }
    }

    /// Spreads messages evenly over the queues.
    pub(super) fn release(&self, messages: u64) {
        let n_queues = u64::from(self.load.queues);
        for (queue, number) in self.lock().queues.iter_mut().zip(0..) {
            queue.available += messages / n_queues + u64::from(number < messages % n_queues);
        }
        self.arrivals.notify_waiters();
    }

    /// An event has arrived at the function.
    pub(super) fn deliver(&self, event: &[u8]) {
        let mut state = self.lock();
        let now = state.start.elapsed();
        state.counts.invocations += 1;
        for at in memmem::find_iter(event, ID_MARKER) {
            state.counts.delivered += 1;
            if let Some(number) = number_of_id(&event[at + ID_MARKER.len()..]) {
                let received_at = state.received_at[slot(number)];
                state.waited.push(now.saturating_sub(received_at));
            }
        }
    }

    pub(super) fn counts(&self) -> BenchCounts {
        self.lock().counts
    }

    /// Of the messages that were delivered since the last call.
    pub(super) fn take_wait_times(&self) -> WaitTimes {
        let mut waited = std::mem::take(&mut self.lock().waited);
        waited.sort_unstable();
        let percentile = |percent: usize| {
            let index = (waited.len() * percent / 100).min(waited.len().saturating_sub(1));
            waited.get(index).copied().unwrap_or_default()
        };
        WaitTimes {
            messages: waited.len(),
            p50: percentile(50),
            p99: percentile(99),
        }
    }

    /// Bytes of each message in a response.
    pub(super) fn message_length(&self) -> usize {
        self.template.length()
    }

    /// Executes an operation of SQS. `endpoint` is the prefix of the queue's URL.
    pub(super) async fn call(
        &self,
        operation: &str,
        body: &[u8],
        endpoint: &str,
    ) -> Result<Bytes, AwsError> {
        let response = match operation {
            "ReceiveMessage" => return self.receive(body).await,
            "DeleteMessageBatch" => {
                return self.batch(body, |state, queue, message, _| {
                    state.delete(queue, message)
                });
            }
            "ChangeMessageVisibilityBatch" => return self.batch(body, State::change_visibility),
            "GetQueueUrl" => {
                let request: GetQueueUrl<'_> = parse_request(body)?;
                let name = self.name(self.number(request.queue_name)?);
                json!({"QueueUrl": format!("{endpoint}/000000000000/{name}")})
            }
            "GetQueueAttributes" => {
                let request: GetQueueAttributes<'_> = parse_request(body)?;
                self.attributes(self.number(request.queue_url)?)
            }
            _ => return Err(AwsError::unknown_operation("the bench queue", operation)),
        };
        Ok(response.to_string().into())
    }

    fn name(&self, number: usize) -> String {
        let suffix = if self.load.groups == 0 { "" } else { ".fifo" };
        format!("{NAME}{number}{suffix}")
    }

    /// The number of the queue with a name or URL.
    fn number(&self, text: &str) -> Result<usize, AwsError> {
        let name = text.trim_end_matches(".fifo");
        let number = name.rsplit_once(NAME).map(|(_, number)| number.parse());
        let number = number.and_then(|number| number.ok());
        let number = number.filter(|number| *number < self.load.queues as usize);
        number.ok_or_else(|| invalid("the queue"))
    }

    fn attributes(&self, number: usize) -> Value {
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{}", self.name(number));
        let mut attributes = json!({
            "QueueArn": arn, "VisibilityTimeout": VISIBILITY_TIMEOUT.to_string(),
        });
        if self.load.groups != 0 {
            attributes["FifoQueue"] = "true".into();
        }
        json!({"Attributes": attributes})
    }

    async fn receive(&self, body: &[u8]) -> Result<Bytes, AwsError> {
        let request: ReceiveMessage<'_> = parse_request(body)?;
        let queue = self.number(request.queue_url)?;
        let limit = request.max_number_of_messages.unwrap_or(1);
        let wait = Duration::from_secs(request.wait_time_seconds.unwrap_or(0).min(MAX_WAIT));
        let deadline = Instant::now() + wait;
        self.lock().count_receive(queue);
        loop {
            let mut arrival = pin!(self.arrivals.notified());
            // From here on no arrival is missed.
            arrival.as_mut().enable();
            let messages = self.lock().receive(queue, limit.min(MAX_MESSAGES));
            if !messages.is_empty() || deadline <= Instant::now() {
                return Ok(self.template.response(&messages));
            }
            tokio::select! {
                () = arrival => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// Succeeds for every entry.
    fn batch(
        &self,
        body: &[u8],
        effect: impl Fn(&mut State, usize, Received, &BatchEntry<'_>),
    ) -> Result<Bytes, AwsError> {
        let request: BatchRequest<'_> = parse_request(body)?;
        let queue = self.number(request.queue_url)?;
        let mut done = Vec::new();
        for entry in &request.entries {
            let message = Received::of_handle(entry.receipt_handle.as_bytes());
            let message = message.ok_or_else(|| invalid("ReceiptHandle"))?;
            effect(&mut self.lock(), queue, message, entry);
            done.push(json!({"Id": entry.id}));
        }
        self.arrivals.notify_waiters();
        Ok(json!({"Successful": done, "Failed": []}).to_string().into())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count_receive(&mut self, queue: usize) {
        self.counts.reads += 1;
        let was_polled = std::mem::replace(&mut self.queues[queue].is_polled, true);
        self.counts.shards_read += u64::from(!was_polled);
    }

    /// Takes messages that are visible, each of another group.
    fn receive(&mut self, queue: usize, limit: usize) -> Vec<Received> {
        let queue = &mut self.queues[queue];
        let limit = usize::try_from(queue.available).map_or(limit, |it| it.min(limit));
        let mut messages = Vec::with_capacity(limit);
        while messages.len() < limit {
            let group = match &mut queue.free_groups {
                Some(groups) => groups.pop_front(),
                None => Some(0),
            };
            let Some(group) = group else { break };
            let number = self.counts.read;
            self.counts.read += 1;
            queue.available -= 1;
            self.received_at[slot(number)] = self.start.elapsed();
            messages.push(Received { number, group });
        }
        messages
    }

    fn delete(&mut self, queue: usize, message: Received) {
        self.counts.deleted += 1;
        if let Some(groups) = &mut self.queues[queue].free_groups {
            groups.push_back(message.group);
        }
    }

    fn change_visibility(&mut self, queue: usize, message: Received, entry: &BatchEntry<'_>) {
        self.counts.visibility_changes += 1;
        if entry.visibility_timeout == Some(0) {
            let queue = &mut self.queues[queue];
            queue.available += 1;
            if let Some(groups) = &mut queue.free_groups {
                groups.push_front(message.group);
            }
        }
    }
}

/// The index of the message with this number in `received_at`.
fn slot(number: u64) -> usize {
    usize::try_from(number % REMEMBERED).expect("the numbers are few")
}
