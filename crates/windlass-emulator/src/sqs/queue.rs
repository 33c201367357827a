//! A queue: its messages, and when each can be received.
//!
//! Every function is told the time, and first does what is due: messages become visible again,
//! and those kept too long are forgotten. Receivers that wait are woken when messages may come
//! earlier than they know of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Notify;

use super::deduplication::{Recent, id_of};
use super::message::{Message, Outgoing, State, digest_of};
use super::receipt::Receipt;
use super::refusal::SqsRefusal;
use super::settings::{Settings, seconds_within};
use super::shelf::Shelf;

/// Messages of one queue in flight.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MOST_IN_FLIGHT: usize = 120_000;

/// Seconds from the receive of a message to the end of its visibility timeout, however extended.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>
pub(super) const LONGEST_VISIBILITY: u64 = 43_200;

/// Seconds between two purges.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html>
const PURGE_PAUSE: u64 = 60;

/// A queue. Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    /// No other queue has it, not even one of the same name.
    pub(super) number: u64,
    pub(super) settings: Settings,
    pub(super) created: u64,
    pub(super) changed: u64,
    /// Told when messages may come earlier than [`Queue::next_visible`] said.
    pub(super) arrivals: Arc<Notify>,
    messages: BTreeMap<u64, Message>,
    shelf: Shelf,
    /// When messages delayed or in flight become visible, with their numbers.
    timers: BTreeSet<(u64, u64)>,
    /// When messages were sent, with their numbers.
    ages: BTreeSet<(u64, u64)>,
    n_in_flight: usize,
    recent: Recent,
    purged: Option<u64>,
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    /// The message's id.
    pub message_id: String,
    /// The MD5 of its body, in hexadecimal.
    pub md5_of_body: String,
    /// Its place in the order of a FIFO queue.
    pub sequence_number: Option<String>,
}

/// How many messages a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Messages that can be received, or wait behind others of their group.
    pub visible: usize,
    /// Messages that somebody has received.
    pub in_flight: usize,
    /// Messages that were sent with a delay.
    pub delayed: usize,
}

/// What a receive found.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Numbers of the messages.
    pub(super) numbers: Vec<u64>,
    /// Messages that were received too often: they leave this queue.
    pub(super) dead: Vec<Message>,
}

impl Queue {
    pub(super) fn new(name: &str, number: u64, settings: Settings, now: u64) -> Self {
        Self {
            name: name.to_owned(),
            number,
            created: now,
            changed: now,
            arrivals: Arc::default(),
            messages: BTreeMap::new(),
            shelf: Shelf::new(settings.fifo),
            settings,
            timers: BTreeSet::new(),
            ages: BTreeSet::new(),
            n_in_flight: 0,
            recent: Recent::default(),
            purged: None,
        }
    }

    /// Takes a message, as the given number; or knows it for a duplicate.
    pub(super) fn send(
        &mut self,
        outgoing: Outgoing,
        number: u64,
        id: String,
        now: u64,
    ) -> Result<SentMessage, SqsRefusal> {
        self.advance(now);
        outgoing.check(&self.settings)?;
        let md5_of_body = digest_of(outgoing.body.as_bytes());
        let deduplication_id = self.settings.fifo.then(|| id_of(&outgoing));
        let known = deduplication_id.as_ref();
        if let Some(first) = known.and_then(|id| self.recent.find(id, now)) {
            return Ok(SentMessage {
                md5_of_body,
                ..first
            });
        }
        let delay = match outgoing.delay_seconds {
            Some(seconds) => seconds_within("DelaySeconds", seconds, 900)?,
            None => self.settings.delay,
        };
        let state = match delay {
            0 => State::Visible,
            seconds => State::Delayed {
                until: now + seconds * 1_000,
            },
        };
        let sent = SentMessage {
            message_id: id.clone(),
            md5_of_body,
            sequence_number: self.settings.fifo.then(|| sequence_number(number)),
        };
        if let Some(id) = &deduplication_id {
            self.recent.remember(id, &sent, now);
        }
        let message = Message {
            id,
            body: outgoing.body,
            md5_of_body: sent.md5_of_body.clone(),
            attributes: outgoing.attributes,
            trace_header: outgoing.trace_header,
            group: outgoing.group.map(Arc::from),
            deduplication_id,
            sequence_number: sent.sequence_number.clone(),
            dead_letter_source: None,
            sent: now,
            first_received: None,
            n_received: 0,
            n_received_elsewhere: 0,
            state,
        };
        self.insert(message, number);
        Ok(sent)
    }

