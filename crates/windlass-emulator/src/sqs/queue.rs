//! A queue: its messages, and when each can be received.
//!
//! Every method receives the time, and first makes messages visible whose timeout is over. Waiting
//! receivers are notified when messages may become available earlier than they know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use md5::{Digest as _, Md5};
use tokio::sync::Notify;

use super::available::Available;
use super::error::invalid_parameter;
use super::receipt_handle::ReceiptHandle;
use crate::protocol::AwsError;

/// Messages in flight of one queue.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MAX_IN_FLIGHT: usize = 120_000;

/// Seconds from the receive of a message to the end of its visibility timeout, extensions
/// included.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>
pub(super) const MAX_VISIBILITY: u64 = 43_200;

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) fifo: bool,
    /// The default visibility timeout, in seconds.
    pub(super) visibility: u64,
    /// Notified when messages may become available earlier than [`Queue::next_timeout`].
    pub(super) arrivals: Arc<Notify>,
    messages: BTreeMap<u64, Message>,
    available: Available,
    /// When messages in flight become visible, with their numbers.
    timeouts: BTreeSet<(u64, u64)>,
}

/// Times are milliseconds since 1970.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) md5_of_body: String,
    pub(super) group: Option<Arc<str>>,
    pub(super) sent: u64,
    pub(super) first_received: Option<u64>,
    pub(super) receive_count: u32,
    in_flight: Option<InFlight>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    received: u64,
    visible_at: u64,
}

impl Message {
    pub(super) fn new(id: String, body: &str, group: Option<&str>, now: u64) -> Self {
        Self {
            id,
            body: body.to_owned(),
            md5_of_body: format!("{:x}", Md5::digest(body)),
            group: group.map(Arc::from),
            sent: now,
            first_received: None,
            receive_count: 0,
            in_flight: None,
        }
    }
}

impl Queue {
    pub(super) fn new(name: &str, fifo: bool, visibility: u64) -> Self {
        Self {
            name: name.to_owned(),
            fifo,
            visibility,
            arrivals: Arc::default(),
            messages: BTreeMap::new(),
            available: Available::new(fifo),
            timeouts: BTreeSet::new(),
        }
    }

    pub(super) fn arn(&self) -> String {
        format!("arn:aws:sqs:us-east-1:000000000000:{}", self.name)
    }

    pub(super) fn send(&mut self, number: u64, message: Message) {
        self.available.add(number, message.group.as_ref());
        self.messages.insert(number, message);
        self.arrivals.notify_waiters();
    }

    /// Receives up to `limit` messages and returns their numbers; they become visible again after
    /// `visibility` seconds.
    pub(super) fn receive(&mut self, limit: usize, visibility: u64, now: u64) -> Vec<u64> {
        self.expire_timeouts(now);
        let limit = limit.min(MAX_IN_FLIGHT.saturating_sub(self.timeouts.len()));
        let numbers = self.available.take(limit);
        let visible_at = now + visibility * 1_000;
        for number in &numbers {
            let message = self.messages.get_mut(number);
            let message = message.expect("an available message is in the queue");
            message.receive_count += 1;
            message.first_received.get_or_insert(now);
            message.in_flight = Some(InFlight {
                received: now,
                visible_at,
            });
            self.set_timeout(visible_at, *number);
        }
        numbers
    }

    /// Whether a receive fails with `OverLimit`. FIFO queues return no messages instead.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
    pub(super) fn is_over_limit(&self) -> bool {
        !self.fifo && MAX_IN_FLIGHT <= self.timeouts.len()
    }

    /// A message that was just received.
    pub(super) fn message(&self, number: u64) -> &Message {
        &self.messages[&number]
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html>
    pub(super) fn delete(&mut self, handle: &str, now: u64) -> Result<(), AwsError> {
        let receipt = ReceiptHandle::decode(handle, &self.name)?;
        self.expire_timeouts(now);
        let number = receipt.message;
        let Some(message) = self.messages.get(&number) else {
            return Ok(());
        };
        let is_latest = message.receive_count == receipt.receive_count;
        let in_flight = message.in_flight;
        if self.fifo && !(is_latest && in_flight.is_some()) {
            let reason = "The receipt handle has expired.";
            return Err(invalid_parameter(handle, "ReceiptHandle", reason));
        }
        // A standard queue silently ignores the handle of an earlier receive.
        if is_latest && let Some(message) = self.messages.remove(&number) {
            let group = message.group.as_ref();
            if let Some(InFlight { visible_at, .. }) = in_flight {
                self.timeouts.remove(&(visible_at, number));
                self.available.remove_in_flight(group);
                self.arrivals.notify_waiters();
            } else {
                self.available.remove(number, group);
            }
        }
        Ok(())
    }

    /// Makes a message in flight visible in `seconds` from now.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>
    pub(super) fn change_visibility(
        &mut self,
        handle: &str,
        seconds: u64,
        now: u64,
    ) -> Result<(), AwsError> {
        let receipt = ReceiptHandle::decode(handle, &self.name)?;
        self.expire_timeouts(now);
        let number = receipt.message;
        let Some(message) = self.messages.get_mut(&number) else {
            let reason =
                "Message does not exist or is not available for visibility timeout change.";
            return Err(invalid_parameter(handle, "ReceiptHandle", reason));
        };
        let is_latest = message.receive_count == receipt.receive_count;
        let Some(in_flight) = message.in_flight.as_mut().filter(|_| is_latest) else {
            let text = "The message referred to isn't in flight.";
            return Err(AwsError::new("MessageNotInflight", text));
        };
        let visible_at = now + seconds * 1_000;
        if in_flight.received + MAX_VISIBILITY * 1_000 < visible_at {
            let reason =
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
            let seconds = seconds.to_string();
            return Err(invalid_parameter(&seconds, "VisibilityTimeout", reason));
        }
        self.timeouts.remove(&(in_flight.visible_at, number));
        in_flight.visible_at = visible_at;
        self.set_timeout(visible_at, number);
        Ok(())
    }

    /// How many messages are visible and in flight.
    pub(super) fn counts(&mut self, now: u64) -> (usize, usize) {
        self.expire_timeouts(now);
        let n_in_flight = self.timeouts.len();
        (self.messages.len() - n_in_flight, n_in_flight)
    }

    /// When the next message in flight becomes visible.
    pub(super) fn next_timeout(&self) -> Option<u64> {
        self.timeouts.first().map(|(at, _)| *at)
    }

    fn expire_timeouts(&mut self, now: u64) {
        while let Some((at, number)) = self.timeouts.first().copied()
            && at <= now
        {
            self.timeouts.pop_first();
            let message = self.messages.get_mut(&number);
            let message = message.expect("a deleted message has no timeout");
            message.in_flight = None;
            self.available.release(number, message.group.as_ref());
        }
    }

    fn set_timeout(&mut self, at: u64, number: u64) {
        if self.next_timeout().is_none_or(|next| at < next) {
            self.arrivals.notify_waiters();
        }
        self.timeouts.insert((at, number));
    }
}
