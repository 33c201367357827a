//! Identifiers that sources assign: sequence numbers, shards, messages, receipt handles, keys.

use std::fmt;

use bytes::Bytes;

/// A stable 64-bit hash of a partition key, item key or message group.
///
/// Two keys with the same hash share a lane, which costs concurrency but never order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// FNV-1a with a final mix, so that its low bits can select a lane. Must never change: daemons
    /// of different versions may share a stream.
    pub fn of(key: &[u8]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for &byte in key {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        Self(hash ^ (hash >> 33))
    }

    /// Its lane, of `n_lanes` of a shard, at least 1.
    pub fn lane(self, n_lanes: usize) -> usize {
        match n_lanes {
            0 | 1 => 0,
            n_lanes => usize::try_from(self.0 % n_lanes as u64).expect("it is less than the lanes"),
        }
    }
}

/// Which record of an aggregate: they all have its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerRecord {
    /// From 0.
    pub index: u32,
    pub is_last: bool,
    /// Whether its key belongs to another shard. Such a record is like the others; AWS drops it.
    ///
    /// <https://github.com/awslabs/kinesis-aggregation/blob/master/potential_data_loss.md>
    pub is_outside_hash_key_range: bool,
}

macro_rules! text_slice {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Bytes);

        impl $name {
            /// Refers to a slice of a page; `None` if it is not UTF-8.
            pub fn from_slice(slice: Bytes) -> Option<Self> {
                std::str::from_utf8(&slice).is_ok().then_some(Self(slice))
            }

            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("checked on construction")
            }

            /// A copy that does not keep its page in memory.
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
    /// The sequence number of a record: a decimal number of 128 bits and more, kept as text.
    /// The order of records is the order in which the shard returns them, not that of the numbers;
    /// see [`SequenceNumber::is_lower_than`].
    SequenceNumber
}

impl SequenceNumber {
    /// Compares the numbers. Only for telling streams apart: a number that is not decimal has no
    /// order and is not lower.
    pub fn is_lower_than(&self, other: &Self) -> bool {
        let digits = |number: &Self| {
            let is_decimal = number.as_str().bytes().all(|byte| byte.is_ascii_digit());
            is_decimal.then(|| number.as_str().trim_start_matches('0').to_owned())
        };
        match (digits(self), digits(other)) {
            (Some(one), Some(other)) => (one.len(), one) < (other.len(), other),
            (None, _) | (_, None) => false,
        }
    }
}
text_slice! {
    /// The `messageId` of a message, the same for every receive.
    MessageId
}
text_slice! {
    /// The `receiptHandle` of a message, new for every receive.
    ReceiptHandle
}
text_slice! {
    /// The id of a shard, for example `shardId-000000000006`.
    ShardId
}
