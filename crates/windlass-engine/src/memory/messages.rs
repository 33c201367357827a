//! Memory of one slot of a queue: reserved before each receive, and kept for messages in memory.
//!
//! Memory is reserved before the receive: a message that has arrived is invisible to others and
//! its receive is counted, so it must not wait. A long poll usually returns nothing, and many are
//! in flight, so the largest possible answer cannot be reserved. A larger answer than expected
//! counts with its actual size, and the next receive waits.

use windlass_core::message::Message;
use windlass_core::outcome::Fault;
use windlass_core::queue::QueueView;

use super::backpressure::{Backpressure, Limit};
use super::budget::{Account, Reservation};

/// Expected bytes of an event before the first message.
const EXPECTED_MESSAGE: usize = 4 * 1024;

/// Memory of a message in addition to its event: its entries in the consumer's collections, and
/// its handles.
const MESSAGE_OVERHEAD: usize = 1024;

#[derive(Debug)]
pub(crate) struct MessageMemory {
    account: Account,
    backpressure: Backpressure,
    reservation: Reservation,
    /// Bytes of the largest recent event.
    largest: usize,
}

/// Permission to receive, with the memory that is reserved for it.
#[derive(Debug)]
pub(crate) struct ReceiveGrant {
    reservation: Reservation,
}

impl MessageMemory {
    pub(crate) fn new(account: Account, backpressure: Backpressure) -> Self {
        Self {
            reservation: account.empty(),
            account,
            backpressure,
            largest: EXPECTED_MESSAGE,
        }
    }

    /// Waits for the memory of a receive of up to `max_messages` messages.
    pub(crate) fn grant_receive(
        &self,
        max_messages: u8,
    ) -> impl Future<Output = ReceiveGrant> + Send + use<> {
        let bytes = self.expected(max_messages);
        let (account, backpressure) = (self.account.clone(), self.backpressure.clone());
        async move {
            let reservation = backpressure.reserve(Limit::Memory, &account, bytes);
            ReceiveGrant {
                reservation: reservation.await,
            }
        }
    }

    /// Accounts for the result of a receive.
    pub(crate) fn handle_receive(
        &mut self,
        grant: ReceiveGrant,
        result: &Result<Vec<Message>, Fault>,
    ) {
        self.reservation.merge(grant.reservation);
        let messages = result.as_deref().unwrap_or_default();
        if let Some(largest) = messages.iter().map(|it| it.event.len()).max() {
            let previous = self.largest - self.largest / 8;
            self.largest = largest.max(previous).max(EXPECTED_MESSAGE);
        }
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
    fn recent_messages_tell_the_size_of_the_next_ones() {
        let account = Budget::new(1 << 30).account(&MappingId::new("m"));
        let mut memory = MessageMemory::new(account, Backpressure::default());
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
