//! Memory of one slot of a queue: reserved for the response of a receive, and kept for messages in
//! memory.
//!
//! A receive starts only while there is memory for a message: a message that has arrived is
//! invisible to others and its receive is counted, so it should not wait. A long poll usually
//! returns nothing, and many are in flight, so nothing is reserved for it. Responses that arrive at
//! the same time get memory one after the other, before any read of a stream.

use std::time::Duration;

use windlass_core::message::Message;
use windlass_core::outcome::Fault;
use windlass_core::queue::QueueView;

use super::backpressure::Backpressure;
use super::budget::{Account, Reservation, Urgency};
use super::response::ResponseGrant;
use crate::clock::Clock;
use crate::ports::ResponseMemory;

/// Expected bytes of an event before the first message.
const EXPECTED_MESSAGE: usize = 4 * 1024;

/// Memory of a message in addition to its event: its entries in the consumer's collections, and
/// its handles.
const MESSAGE_OVERHEAD: usize = 1024;

/// Limit of one message.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MAX_MESSAGE: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct MessageMemory {
    account: Account,
    backpressure: Backpressure,
    clock: Clock,
    reservation: Reservation,
    /// Bytes of the largest recent event.
    largest: usize,
}

/// Permission to receive.
#[derive(Debug)]
pub(crate) struct ReceiveGrant {
    response: ResponseGrant,
}

impl MessageMemory {
    pub(crate) fn new(account: Account, backpressure: Backpressure, clock: Clock) -> Self {
        let account = account.with_urgency(Urgency::High);
        Self {
            reservation: account.empty(),
            account,
            backpressure,
            clock,
            largest: EXPECTED_MESSAGE,
        }
    }

    /// Waits until there is memory for a receive of up to `max_messages` messages, and reserves none.
    pub(crate) fn grant_receive(
        &self,
        max_messages: u8,
    ) -> impl Future<Output = ReceiveGrant> + Send + use<> {
        let bytes = self.expected(max_messages);
        let max_response = in_memory(usize::from(max_messages) * MAX_MESSAGE, 0);
        let (account, backpressure) = (self.account.clone(), self.backpressure.clone());
        let clock = self.clock;
        async move {
            backpressure.wait_until_available(&account, bytes).await;
            ReceiveGrant {
                response: ResponseGrant::new(account, backpressure, clock, max_response),
            }
        }
    }

    /// Accounts for the result of a receive. Returns how long its response waited for memory.
    pub(crate) fn handle_receive(
        &mut self,
        grant: ReceiveGrant,
        result: &Result<Vec<Message>, Fault>,
    ) -> Duration {
        let (reservation, waited) = grant.response.into_parts();
        self.reservation.merge(reservation);
        let messages = result.as_deref().unwrap_or_default();
        if let Some(largest) = messages.iter().map(|it| it.event.len()).max() {
            let previous = self.largest - self.largest / 8;
            self.largest = largest.max(previous).max(EXPECTED_MESSAGE);
        }
        waited
    }

    /// Releases what the consumer no longer needs. Call it after each input of the consumer.
    pub(crate) fn settle(&mut self, view: &QueueView) {
        let bytes = in_memory(view.buffered_bytes, view.buffered_messages);
        self.reservation.set(bytes);
    }

    fn expected(&self, n_messages: u8) -> usize {
        usize::from(n_messages) * in_memory(self.largest, 1)
    }
}

impl ReceiveGrant {
    pub(crate) fn memory(&self) -> &dyn ResponseMemory {
        &self.response
    }
}

/// Twice the events: nearly all messages in memory can be in flight at once, and an event is copied
/// when it is sent.
const fn in_memory(bytes: usize, n_messages: usize) -> usize {
    2 * bytes + n_messages * MESSAGE_OVERHEAD
}

/// Copies each message of an answer to a buffer of its own. Otherwise one message would keep the
/// whole answer in memory.
pub(crate) fn detach(messages: &mut [Message]) {
    for message in messages {
        message.event = bytes::Bytes::copy_from_slice(&message.event);
        message.message_id = message.message_id.detached();
        message.receipt_handle = message.receipt_handle.detached();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use windlass_core::ids::{MessageId, ReceiptHandle};
    use windlass_core::mapping::MappingId;
    use windlass_core::time::Timestamp;

    use super::*;
    use crate::memory::Budget;

    fn message(answer: &bytes::Bytes) -> Message {
        let slice = |range| answer.slice(range);
        Message {
            message_id: MessageId::from_slice(slice(0..2)).unwrap(),
            receipt_handle: ReceiptHandle::from_slice(slice(2..4)).unwrap(),
            group: None,
            sent: Timestamp::EPOCH,
            n_receives: 1,
            event: slice(0..answer.len()),
            body: 0..0,
            unreadable: None,
        }
    }

    #[test]
    fn a_message_does_not_keep_its_answer_in_memory() {
        let answer = bytes::Bytes::from("idrhevent".to_owned());
        let mut messages = [message(&answer)];
        assert!(!answer.is_unique());
        detach(&mut messages);
        assert!(answer.is_unique());
        assert_eq!(messages, [message(&answer)]);
    }

    #[test]
    fn messages_that_have_arrived_get_memory_before_pages() {
        let budget = Budget::new(1 << 20);
        let mut full = budget.account(&MappingId::new("full")).empty();
        full.set(budget.total());
        let reserve = |urgency, id: &str| {
            let account = budget.account(&MappingId::new(id)).with_urgency(urgency);
            async move { account.reserve(60_000).await }.boxed()
        };
        let mut page = reserve(Urgency::Normal, "a");
        let mut messages = reserve(Urgency::High, "b");
        assert!((&mut page).now_or_never().is_none());
        assert!((&mut messages).now_or_never().is_none());
        full.set(budget.total() - 65_536);
        assert!((&mut page).now_or_never().is_none());
        assert!((&mut messages).now_or_never().is_some());
    }

    #[test]
    fn recent_messages_tell_the_size_of_the_next_ones() {
        let account = Budget::new(1 << 30).account(&MappingId::new("m"));
        let mut memory = MessageMemory::new(account, Backpressure::default(), Clock::start());
        let mut receive = |message: Message| {
            let grant = memory.grant_receive(10).now_or_never();
            memory.handle_receive(grant.expect("there is memory"), &Ok(vec![message]));
            memory.expected(10)
        };
        let answer = bytes::Bytes::from(vec![b'x'; 100_000]);
        assert!(2_000_000 <= receive(message(&answer)));
        let expected = (0..50).map(|_| receive(message(&answer.slice(0..9))));
        let at_first = 10 * in_memory(EXPECTED_MESSAGE, 1);
        assert_eq!(expected.last(), Some(at_first));
    }
}
