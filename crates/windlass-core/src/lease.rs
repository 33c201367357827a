//! The right to process one unit of work, and the checkpoint that belongs to it.
//!
//! The store has one row for each unit. `epoch` is the fencing token: it grows when the owner
//! changes, and a checkpoint is written only while the epoch is unchanged.

use std::fmt;
use std::sync::Arc;

use crate::ids::{SequenceNumber, ShardId};
use crate::mapping::MappingId;
use crate::position::Checkpoint;
use crate::time::Timestamp;

/// Identifies a daemon; unique for each start of the process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerId(Arc<str>);

/// Identifies a lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseKey {
    pub mapping: MappingId,
    pub unit: Unit,
}

/// The part of a source that one consumer processes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    Shard(ShardId),
    /// A share of a queue's concurrency, counted from 0.
    QueueSlot(u16),
}

/// One row of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub key: LeaseKey,
    /// `None` if nobody processes the unit.
    pub owner: Option<WorkerId>,
    /// +1 when the owner changes.
    pub epoch: u64,
    /// The saved one. For a queue it stays at the trim horizon.
    pub checkpoint: Checkpoint,
    /// The starting sequence number of the shard. Names of shards are used again when a stream is
    /// deleted and created again; starting sequence numbers are not. `None` for a queue, and while
    /// the source has not reported it.
    pub shard_start: Option<SequenceNumber>,
    /// What the last seek left; `None` if there was none.
    pub seek: Option<SeekMark>,
    /// A seek has set it aside until the parents of the shard have ended again: until then it counts as
    /// if it did not exist.
    pub waits: bool,
}

/// What a seek leaves with a shard, next to the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeekMark {
    /// When it was, by the clock of the source as far as that is known. The age of a record that
    /// arrived earlier counts from it.
    pub at: Timestamp,
    /// Records that arrived earlier are skipped, of a source that has no iterator by time. It replaces
    /// that of the mapping.
    pub skip_before: Option<Timestamp>,
}

impl WorkerId {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Unit {
    /// `None` for a slot of a queue.
    pub const fn shard(&self) -> Option<&ShardId> {
        match self {
            Self::Shard(shard) => Some(shard),
            Self::QueueSlot(_) => None,
        }
    }

    /// The name in the store: `shard:ID` or `queue:SLOT`.
    pub fn name(&self) -> String {
        match self {
            Self::Shard(shard) => format!("shard:{shard}"),
            Self::QueueSlot(slot) => format!("queue:{slot}"),
        }
    }

    /// The reverse of [`Unit::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        match name.split_once(':')? {
            ("shard", id) => Some(Self::Shard(ShardId::from(id))),
            ("queue", slot) => Some(Self::QueueSlot(slot.parse().ok()?)),
            _ => None,
        }
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
