//! What a FIFO queue remembers of messages sent, so that none is taken twice within five minutes.
//!
//! It forgets nothing when a message is deleted: a sender that repeats itself does not know that
//! its message has already been dealt with.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html>

use std::collections::{HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

use super::message::{Outgoing, hexadecimal};
use super::queue::SentMessage;

/// Milliseconds for which an id is remembered.
const INTERVAL: u64 = 300_000;

/// Messages sent within the interval.
#[derive(Debug, Default)]
pub(super) struct Recent {
    by_id: HashMap<String, SentMessage>,
    /// When ids will be forgotten, the next one first.
    ends: VecDeque<(u64, String)>,
}

impl Recent {
    /// The message that had this id first.
    pub(super) fn find(&mut self, id: &str, now: u64) -> Option<SentMessage> {
        while let Some((_, ended)) = self.ends.front().filter(|(end, _)| *end <= now) {
            self.by_id.remove(ended);
            self.ends.pop_front();
        }
        self.by_id.get(id).cloned()
    }

    pub(super) fn remember(&mut self, id: &str, sent: &SentMessage, now: u64) {
        self.by_id.insert(id.to_owned(), sent.clone());
        self.ends.push_back((now + INTERVAL, id.to_owned()));
    }
}

/// The id by which duplicates of a message are known: the sender's, or else the SHA-256 of the
/// body, whatever the attributes.
pub(super) fn id_of(outgoing: &Outgoing) -> String {
    let id = outgoing.deduplication_id.clone();
    id.unwrap_or_else(|| hexadecimal(&Sha256::digest(outgoing.body.as_bytes())))
}
