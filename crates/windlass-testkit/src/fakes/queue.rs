//! A standard queue with a redrive policy.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use windlass_core::arn::Arn;
use windlass_core::ids::{KeyHash, MessageId, ReceiptHandle};
use windlass_core::message::Message;
use windlass_core::outcome::Fault;
use windlass_core::queue::{EntryResult, QueueAttributes, VisibilityChange};
use windlass_core::redrive::OutgoingMessage;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{PortError, QueueReader, QueueSender, ResponseMemory};
use windlass_engine::requests::{QueueOperation, QueueRequests};

use super::{failed, lock};

/// Messages of one request that deletes them or changes their visibility.
const MAX_BATCH_ENTRIES: usize = 10;

#[derive(Debug)]
pub struct FakeQueue {
    visibility: Mutex<Duration>,
    n_descriptions: AtomicUsize,
    /// What requests to it fail with.
    fault: Mutex<Option<Fault>>,
    /// `maxReceiveCount` of the redrive policy.
    max_receives: u32,
    messages: Mutex<VecDeque<Queued>>,
    dead_letters: Mutex<Vec<Bytes>>,
    sent: Notify,
    /// What was sent to it through its port, and whether with a new id.
    forwarded: Mutex<Vec<(OutgoingMessage, bool)>>,
    dead_letter_queue: Mutex<Option<Arn>>,
    clock_difference: Mutex<Option<i64>>,
    requests: Mutex<Arc<QueueRequests>>,
}

#[derive(Debug)]
struct Queued {
    id: usize,
    event: Bytes,
    body: Range<usize>,
    group: Option<KeyHash>,
    sent: Timestamp,
    n_receives: u32,
    visible_at: Instant,
}

impl FakeQueue {
    /// `max_receives` is the `maxReceiveCount` of the redrive policy.
    pub fn new(visibility: Duration, max_receives: u32) -> Self {
        Self {
            visibility: Mutex::new(visibility),
            n_descriptions: AtomicUsize::new(0),
            fault: Mutex::default(),
            max_receives,
            messages: Mutex::default(),
            dead_letters: Mutex::default(),
            sent: Notify::new(),
            forwarded: Mutex::default(),
            dead_letter_queue: Mutex::default(),
            clock_difference: Mutex::default(),
            requests: Mutex::default(),
        }
    }

    pub fn set_visibility(&self, visibility: Duration) {
        *lock(&self.visibility) = visibility;
    }

    /// From now on every request to it fails, or none does.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *lock(&self.fault) = fault;
    }

    /// Counts its requests there from now on.
    pub fn count(&self, requests: Arc<QueueRequests>) {
        *lock(&self.requests) = requests;
    }

    /// Counts a request, which fails while the queue has a fault.
    fn request(&self, operation: QueueOperation) -> Result<(), PortError> {
        lock(&self.requests).add(operation);
        let fault = *lock(&self.fault);
        fault.map_or(Ok(()), |fault| Err(failed(operation.name(), fault)))
    }

    /// How many times its attributes were requested.
    pub fn n_descriptions(&self) -> usize {
        self.n_descriptions.load(Ordering::Relaxed)
    }

    /// Sends a message that the function will see as `event`.
    pub fn send(&self, event: &[u8]) {
        self.add(Bytes::copy_from_slice(event), 0..0, None, Timestamp::EPOCH);
    }

    /// Sends a message with a body, as SQS renders it; those of a group are received in order.
    pub fn send_message(&self, body: &str, group: Option<&str>, sent: Timestamp) {
        let body = Value::from(body).to_string();
        let start = "{\"body\":\"".len();
        let range = start..start + body.len() - 2;
        let attributes = json!({
            "SentTimestamp": sent.as_millis().to_string(),
            "MessageGroupId": group,
            "MessageDeduplicationId": group.map(|group| format!("{group}-{body}")),
        });
        let event =
            format!("{{\"body\":{body},\"attributes\":{attributes},\"messageAttributes\":{{}}}}");
        let group = group.map(|group| KeyHash::of(group.as_bytes()));
        self.add(event.into(), range, group, sent);
    }

    /// What was sent to it through its port, and whether with a new id.
    pub fn forwarded(&self) -> Vec<(OutgoingMessage, bool)> {
        lock(&self.forwarded).clone()
    }

    /// Sets how far its clock is ahead of the daemon's, in milliseconds.
    pub fn set_clock_difference(&self, difference: i64) {
        *lock(&self.clock_difference) = Some(difference);
    }

    /// Names the dead-letter queue of its redrive policy.
    pub fn set_dead_letter_queue(&self, arn: &Arn) {
        *lock(&self.dead_letter_queue) = Some(arn.clone());
    }

    fn add(&self, event: Bytes, body: Range<usize>, group: Option<KeyHash>, sent: Timestamp) {
        let mut messages = lock(&self.messages);
        let id = messages.back().map_or(0, |last| last.id + 1);
        messages.push_back(Queued {
            id,
            event,
            body,
            group,
            sent,
            n_receives: 0,
            visible_at: Instant::now(),
        });
        drop(messages);
        self.sent.notify_waiters();
    }

    /// Messages that are neither deleted nor dead-lettered.
    pub fn n_messages(&self) -> usize {
        lock(&self.messages).len()
    }

    /// Messages that were received and are invisible.
    pub fn n_in_flight(&self) -> usize {
        let now = Instant::now();
        let messages = lock(&self.messages);
        messages.iter().filter(|it| now < it.visible_at).count()
    }

    /// Sum of the receive counts of these messages.
    pub fn n_receives(&self) -> u32 {
        let messages = lock(&self.messages);
        messages.iter().map(|message| message.n_receives).sum()
    }

    pub fn dead_letters(&self) -> Vec<Bytes> {
        self.redrive();
        lock(&self.dead_letters).clone()
    }

    fn redrive(&self) {
        let now = Instant::now();
        let mut dead_letters = lock(&self.dead_letters);
        lock(&self.messages).retain(|message| {
            let exhausted = self.max_receives <= message.n_receives && message.visible_at <= now;
            if exhausted {
                dead_letters.push(message.event.clone());
            }
            !exhausted
        });
    }

    fn take(&self, limit: usize, visibility: Duration) -> Vec<Message> {
        self.redrive();
        let now = Instant::now();
        let mut messages = lock(&self.messages);
        let mut blocked = BTreeSet::new();
        let visible = messages.iter_mut().filter(|message| {
            let is_visible = message.visible_at <= now;
            let is_next = message.group.is_none_or(|group| !blocked.contains(&group));
            if !is_visible {
                blocked.extend(message.group);
            }
            is_visible && is_next
        });
        let taken = visible.take(limit).map(|message| {
            message.n_receives += 1;
            message.visible_at = now + visibility;
            Message {
                message_id: MessageId::from(message.id.to_string().as_str()),
                receipt_handle: message.handle(),
                group: message.group,
                sent: message.sent,
                n_receives: message.n_receives,
                event: message.event.clone(),
                body: message.body.clone(),
                unreadable: None,
            }
        });
        taken.collect()
    }
}