    /// Takes a message as it is: delayed or visible.
    pub(super) fn insert(&mut self, message: Message, number: u64) {
        let group = message.group.as_ref();
        if let State::Delayed { until } = message.state {
            self.shelf.delay(number, group);
            self.set_timer(until, number);
        } else {
            self.shelf.put(number, group);
            self.arrivals.notify_waiters();
        }
        self.ages.insert((message.sent, number));
        self.messages.insert(number, message);
    }

    /// Takes up to `limit` messages; others can have them after `visibility` seconds. Those that
    /// were received `most_receives` times leave.
    pub(super) fn receive(
        &mut self,
        limit: usize,
        visibility: u64,
        most_receives: u32,
        now: u64,
    ) -> Received {
        self.advance(now);
        let limit = limit.min(MOST_IN_FLIGHT.saturating_sub(self.n_in_flight));
        let mut received = Received::default();
        while received.numbers.len() < limit {
            let numbers = self.shelf.take(limit - received.numbers.len());
            if numbers.is_empty() {
                break;
            }
            for number in numbers {
                let message = self.messages.get_mut(&number);
                let message = message.expect("what is on the shelf is in the queue");
                if most_receives <= message.n_received - message.n_received_elsewhere {
                    self.n_in_flight += 1;
                    message.state = State::InFlight {
                        received: now,
                        until: now,
                    };
                    received.dead.extend(self.remove(number));
                    continue;
                }
                let until = now + visibility * 1_000;
                message.n_received += 1;
                message.first_received.get_or_insert(now);
                message.state = State::InFlight {
                    received: now,
                    until,
                };
                self.n_in_flight += 1;
                self.set_timer(until, number);
                received.numbers.push(number);
            }
        }
        received
    }

    /// Whether too much is in flight. FIFO queues say nothing of it.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
    pub(super) fn refuses_receives(&self) -> bool {
        !self.settings.fifo && MOST_IN_FLIGHT <= self.n_in_flight
    }

    /// A message that was just received.
    pub(super) fn message(&self, number: u64) -> &Message {
        &self.messages[&number]
    }

    /// Deletes a message, if it is still there and the handle is of its last receive.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html>
    pub(super) fn delete(&mut self, handle: &str, now: u64) -> Result<(), SqsRefusal> {
        let receipt = Receipt::decode(handle, self.number)?;
        self.advance(now);
        let Some(message) = self.messages.get(&receipt.message) else {
            return Ok(());
        };
        let last = message.n_received == receipt.receive;
        let in_flight = matches!(message.state, State::InFlight { .. });
        if self.settings.fifo && !(last && in_flight) {
            let reason = "The receipt handle has expired.";
            return Err(SqsRefusal::invalid(handle, "ReceiptHandle", reason));
        }
        if last {
            self.remove(receipt.message);
        }
        Ok(())
    }

