//! What comes out of a source: records of streams and messages of queues, rendered already.
//!
//! An adapter renders a whole answer into one buffer, each item as the function will see it. A
//! [`Record`] is a place on a page of them (see [`crate::rendering`]); a [`Message`] holds slices of
//! its buffer.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::position::Cursor;
use crate::rendering::Record;
use crate::time::Timestamp;

/// One message of a queue, as one receive gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, the same at every receive.
    pub message_id: MessageId,
    /// What deletes it or extends its visibility; new at every receive.
    pub receipt_handle: ReceiptHandle,
    /// Stands for its message group; `None` on a standard queue.
    pub group: Option<KeyHash>,
    /// When it was sent.
    pub sent: Timestamp,
    /// The message as the function sees it: one JSON object.
    pub event: Bytes,
    /// Where in `event` its body stands, without its quotes. Filters look into it.
    pub body: Range<usize>,
}

/// What one read of a shard gave.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order of the shard; may be empty although there is more.
    pub records: Vec<Record>,
    /// Where to go on; `None` at the end of the shard.
    pub next: Option<Cursor>,
    /// How far behind the tip of the shard this page ends; zero at the tip.
    pub behind: Duration,
}

/// A stable 64-bit hash of a partition key, item key or message group.
///
/// Two keys with one hash share a lane, which costs concurrency and never order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// FNV-1a with a final mix, so that its low bits are usable for lanes. It must never change:
    /// daemons of different versions may share a stream.
    pub fn of(key: &[u8]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for &byte in key {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        Self(hash ^ (hash >> 33))
    }
}

macro_rules! text_slice {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Bytes);

        impl $name {
            /// Takes a slice of a page; `None` if it is not UTF-8.
            pub fn from_slice(slice: Bytes) -> Option<Self> {
                std::str::from_utf8(&slice).is_ok().then_some(Self(slice))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("checked when it was made")
            }

            /// A copy of its own, so that keeping it does not keep the page it was cut from.
            #[must_use]
            pub fn detached(&self) -> Self {
                Self(Bytes::copy_from_slice(&self.0))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Bytes::copy_from_slice(text.as_bytes()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

text_slice! {
    /// The name of a record within its shard: a decimal number of up to 128 bits and more, kept as
    /// text. The core never compares two of them for order: the order of records is the order in
    /// which the shard gave them.
    SequenceNumber
}
text_slice! {
    /// The id of a queue's message.
    MessageId
}
text_slice! {
    /// The handle that one receive gave for one message.
    ReceiptHandle
}
text_slice! {
    /// The name of a shard, for example `shardId-000000000006`.
    ShardId
}