impl Queued {
    fn handle(&self) -> ReceiptHandle {
        ReceiptHandle::from(format!("{}-{}", self.id, self.n_receives).as_str())
    }
}

#[async_trait]
impl QueueReader for FakeQueue {
    async fn attributes(&self) -> Result<QueueAttributes, PortError> {
        self.n_descriptions.fetch_add(1, Ordering::Relaxed);
        self.request(QueueOperation::GetQueueAttributes)?;
        Ok(QueueAttributes {
            visibility_timeout: *lock(&self.visibility),
            has_redrive_policy: true,
            retention: None,
        })
    }

    async fn receive(
        &self,
        limit: u8,
        wait: Duration,
        visibility: Duration,
        memory: &dyn ResponseMemory,
    ) -> Result<Vec<Message>, PortError> {
        self.request(QueueOperation::ReceiveMessage)?;
        let end = Instant::now() + wait;
        loop {
            let sent = self.sent.notified();
            let taken = self.take(usize::from(limit), visibility);
            if !taken.is_empty() || end <= Instant::now() {
                let bytes = taken.iter().map(|message| message.event.len()).sum();
                memory.reserve(Some(bytes)).await;
                return Ok(taken);
            }
            // Messages become visible without a notification, so poll.
            tokio::select! {
                () = sent => {}
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
    }

    async fn delete(&self, receipts: &[ReceiptHandle]) -> Result<Vec<EntryResult>, PortError> {
        for _ in receipts.chunks(MAX_BATCH_ENTRIES) {
            self.request(QueueOperation::DeleteMessageBatch)?;
        }
        let mut messages = lock(&self.messages);
        let results = receipts.iter().map(|receipt| {
            let before = messages.len();
            messages.retain(|message| message.handle() != *receipt);
            if messages.len() < before {
                EntryResult::Done
            } else {
                EntryResult::Refused
            }
        });
        Ok(results.collect())
    }

    async fn change_visibility(
        &self,
        changes: &[VisibilityChange],
    ) -> Result<Vec<EntryResult>, PortError> {
        for _ in changes.chunks(MAX_BATCH_ENTRIES) {
            self.request(QueueOperation::ChangeMessageVisibilityBatch)?;
        }
        let now = Instant::now();
        let mut messages = lock(&self.messages);
        let results = changes.iter().map(|change| {
            let message = messages
                .iter_mut()
                .find(|message| message.handle() == change.receipt);
            match message {
                Some(message) => {
                    message.visible_at = now + change.timeout;
                    EntryResult::Done
                }
                None => EntryResult::Refused,
            }
        });
        Ok(results.collect())
    }
}

#[async_trait]
impl QueueSender for FakeQueue {
    async fn dead_letter_queue(&self) -> Result<Option<Arn>, PortError> {
        self.request(QueueOperation::GetQueueAttributes)?;
        Ok(lock(&self.dead_letter_queue).clone())
    }

    async fn send(&self, message: &OutgoingMessage, new_id: bool) -> Result<(), PortError> {
        let fault = *lock(&self.fault);
        fault.map_or(Ok(()), |fault| Err(failed("SendMessage", fault)))?;
        lock(&self.forwarded).push((message.clone(), new_id));
        Ok(())
    }

    fn clock_difference(&self) -> Option<i64> {
        *lock(&self.clock_difference)
    }
}