    /// Makes a message in flight visible in so many seconds from now.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>
    pub(super) fn change_visibility(
        &mut self,
        handle: &str,
        seconds: i64,
        now: u64,
    ) -> Result<(), SqsRefusal> {
        let seconds = seconds_within("VisibilityTimeout", seconds, LONGEST_VISIBILITY)?;
        let receipt = Receipt::decode(handle, self.number)?;
        self.advance(now);
        let number = receipt.message;
        let Some(message) = self.messages.get_mut(&number) else {
            let reason =
                "Message does not exist or is not available for visibility timeout change.";
            return Err(SqsRefusal::invalid(handle, "ReceiptHandle", reason));
        };
        let State::InFlight { received, until } = message.state else {
            return Err(not_in_flight());
        };
        if message.n_received != receipt.receive {
            return Err(not_in_flight());
        }
        let later = now + seconds * 1_000;
        if received + LONGEST_VISIBILITY * 1_000 < later {
            let reason =
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
            return Err(SqsRefusal::invalid(
                &seconds.to_string(),
                "VisibilityTimeout",
                reason,
            ));
        }
        message.state = State::InFlight {
            received,
            until: later,
        };
        self.timers.remove(&(until, number));
        self.set_timer(later, number);
        Ok(())
    }

    /// Forgets all messages.
    pub(super) fn purge(&mut self, now: u64) -> Result<(), SqsRefusal> {
        let pause = PURGE_PAUSE * 1_000;
        if self.purged.is_some_and(|purged| now < purged + pause) {
            return Err(SqsRefusal::new(
                "PurgeQueueInProgress",
                format!(
                    "Only one PurgeQueue operation on {} is allowed every {PURGE_PAUSE} seconds.",
                    self.name
                ),
            ));
        }
        self.purged = Some(now);
        self.messages.clear();
        self.shelf = Shelf::new(self.settings.fifo);
        self.timers.clear();
        self.ages.clear();
        self.n_in_flight = 0;
        Ok(())
    }

    pub(super) fn counts(&mut self, now: u64) -> QueueCounts {
        self.advance(now);
        QueueCounts {
            visible: self.messages.len() - self.timers.len(),
            in_flight: self.n_in_flight,
            delayed: self.timers.len() - self.n_in_flight,
        }
    }

    /// When the next message becomes visible, as far as it is known.
    pub(super) fn next_visible(&self) -> Option<u64> {
        self.timers.first().map(|(when, _)| *when)
    }

    /// Does what is due.
    fn advance(&mut self, now: u64) {
        let kept = now.saturating_sub(self.settings.retention * 1_000);
        while let Some((_, number)) = self.ages.first().filter(|(sent, _)| *sent < kept) {
            self.remove(*number);
        }
        while let Some((when, number)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(when, number));
            let message = self.messages.get_mut(&number);
            let message = message.expect("a message that is removed takes its timer with it");
            let group = message.group.as_ref();
            if matches!(message.state, State::InFlight { .. }) {
                self.n_in_flight -= 1;
                self.shelf.put_back(number, group);
            } else {
                self.shelf.put(number, group);
            }
            message.state = State::Visible;
        }
    }

    fn remove(&mut self, number: u64) -> Option<Message> {
        let message = self.messages.remove(&number)?;
        self.ages.remove(&(message.sent, number));
        let group = message.group.as_ref();
        match message.state {
            State::Visible => self.shelf.forget(number, group),
            State::Delayed { until } => {
                self.timers.remove(&(until, number));
                self.shelf.forget(number, group);
            }
            State::InFlight { until, .. } => {
                self.timers.remove(&(until, number));
                self.n_in_flight -= 1;
                if self.shelf.settle(group) {
                    self.arrivals.notify_waiters();
                }
            }
        }
        Some(message)
    }

    fn set_timer(&mut self, when: u64, number: u64) {
        if self.next_visible().is_none_or(|next| when < next) {
            self.arrivals.notify_waiters();
        }
        self.timers.insert((when, number));
    }
}

/// Twenty digits that grow, as AWS's do.
fn sequence_number(number: u64) -> String {
    let start = 18_849_496_460_467_696_128_u128;
    (start + u128::from(number) * 256).to_string()
}

fn not_in_flight() -> SqsRefusal {
    SqsRefusal::new(
        "MessageNotInflight",
        "The message referred to isn't in flight.",
    )
}
