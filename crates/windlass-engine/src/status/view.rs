//! The state of one consumer.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_core::outcome::Fault;
use windlass_core::queue::QueueView;
use windlass_core::shard::ShardView;

use super::lag::LagHistory;
use super::source_calls::SourceCall;
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
    pub lag: LagHistory,
    /// The limit that it waits for.
    pub limit: Option<Limit>,
    /// Why calls to its source fail: the error of the last call of each kind.
    pub errors: BTreeMap<SourceCall, String>,
    /// A call that the source should have answered, and for how long it has been in flight.
    pub overdue: Option<(SourceCall, Duration)>,
}
