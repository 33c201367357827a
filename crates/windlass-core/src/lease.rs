//! The right to process one unit of work, and the checkpoint that belongs to it.
//!
//! One row for each unit: a shard of a mapping, or a slot of a queue. `epoch` is the fencing token:
//! it grows when the owner changes, and a checkpoint is written only while it still holds.

use std::fmt;
use std::sync::Arc;

use crate::ids::ShardId;
use crate::mapping::MappingId;
use crate::position::Position;

/// Which daemon this is, unique for each start of a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerId(Arc<str>);

/// What a lease is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseKey {
    /// The mapping.
    pub mapping: MappingId,
    /// The part of its source.
    pub unit: Unit,
}

/// The part of a source that one consumer works on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A shard of a stream.
    Shard(ShardId),
    /// A share of a queue's concurrency, counted from 0.
    QueueSlot(u16),
}

/// One row of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is about.
    pub key: LeaseKey,
    /// Who processes it; `None` if nobody does.
    pub owner: Option<WorkerId>,
    /// +1 when the owner changes.
    pub epoch: u64,
    /// How far it has been processed. For a queue it stays at the trim horizon.
    pub checkpoint: Position,
}

impl WorkerId {
    /// From any text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Unit {
    /// The name under which it is stored: `shard:ID` or `queue:SLOT`.
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
