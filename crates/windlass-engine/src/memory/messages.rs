//! What the messages of one queue take in memory: what is reserved for a receive, and what is held.
//!
//! A receive is paid for before it begins: what has arrived is invisible to others and counts as
//! received, so that it must not wait for room. A long poll brings nothing most of the time, and
//! many of them are under way, so that the most it could bring cannot be reserved: what it brings
//! beyond what was expected is counted as it is, and the next receive waits.

use windlass_core::message::Message;
use windlass_core::queue::QueueView;

use crate::memory::{Account, Reservation};

/// What a message is expected to have, rendered, before one was seen.
const EXPECTED_MESSAGE: usize = 4 * 1024;

/// What a message takes besides its rendered text: its places in the orders in which messages are
/// kept, and the handles under which they are known.
const MESSAGE_OVERHEAD: usize = 1024;

/// The memory of one slot of a queue.
#[derive(Debug)]
pub(crate) struct MessageMemory {
    reservation: Reservation,
    /// The largest message seen lately, rendered.
    largest: usize,
}

impl MessageMemory {
    pub(crate) fn new(account: &Account) -> Self {
        Self {
            reservation: account.nothing(),
            largest: EXPECTED_MESSAGE,
        }
    }

    /// What a receive of so many messages can be expected to take.
    pub(crate) fn expected(&self, n_messages: u8) -> usize {
        usize::from(n_messages) * in_memory(self.largest, 1)
    }

    /// Messages have arrived, with what was reserved for them.
    pub(crate) fn arrive(&mut self, messages: &[Message], reservation: Reservation) {
        self.reservation.merge(reservation);
        if let Some(largest) = messages.iter().map(|it| it.event.len()).max() {
            let before = self.largest - self.largest / 8;
            self.largest = largest.max(before).max(EXPECTED_MESSAGE);
        }
    }

    /// Counts what the consumer holds, and gives back what goes beyond it.
    pub(crate) fn settle(&mut self, view: &QueueView) {
        let held = in_memory(view.buffered_bytes, view.buffered_messages);
        self.reservation.set(held);
    }
}

/// Twice the text: nearly all that a queue holds can be in flight at a time, and what is in flight
/// is copied when it is sent.
const fn in_memory(bytes: usize, n_messages: usize) -> usize {
    2 * bytes + n_messages * MESSAGE_OVERHEAD
}

/// Gives each message of an answer a buffer of its own: one that is held would otherwise hold the
/// whole answer, though all others are done with.
pub(crate) fn detach(messages: &mut [Message]) {
    for message in messages {
        message.event = bytes::Bytes::copy_from_slice(&message.event);
        message.message_id = message.message_id.detached();
        message.receipt_handle = message.receipt_handle.detached();
    }
}

#[cfg(test)]
mod tests {
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
        }
    }

    #[test]
    fn a_message_does_not_hold_the_answer_it_came_with() {
        let answer = bytes::Bytes::from("idrhevent".to_owned());
        let mut messages = [message(&answer)];
        assert!(!answer.is_unique());
        detach(&mut messages);
        assert!(answer.is_unique());
        assert_eq!(messages, [message(&answer)]);
    }

    #[test]
    fn what_arrived_tells_what_will_arrive() {
        let account = Budget::new(1 << 30).account(&MappingId::new("m"));
        let mut memory = MessageMemory::new(&account);
        let before = memory.expected(10);
        let answer = bytes::Bytes::from(vec![b'x'; 100_000]);
        memory.arrive(&[message(&answer)], account.nothing());
        assert!(2_000_000 <= memory.expected(10));
        for _ in 0..50 {
            memory.arrive(&[message(&answer.slice(0..9))], account.nothing());
        }
        assert_eq!(memory.expected(10), before);
    }
}
