//! The state of one consumer.

use windlass_core::outcome::Fault;
use windlass_core::queue::QueueView;
use windlass_core::shard::ShardView;

use crate::memory::Limit;

/// The latest view of one consumer.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitView {
    /// Its source is being described.
    Starting {
        /// Of the last attempt.
        fault: Option<Fault>,
    },
    Shard(ShardView),
    Queue(QueueView),
}

#[derive(Clone, Debug, PartialEq)]
pub struct UnitStatus {
    pub view: UnitView,
    /// The limit that it waits for.
    pub limit: Option<Limit>,
}
